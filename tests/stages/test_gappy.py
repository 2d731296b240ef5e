"""Isolated NaN filled by gappy POD: low-rank data come back, noisy data to their noise, with the error that is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

import nwidth as nw
from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, FieldError, PlanError
from nwidth_graphs.gappy import Hidden
from nwidth_graphs.kernels.gappy import fill_in_place, gap_sums, hidden_entries, observed_coefficients
from nwidth_graphs.layout import panels
from tests.runs.studies import add_run, study_of

Floats = NDArray[np.float64]


def low_rank(n: int = 900, m: int = 40, rank: int = 3, seed: int = 0) -> Floats:
    """(m, n) of exactly that rank, singular values over one decade."""
    generator = np.random.default_rng(seed)
    left, right = (np.linalg.qr(generator.standard_normal((size, rank)))[0] for size in (m, n))
    return (left * 10.0 ** -np.linspace(0, 1, rank)) @ right.T


def with_gaps(values: Floats, share: float, seed: int = 1) -> tuple[Floats, NDArray[np.bool_]]:
    missing = np.random.default_rng(seed).random(values.shape) < share
    return np.where(missing, np.nan, values), missing


def relative(error: Floats, of: Floats) -> float:
    return float(np.linalg.norm(error) / np.linalg.norm(of))


@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("centre", [False, True])
def test_data_of_low_rank_come_back(share: float, centre: bool) -> None:
    """With 5 % and 20 % removed, rank-r data are recovered to 1e-6 of what is missing, and the reported error says so."""
    values = low_rank()
    gappy, missing = with_gaps(values, share)
    basis = nw.pod(gappy, rank=3, missing="gappy", centre=centre, gappy_tolerance=1e-7)
    assert relative((basis.reconstruct().values - values)[missing], values[missing]) < 1e-6
    assert basis.certificate.filled_fraction == pytest.approx(missing.mean())
    assert basis.certificate.fill_error is not None
    assert basis.certificate.fill_error < 1e-5
    assert np.isnan(gappy[missing]).all()


@pytest.mark.parametrize("rank", [3, 8])
def test_the_error_that_is_reported_is_the_error(rank: int) -> None:
    """With noise of 1 %, the error on hidden values is that on missing ones, for the right rank and for one too large."""
    clean = low_rank()
    values = clean + 0.01 * np.std(clean) * np.random.default_rng(2).standard_normal(clean.shape)
    gappy, missing = with_gaps(values, 0.1)
    basis = nw.pod(gappy, rank=rank, missing="gappy", gappy_iterations=15)
    true = relative((basis.reconstruct().values - values)[missing], values[missing])
    assert basis.certificate.fill_error == pytest.approx(true, rel=0.25)
    assert (true < 0.02) == (rank == 3)


def test_weights_joint_fields_and_masks() -> None:
    """Two fields of one basis, weighted, one of them with a mask: gaps come back in both, and the mask stays."""
    values = low_rank(900)
    first, missing_first = with_gaps(values[:, :500], 0.1)
    second, missing_second = with_gaps(100.0 * values[:, 500:], 0.1, seed=3)
    second[:, 7] = np.nan
    fields = xr.Dataset({"a": (("snapshot", "x"), first), "b": (("snapshot", "y"), second)})
    basis = nw.pod(fields, rank=3, missing="gappy", gappy_tolerance=1e-7)
    back = basis.reconstruct()
    assert relative((back["a"].values - values[:, :500])[missing_first], values[:, :500][missing_first]) < 1e-6
    missing_second[:, 7] = False
    true = 100.0 * values[:, 500:]
    assert relative((back["b"].values - true)[missing_second], true[missing_second]) < 1e-6
    assert np.isnan(back["b"].values[:, 7]).all()
    assert basis.certificate.masked_unknowns == {"b": 1}
    weighted = nw.pod(first, rank=3, missing="gappy", gappy_tolerance=1e-7, inner_product=np.linspace(1, 2, 500))
    assert relative((weighted.reconstruct().values - values[:, :500])[missing_first], values[:, :500][missing_first]) < 1e-6


def test_any_chunking_fills_alike() -> None:
    """An array in memory and a Dask array in other blocks are filled with the same values, to rounding of the iteration."""
    gappy, _ = with_gaps(low_rank(), 0.1)
    here = nw.pod(gappy, rank=3, missing="gappy", gappy_iterations=4)
    there = nw.pod(da.from_array(gappy, chunks=(7, 100)), rank=3, missing="gappy", gappy_iterations=4)
    np.testing.assert_allclose(there.reconstruct().values, here.reconstruct().values, atol=1e-12)
    assert there.certificate.fill_error == pytest.approx(here.certificate.fill_error, rel=1e-9)


def test_nothing_is_filled_where_nothing_is_missing() -> None:
    """Whole data, and data with a mask only, are reduced as without the option, after one read that looks."""
    values = low_rank()
    values[:, 5] = np.nan
    plain, asked = nw.pod(values, rank=3), nw.pod(values, rank=3, missing="gappy")
    np.testing.assert_array_equal(plain.modes.values, asked.modes.values)
    assert (asked.certificate.filled_fraction, asked.certificate.fill_error) == (None, None)


def test_a_study_fills_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """A run over a store with gaps writes the error into the model, the store keeps its NaN, and no scratch is left."""
    values = low_rank(300)
    gappy, missing = with_gaps(values, 0.05)
    store = tmp_path / "s.zarr"
    add_run(store, "a", {"u": values})
    import zarr

    zarr.open_group(str(store), mode="r+")["fields/u"][...] = gappy  # type: ignore[index]
    reduce: dict[str, Any] = {"rank": 3, "missing": "gappy", "gappy_iterations": 10}
    result = nw.run(study_of(tmp_path, store, reduce=reduce, workers={"count": 1}))
    model = nw.open_model(result.model)
    assert relative((model.reconstruct().values - values)[missing], values[missing]) < 1e-3
    assert 0 < model.basis.certificate.fill_error < 1e-2
    assert np.isnan(nw.open_snapshots(store)["u"].values[missing]).all()
    assert not list(result.folder.rglob("*gappy*"))


@pytest.mark.parametrize(
    ("values", "options", "error", "words"),
    [
        (low_rank(), {"rtol": 1e-3}, ConfigError, "give rank"),
        (low_rank(), {"rank": 3, "inner_product": sp.csr_array(sp.eye_array(900))}, ConfigError, "does not couple unknowns"),
        (low_rank(), {"rank": 3, "route": "hapod"}, PlanError, "rows with all their snapshots"),
        (np.where(np.arange(40)[:, None] == 4, np.nan, low_rank()), {"rank": 3}, FieldError, "no value in snapshot 4"),
        (
            np.where(np.arange(40 * 900).reshape(40, 900) == 7, np.inf, with_gaps(low_rank(), 0.1)[0]),
            {"rank": 3},
            FieldError,
            "inf at",
        ),
    ],
    ids=["no rank", "coupled", "route", "empty snapshot", "infinity"],
)
def test_what_cannot_be_filled_is_refused(values: Floats, options: dict[str, Any], error: type[Exception], words: str) -> None:
    """A tolerance alone, a coupling inner product, a route of partial rows, an empty snapshot, an infinity: each in words."""
    with pytest.raises(error, match=words):
        nw.pod(values, missing="gappy", **options)


def test_isolated_nan_are_refused_with_the_way_out() -> None:
    """By default a gap is an error whose text offers the option."""
    with pytest.raises(FieldError, match=r'or fill what is missing with missing = "gappy"'):
        nw.pod(with_gaps(low_rank(), 0.01)[0], rank=3)


def test_the_key_wants_a_rank() -> None:
    """The configuration says so before a store is opened."""
    with pytest.raises(ValidationError, match="give rank"):
        ReduceSection(rtol=1e-3, missing="gappy")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 9))
def test_what_is_hidden_does_not_depend_on_the_cut(seed: int, rows: int, columns: int) -> None:
    """The boxes of any cut hide what one panel hides, and a row never loses all that it has."""
    missing = np.random.default_rng(seed).random((7, 12, 9)) < 0.3
    hidden = Hidden((12, 9), tuple(range(7)), 0.5, seed)
    (whole,) = panels((12, 9), (12, 9))
    expected = hidden(whole, missing.reshape(7, -1).T).T.reshape(missing.shape)
    found = np.zeros_like(missing)
    for panel in panels((12, 9), (rows, columns)):
        part = missing[(slice(None), *panel.selection)]
        found[(slice(None), *panel.selection)] = hidden(panel, part.reshape(7, -1).T).T.reshape(part.shape)
    np.testing.assert_array_equal(found, expected)
    assert not (found & missing).any()
    assert not ((found | missing).all(axis=0) & ~missing.all(axis=0)).any()


def test_the_share_that_is_hidden() -> None:
    """Out of 1e6 entries, 1 % are drawn to within five standard deviations; other seeds draw others, other snapshots keep all."""
    one, other = (hidden_entries(np.arange(100_000), range(10), 0.01, seed, 12) for seed in (0, 1))
    assert abs(one.sum() - 1e4) < 5 * np.sqrt(1e4)
    assert not one[:, 10:].any()
    assert (one & other).sum() < 200


def test_coefficients_are_those_of_least_squares_on_what_is_observed() -> None:
    """From the sums over gaps come the weighted least-squares coefficients, whatever the gaps were filled with."""
    generator = np.random.default_rng(0)
    modes, values = np.linalg.qr(generator.standard_normal((50, 4)))[0], generator.standard_normal((50, 6))
    weights, gaps = generator.random(50) + 0.5, generator.random((50, 6)) < 0.3
    filled = values.copy()
    fill_in_place(filled, gaps, modes, generator.standard_normal((4, 6)))
    sums = gap_sums(modes.T, filled, None, gaps, range(6), weights)
    found = observed_coefficients(modes.T * weights @ modes, modes.T * weights @ filled, sums)
    for j in range(6):
        seen = ~gaps[:, j]
        root = np.sqrt(weights[seen])[:, None]
        expected = np.linalg.lstsq(root * modes[seen], root[:, 0] * values[seen, j], rcond=None)[0]
        np.testing.assert_allclose(found[:, j], expected, atol=1e-12)


def test_the_plan_states_the_reads_of_filling(tmp_path: Path) -> None:
    """One read that looks, two for each iteration at most, and the route's own; a run takes no more, and no more memory."""
    gappy, _ = with_gaps(low_rank(300), 0.05)
    add_run(tmp_path / "s.zarr", "a", {"u": low_rank(300)})
    import zarr

    zarr.open_group(str(tmp_path / "s.zarr"), mode="r+")["fields/u"][...] = gappy  # type: ignore[index]
    reduce: dict[str, Any] = {"rank": 3, "missing": "gappy", "gappy_iterations": 4}
    study = study_of(tmp_path, tmp_path / "s.zarr", reduce=reduce, workers={"count": 1})
    planned = nw.plan(study)
    assert sum(cost.reads for cost in planned.passes) == 1 + 2 * 4 + 2
    measured = nw.run(study).measured
    names = [measure["name"] for measure in measured["passes"]]
    assert set(names) <= {cost.name for cost in planned.passes} | {"gram"}
    assert len(names) <= 1 + 2 * 4 + 2
    assert measured["bytes_read"] <= planned.bytes_to_read
    assert measured["peak_bytes_per_worker"] <= planned.peak_bytes_per_worker
