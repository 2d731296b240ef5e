"""Every way to cut the rows gives the same spectrum, subspace and certificate, by either route, in memory or over Dask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.kernels.lift import projection_errors
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.truncation import joint_norms, truncate, unit_field_scaling
from tests.asserts import STEPS, assert_spectrum_close, backward_error, largest_sine
from tests.graphs.problems import Weights, compute, source_of
from tests.oracles.pod import dense_pod
from tests.strategies import SnapshotCase, snapshot_cases, splits

EPS = np.finfo(float).eps
REDUCTIONS = pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)


def factor_of(matrix: NDArray[Any], cuts: tuple[int, ...], reduction: Reduction, **options: Any) -> NDArray[np.float64]:
    partial = compute(factor_graph([source_of(matrix, cuts, **options)], reduction, "aa"))[factor_root("u", reduction)]
    assert not partial.bad
    return np.asarray(partial.factor)


def assert_spectrum(reduction: Reduction, factor: NDArray[Any], expected: NDArray[Any], shape: tuple[int, int]) -> None:
    """TSQR: to the backward error of s_1. Gram: the same of the eigenvalues, hence of the squares."""
    found = reduction.finish(factor).values
    if reduction is TSQR:
        assert_spectrum_close(found, expected, shape)
    else:
        assert_spectrum_close(found**2, expected**2, shape)


@REDUCTIONS
@given(case=snapshot_cases(), lazy=st.booleans())
@settings(max_examples=40)
def test_every_chunking_has_the_spectrum(reduction: Reduction, case: SnapshotCase, lazy: bool) -> None:
    """Singular values are those of LAPACK, down to the route's accuracy; float32 data lose nothing but their own rounding."""
    exact = dense_pod(case.matrix).singular_values
    factor = factor_of(case.matrix, case.chunks[0], reduction, lazy=lazy)
    assert_spectrum(reduction, factor, exact, case.matrix.shape)
    assert_spectrum_close(exact, case.singular_values, case.matrix.shape, dtype=case.dtype)


@REDUCTIONS
@given(case=snapshot_cases(dtype="float64"), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_centring_and_weights_in_every_chunking(reduction: Reduction, case: SnapshotCase, seed: int) -> None:
    """Centring and diagonal weights, some of them zero, act block by block as they do on the whole."""
    matrix = case.matrix + 3.0 * case.singular_values[0]
    weights = np.random.default_rng(seed).uniform(0.0, 2.0, len(matrix)).round(1) + np.eye(len(matrix))[0]
    exact = dense_pod(matrix, weights=weights, centre=True).singular_values
    factor = factor_of(matrix, case.chunks[0], reduction, product=Weights(weights), centre=True)
    # The mean is taken off first: what is left carries the rounding of the data's own size.
    lost = STEPS * EPS * np.sqrt(3 * matrix.size) * np.linalg.norm(matrix)
    found = reduction.finish(factor).values[: len(exact)]
    if reduction is TSQR:
        assert np.all(np.abs(found - exact) <= lost)
    else:
        assert np.all(np.abs(found**2 - exact**2) <= lost * (2 * exact[0] + lost))


@REDUCTIONS
@given(case=snapshot_cases(dtype="float64", decades=3.0, tall=True), other=splits(5, 3), scaled=st.booleans())
@settings(max_examples=25)
def test_joint_bases_and_snapshot_scaling(reduction: Reduction, case: SnapshotCase, other: tuple[int, ...], scaled: bool) -> None:
    """Two fields scaled to one norm each, and snapshots scaled to unit norm, act on the factors as on the stacked matrix."""
    m = case.matrix.shape[1]
    second = 1e6 * np.random.default_rng(case.seed).standard_normal((5, m))
    factors = {"u": factor_of(case.matrix, case.chunks[0], reduction), "v": factor_of(second, other, reduction)}
    scaling = unit_field_scaling(factors, reduction)
    stack = np.vstack([case.matrix / np.linalg.norm(case.matrix), second / np.linalg.norm(second)])
    norms = np.linalg.norm(stack, axis=0)
    np.testing.assert_allclose(joint_norms(factors, scaling, reduction), norms, atol=backward_error(stack.shape))
    cut = truncate(factors, scaling, reduction, rows=len(stack), rtol=None, rank=2, snapshot_scaling="unit" if scaled else "none")
    exact = dense_pod(stack / norms if scaled else stack, rank=2)
    tolerance = backward_error(stack.shape) * exact.singular_values[0]
    if reduction is TSQR:
        np.testing.assert_allclose(cut.singular_values, exact.singular_values, rtol=0, atol=tolerance / norms.min())
    Q = stack @ cut.transform  # the modes
    assert np.abs(Q.T @ Q - np.eye(cut.rank)).max() <= 1e-6  # of a Gram basis with s_2 >= 1e-3 s_1
    np.testing.assert_allclose(Q.T @ stack, cut.coefficients, rtol=0, atol=1e-6)


@REDUCTIONS
@given(case=snapshot_cases(dtype="float64", decades=4.0), residual=st.booleans(), lazy=st.booleans())
@settings(max_examples=40)
def test_lifting_in_every_chunking(reduction: Reduction, case: SnapshotCase, residual: bool, lazy: bool) -> None:
    """Modes written panel by panel span the dense POD's space, and the sums give its errors, snapshot by snapshot."""
    rank = 1 + int(np.argmax(-np.diff(np.append(case.singular_values, 0.0))))  # cut at the widest gap
    exact = dense_pod(case.matrix, rank=rank)
    source = source_of(case.matrix, case.chunks[0], lazy=lazy)
    factor = compute(factor_graph([source], reduction, "aa"))[factor_root("u", reduction)].factor
    cut = truncate({"u": factor}, {"u": 1.0}, reduction, rows=len(case.matrix), rtol=None, rank=rank)
    modes = np.full((cut.rank, len(case.matrix)), np.nan)

    def write(panel: Any, rows: Any, mean: Any) -> None:
        assert mean is None
        modes[:, panel.selection[0]] = rows

    lift = Lift(source, cut.transform, cut.coefficients if residual else None, write)
    sums = compute(lift_graph([lift], "aa"))[lift_root("u")].sums
    assert cut.rank == rank
    gap = case.singular_values[rank - 1] - np.append(case.singular_values, 0.0)[rank]
    angle = backward_error(case.matrix.shape) * case.singular_values[0] / gap
    # A Gram matrix squares the spectrum, and with it the ratio that amplifies rounding.
    angle *= 1.0 if reduction is TSQR else case.singular_values[0] / case.singular_values[rank - 1]
    assert largest_sine(np.linalg.qr(modes.T)[0], exact.modes) <= angle
    norms = np.linalg.norm(case.matrix, axis=0)
    squares, _ = projection_errors(sums, cut.coefficients, norms)
    floor = angle if residual else max(angle, np.sqrt(backward_error(case.matrix.shape)))
    np.testing.assert_allclose(np.sqrt(squares), exact.snapshot_errors * norms, rtol=0, atol=floor * case.singular_values[0])
