"""Sketching passes over every chunking, what they meet in the data and what they cost; and cutting a basis out of their sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.budget import PROCESS_BYTES
from nwidth_graphs.kernels.lift import lift
from nwidth_graphs.kernels.sketch import orthonormal_test
from nwidth_graphs.sampling import FEWEST_FIRST, cut_sample, first_sample, largest_sample
from nwidth_graphs.sketch import Sketch, nystrom_costs, sketch_costs, sketch_graph, sketch_root
from nwidth_graphs.source import FieldSource
from tests.asserts import assert_orthonormal, backward_error
from tests.graphs.problems import Weights, compute, refuse_to_read, row_panels, source_of
from tests.oracles.pod import matrix_with_spectrum
from tests.strategies import SnapshotCase, snapshot_cases

Floats = NDArray[np.float64]


def sketched(source: FieldSource, test: Floats, write: Any = None) -> Any:
    return compute(sketch_graph([Sketch(source, test, write)], "aa"))[sketch_root("u")]


@given(case=snapshot_cases(dtype="float64"), weighted=st.booleans(), centre=st.booleans(), lazy=st.booleans())
@settings(max_examples=40)
def test_every_chunking_has_the_same_image(case: SnapshotCase, weighted: bool, centre: bool, lazy: bool) -> None:
    """Images, norms and samples of any cut of the rows are those of the whole matrix."""
    X = case.matrix - case.matrix.mean(axis=1, keepdims=True) if centre else case.matrix
    weights = np.linspace(0.0, 2.0, len(X)) if weighted else np.ones(len(X))
    test = orthonormal_test(0, X.shape[1], min(3, X.shape[1]))
    options: dict[str, Any] = {"product": Weights(weights)} if weighted else {}
    samples = np.full((test.shape[1], len(X)), np.nan)

    def write(panel: Any, rows: Any, mean: Any) -> None:
        assert (mean is not None) == centre
        samples[:, panel.selection[0]] = rows

    found = sketched(source_of(case.matrix, case.chunks[0], lazy=lazy, centre=centre, **options), test, write)
    assert not found.bad
    scale = float(np.linalg.norm(case.matrix))
    rounding = backward_error(X.shape) * max(2.0, scale)
    np.testing.assert_allclose(samples, (X @ test).T, rtol=0, atol=rounding)
    np.testing.assert_allclose(found.sums.image.T, X.T @ (weights[:, None] * (X @ test)), rtol=0, atol=rounding * 2 * scale)
    np.testing.assert_allclose(found.sums.squares, weights @ X**2, rtol=0, atol=rounding * 2 * scale)


def test_building_reads_nothing() -> None:
    """A graph is made without a look at the data: one leaf per block, merges, a root, and what they share."""
    source = FieldSource("u", row_panels([10] * 20), 6, 8, read=refuse_to_read)
    graph = sketch_graph([Sketch(source, orthonormal_test(0, 6, 2))], "aa")
    assert graph.n_leaves == 20
    (cost,) = nystrom_costs([source], sample=2, stored_bytes=1, decode_bytes=0, threads=1)
    assert cost.tasks == graph.n_tasks == len(graph.graph)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_bad_values_are_found_and_never_written(value: float) -> None:
    """A NaN or an infinity is named by its place, an overflow has none; the samples of such a block stay unwritten."""
    matrix = np.ones((40, 3))
    matrix[17, 1] = value
    written: list[int] = []
    found = sketched(source_of(matrix, [10] * 4), np.eye(3), lambda panel, rows, mean: written.append(panel.index))
    (bad,) = found.bad
    assert (bad.place, bad.snapshot) == (((17,), 1) if value != 1e200 else ((), -1))
    assert sorted(written) == [0, 2, 3]


# --- costs ----------------------------------------------------------------------------------------------------------------------


def test_costs_are_counted() -> None:
    """Two fields by hand: every sketching read is two products with r columns, the lift three; nystrom is one read."""
    sources = [FieldSource(name, row_panels([1000] * 16), 500, 4) for name in "uv"]
    common = {"sample": 60, "stored_bytes": 7, "decode_bytes": 0, "threads": 2}
    passes = sketch_costs(sources, sketches=3, **common)
    assert [cost.name for cost in passes] == ["sketch"] * 3 + ["lift"]
    assert [cost.bytes_to_read for cost in passes] == [7] * 4
    assert passes[0].flops == 2 * 4 * 16_000 * 500 * 60
    assert passes[0].tasks == 2 * (16 + 2 + 1 + 1 + 1)  # leaves, merges of two levels, root, and what they share
    (single,) = nystrom_costs(sources, **common)
    assert (single.reads, single.flops) == (1, passes[0].flops)
    # Samples are held beside the block, once as made and once as written.
    assert single.peak_bytes - passes[0].peak_bytes == 2 * 1000 * 2 * 8 * 60


@pytest.mark.parametrize("name", ["rows", "snapshots", "itemsize", "sample", "threads", "decode_bytes"])
def test_the_peak_grows_with_everything(name: str) -> None:
    """More rows, snapshots, bytes per value, samples, threads or decoding never cost less."""

    def peak(**changes: int) -> int:
        v = {"rows": 5000, "snapshots": 300, "itemsize": 4, "sample": 20, "threads": 1, "decode_bytes": 1000} | changes
        source = FieldSource("u", row_panels([v["rows"]] * 3), v["snapshots"], v["itemsize"])
        options = {key: v[key] for key in ("sample", "threads", "decode_bytes")}
        return nystrom_costs([source], stored_bytes=1, **options)[0].peak_bytes

    assert peak(**{name: 10_000}) > peak() > PROCESS_BYTES


def test_very_many_snapshots_cost_no_square_of_them() -> None:
    """1e5 snapshots take r x m where a factor would take m x m: 40 GiB for the Gram matrix alone."""
    source = FieldSource("u", row_panels([64] * 10), 100_000, 4)
    (cost,) = nystrom_costs([source], sample=60, stored_bytes=1, decode_bytes=0, threads=1)
    assert cost.peak_bytes < 2**31


@given(st.integers(1, 10_000), st.none() | st.integers(1, 500), st.none() | st.just(1e-3), st.integers(0, 50))
def test_sizes_of_samples(directions: int, rank: int | None, rtol: float | None, oversampling: int) -> None:
    """The first sample is at most the largest, which holds the rank asked for, or all there is; a rank alone is drawn at once."""
    most = largest_sample(directions, rank, oversampling)
    first = first_sample(directions, rank, rtol, oversampling)
    assert min(directions, rank or directions) <= most <= directions
    assert 1 <= first <= most
    assert first == most if rtol is None else first >= min(most, FEWEST_FIRST)


# --- cutting a basis ------------------------------------------------------------------------------------------------------------


def sums_of(S: Floats, transform: Floats, predicted: Floats | None = None) -> Any:
    return lift(S, transform, predicted)[1]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_basis_is_cut_out_of_sums(residual: bool, scaled: bool) -> None:
    """Modes, coefficients and squared errors of every snapshot are those of the dense projection, truncated within the sample."""
    S = matrix_with_spectrum(300, 20, 0.5 ** np.arange(20), 4) * np.linspace(1, 5, 20)
    norms = np.linalg.norm(S, axis=0)
    d = 1 / norms if scaled else np.ones(20)
    P = np.linalg.svd(S * d)[2].T[:, :9]
    transform, predicted = d[:, None] * P, P.T / d if residual else None
    cut = cut_sample(sums_of(S, transform, predicted), predicted, norms, d, rtol=None, rank=6)
    Phi = S @ transform @ cut.truncation.transform
    assert_orthonormal(Phi, tolerance=1e-12)
    np.testing.assert_allclose(cut.truncation.coefficients, Phi.T @ S, rtol=0, atol=1e-12 * norms.max())
    missed = np.sum((S - Phi @ (Phi.T @ S)) ** 2, axis=0)
    np.testing.assert_allclose(cut.squares, missed, rtol=1e-6, atol=backward_error(S.shape) * np.max(norms**2))
    energy = np.sum((d * norms) ** 2)
    assert cut.truncation.expected_error**2 * energy == pytest.approx(np.sum(d**2 * missed), rel=1e-9)
    assert cut.missed_energy == pytest.approx(np.sum(np.linalg.svd(S * d)[1][9:] ** 2), rel=1e-6)


@pytest.mark.parametrize(
    ("rtol", "rank", "limited_by", "kept", "wanted"),
    [
        (None, 4, "rank", 4, None),
        (0.1, None, "rtol", 4, 4),
        (0.1, 9, "rtol", 4, 4),
        (0.1, 2, "rank", 2, 4),
        (None, 9, "spectrum", 8, None),
        (1e-9, 9, "spectrum", 8, None),  # the sample has no more, and says that it misses the tolerance
    ],
)
def test_what_limits_a_basis(rtol: float | None, rank: int | None, limited_by: str, kept: int, wanted: int | None) -> None:
    """Of tolerance, rank and sample, the one that decided is named; a tolerance out of reach has no rank."""
    S = matrix_with_spectrum(100, 12, 0.5 ** np.arange(12), 4)
    sums = sums_of(S, np.linalg.svd(S)[2].T[:, :8])
    cut = cut_sample(sums, None, np.linalg.norm(S, axis=0), np.ones(12), rtol=rtol, rank=rank).truncation
    assert (cut.limited_by, cut.rank, cut.rank_for_rtol) == (limited_by, kept, wanted)


@pytest.mark.parametrize("beyond", [False, True])
def test_directions_below_the_floor(beyond: bool) -> None:
    """They are left out and said to be, unless they are wanted."""
    S = matrix_with_spectrum(100, 4, [1.0, 0.1, 1e-9, 1e-10], 4)
    sums = sums_of(S, np.linalg.svd(S)[2].T)
    cut = cut_sample(sums, None, np.linalg.norm(S, axis=0), np.ones(4), rtol=None, rank=4, beyond_floor=beyond).truncation
    assert (cut.limited_by, cut.rank) == (("rank", 4) if beyond else ("floor", 2))
