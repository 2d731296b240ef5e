"""Dissimilarities of subspaces against SciPy's principal angles and their defining formulas."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from nwidth_graphs.kernels.subspaces import FAMILY, bi_projection, principal_angles

EPS = np.finfo(np.float64).eps


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), rows=st.integers(4, 9), seed=st.integers(0, 2**32 - 1))
def test_angles_of_all_pairs(sizes: list[int], rows: int, seed: int) -> None:
    """Batched angles are those of SciPy pair by pair, for equal and different dimensions; what is missing is 0 or pi/2."""
    random = np.random.default_rng(seed)
    bases = [np.linalg.qr(random.standard_normal((rows, size)))[0] for size in sizes]
    plain, padded = principal_angles(bases), principal_angles(bases, missing=True)
    for i, A in enumerate(bases):
        for j, B in enumerate(bases):
            shared, larger = sorted((sizes[i], sizes[j]))
            expected = np.sort(scipy.linalg.subspace_angles(A, B)) if i != j else np.zeros(shared)
            np.testing.assert_allclose(plain[i, j, :shared], expected, atol=5e-8)  # what the reference's own cosines resolve
            assert not plain[i, j, shared:].any()
            np.testing.assert_allclose(padded[i, j, shared:larger], np.pi / 2, atol=EPS)
            assert not padded[i, j, larger:].any()


@pytest.mark.parametrize("sizes", [(2, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("angle", [1e-6, 1e-9, 1e-12])
def test_small_angles_come_from_sines(angle: float, sizes: tuple[int, int]) -> None:
    """Angles that a cosine cannot tell from zero have their digits, beside an angle that is large."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 6)))[0]
    A = Q[:, : sizes[0]]
    B = np.column_stack(
        [Q[:, 0] * np.cos(angle) + Q[:, 4] * np.sin(angle), Q[:, 1] * np.cos(0.7) + Q[:, 5] * np.sin(0.7), Q[:, 3]]
    )
    found = principal_angles([A, B[:, : sizes[1]]])[0, 1]
    np.testing.assert_allclose(found[:2], [angle, 0.7], rtol=0, atol=12 * EPS)


def test_the_family_on_two_known_angles() -> None:
    """Every member at the angles 0.3 and 1.1 is its formula written out."""
    angles = np.array([0.3, 1.1])
    (a, b), (c, d) = angles, np.cos(angles)
    expected = {
        "geodesic": np.hypot(a, b),
        "chordal": np.hypot(np.sin(a), np.sin(b)),
        "binet-cauchy": np.sqrt(1 - (c * d) ** 2),
        "fubini-study": np.arccos(c * d),
        "procrustes": 2 * np.hypot(np.sin(a / 2), np.sin(b / 2)),
        "martin": np.sqrt(np.log(1 / (c * d) ** 2)),
        "projection": np.sin(b),
        "spectral": 2 * np.sin(b / 2),
    }
    assert expected.keys() == FAMILY.keys()
    for name, value in expected.items():
        assert FAMILY[name](angles) == pytest.approx(value, rel=1e-14), name


def test_the_family_between_projectors_and_bases() -> None:
    """Chordal, projection, spectral and Procrustes are the norms of projectors and of aligned bases that they are named for."""
    random = np.random.default_rng(1)
    A, B = (np.linalg.qr(random.standard_normal((9, 3)))[0] for _ in range(2))
    angles = principal_angles([A, B])[0, 1]
    U, _, Vt = np.linalg.svd(A.T @ B)
    projectors, aligned = A @ A.T - B @ B.T, A @ U - B @ Vt.T
    assert FAMILY["chordal"](angles) == pytest.approx(np.linalg.norm(projectors) / np.sqrt(2), rel=1e-12)
    assert FAMILY["projection"](angles) == pytest.approx(np.linalg.norm(projectors, 2), rel=1e-12)
    assert FAMILY["procrustes"](angles) == pytest.approx(np.linalg.norm(aligned), rel=1e-12)
    assert FAMILY["spectral"](angles) == pytest.approx(np.linalg.norm(aligned, 2), rel=1e-12)


def test_orthogonal_and_equal_subspaces_are_the_ends() -> None:
    """Equal subspaces are at zero by every member; orthogonal ones are finite or infinite without a warning."""
    identity = np.eye(6)
    angles = principal_angles([identity[:, :2], identity[:, [1, 0]], identity[:, 2:4]])
    for name, dissimilarity in FAMILY.items():
        D = dissimilarity(angles)
        assert D.shape == (3, 3)
        assert D[0, 1] == pytest.approx(0.0, abs=4 * EPS), name
        assert D[0, 2] >= 1 - EPS, name
    with pytest.raises(ValueError, match="all in the same frame"):
        principal_angles([identity, np.eye(5)])


def test_bi_projection() -> None:
    """The smaller of the two residuals over the mean norm; a subset of the other's span is at zero, zero simulations too."""
    random = np.random.default_rng(2)
    big = random.standard_normal((8, 3))
    small, other = big[:, :2] @ random.standard_normal((2, 4)), random.standard_normal((8, 2))
    snapshots = [big, small, other, np.zeros((8, 2)), np.zeros((8, 1))]
    bases = [np.linalg.qr(big)[0], np.linalg.qr(small[:, :2])[0], np.linalg.qr(other)[0], np.zeros((8, 0)), np.zeros((8, 0))]
    D = bi_projection(snapshots, bases)
    assert np.array_equal(D, D.T)
    assert D[0, 1] == pytest.approx(0, abs=50 * EPS)
    there, back = (np.linalg.norm(Q - T @ T.T @ Q) for Q, T in ((big, bases[2]), (other, bases[0])))
    assert D[0, 2] == pytest.approx(2 * min(there, back) / (np.linalg.norm(big) + np.linalg.norm(other)), rel=1e-13)
    assert D[3, 4] == 0.0
