"""The route ``wide``: the factor of the transpose gives the POD of the snapshots, for every inner product and number of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.config import ReduceSection
from nwidth.errors import FieldError
from nwidth.problems import Memory, problem_from_arrays
from nwidth.runs import plan, run
from tests.asserts import assert_orthonormal
from tests.oracles.mass import skfem_mass, small_mesh
from tests.oracles.pod import dense_pod, matrix_with_spectrum, projection_errors
from tests.runs.studies import add_run, snapshots_of, study_of

M = 1500


def wide_field(n: int = 40, decades: float = 8.0, seed: int = 3) -> Any:
    """(n, 1500) snapshots of known spectrum."""
    return matrix_with_spectrum(n, M, np.logspace(0, -decades, n), seed)


def pod_of(S: Any, **options: Any) -> Any:
    """By the route ``wide``."""
    return nw.pod(np.ascontiguousarray(np.asarray(S).T), route="wide", **options)


@pytest.mark.parametrize("options", [{}, {"centre": True}, {"weights": True}], ids=["identity", "centred", "weighted"])
@pytest.mark.parametrize("rtol", [1e-2, 1e-6])
def test_the_pod_is_that_of_the_snapshots(rtol: float, options: Any) -> None:
    """Rank, singular values, errors snapshot by snapshot and coefficients are those of a dense decomposition."""
    S = wide_field()
    weights = np.linspace(0.1, 3.0, len(S)) if "weights" in options else None
    product = {} if weights is None else {"inner_product": weights}
    basis = pod_of(S, rtol=rtol, centre="centre" in options, **product)
    truth = dense_pod(S, rtol=rtol, weights=weights, centre="centre" in options)
    modes = basis.modes.values.T
    assert basis.rank == truth.modes.shape[1]
    assert np.allclose(basis.singular_values.values[: basis.rank], truth.singular_values[: basis.rank], rtol=1e-7)
    assert_orthonormal(modes, weights=weights)
    centred = S - S.mean(axis=1, keepdims=True) if "centre" in options else S
    error, each = projection_errors(centred, modes, weights=weights)
    assert basis.certificate.frobenius_error == pytest.approx(error, rel=1e-9)
    assert np.allclose(basis.certificate.relative_errors, each, atol=1e-15)
    applied = modes.T @ (centred if weights is None else weights[:, None] * centred)
    assert np.allclose(basis.coefficients.values, applied, atol=1e-14)


def test_centring_does_not_cancel() -> None:
    """With a mean a million times larger than the fluctuations, these are found to the accuracy that the data themselves have."""
    S = wide_field(20, decades=2.0)
    basis = pod_of(S + 1e6 * np.linspace(1, 2, 20)[:, None], rtol=1e-3, centre=True)
    truth = dense_pod(S, rtol=1e-3, centre=True)
    assert basis.rank == truth.modes.shape[1]
    # The data are rounded to 1e6 eps; a Gram matrix of uncentred snapshots would be wrong by 1e12 eps.
    assert np.allclose(basis.singular_values.values[: basis.rank], truth.singular_values[: basis.rank], atol=1e7 * 2.0**-52)


def test_mass_of_a_mesh() -> None:
    """A consistent mass matrix, made of the inner product itself: modes are orthonormal in it, errors are measured in it."""
    mesh = small_mesh(10, 1)
    M_matrix = skfem_mass(mesh)
    S = matrix_with_spectrum(mesh.n_points, 1200, np.logspace(0, -5, mesh.n_points), 1)
    basis = nw.pod(xr.DataArray(S.T, dims=("snapshot", "node")), rtol=1e-3, route="wide", inner_product="mass", mesh=mesh)
    modes = basis.modes.values.T
    assert np.abs(modes.T @ (M_matrix @ modes) - np.eye(basis.rank)).max() < 1e-12
    error, each = projection_errors(S, modes, M=M_matrix)
    assert np.allclose(basis.certificate.relative_errors, each, atol=1e-14)
    assert error <= 1e-3


def test_fields_together() -> None:
    """A joint basis weighs its fields as the other routes do: equal ranks, errors and scalings."""
    u, p = wide_field(30, seed=1).T, 1e4 * wide_field(20, seed=2).T.astype(np.float32)
    fields = xr.Dataset({"u": (("snapshot", "x"), u), "p": (("snapshot", "y"), p)})
    ours, theirs = (nw.pod(fields, rtol=1e-3, route=route) for route in ("wide", "tsqr"))
    assert ours.rank == theirs.rank
    assert ours.certificate.frobenius_error == pytest.approx(theirs.certificate.frobenius_error, rel=1e-6)
    for name in ("u", "p"):
        assert ours.field_scaling[name] == pytest.approx(theirs.field_scaling[name], rel=1e-12)
        assert ours.certificate.field_errors[name] == pytest.approx(theirs.certificate.field_errors[name], rel=1e-6)


def test_rows_of_weight_zero_have_modes_too() -> None:
    """What the inner product does not see is lifted as by the other routes: ``S V / s``."""
    S, weights = wide_field(30, decades=3.0), np.ones(30)
    weights[4:9] = 0.0
    ours, theirs = (nw.pod(S.T, rtol=1e-2, route=route, inner_product=weights).modes.values for route in ("wide", "tsqr"))
    signs = np.sign(np.sum(ours * theirs, axis=1, keepdims=True))
    assert np.allclose(ours, signs * theirs, atol=1e-10)


def test_masked_rows_stay_out() -> None:
    """Rows that are NaN in every snapshot weigh nothing and are NaN in the modes; a row that is NaN in some is refused."""
    S = wide_field(30)
    holed = np.insert(S, 7, np.nan, axis=0)
    basis = pod_of(holed, rtol=1e-3)
    assert np.isnan(basis.modes.values[:, 7]).all()
    assert np.allclose(np.abs(np.delete(basis.modes.values, 7, axis=1)), np.abs(pod_of(S, rtol=1e-3).modes.values), atol=1e-12)
    holed[7, 800:] = 1.0
    with pytest.raises(FieldError, match="dim_1 7"):
        pod_of(holed, rtol=1e-3)


def test_bad_values_are_named() -> None:
    """A NaN and an overflow are refused with their place, as by the other routes."""
    S = wide_field(12)
    S[5, 1234] = np.nan
    with pytest.raises(FieldError, match="nan at dim_1 5, in snapshot 1234"):
        pod_of(S, rtol=1e-3)
    with pytest.raises(FieldError, match="overflow"):
        pod_of(np.full((4, 1200), 1e200), rtol=1e-3)


def test_dask_arrays_are_read_block_by_block() -> None:
    """A lazy array, chunked along the snapshots, gives the same basis as the array in memory."""
    S = wide_field()
    lazy = da.from_array(np.ascontiguousarray(S.T), chunks=(200, 40))
    ours, theirs = (nw.pod(array, rtol=1e-3, route="wide") for array in (lazy, S.T))
    assert np.allclose(ours.modes.values, theirs.modes.values, atol=1e-11)


def test_it_is_picked_where_snapshots_are_many() -> None:
    """auto takes it for n << m, says why, and leaves tall problems to the other routes."""
    memory = Memory(2**32)

    def chosen(n: int, m: int) -> Any:
        data = {"u": xr.DataArray(np.zeros((m, n), np.float32), dims=("snapshot", "x"))}
        return problem_from_arrays(data, ReduceSection(rtol=1e-3), memory)

    assert chosen(50, 3000).route == "wide"
    assert "3000 snapshots" in chosen(50, 3000).reason
    assert chosen(3000, 50).route == "gram"
    assert chosen(50, 200).route == "gram"


def test_a_hundred_thousand_snapshots() -> None:
    """1e5 snapshots: the plan holds no matrix of their number squared, and the basis is found and measured."""
    random = np.random.default_rng(0)
    field = (random.standard_normal((100_000, 3)) @ random.standard_normal((3, 16))).astype(np.float32)
    field += 1e-4 * random.standard_normal(field.shape).astype(np.float32)
    data = {"u": xr.DataArray(field, dims=("snapshot", "x"))}
    problem = problem_from_arrays(data, ReduceSection(rtol=1e-2), Memory(2**30))
    cost = next(cost for cost in problem.comparison if cost.route == "wide")
    assert problem.route == "wide"
    assert cost.peak_bytes < 2**30
    basis = nw.pod(field, rtol=1e-2, memory="1 GiB")
    assert (basis.rank, basis.spectrum.route) == (3, "wide")
    assert basis.certificate.relative_errors.shape == (100_000,)


def test_a_run_of_a_store(tmp_path: Path, scheduler: str) -> None:
    """Through store, plan and workers: bytes are read as planned, and the same bits come with any number of workers."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(30, 1100, decades=5)})
    results = [run(study_of(tmp_path / "a", tmp_path / "store.zarr", scheduler, reduce={"rtol": 1e-3}))]
    assert results[0].plan["route"] == "wide"
    assert [p["bytes_read"] for p in results[0].measured["passes"]] == [p["bytes_to_read"] for p in results[0].plan["passes"]]
    assert [p["tasks"] for p in results[0].measured["passes"]] == [p["tasks"] for p in results[0].plan["passes"]]
    model = nw.open_model(results[0].model)
    assert plan(study_of(tmp_path / "b", tmp_path / "store.zarr", scheduler, reduce={"rtol": 1e-3})).route == "wide"
    error, _ = projection_errors(snapshots_of(30, 1100, decades=5).T, model.basis.modes.values.T)
    assert model.basis.certificate.frobenius_error == pytest.approx(error, rel=1e-9)
