"""Flows, an airfoil and an aquifer: published and recomputed values through ingest, store and POD."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.runs import run
from tests.asserts import backward_error
from tests.real_data.references import assert_digits, energies, ingested
from tests.runs.studies import study_of
from tests.shared_data import shared_data

FLOW = "ezyrb/parallel/examples/data_2d"
AIRFOIL = "smithers/dataset/datasets/airfoil_transonic"
AQUIFER = "examples/data/mf6/test005_advgw_tidal/expected_output/AdvGW_tidal.hds"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the store of the two-dimensional flow: four fields at the nodes of a triangle mesh."""
    folder = tmp_path_factory.mktemp("flow")
    ingested(folder, [shared_data("ezyrb-flow") / FLOW])
    return folder


def test_flow_velocities_stacked_have_the_known_singular_values(flow: Path) -> None:
    """vx and vy in one basis, raw: 705.1020, 71.7815, 33.5118."""
    fields = nw.open_snapshots(flow / "store")[["vx", "vy"]]
    assert fields["vx"].shape == (59, 3067)
    basis = nw.pod(fields, rank=3, field_scaling="none")
    assert_digits(basis.spectrum.singular_values[:3], [705.1020, 71.7815, 33.5118], 4)


def test_flow_by_a_run_on_workers(flow: Path, scheduler: str) -> None:
    """The same singular values from a study on worker processes, read back from disk; it read the plan's bytes."""
    reduce = {"fields": ["vx", "vy"], "basis": "joint", "field_scaling": "none", "rank": 3}
    result = run(study_of(flow, flow / "store", scheduler, reduce=reduce))
    basis = nw.open_model(result.model).bases["joint"]
    assert_digits(basis.spectrum.singular_values[:3], [705.1020, 71.7815, 33.5118], 4)
    assert basis.certificate.frobenius_error == pytest.approx(basis.certificate.expected_error, rel=1e-9)
    assert result.measured["bytes_read"] == result.plan["bytes_to_read"]


def test_flow_in_the_mass_of_its_triangles(flow: Path) -> None:
    """The mesh that came with the snapshots gives a mass inner product; its modes are certified orthonormal in it."""
    basis = nw.pod(nw.open_snapshots(flow / "store")["vx"], rank=5, inner_product="mass")
    assert basis.certificate.orthogonality_defect <= 1e-10
    assert basis.certificate.frobenius_error < 0.1


@pytest.mark.parametrize(
    ("snapshots", "modes", "axis"),
    [
        ("snapshots_test", "pod_basis_test", 1),
        ("snapshots_test_mat", "pod_basis_test_mat", 1),
        ("snapshots_test_vtk", "pod_basis_test_vtk", 1),
        ("snapshots_vectorial_test", "pod_basis_vectorial_test", 1),
        ("p_snapshots", "p_snapshots_pod_modes", 0),
    ],
)
def test_bases_of_another_code(tmp_path: Path, snapshots: str, modes: str, axis: int) -> None:
    """The POD bases that ship with EZyRB are ours, mode by mode, up to the sign."""
    folder = shared_data("ezyrb-flow") / "tests/test_datasets"
    dataset = ingested(tmp_path, [folder / f"{snapshots}.npy"], options={"axis": axis})
    (field,) = dataset.data_vars.values()
    basis = nw.pod(field, rank=4)
    theirs = np.load(folder / f"{modes}.npy", allow_pickle=False).astype(np.float64)
    ours = basis.modes.values.T
    cosines = np.abs(np.sum(ours * theirs, axis=0)) / np.linalg.norm(theirs, axis=0)
    # An angle t shows in its cosine as t^2/2, and the angle of a mode is rounding over its gap, of which single precision is the
    # larger part where either side has it.
    s = basis.spectrum.singular_values
    gaps = np.minimum(np.append(-np.diff(s), s[-1]), np.append(np.inf, -np.diff(s)))
    single = theirs.size and (field.dtype == np.float32 or np.load(folder / f"{modes}.npy", mmap_mode="r").dtype == np.float32)
    rounding = backward_error(ours.shape, np.float32 if single else np.float64)
    assert np.all(np.sqrt(np.maximum(2 * (1 - cosines), 0)) <= rounding * s[0] / gaps + 1e-7)


def test_wake_modes_come_in_pairs(tmp_path: Path) -> None:
    """The vortex street after t = 5: energies .4834 .9480 .9807 .9974 .9988 .9998, and modes 2k-1 and 2k nearly equal."""
    file = shared_data("wake-dfg2d2") / "dfg2d2_re100.npz"
    wake = ingested(tmp_path, [file], fields=["u"])["u"]
    assert wake.shape == (500, 9162, 2)
    times = np.linspace(4, 9, 501)[1:]
    basis = nw.pod(wake.isel(snapshot=np.flatnonzero(times > 5)), rank=10, centre=True)
    assert_digits(energies(basis, [1, 2, 4, 6, 8, 10]), [0.4834, 0.9480, 0.9807, 0.9974, 0.9988, 0.9998], 4)
    s = basis.spectrum.singular_values
    for pair in range(4):
        within, beyond = s[2 * pair] / s[2 * pair + 1], s[2 * pair + 1] / s[2 * pair + 2]
        assert within < 1.03 < 1.1 < beyond


def test_airfoil_energies_decay_slowly(tmp_path: Path) -> None:
    """A moving shock: E(1, 2, 5, 10, 20) = .855 .911 .976 .993 .999."""
    file = shared_data("airfoil-pressure") / AIRFOIL / "snapshots_p_airfoil.npy"
    pressure = ingested(tmp_path, [file])["p_airfoil"]
    assert pressure.shape == (100, 448)
    basis = nw.pod(pressure, rank=20, centre=True)
    assert_digits(energies(basis, [1, 2, 5, 10, 20]), [0.855, 0.911, 0.976, 0.993, 0.999], 3)


def test_groundwater_heads(tmp_path: Path) -> None:
    """MODFLOW 6 heads on their grid: E(1, 2, 5, 10) = .919 .973 .9994 1.0."""
    heads = ingested(tmp_path, [shared_data("groundwater-heads") / AQUIFER])["head"]
    assert heads.shape == (361, 3, 15, 10)
    basis = nw.pod(heads, rank=10, centre=True)
    assert_digits(energies(basis, [1, 2]), [0.919, 0.973], 3)
    assert_digits(energies(basis, [5, 10]), [0.9994, 1.0], 4)
