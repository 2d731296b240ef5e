"""What a run publishes is the POD that one machine computes, for every shape of input and every option."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nwidth as nw
from nwidth.models.basis import Basis
from nwidth.models.certificate import MAX_DEFECT
from nwidth.runs import RunResult, run
from tests.asserts import assert_same_subspace, assert_spectrum_close, backward_error
from tests.oracles.mass import skfem_mass, small_mesh
from tests.oracles.pod import dense_pod, matrix_with_spectrum
from tests.runs.studies import add_run, snapshots_of, study_of

SPACE = 700
GRAM_FLOOR = 1e-7
"""Ten times the relative size at which squaring loses a singular value: what is compared lies above."""


def columns(values: NDArray[Any]) -> NDArray[np.float64]:
    """(m, *space) -> (n, m)."""
    return np.asarray(values, np.float64).reshape(len(values), -1).T


def rows_of(modes: Any) -> NDArray[np.float64]:
    """(N, *space) -> (n, N)."""
    return np.asarray(modes.values, np.float64).reshape(modes.shape[0], -1).T


def published(folder: Path, store: Path, scheduler: str, reduce: dict[str, Any]) -> tuple[RunResult, dict[str, Basis]]:
    """Run the study, and open what lies on disk afterwards."""
    result = run(study_of(folder, store, scheduler, reduce=reduce))
    return result, nw.open_model(result.model).bases


def assert_is_pod(basis: Basis, snapshots: NDArray[np.float64], *, centre: bool = False, **product: Any) -> None:
    """The basis is the dense POD of `snapshots` (n, m), and its certificate is what projecting them measures."""
    exact = dense_pod(snapshots, centre=centre, rank=basis.rank, **product)
    assert_spectrum_close(basis.spectrum.singular_values, exact.singular_values, snapshots.shape, floor=GRAM_FLOOR)
    assert_same_subspace(rows_of(basis.modes), exact.modes, exact.singular_values, snapshots.shape, **product)
    # Errors are differences of numbers of size 1: they are known to the backward error, not to a fraction of themselves.
    tolerance = backward_error(snapshots.shape)
    np.testing.assert_allclose(basis.certificate.frobenius_error, exact.error, rtol=1e-6, atol=tolerance)
    np.testing.assert_allclose(basis.certificate.relative_errors, exact.snapshot_errors, rtol=1e-6, atol=tolerance)


@pytest.mark.parametrize("centre", [False, True])
def test_a_run_publishes_the_pod_and_its_measured_errors(tmp_path: Path, scheduler: str, centre: bool) -> None:
    """Modes, spectrum and certificate of two simulations are those of one dense SVD, with and without the mean."""
    parts = [snapshots_of(3 * SPACE, 8, seed, decades=4).reshape(8, SPACE, 3) for seed in (1, 2)]
    for name, values in zip(("alpha", "beta"), parts, strict=True):
        add_run(tmp_path / "store.zarr", name, {"u": values})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rtol": 1e-3, "centre": centre})
    assert bases["u"].certificate.frobenius_error <= 1e-3
    assert_is_pod(bases["u"], columns(np.concatenate(parts)), centre=centre)


def test_simulations_are_chosen_by_name(tmp_path: Path, scheduler: str) -> None:
    """Only the snapshots of the simulations named are reduced, and the model carries their coordinates."""
    parts = {name: snapshots_of(SPACE, 5, seed, decades=2) for seed, name in enumerate("abc")}
    for name, values in parts.items():
        add_run(tmp_path / "store.zarr", name, {"T": values})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rank": 4, "simulations": ["c", "a"]})
    assert list(bases["T"].coefficients.simulation.values) == ["a"] * 5 + ["c"] * 5
    assert_is_pod(bases["T"], columns(np.concatenate([parts["a"], parts["c"]])))


def test_stored_weights_weigh_each_place_once(tmp_path: Path, scheduler: str) -> None:
    """Diagonal weights of the store are the W of a'Wb, the same for every component of a place, zero weights included."""
    weights = np.linspace(0.0, 3.0, SPACE)
    values = snapshots_of(3 * SPACE, 9, decades=3).reshape(9, SPACE, 3)
    add_run(tmp_path / "store.zarr", "alpha", {"u": values}, weights={"volume": weights})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rtol": 1e-2, "inner_product": "volume"})
    scaled = columns(values) * np.sqrt(np.repeat(weights, 3))[:, None]
    exact = dense_pod(scaled, rank=bases["u"].rank)
    assert_spectrum_close(bases["u"].spectrum.singular_values, exact.singular_values, scaled.shape, floor=GRAM_FLOOR)
    np.testing.assert_allclose(bases["u"].certificate.frobenius_error, exact.error, rtol=1e-6)


def test_modes_are_orthonormal_in_the_mass_of_the_mesh(tmp_path: Path, scheduler: str) -> None:
    """With inner_product = "mass" the modes on disk are orthonormal in the assembled mass matrix, and the POD is that of it."""
    import scipy.sparse as sp

    mesh = small_mesh(10, seed=3)
    mass = sp.kron(skfem_mass(mesh), sp.eye(3)).tocsr()
    values = snapshots_of(3 * mesh.n_points, 6, decades=2).reshape(6, mesh.n_points, 3)
    add_run(tmp_path / "store.zarr", "alpha", {"u": values}, mesh=mesh)
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rtol": 1e-1, "inner_product": "mass"})
    modes = rows_of(bases["u"].modes)
    assert np.abs(modes.T @ (mass @ modes) - np.eye(modes.shape[1])).max() <= MAX_DEFECT
    assert_is_pod(bases["u"], columns(values), M=mass)


def test_a_defect_is_repaired_on_disk_and_reported(tmp_path: Path, scheduler: str) -> None:
    """Modes near the Gram floor come out skew: they are repaired, the modes on disk are orthonormal, both defects are told."""
    values = matrix_with_spectrum(SPACE, 8, np.logspace(0, -7, 8), seed=5).T.copy()
    add_run(tmp_path / "store.zarr", "alpha", {"T": values})
    reduce = {"rank": 8, "route": "gram", "beyond_floor": True}
    result, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, reduce)
    certificate = bases["T"].certificate
    assert certificate.repaired
    assert certificate.measured_defect > MAX_DEFECT >= certificate.orthogonality_defect
    modes = rows_of(bases["T"].modes)
    assert np.abs(modes.T @ modes - np.eye(8)).max() <= MAX_DEFECT
    assert [measure["name"] for measure in result.measured["passes"]][:3] == ["gram", "lift", "repair T"]
    # The coefficients follow the modes: together they still give the snapshots.
    np.testing.assert_allclose(modes @ bases["T"].coefficients.values, values.T, atol=1e-7)


def test_a_rank_below_the_gram_floor_is_reached_by_a_third_read(tmp_path: Path, scheduler: str) -> None:
    """Modes that Gram cannot see are found by TSQR in a third read, which the measurements and the reason tell of."""
    values = matrix_with_spectrum(SPACE, 12, np.logspace(0, -11, 12), seed=6).T.copy()
    add_run(tmp_path / "store.zarr", "alpha", {"T": values})
    result, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rank": 12})
    assert [measure["name"] for measure in result.measured["passes"]][:3] == ["gram", "tsqr", "lift"]
    assert bases["T"].rank == 12
    assert "read once more by TSQR" in result.bases["T"]["reason"]
    assert_spectrum_close(bases["T"].spectrum.singular_values, np.logspace(0, -11, 12), (SPACE, 12))


@pytest.mark.parametrize(
    ("n", "m"), [(SPACE, 1), (7, 30), (1, 5)], ids=["one snapshot", "more snapshots than unknowns", "one unknown"]
)
def test_unusual_shapes_are_reduced(tmp_path: Path, scheduler: str, n: int, m: int) -> None:
    """One snapshot, more snapshots than unknowns, a single unknown: the POD is that of a dense SVD."""
    values = np.random.default_rng(n).standard_normal((m, n))
    add_run(tmp_path / "store.zarr", "alpha", {"T": values})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rtol": 1e-6})
    assert bases["T"].rank == min(n, m)
    assert_is_pod(bases["T"], columns(values))


def test_duplicate_and_zero_snapshots_add_no_mode(tmp_path: Path, scheduler: str) -> None:
    """Copies of snapshots and single snapshots of zero leave the rank as it is; the error of a zero snapshot is zero."""
    once = snapshots_of(SPACE, 4, decades=1)
    values = np.concatenate([once, once, np.zeros((1, SPACE))])
    add_run(tmp_path / "store.zarr", "alpha", {"T": values})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rtol": 1e-6})
    assert bases["T"].rank == 4
    assert bases["T"].certificate.relative_errors[-1] == 0
    assert_is_pod(bases["T"], columns(values))


def test_unit_scaling_weighs_every_snapshot_the_same(tmp_path: Path, scheduler: str) -> None:
    """With "unit" scaling the spectrum is that of snapshots of norm one; coefficients are of the snapshots themselves."""
    values = snapshots_of(SPACE, 6, decades=1) * np.logspace(0, 3, 6)[:, None]
    add_run(tmp_path / "store.zarr", "alpha", {"T": values})
    _, bases = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rank": 3, "snapshot_scaling": "unit"})
    unit = columns(values) / np.linalg.norm(columns(values), axis=0)
    exact = dense_pod(unit, rank=3)
    assert_spectrum_close(bases["T"].spectrum.singular_values, exact.singular_values, unit.shape, floor=GRAM_FLOOR)
    np.testing.assert_allclose(bases["T"].certificate.frobenius_error, exact.error, rtol=1e-6)
    modes = rows_of(bases["T"].modes)
    np.testing.assert_allclose(
        bases["T"].coefficients.values, modes.T @ columns(values), atol=backward_error(unit.shape) * np.abs(values).max() * 30
    )


def test_fields_get_a_basis_each_or_one_together(tmp_path: Path, scheduler: str) -> None:
    """Each field by itself, or all in one: the joint basis is that of the stacked fields with the scaling that it reports."""
    fields = {"T": 1e3 * snapshots_of(SPACE, 7, 1, 2), "u": snapshots_of(3 * SPACE, 7, 2, 2).reshape(7, SPACE, 3)}
    add_run(tmp_path / "store.zarr", "alpha", fields)
    _, each = published(tmp_path, tmp_path / "store.zarr", scheduler, {"rank": 3})
    for name, values in fields.items():
        assert_is_pod(each[name], columns(values))
    given: dict[str, Any] = {"unit": "unit", "none": "none", "table": {"T": 2e-3, "u": 0.5}}
    for scaling in given.values():
        _, bases = published(
            tmp_path, tmp_path / "store.zarr", scheduler, {"rank": 3, "basis": "joint", "field_scaling": scaling}
        )
        joint = bases["joint"]
        if scaling == "unit":
            expected = {name: 1 / np.linalg.norm(values) for name, values in fields.items()}
        else:
            expected = dict.fromkeys(fields, 1.0) if scaling == "none" else scaling
        # "unit" is fixed up to a common factor: what counts is the ratio of the fields.
        assert joint.field_scaling["T"] / joint.field_scaling["u"] == pytest.approx(expected["T"] / expected["u"], rel=1e-12)
        stacked = np.concatenate([joint.field_scaling[name] * columns(values) for name, values in fields.items()])
        exact = dense_pod(stacked, rank=3)
        assert_spectrum_close(joint.spectrum.singular_values, exact.singular_values, stacked.shape, floor=GRAM_FLOOR)
        np.testing.assert_allclose(joint.certificate.frobenius_error, exact.error, rtol=1e-6)
        lifted = np.concatenate([joint.field_scaling[name] * rows_of(joint.modes_by_field[name]) for name in fields])
        assert_same_subspace(lifted, exact.modes, exact.singular_values, stacked.shape)
