"""Combinations of columns: their POD equals that of the snapshots themselves, and the bounds of their errors hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.recombination import (
    Recombination,
    Remainder,
    certified,
    condensed,
    joint_factor,
    missed,
    truncate_combination,
)
from tests.oracles.pod import matrix_with_spectrum

Floats = NDArray[np.float64]
EPS = np.finfo(float).eps
N = 60


def pod(snapshots: Floats, rank: int) -> tuple[Floats, Floats, Floats]:
    """(Phi (n, N), Q (N, m), E) of the truncated singular value decomposition."""
    u, s, vt = np.linalg.svd(snapshots, full_matrices=False)
    modes, coefficients = u[:, :rank], s[:rank, None] * vt[:rank]
    return modes, coefficients, snapshots - modes @ coefficients


def halves(seed: int, scale: float) -> tuple[Floats, Floats]:
    """Two sets of snapshots (n, 9) and (n, 7) that share directions, the second `scale` times as large."""
    whole = matrix_with_spectrum(N, 16, np.logspace(0, -5, 16), seed)
    return whole[:, :9], scale * whole[:, 9:]


def merged(parts: tuple[Floats, Floats], ranks: tuple[int, int]) -> tuple[Floats, Recombination, Floats]:
    """(X, what is known of the snapshots, the snapshots) of two truncated sets."""
    bases = [pod(part, rank) for part, rank in zip(parts, ranks, strict=True)]
    columns = np.hstack([modes for modes, _, _ in bases])
    coordinates = np.zeros((sum(ranks), 16))
    coordinates[: ranks[0], :9], coordinates[ranks[0] :, 9:] = bases[0][1], bases[1][1]
    remainders = np.linalg.norm(np.hstack([rest for _, _, rest in bases]), axis=0)
    snapshots = np.hstack(parts)
    remainder = Remainder(remainders, float(np.sum(remainders**2)), uncorrelated=True)
    return columns, Recombination(coordinates, remainder, np.linalg.norm(snapshots, axis=0), np.ones(16)), snapshots


@given(seed=st.integers(0, 200), scale=st.sampled_from([1e-3, 1.0, 50.0]), rank=st.integers(1, 8))
def test_a_merge_is_bounded_snapshot_by_snapshot_and_in_sum(seed: int, scale: float, rank: int) -> None:
    """No snapshot is further from its stored combination than its bound, nor from the span; the squares of both parts add up."""
    columns, known, snapshots = merged(halves(seed, scale), (5, 4))
    factors = {"u": np.linalg.qr(columns, mode="r")}
    cut = truncate_combination(factors, {"u": 1.0}, known, rows=N, rtol=None, rank=rank)
    modes = columns @ cut.transform
    bounds = certified(missed(factors["u"], cut.transform, factors["u"], known.coordinates), known)
    distance = snapshots - modes @ (cut.coefficients @ known.coordinates)
    projected = snapshots - modes @ (modes.T @ snapshots)
    rounding = 100 * EPS * np.linalg.norm(snapshots)
    for error in (distance, projected):
        assert (np.linalg.norm(error, axis=0) <= np.sqrt(bounds.squares) + rounding).all()
        assert np.linalg.norm(error) <= np.sqrt(bounds.total_square) + rounding
    # What is stored is as far away as the sum of squares says, not nearer: the bound of all snapshots is sharp.
    assert np.linalg.norm(distance) == pytest.approx(np.sqrt(bounds.total_square), abs=rounding)


@pytest.mark.parametrize("rank", [2, 5])
def test_nothing_left_out_gives_the_decomposition_itself(rank: int) -> None:
    """Of untruncated parts, spectrum and modes are those of all snapshots at once."""
    columns, known, snapshots = merged(halves(3, 1.0), (9, 7))
    factors = {"u": np.linalg.qr(columns, mode="r")}
    cut = truncate_combination(factors, {"u": 1.0}, known, rows=N, rtol=None, rank=rank)
    expected, _, rest = pod(snapshots, rank)
    np.testing.assert_allclose(cut.singular_values[:16], np.linalg.svd(snapshots, compute_uv=False), atol=100 * EPS)
    modes = columns @ cut.transform
    # The angle to the exact span grows with the inverse gap between the values next to the cut.
    gap = cut.singular_values[rank - 1] - cut.singular_values[rank]
    assert np.linalg.norm(modes - expected @ (expected.T @ modes)) <= 1000 * EPS / gap
    errors = np.sqrt(missed(factors["u"], cut.transform, factors["u"], known.coordinates))
    np.testing.assert_allclose(errors, np.linalg.norm(rest, axis=0), atol=1000 * EPS)


def test_a_drop_is_exact() -> None:
    """Where remainders are orthogonal to the modes, squares of errors are exact for every kept snapshot."""
    snapshots, kept = matrix_with_spectrum(N, 12, np.logspace(0, -4, 12), 7), [0, 3, 4, 8]
    modes, coefficients, rest = pod(snapshots, 6)
    remainders = np.linalg.norm(rest[:, kept], axis=0)
    remainder = Remainder(remainders, float(np.sum(remainders**2)), orthogonal=True)
    known = Recombination(coefficients[:, kept], remainder, np.linalg.norm(snapshots[:, kept], axis=0), np.ones(4))
    factors = {"u": np.linalg.qr(modes, mode="r")}
    cut = truncate_combination(factors, {"u": 1.0}, known, rows=N, rtol=None, rank=2)
    found = certified(missed(factors["u"], cut.transform, factors["u"], known.coordinates), known)
    lifted = modes @ cut.transform
    error = snapshots[:, kept] - lifted @ (lifted.T @ snapshots[:, kept])
    np.testing.assert_allclose(np.sqrt(found.squares), np.linalg.norm(error, axis=0), rtol=0, atol=100 * EPS)
    assert np.sqrt(found.total_square) == pytest.approx(np.linalg.norm(error), abs=100 * EPS)


def test_without_correlation_known_the_sum_is_wider() -> None:
    """A remainder of which nothing is known adds by the triangle inequality, and more than by squares."""
    columns, known, _ = merged(halves(5, 1.0), (3, 3))
    factors = {"u": np.linalg.qr(columns, mode="r")}
    cut = truncate_combination(factors, {"u": 1.0}, known, rows=N, rtol=None, rank=2)
    squares = missed(factors["u"], cut.transform, factors["u"], known.coordinates)
    plain = Remainder(known.remainder.norms, known.remainder.total_square)
    wider = certified(squares, Recombination(known.coordinates, plain, known.snapshot_norms, known.snapshot_scale))
    assert wider.total_square > 1.1 * certified(squares, known).total_square
    np.testing.assert_array_equal(wider.squares, certified(squares, known).squares)


def test_weights_hold_the_scaled_coordinates() -> None:
    """``L L^T = C D^2 C^T``, with fewer columns than coordinates have where snapshots are few."""
    generator = np.random.default_rng(0)
    coordinates, scale = generator.standard_normal((6, 4)), generator.random(4)
    weights = condensed(coordinates, scale)
    assert weights.shape == (6, 4)
    np.testing.assert_allclose(weights @ weights.T, (coordinates * scale**2) @ coordinates.T, atol=20 * EPS)


def test_fields_are_stacked_with_their_scaling() -> None:
    """The joint factor has the Gram matrix ``sum_f a_f^2 X_f^T X_f``."""
    generator = np.random.default_rng(1)
    parts = {"u": generator.standard_normal((20, 5)), "p": generator.standard_normal((30, 5))}
    joint = joint_factor({name: np.linalg.qr(part, mode="r") for name, part in parts.items()}, {"u": 2.0, "p": 0.5})
    expected = 4.0 * parts["u"].T @ parts["u"] + 0.25 * parts["p"].T @ parts["p"]
    np.testing.assert_allclose(joint.T @ joint, expected, rtol=0, atol=100 * EPS * np.abs(expected).max())
