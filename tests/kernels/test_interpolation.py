"""Interpolation points beside LAPACK's pivots, literal algorithms and published numbers: libROM's own test matrix."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import qr

from nwidth_graphs.kernels.interpolation import (
    PROPOSING,
    amplification,
    amplification_of,
    choose_from_pool,
    deim,
    deim_bound,
    lowered,
    merge_proposals,
    pivot_rows,
    proposal_floor,
    propose,
    qdeim,
    qdeim_bound,
    row_squares,
)
from nwidth_graphs.kernels.oversampling import oversampled, s_optimal, s_value

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)

PUBLISHED = np.array(
    [
        [-0.1067, -0.4723, -0.4552, 0.1104, -0.2337],
        [0.1462, 0.6922, -0.2716, 0.1663, 0.3569],
        [0.4087, -0.3437, 0.4952, -0.3356, 0.3246],
        [0.2817, -0.0067, -0.0582, -0.0034, 0.0674],
        [0.5147, 0.1552, -0.1635, -0.3440, -0.3045],
        [-0.4628, 0.0141, -0.1988, -0.5766, 0.0150],
        [-0.2203, 0.3283, 0.2876, -0.4597, -0.1284],
        [-0.0275, 0.1202, -0.0924, -0.2290, -0.3808],
        [0.4387, -0.0199, -0.3338, -0.1711, -0.2220],
        [0.0101, 0.1807, 0.4488, 0.3219, -0.6359],
    ]
)
"""The basis of libROM's unit tests; the indices that they expect are below."""


def basis(n: int, r: int, seed: int, *, spread: float = 0.0) -> Floats:
    """A random orthonormal basis, (n, r); `spread` makes some rows far heavier than others."""
    random = np.random.default_rng(seed)
    return np.linalg.qr(random.standard_normal((n, r)) * np.exp(spread * random.standard_normal((n, 1))))[0]


def smooth_basis(n: int, r: int) -> Floats:
    """Orthonormalised waves (n, r): neighbouring rows are nearly equal, as of a field on a mesh."""
    x = np.linspace(0.0, 1.0, n)
    return np.linalg.qr(np.exp(-x)[:, None] * np.cos(np.pi * np.outer(x, np.arange(r))))[0]


def literal_deim(U: Floats) -> list[int]:
    """Algorithm 1 of Chaturantabut and Sorensen 2010, word by word."""
    points = [int(np.argmax(np.abs(U[:, 0])))]
    for column in range(1, U.shape[1]):
        c = np.linalg.solve(U[points, :column], U[points, column])
        points.append(int(np.argmax(np.abs(U[:, column] - U[:, :column] @ c))))
    return points


def lapack_pivots(U: Floats) -> NDArray[np.int64]:
    """All pivots of the QR of U^T with column pivoting, of which the first r are points."""
    return np.asarray(qr(U.T, pivoting=True, mode="r")[1], np.int64)


def test_published_points() -> None:
    """DEIM, Q-DEIM, GappyPOD+E and S-OPT choose the rows that libROM's tests expect, with the norms and the S of the table."""
    assert deim(PUBLISHED).tolist() == [4, 1, 0, 5, 9]
    assert amplification(PUBLISHED, deim(PUBLISHED)) == pytest.approx(2.26124, rel=1e-5)
    assert qdeim(PUBLISHED).tolist() == [2, 9, 1, 4, 6]
    assert amplification(PUBLISHED, qdeim(PUBLISHED)) == pytest.approx(1.87551, rel=1e-5)
    assert sorted(oversampled(PUBLISHED, qdeim(PUBLISHED), 8).tolist()) == [0, 1, 2, 4, 5, 6, 8, 9]
    chosen = s_optimal(PUBLISHED, 8)
    assert chosen.tolist() == [4, 6, 2, 9, 1, 0, 5, 8]
    assert s_value(PUBLISHED[chosen[:5]]) == pytest.approx(0.95359367, rel=1e-7)
    assert s_value(PUBLISHED[chosen]) == pytest.approx(0.99835025, rel=1e-7)
    assert s_value(PUBLISHED[deim(PUBLISHED)]) == pytest.approx(0.92775345, rel=1e-7)


def test_greedy_is_not_the_best() -> None:
    """Enumeration of all 252 choices of five rows finds {1, 2, 6, 8, 9} with S = 0.95410399, just above the greedy choice."""
    best = max(itertools.combinations(range(10), 5), key=lambda rows: s_value(PUBLISHED[list(rows)]))
    assert best == (1, 2, 6, 8, 9)
    assert s_value(PUBLISHED[list(best)]) == pytest.approx(0.95410399, rel=1e-7)


@given(n=st.integers(8, 60), r=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=40)
def test_points_are_those_of_the_literal_algorithms(n: int, r: int, seed: int) -> None:
    """Pivots of an LU are DEIM's points, lazily updated distances give LAPACK's pivots: same rows in the same order."""
    U = basis(n, r, seed)
    assert deim(U).tolist() == literal_deim(U)
    assert qdeim(U).tolist() == lapack_pivots(U)[:r].tolist()


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_lazy_updates_choose_what_eager_ones_do(spread: float) -> None:
    """With far more rows than the pool, in either memory order and in float32, the pivots are LAPACK's own."""
    U = basis(6000, 12, 3, spread=spread)
    expected = lapack_pivots(U)[:12].tolist()
    assert qdeim(U).tolist() == expected
    assert qdeim(np.asfortranarray(U)).tolist() == expected
    narrow = U.astype(np.float32)
    assert qdeim(narrow).tolist() == lapack_pivots(narrow.astype(np.float64))[:12].tolist()


@given(seed=st.integers(0, 999), spread=st.sampled_from([0.0, 1.0]), relaxation=st.sampled_from([PROPOSING, 0.5, 1.0]))
@settings(max_examples=20)
def test_every_chosen_row_is_far_enough(seed: int, spread: float, relaxation: float) -> None:
    """Each chosen row has at least the relaxed share of the largest squared distance, recomputed after every choice."""
    U = basis(700, 5, seed, spread=spread)
    residual = U.copy()
    for row in pivot_rows(U, 5, relaxation=relaxation):
        squares = np.sum(residual**2, axis=1)
        assert squares[row] >= relaxation * squares.max() * (1 - 1e-9)
        direction = residual[row] / np.linalg.norm(residual[row])
        residual -= np.outer(residual @ direction, direction)


@pytest.mark.parametrize("make", [lambda: basis(5000, 10, 1), lambda: smooth_basis(5000, 10)])
def test_amplification_is_within_the_proven_bounds(make: object) -> None:
    """Measured norms lie between 1 and the published bounds; interpolation errs by at most the norm times the best error."""
    U = make()  # type: ignore[operator]
    n, r = U.shape
    f = np.exp(np.sin(np.linspace(0, 9, n)))
    best = float(np.linalg.norm(f - U @ (U.T @ f)))
    for points, bound in ((deim(U), deim_bound(n, r)), (qdeim(U), qdeim_bound(n, r))):
        norm = amplification(U, points)
        assert 1.0 - 1e-12 <= norm <= bound
        error = np.linalg.norm(f - U @ np.linalg.solve(U[points], f[points]))
        assert error <= norm * best * (1 + 1e-9)


def test_columns_that_depend_are_refused() -> None:
    """A basis of smaller rank, or with fewer rows than columns, has no points, and the sentence says what to do."""
    U = basis(30, 4, 0)
    twice = np.column_stack([U, U[:, 0]])
    with pytest.raises(ValueError, match="5 columns of rank 4, so 5 points are not determined; use fewer modes"):
        qdeim(twice)
    with pytest.raises(ValueError, match="depend on each other"):
        deim(twice)
    with pytest.raises(ValueError, match="depend on each other"):
        s_optimal(twice, 8)
    with pytest.raises(ValueError, match="column of the basis is zero"):
        s_optimal(np.column_stack([U, np.zeros(30)]), 8)
    with pytest.raises(ValueError, match="4 columns has 3 rows"):
        qdeim(U[:3])
    with pytest.raises(ValueError, match="start from at least 4"):
        oversampled(U, np.arange(3), 6)
    with pytest.raises(ValueError, match="at least 4 and at most 30"):
        s_optimal(U, 31)


def test_rows_of_many_magnitudes_are_resolved() -> None:
    """Rows whose distances fall below the square root of eps are still told apart: pivots are LAPACK's where squares cancel."""
    random = np.random.default_rng(0)
    U = (
        random.standard_normal((3000, 6))
        @ np.diag(10.0 ** -np.arange(0, 12, 2))
        @ np.linalg.qr(random.standard_normal((6, 6)))[0]
    )
    assert pivot_rows(U, 6).tolist() == lapack_pivots(U)[:6].tolist()


def test_zero_rows_and_no_rows_are_not_chosen() -> None:
    """Rows of zeros (masked unknowns) are never points; a block without rows proposes none."""
    U = basis(50, 3, 2)
    padded = np.vstack([np.zeros((500, 3)), U])
    assert (qdeim(padded) - 500).tolist() == qdeim(U).tolist()
    assert len(pivot_rows(np.zeros((9, 3)), 3)) == 0
    assert len(pivot_rows(np.empty((0, 3)), 3)) == 0


@pytest.mark.parametrize("blocks", [1, 3, 40])
def test_a_tournament_keeps_full_rank(blocks: int) -> None:
    """Winners among proposals above the floor have full rank within the bound; smooth blocks propose few rows."""
    U = smooth_basis(4000, 12)
    parts = [propose(U[part], part, 12, proposal_floor(len(U))) for part in np.array_split(np.arange(len(U)), blocks)]
    winners = merge_proposals(parts, 12)
    np.testing.assert_array_equal(winners.rows, U[winners.numbers])
    assert len(np.unique(winners.numbers)) == 12
    assert amplification_of(winners.rows) <= qdeim_bound(len(U), 12)
    if blocks == 40:
        assert sum(len(part.numbers) for part in parts) < 40 * 6


def test_a_pool_is_left_where_others_may_be_farther() -> None:
    """Choosing from a pool stops at the largest distance outside of it; the first row is taken in any case."""
    rows = np.diag([3.0, 2.0, 1.0])
    places, Q = choose_from_pool(rows, np.empty((3, 0)), 3, outside=3.9)
    assert places.tolist() == [0, 1]
    np.testing.assert_allclose(np.abs(Q), np.eye(3)[:, :2], atol=EPS)
    assert choose_from_pool(rows, np.empty((3, 0)), 3, outside=math.inf)[0].tolist() == [0]
    assert choose_from_pool(rows, Q, 3, outside=0.0, floor=2.0)[0].tolist() == []


def test_distances_are_those_to_the_span() -> None:
    """Squared distances brought up to date in two steps are those of the residuals, also where they cancel to 1e-20."""
    random = np.random.default_rng(5)
    Q = np.linalg.qr(random.standard_normal((8, 5)))[0]
    outside = np.linalg.qr(np.column_stack([Q, random.standard_normal(8)]))[0][:, 5]
    small = 10.0 ** random.uniform(-10, 0, 3000)
    U = random.standard_normal((3000, 5)) @ Q.T + np.outer(small, outside)
    norms = row_squares(U)
    halfway = lowered(norms, norms, U, Q[:, :2], 0)
    distances = lowered(halfway, norms, U, Q, 2)
    # A residual has an error of some eps |u|; downdated squares, used above 1e-8 |u|^2, one of some eps |u|^2.
    tolerance = 100 * EPS * (norms + np.sqrt(norms) * small)
    assert np.all(np.abs(distances - small**2) <= np.where(small**2 > 1e-8 * norms, 100 * EPS * norms, tolerance))


@given(seed=st.integers(0, 99), extra=st.integers(1, 4))
@settings(max_examples=20)
def test_oversampling_lifts_the_smallest_singular_value(seed: int, extra: int) -> None:
    """Added rows never raise the amplification, and each is the row of the largest published bound on what it adds."""
    U = basis(40, 4, seed)
    points = qdeim(U)
    more = oversampled(U, points, 4 + extra)
    assert more[:4].tolist() == points.tolist()
    assert len(set(more.tolist())) == 4 + extra
    assert amplification(U, more) <= amplification(U, points) * (1 + 1e-12)
    _, s, W = np.linalg.svd(U[points])
    gap = s[-2] ** 2 - s[-1] ** 2
    rotated = U @ W.T
    b = gap + np.sum(rotated**2, axis=1)
    score = b - np.sqrt(b**2 - 4 * gap * rotated[:, -1] ** 2)
    score[points] = -1.0
    assert score[more[4]] == pytest.approx(score.max(), rel=1e-9)


@given(seed=st.integers(0, 99), n=st.integers(8, 20), r=st.integers(1, 4))
@settings(max_examples=20)
def test_rank_one_updates_choose_what_brute_force_does(seed: int, n: int, r: int) -> None:
    """Every step of S-OPT takes a row whose S, computed from scratch for all rows, is the largest."""
    U = basis(n, r, seed)
    chosen = s_optimal(U, r + 3)
    for step in range(1, r + 3):
        columns = min(step + 1, r)
        before = chosen[:step].tolist()
        values = [0.0 if row in before else s_value(U[[*before, row], :columns]) for row in range(n)]
        assert values[chosen[step]] == pytest.approx(max(values), rel=1e-9)
