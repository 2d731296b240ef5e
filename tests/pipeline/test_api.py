"""`nwidth.pod`: what goes in, what comes out, and what is refused before any work is done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import nwidth as nw
import nwidth.stages.pod as stage
from nwidth.errors import ConfigError, FieldError, MeshError, PlanError
from nwidth.mesh import mesh_from_cells
from nwidth_graphs import truncation
from tests.asserts import assert_orthonormal, assert_spectrum_close, backward_error
from tests.oracles.mass import small_mesh
from tests.oracles.pod import dense_pod, matrix_with_spectrum
from tests.strategies import SnapshotCase, snapshot_cases

ROUTES = pytest.mark.parametrize("route", ["gram", "tsqr"])


def snapshots(m: int = 8, n: int = 300, decades: float = 4.0, seed: int = 0) -> NDArray[np.float64]:
    """(m, n), singular values over some decades."""
    return np.ascontiguousarray(matrix_with_spectrum(n, m, 10.0 ** -np.linspace(0, decades, m)[:n], seed).T)


# --- the certificate ----------------------------------------------------------------------------------------------------------


@ROUTES
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("scaling", ["none", "unit"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
def test_the_certificate_is_the_dense_computation(route: Any, centre: bool, scaling: Any, weighted: bool, lazy: bool) -> None:
    """Errors per snapshot and jointly, norms and modes are those of a dense projection: weighted, centred, scaled, by blocks."""
    field = snapshots() * 10.0 ** np.linspace(0, 2, 8)[:, None] + 2.0 * centre
    weights = np.linspace(0.5, 2.0, 300) if weighted else np.ones(300)
    data = da.from_array(field, chunks=(3, 70)) if lazy else field
    basis = nw.pod(
        data, rank=4, route=route, centre=centre, snapshot_scaling=scaling, inner_product=weights if weighted else "identity"
    )
    fluctuation = field.T - field.mean(axis=0)[:, None] * centre
    norms = np.sqrt(weights @ fluctuation**2)
    exact = dense_pod(fluctuation / (norms if scaling == "unit" else 1.0), weights=weights, rank=4)
    Phi = basis.modes.values.T
    assert_orthonormal(Phi, weights=weights, tolerance=1e-10)
    residual = fluctuation - Phi @ (Phi.T @ (weights[:, None] * fluctuation))
    errors = np.sqrt(weights @ residual**2) / norms
    certificate = basis.certificate
    np.testing.assert_allclose(certificate.relative_errors, errors, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(certificate.snapshot_norms, norms, rtol=1e-12)
    assert certificate.frobenius_error == pytest.approx(exact.error, rel=1e-6)
    assert certificate.expected_error == pytest.approx(exact.error, rel=1e-6)
    assert certificate.worst_error == pytest.approx(errors.max(), rel=1e-6)
    assert certificate.worst_snapshot == errors.argmax()
    assert_spectrum_close(basis.singular_values[:3], exact.singular_values[:3], fluctuation.shape)
    np.testing.assert_allclose(basis.coefficients, Phi.T @ (weights[:, None] * fluctuation), rtol=0, atol=1e-9 * norms.max())
    if centre:
        np.testing.assert_allclose(basis.mean, field.mean(axis=0), rtol=1e-14)


@given(case=snapshot_cases(dtype="float64", decades=6.0), lazy=st.booleans())
@settings(max_examples=30)
def test_any_shape_any_chunking(case: SnapshotCase, lazy: bool) -> None:
    """Fields with components, chunked both ways, wide or tall, deficient or not: the promise holds, and is measured."""
    data = case.fields
    if lazy:
        space = (case.chunks[0],) if case.components == 1 else (-1, 1)
        data = da.from_array(case.fields, chunks=(case.chunks[1], *space))
    basis = nw.pod(data, rtol=1e-3)
    modes = basis.modes.values.reshape(basis.rank, -1)
    assert_orthonormal(modes.T, tolerance=1e-10)
    norm = np.linalg.norm(case.matrix)
    error = np.linalg.norm(case.matrix - modes.T @ (modes @ case.matrix)) / norm
    assert error <= 1e-3 * (1 + 1e-9)
    assert basis.certificate.frobenius_error == pytest.approx(error, rel=1e-4, abs=2 * backward_error(case.matrix.shape))
    assert basis.certificate.frobenius_error <= basis.spectrum.projection_error[basis.rank] + 1e-9


@pytest.mark.parametrize("error", [1e-9, 1e-11, 1e-13])
def test_small_errors_are_resolved(error: float) -> None:
    """Projection errors far below the square root of eps are measured as they are."""
    field = np.ascontiguousarray(matrix_with_spectrum(300, 4, [3.0, 2.0, 1.0, error], 1).T)
    certificate = nw.pod(field, rank=3, route="tsqr").certificate
    assert certificate.frobenius_error == pytest.approx(error / np.sqrt(14), rel=0.1, abs=1e-15)


@pytest.mark.parametrize("decades", [4.0, 12.0])
def test_the_certificate_is_measured_not_computed(monkeypatch: pytest.MonkeyPatch, decades: float) -> None:
    """Modes that went wrong between the passes show in the measured errors, whatever the spectrum promises."""

    def corrupted(*arguments: Any, **options: Any) -> truncation.Truncation:
        cut = truncation.truncate(*arguments, **options)
        return replace(cut, transform=np.roll(cut.transform, 1, axis=0))  # as if snapshots had been mixed up

    field = snapshots(decades=decades)
    monkeypatch.setattr(stage, "truncate", corrupted)
    basis = nw.pod(field, rank=4)
    modes = basis.modes.values
    assert_orthonormal(modes.T, tolerance=1e-10)
    true = np.linalg.norm(field.T - modes.T @ (modes @ field.T)) / np.linalg.norm(field)
    assert true > 2 * basis.certificate.expected_error
    assert basis.certificate.frobenius_error == pytest.approx(true, rel=1e-3)


# --- several fields -----------------------------------------------------------------------------------------------------------


@ROUTES
@pytest.mark.parametrize("field_scaling", ["unit", "none", {"u": 2.0, "v": 0.5}])
def test_joint_bases(route: Any, field_scaling: Any) -> None:
    """A Dataset is reduced jointly: scaled fields stacked, one set of coefficients, an error for each field by itself."""
    u, v = snapshots(seed=2), 1e4 * snapshots(n=120, seed=3).reshape(8, 10, 12)
    data = xr.Dataset({"u": (("snapshot", "x"), u), "v": (("snapshot", "lat", "lon"), v)})
    basis = nw.pod(data, rank=5, route=route, field_scaling=field_scaling)
    scales = {"unit": (1 / np.linalg.norm(u), 1 / np.linalg.norm(v)), "none": (1.0, 1.0)}.get(str(field_scaling), (2.0, 0.5))
    stack = np.vstack([scales[0] * u.T, scales[1] * v.reshape(8, -1).T])
    exact = dense_pod(stack, rank=5)
    assert basis.certificate.frobenius_error == pytest.approx(exact.error, rel=1e-6)
    assert basis.field_scaling == {"u": pytest.approx(scales[0]), "v": pytest.approx(scales[1])}
    assert basis.modes["v"].dims == ("mode", "lat", "lon")
    Phi = np.vstack([scales[0] * basis.modes["u"].values.T, scales[1] * basis.modes["v"].values.reshape(5, -1).T])
    assert_orthonormal(Phi, tolerance=1e-10)
    rebuilt = basis.reconstruct()
    for name, field in (("u", u), ("v", v)):
        error = np.linalg.norm(rebuilt[name].values.reshape(8, -1) - field.reshape(8, -1)) / np.linalg.norm(field)
        assert basis.certificate.field_errors[name] == pytest.approx(error, rel=1e-5)


# --- in and out ---------------------------------------------------------------------------------------------------------------


def test_xarray_in_xarray_out() -> None:
    """Names, dimensions, coordinates and units come back; the snapshot dimension may stand anywhere."""
    field = xr.DataArray(
        snapshots(n=12).reshape(8, 4, 3).transpose(1, 0, 2),
        dims=("lat", "time", "lon"),
        coords={"lat": [10.0, 20, 30, 40], "time": np.arange(8.0), "run": ("time", list("aabbccdd"))},
        attrs={"units": "K"},
        name="temperature",
    )
    basis = nw.pod(field, rank=3, snapshot_dim="time", centre=True)
    assert basis.modes.dims == ("mode", "lat", "lon")
    assert basis.modes.attrs == {"units": "K"}
    np.testing.assert_array_equal(basis.modes.lat, field.lat)
    assert basis.coefficients.dims == ("mode", "time")
    assert list(basis.coefficients.run.values) == list("aabbccdd")
    assert basis.name == basis.modes.name == "temperature"
    assert basis.mean.dims == ("lat", "lon")


def test_equal_input_gives_equal_bits() -> None:
    """In memory, two runs agree bit for bit, and the snapshots are not changed."""
    field = snapshots(m=16, n=9000)
    before = field.copy()
    one, two = nw.pod(field, rank=5), nw.pod(field, rank=5)
    assert np.array_equal(one.modes, two.modes)
    assert np.array_equal(one.certificate.relative_errors, two.certificate.relative_errors)
    assert np.array_equal(field, before)


def test_float32_loses_nothing_but_its_own_rounding() -> None:
    """float32 snapshots are accumulated in float64: the result is that of the same numbers in float64."""
    field = snapshots(decades=6.0).astype(np.float32)
    narrow, wide = nw.pod(field, rank=8, route="tsqr"), nw.pod(field.astype(np.float64), rank=8, route="tsqr")
    np.testing.assert_array_equal(narrow.spectrum.singular_values, wide.spectrum.singular_values)
    assert narrow.modes.dtype == np.float64


def test_weights_with_names_are_aligned() -> None:
    """Weights given as a DataArray follow their dimension names, not their order."""
    field = xr.DataArray(snapshots(n=16).reshape(8, 4, 4), dims=("snapshot", "lat", "lon"))
    weights = xr.DataArray(np.arange(1.0, 17.0).reshape(4, 4), dims=("lon", "lat"))
    by_name, by_place = nw.pod(field, rank=3, inner_product=weights), nw.pod(field, rank=3, inner_product=weights.values.T)
    np.testing.assert_array_equal(by_name.modes, by_place.modes)
    assert by_name.inner_products == {"field": "weights"}


def test_a_weight_of_zero_is_a_place_that_does_not_count() -> None:
    """Places of weight zero change no singular value and no error, and still get their modes."""
    field = snapshots()
    weights = np.ones(300)
    weights[::3] = 0.0
    basis = nw.pod(field, rank=4, inner_product=weights)
    part = nw.pod(np.ascontiguousarray(field[:, weights > 0]), rank=4)
    np.testing.assert_allclose(basis.spectrum.singular_values[:6], part.spectrum.singular_values[:6], rtol=1e-7)
    assert np.isfinite(basis.modes).all()


# --- unusual but legal --------------------------------------------------------------------------------------------------------


@ROUTES
def test_one_snapshot(route: Any) -> None:
    """One snapshot has one mode, itself, and no error."""
    field = snapshots(m=1)
    basis = nw.pod(field, route=route)
    assert basis.rank == 1
    np.testing.assert_allclose(
        basis.modes.values, field / np.linalg.norm(field) * np.sign(basis.coefficients.values[0, 0]), rtol=1e-12
    )
    assert basis.certificate.frobenius_error < 1e-12


@ROUTES
def test_more_snapshots_than_unknowns(route: Any) -> None:
    """Eight snapshots of three unknowns have three directions, however many are asked for."""
    basis = nw.pod(snapshots(m=8, n=3, decades=1.0), rank=8, route=route)
    assert basis.rank == len(basis.spectrum.singular_values) == 3
    assert "span no more than 3 directions" in basis.truncation
    assert basis.certificate.frobenius_error < 1e-12


@ROUTES
def test_duplicates_and_zero_snapshots(route: Any) -> None:
    """Duplicate and zero snapshots add no direction; a zero snapshot has no error."""
    field = np.vstack([snapshots(m=3, decades=1.0)] * 2 + [np.zeros((1, 300))])
    basis = nw.pod(field, rank=7, route=route, snapshot_scaling="unit")
    assert basis.rank == 3
    assert basis.certificate.relative_errors[-1] == 0.0
    assert basis.certificate.worst_error < 1e-12


# --- refusals -----------------------------------------------------------------------------------------------------------------


def spoiled(value: float) -> xr.DataArray:
    field = snapshots().reshape(8, 100, 3)
    field[5, 42, 1] = value
    coords = {"component": ["x", "y", "z"], "simulation": ("snapshot", [f"run-{i}" for i in range(8)])}
    return xr.DataArray(field, dims=("snapshot", "node", "component"), coords=coords, name="u")


@ROUTES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk", [None, 30])
def test_bad_values_are_named(route: Any, value: float, chunk: int | None) -> None:
    """NaN and infinity are refused with field, place, component, snapshot and simulation."""
    field = spoiled(value) if chunk is None else spoiled(value).chunk({"snapshot": 4, "node": chunk})
    with pytest.raises(FieldError, match=rf"'u' is {value} at node 42, component y, in snapshot 5 \(simulation run-5\); repair"):
        nw.pod(field, route=route)


@ROUTES
@pytest.mark.parametrize(
    ("field", "words"),
    [
        (1e200 * snapshots(), r"squares overflow; rescale it \(larger units\)"),
        (1e-200 * snapshots(), r"is zero \(or its squares are\).*smaller units"),
        (np.zeros((4, 30)), "every snapshot of field 'field' is zero.*leave the field out"),
        (np.empty((0, 30)), r"has shape \(0, 30\) .*needs snapshots"),
        (np.empty((4, 0)), r"has shape \(4, 0\) .*at least one space dimension"),
        (np.ones(4), r"has shape \(4,\)"),
        (np.ones((4, 30), int), r"dtype int64, not a floating-point one; convert it with \.astype\(float\)"),
        (np.ones((4, 30), complex), "dtype complex128"),
    ],
    ids=["overflow", "underflow", "zero", "no snapshots", "no space", "one dimension", "integers", "complex"],
)
def test_fields_that_cannot_be_reduced(route: Any, field: Any, words: str) -> None:
    """Each is refused in one sentence that says what to do."""
    with pytest.raises(FieldError, match=words):
        nw.pod(field, route=route)


def test_nothing_is_left_of_one_centred_snapshot() -> None:
    """One snapshot minus the mean over one snapshot is zero: said, with both ways out."""
    with pytest.raises(FieldError, match=r"one snapshot, which is zero once its mean is removed; set centre = false, or add"):
        nw.pod(snapshots(m=1), centre=True)
    with pytest.raises(FieldError, match="is zero once its mean is removed"):
        nw.pod(np.ones((4, 30)), centre=True)


FIELD = snapshots()
PLATE = small_mesh(9, 0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rtol": 0.0}, "rtol = 0.0: Input should be greater than 0"),
        ({"rtol": 1.5}, "rtol = 1.5: Input should be less than 1"),
        ({"rtol": float("nan")}, "rtol = nan"),
        ({"rank": 0}, "rank = 0: Input should be greater than or equal to 1"),
        ({"rank": 2.5}, "rank = 2.5"),
        ({"route": "qr"}, "route = 'qr': Input should be 'auto', 'gram', 'tsqr', "),
        ({"snapshot_scaling": "max"}, "snapshot_scaling = 'max'"),
        ({"field_scaling": {"field": -1.0}}, "field_scaling.field = -1.0: Input should be greater than 0"),
        ({"field_scaling": {"feild": 1.0}}, "field_scaling: 'feild' is not among the fields that are reduced: field"),
        ({"inner_product": "lumped"}, "inner_product = 'lumped' is not known"),
        ({"inner_product": {"feild": "mass"}}, "inner_product: 'feild' is not among the fields"),
        ({"inner_product": "mass"}, "needs the mesh of field 'field', and there is none; pass mesh="),
        ({"inner_product": "mass", "mesh": PLATE}, "it has 9 points for 300 nodes"),
        ({"inner_product": np.ones(299)}, r"weights .* have shape \(299,\), and the field's space has \(300,\)"),
        ({"inner_product": -np.ones(300)}, r"weight -1.0 of .* at \(0,\) is not allowed; weights are finite and not negative"),
        ({"inner_product": np.full(300, np.nan)}, "weight nan of"),
        ({"inner_product": np.zeros(300)}, "all weights of .* are zero"),
        ({"memory": "much"}, "memory: 'much' is not an amount of memory; write for example 2 GiB"),
        ({"memory": 0}, "memory: 0 is not an amount"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(map(str, value)),
)
def test_options_that_do_not_fit(options: dict[str, Any], words: str) -> None:
    """Each is refused before anything is computed, with the option, what was found and what is allowed."""
    with pytest.raises(ConfigError, match=words):
        nw.pod(FIELD, **options)


def test_a_component_without_its_name_is_not_guessed() -> None:
    """With a mass matrix, a last dimension that is not called component might be space: the user is asked to name it."""
    field = snapshots(n=27).reshape(8, 9, 3)
    with pytest.raises(ConfigError, match="name the last dimension 'component'"):
        nw.pod(field, rank=2, inner_product="mass", mesh=PLATE)
    named = xr.DataArray(field, dims=("snapshot", "node", "component"))
    assert nw.pod(named, rank=2, inner_product="mass", mesh=PLATE).rank == 2


def test_empty_datasets_and_scalars() -> None:
    """A dataset without fields, and a field without dimensions, are refused."""
    with pytest.raises(ConfigError, match="the dataset has no fields"):
        nw.pod(xr.Dataset())
    with pytest.raises(ConfigError, match="'field' is a single value"):
        nw.pod(np.float64(3.0))


def test_too_little_memory_is_refused_with_a_number_that_works() -> None:
    """The memory that the refusal names is enough, when it is given."""
    with pytest.raises(PlanError, match=r"does not fit the 64 MiB .*at least \d+ MiB") as refusal:
        nw.pod(FIELD, rank=2, memory="64 MiB")
    number = str(refusal.value).split("at least ")[1].split(" MiB")[0]
    assert nw.pod(FIELD, rank=2, memory=f"{number} MiB").rank == 2


def test_meshes_are_checked_before_the_data_are_read() -> None:
    """A degenerate mesh refuses although the field could not even be read."""
    unreadable = da.map_blocks(lambda: 1 / 0, chunks=((8,), (3,)), dtype=float, meta=np.empty((0, 0)))
    flat = mesh_from_cells(np.array([[0.0, 0], [1, 0], [2, 0]]), [(5, [[0, 1, 2]])])
    with pytest.raises(MeshError, match="cell 0"):
        nw.pod(xr.DataArray(unreadable, dims=("snapshot", "node")), inner_product="mass", mesh=flat)
