"""Merging models and dropping snapshots from them: tabulated errors, bounds that hold, refusals in words; no field is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import ConfigError, StoreError
from nwidth.inspecting import describe_path, render
from nwidth.models.files import write_mesh
from nwidth.models.model import Model, open_model
from tests import cube
from tests.asserts import assert_orthonormal
from tests.runs.studies import left_in, snapshots_of

Floats = NDArray[np.float64]
EPS = np.finfo(float).eps


def named(values: Floats, names: str, field: str = "u") -> xr.DataArray:
    """Snapshots (m, node[, component]), one letter of `names` per snapshot for its simulation."""
    dims = ("snapshot", "node", "component")[: values.ndim]
    return xr.DataArray(values, dims=dims, coords={"simulation": ("snapshot", list(names))}, name=field)


# --- ten snapshots of the elastoviscoplastic cube, split 5 + 5, L2 inner product ----------------------------------------------

TABLE = [
    # eps, full POD: N and error; unit norm: N, error, error cut to the full N; weighted: N and error
    (1e-2, (3, 3.0615e-3), (4, 1.94e-3, 6.97e-3), (3, 3.0630e-3)),
    (1e-3, (5, 6.3682e-4), (6, 2.73e-4, 5.20e-3), (5, 6.3694e-4)),
    (1e-4, (7, 9.3243e-5), (8, 4.11e-5, 1.57e-4), (7, 9.3248e-5)),
]


def cube_error(modes: Floats) -> float:
    """Relative error of ten snapshots projected on modes (N, node, component), in the consistent mass."""
    run = cube.reference_run()
    snapshots, basis = run.u[1:].T, modes.reshape(len(modes), -1).T
    rest = snapshots - basis @ (basis.T @ (run.mass @ snapshots))
    return float(np.sqrt(np.sum(rest * (run.mass @ rest)) / np.sum(snapshots * (run.mass @ snapshots))))


def cube_pod(snapshots: Floats, names: str, rtol: float) -> nw.Basis:
    """POD of the cube's displacements in the mass of its mesh."""
    array = named(snapshots.reshape(len(snapshots), -1, 3), names)
    return nw.pod(array, rtol=rtol, inner_product="mass", mesh=cube.reference_run().mesh)


@pytest.mark.parametrize(("rtol", "full", "unit", "weighted"), TABLE)
def test_the_weighted_merge_is_as_tabulated(
    tmp_path: Path, rtol: float, full: tuple[int, float], unit: tuple[int, float, float], weighted: tuple[int, float]
) -> None:
    """Merged with singular values, two bases of five snapshots are as good as one of ten, to the digits of the table."""
    run = cube.reference_run()
    whole = cube_pod(run.u[1:], "a" * 10, rtol)
    assert whole.rank == full[0]
    assert whole.certificate.frobenius_error == pytest.approx(full[1], rel=2e-5)
    for name, part in (("a", run.u[1:6]), ("b", run.u[6:])):
        write_mesh(cube_pod(part, name * 5, rtol).save(tmp_path / name), run.mesh)
    merged = nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "merged", rtol=rtol).basis
    true = cube_error(merged.modes.values)
    assert merged.rank == weighted[0]
    assert true == pytest.approx(weighted[1], rel=2e-5)
    assert true <= merged.certificate.frobenius_error <= np.sqrt(2) * rtol
    assert merged.certificate.orthogonality_defect < 1e-10


@pytest.mark.parametrize(("rtol", "full", "unit", "weighted"), TABLE)
def test_modes_of_unit_norm_are_what_is_not_merged(
    rtol: float, full: tuple[int, float], unit: tuple[int, float, float], weighted: tuple[int, float]
) -> None:
    """Stacked without singular values, as another library does, more modes are needed, and the same number is worse."""
    run = cube.reference_run()
    stack = np.concatenate([cube_pod(part, "a" * 5, rtol).modes.values for part in (run.u[1:6], run.u[6:])])
    array = named(stack, "a" * len(stack))
    forgetful = nw.pod(array, rank=unit[0], inner_product="mass", mesh=run.mesh).modes.values
    cut = cube_error(forgetful[: full[0]])
    assert cube_error(forgetful) == pytest.approx(unit[1], rel=5e-3)
    assert cut == pytest.approx(unit[2], rel=5e-3)
    assert cut > 1.6 * weighted[1]


# --- bounds that hold -----------------------------------------------------------------------------------------------------


def true_errors(basis: nw.Basis, fields: dict[str, Floats]) -> tuple[Floats, float]:
    """Relative errors of the stored combinations: of every snapshot, and of all; fields are (m, node)."""
    scaling = basis.field_scaling
    stack = np.hstack([scaling[name] * values for name, values in fields.items()])
    if basis.centred:
        stack = stack - np.hstack([scaling[name] * basis.mean_by_field[name].values for name in fields])
    modes = np.hstack([scaling[name] * basis.modes_by_field[name].values for name in fields])
    assert_orthonormal(modes.T)
    rest = stack - basis.coefficients.values.T @ modes
    norms = np.linalg.norm(stack, axis=1)
    return np.linalg.norm(rest, axis=1) / norms, float(np.linalg.norm(rest) / np.linalg.norm(stack))


@pytest.mark.parametrize("options", [{}, {"centre": True}, {"snapshot_scaling": "unit"}, {"route": "tsqr"}])
def test_the_bounds_of_a_merge_hold(tmp_path: Path, options: dict[str, Any]) -> None:
    """Centred or not, scaled or not: no error is above its bound, and the mean is that of all snapshots."""
    values = snapshots_of(300, 20) + 0.1
    for label, part in (("a", values[:12]), ("b", values[12:])):
        nw.pod(named(part, label * len(part)), rtol=1e-3, **options).save(tmp_path / label)
    basis = nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "merged", rtol=1e-3).basis
    if options.get("centre"):
        np.testing.assert_allclose(basis.mean_by_field["u"], values.mean(axis=0), atol=100 * EPS * np.abs(values).max())
    each, total = true_errors(basis, {"u": values})
    slack = 1e-10  # the rounding of a measured error of 1e-4 or more, relative
    assert (each <= basis.certificate.relative_errors * (1 + slack) + slack).all()
    if "snapshot_scaling" not in options:
        assert total <= basis.certificate.frobenius_error * (1 + slack) <= 2e-3


def saved(folder: Path, label: str, values: Floats, **options: Any) -> Model:
    """A model of snapshots of one simulation."""
    return open_model(nw.pod(named(values, label * len(values)), **{"rtol": 1e-3, **options}).save(folder / label))


def test_a_model_tells_what_it_was_made_of(tmp_path: Path) -> None:
    """Snapshots follow in order, parents stand in the manifest and in what inspect says, and a merge can be merged again."""
    values = snapshots_of(200, 18)
    parts = [saved(tmp_path, label, values[start : start + 6]) for label, start in (("a", 0), ("b", 6), ("c", 12))]
    first = nw.merge(parts[0], parts[1], into=tmp_path / "ab", rtol=1e-3)
    whole = nw.merge(first, parts[2], into=tmp_path / "abc", rtol=1e-3)
    assert [str(name) for name in whole.snapshots["simulation"].values] == list("aaaaaabbbbbbcccccc")
    parents = whole.manifest["provenance"]["parents"]
    assert parents[0]["content_key"] == first.manifest["provenance"]["content_key"]
    assert "merge of model" in render(describe_path(tmp_path / "abc"))
    assert "an upper bound" in render(describe_path(tmp_path / "abc"))
    each, total = true_errors(whole.basis, {"u": values})
    assert (each <= whole.basis.certificate.relative_errors * (1 + 1e-10)).all()
    assert total <= whole.basis.certificate.frobenius_error * (1 + 1e-10)
    assert {"a", "b", "c", "ab", "abc"} == left_in(tmp_path)


@pytest.mark.parametrize("centre", [False, True])
def test_masked_unknowns_stay_masked(tmp_path: Path, centre: bool) -> None:
    """Places that are NaN in every snapshot of both are NaN in the merged modes, weigh nothing, and are counted."""
    values = snapshots_of(200, 14)
    masked = values.copy()
    masked[:, [3, 77]] = np.nan
    valid = np.delete(np.arange(200), [3, 77])
    for label, part in (("a", masked[:7]), ("b", masked[7:])):
        saved(tmp_path, label, part, centre=centre)
    basis = nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "merged", rtol=1e-3).basis
    modes = basis.modes.values
    assert np.isnan(modes[:, [3, 77]]).all()
    assert basis.certificate.masked_unknowns == {"u": 2}
    snapshots = values[:, valid] - (basis.mean_by_field["u"].values[valid] if centre else 0.0)
    rest = snapshots - basis.coefficients.values.T @ modes[:, valid]
    assert np.linalg.norm(rest) / np.linalg.norm(snapshots) <= basis.certificate.frobenius_error * (1 + 1e-9)


@pytest.mark.parametrize("centre", [False, True])
def test_a_drop_is_measured_exactly(tmp_path: Path, centre: bool) -> None:
    """The certificate of what is kept is its true error, and nothing of the dropped simulation is left but its span."""
    values = snapshots_of(200, 14)
    basis = nw.pod(named(values, "a" * 6 + "b" * 8), rtol=1e-3, centre=centre)
    basis.save(tmp_path / "whole")
    dropped = nw.drop(tmp_path / "whole", simulations=["b"], snapshots=[2], into=tmp_path / "kept", rtol=1e-2).basis
    assert dropped.coefficients.sizes["snapshot"] == 5
    assert dropped.rank < basis.rank
    each, total = true_errors(dropped, {"u": values[[0, 1, 3, 4, 5]]})
    np.testing.assert_allclose(dropped.certificate.relative_errors, each, rtol=1e-9)
    assert dropped.certificate.frobenius_error == pytest.approx(total, rel=1e-9)
    assert not dropped.certificate.bound


# --- refusals -------------------------------------------------------------------------------------------------------------


def test_models_of_different_things_are_not_merged(tmp_path: Path) -> None:
    """Another shape, centring, simulation or place is refused in words, and nothing is written."""
    values = snapshots_of(200, 12)
    first = saved(tmp_path, "a", values[:6])
    saved(tmp_path, "b", values[6:, :150])
    saved(tmp_path, "c", values[6:], centre=True)
    with pytest.raises(ConfigError, match="shapes of field 'u' differ"):
        nw.merge(first, tmp_path / "b", into=tmp_path / "new")
    with pytest.raises(ConfigError, match="centring of basis 'u' differ"):
        nw.merge(first, tmp_path / "c", into=tmp_path / "new")
    with pytest.raises(ConfigError, match="simulation 'a' is in both"):
        nw.merge(first, first, into=tmp_path / "new")
    with pytest.raises(StoreError, match="exists already"):
        nw.merge(first, tmp_path / "b", into=tmp_path / "c")
    with pytest.raises(ConfigError, match="rank = 0 keeps no mode"):
        nw.merge(first, tmp_path / "b", into=tmp_path / "new", rank=0)
    assert left_in(tmp_path) == {"a", "b", "c"}


def test_a_joint_basis_without_factors_is_not_merged(tmp_path: Path) -> None:
    """How much each field weighs must be known: a joint basis that was saved by itself does not tell, and is refused."""
    for label in "ab":
        values = snapshots_of(200, 6, ord(label))
        nw.pod(xr.Dataset({name: named(values, label * 6, name) for name in "up"}), rank=3).save(tmp_path / label)
    with pytest.raises(ConfigError, match=r"keeps no factor|field scalings"):
        nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "new")


def test_another_inner_product_is_measured(tmp_path: Path) -> None:
    """Modes that are not orthonormal in the inner product of the other are refused, though its name is the same."""
    run = cube.reference_run()
    write_mesh(cube_pod(run.u[1:6], "a" * 5, 1e-3).save(tmp_path / "a"), run.mesh)
    stretched = nw.pod(
        named(run.u[6:].reshape(5, -1, 3), "b" * 5), rtol=1e-3, inner_product=np.linspace(0.5, 1.5, run.mesh.n_points)
    )
    stretched.save(tmp_path / "b")
    manifest = tmp_path / "b" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"weights"', '"mass"'))
    with pytest.raises(ConfigError, match="weights or meshes differ"):
        nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "new")
    assert left_in(tmp_path) == {"a", "b"}


def test_what_cannot_be_dropped_is_named(tmp_path: Path) -> None:
    """An unknown simulation or snapshot, nothing, and everything are refused in words."""
    model = saved(tmp_path, "a", snapshots_of(200, 6))
    for arguments, words in (
        ({"simulations": ["z"]}, "simulation 'z' is not in"),
        ({"snapshots": [6]}, "it has 0 to 5"),
        ({}, "nothing was named"),
        ({"simulations": ["a"]}, "all 6 snapshots"),
    ):
        with pytest.raises(ConfigError, match=words):
            nw.drop(model, into=tmp_path / "new", **arguments)
