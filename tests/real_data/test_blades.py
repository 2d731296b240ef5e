"""CalculiX: a blade under two cycles, and an ensemble of blades over a design of experiments."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.runs import run
from tests.real_data.references import ingested
from tests.runs.studies import study_of
from tests.shared_data import shared_data

LAST_POINTS = 20


@pytest.fixture(scope="module")
def blade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the store of the single blade."""
    folder = tmp_path_factory.mktemp("blade")
    ingested(folder, [shared_data("blade-calculix") / "blade3.frd"])
    return folder


@pytest.mark.parametrize(("field", "modes"), [("DISP", 3), ("STRESS", 17), ("PE", 9)])
def test_modes_for_all_but_a_millionth_of_the_energy(blade: Path, field: str, modes: int) -> None:
    """Without centring, 1 - 1e-6 of the energy (rtol = 1e-3) takes 3 modes of displacement, 17 of stress, 9 of plastic strain."""
    basis = nw.pod(nw.open_snapshots(blade / "store")[field], rtol=1e-3)
    assert basis.rank == modes
    energy = basis.spectrum.energy
    assert energy[modes - 2] < 1 - 1e-6 <= energy[modes - 1]


def test_plastic_strain_never_falls(blade: Path) -> None:
    """The largest plastic strain grows to 0.0907 at the nodes, extrapolated from 0.068 at the integration points."""
    strain = nw.open_snapshots(blade / "store")["PE"]
    assert strain.shape == (60, 5154)
    values = strain.values.astype(np.float64)
    assert np.diff(values.max(axis=1)).min() >= 0
    np.testing.assert_allclose(values.max(), 0.0907, rtol=0, atol=0.5e-4)
    # The linear extrapolation keeps the mean: over the corners of a cell, the largest is that of the integration points again.
    mesh = nw.open_store(blade / "store").mesh()
    assert mesh is not None
    corners = mesh.connectivity.reshape(-1, 10)[:, :4]
    assert values[-1][corners].mean(axis=1).max() == pytest.approx(0.068, rel=0.05)


def test_the_binary_file_has_the_mesh_of_its_deck(blade: Path) -> None:
    """Nodes and tetrahedra of the .frd are those of the .inp, to the single precision of the file."""
    nodes, elements = read_deck(shared_data("blade-calculix") / "mesh.inp")
    mesh = nw.open_store(blade / "store").mesh()
    assert mesh is not None
    assert (mesh.n_points, mesh.n_cells) == (5154, 2769) == (len(nodes), len(elements))
    assert set(mesh.cell_types) == {24}
    numbers = np.array(sorted(nodes))
    expected = np.array([nodes[number] for number in numbers])
    np.testing.assert_allclose(mesh.points, expected, rtol=0, atol=2 * np.finfo(np.float32).eps * np.abs(expected).max())
    # CalculiX and VTK number the nodes of a second-order tetrahedron alike.
    cells = np.searchsorted(numbers, np.array([elements[number] for number in sorted(elements)]))
    np.testing.assert_array_equal(mesh.connectivity.reshape(-1, 10), cells)


def read_deck(path: Path) -> tuple[dict[int, list[float]], dict[int, list[int]]]:
    """Nodes and elements of an input deck, without any reader of ours."""
    nodes: dict[int, list[float]] = {}
    elements: dict[int, list[int]] = {}
    section, pending = "", []
    for line in path.read_text().splitlines():
        if line.startswith("*"):
            section = "" if line.startswith("**") else line.upper().split(",")[0].strip()
            continue
        words = [word for word in line.replace(" ", "").split(",") if word]
        if section == "*NODE" and words:
            nodes[int(words[0])] = [float(word) for word in words[1:4]]
        elif section == "*ELEMENT" and words:
            pending += [int(word) for word in words]
            if len(pending) == 11:
                elements[pending[0]] = pending[1:]
                pending = []
    return nodes, elements


def test_displacement_in_the_mass_of_quadratic_tetrahedra(blade: Path, scheduler: str) -> None:
    """A study with the mass of the C3D10 mesh runs, and its certificate holds what it promises."""
    reduce = {"fields": ["DISP"], "inner_product": "mass", "rtol": 1e-3}
    basis = nw.open_model(run(study_of(blade, blade / "store", scheduler, reduce=reduce)).model).basis
    assert basis.inner_products["DISP"] == "mass"
    assert basis.certificate.frobenius_error <= 1e-3
    assert basis.certificate.orthogonality_defect <= 1e-10
    # The volume of the block less its holes is the mass of a unit field; the norm of the snapshots must be of that size.
    mean_square = basis.certificate.snapshot_norms[-1] ** 2 / (20 * 8 * 60)
    largest = float(np.abs(nw.open_snapshots(blade / "store")["DISP"][-1]).max())
    assert 0 < mean_square < 3 * largest**2


def design() -> list[dict[str, str]]:
    """The design of experiments, row by row."""
    with (shared_data("blade-ensemble") / "design.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ensemble(folder: Path, points: list[int]) -> xr.Dataset:
    """Ingest some points of the ensemble with their parameters."""
    root = shared_data("blade-ensemble")
    return ingested(folder, [root / f"point-{point:02d}" for point in points], parameters=root / "design.csv")


def largest_strains(dataset: xr.Dataset) -> NDArray[np.float64]:
    """Largest PEEQ of every simulation, each monotone in time."""
    strain, runs = dataset["PEEQ"].values, dataset["simulation"].values
    assert np.all(np.diff(np.array([strain[runs == name].max(axis=1) for name in np.unique(runs)]), axis=1) >= 0)
    return np.array([strain[runs == name].max() for name in np.unique(runs)])


def test_points_carry_strain_and_parameters(tmp_path: Path) -> None:
    """Points 1 and 17 have the smallest and the largest strain of the table, at 4 points of 1 595 elements, and their design."""
    dataset = ensemble(tmp_path, [1, 17])
    assert dataset["PEEQ"].shape == (24, 4 * 1595)
    np.testing.assert_allclose(largest_strains(dataset), [0.0381, 0.0542], rtol=0, atol=0.5e-4)
    for point, last in ((1, 11), (17, 23)):
        row = design()[point]
        for title, text in row.items():
            name, _, unit = title.partition(" [")
            if name != "point":
                assert float(dataset[name][last]) == float(text)
                assert dataset[name].attrs["units"] == unit.rstrip("]")


@pytest.mark.slow
def test_the_whole_ensemble(tmp_path: Path, scheduler: str) -> None:
    """All 20 points: strains between those of points 1 and 17, and a certified basis of the stress over all simulations."""
    dataset = ensemble(tmp_path, list(range(LAST_POINTS)))
    strains = largest_strains(dataset)
    assert (int(np.argmin(strains)), int(np.argmax(strains))) == (1, 17)
    np.testing.assert_allclose([strains.min(), strains.max()], [0.0381, 0.0542], rtol=0, atol=0.5e-4)
    assert len(design()) == LAST_POINTS
    result = run(study_of(tmp_path, tmp_path / "store", scheduler, reduce={"fields": ["S"], "rtol": 1e-3}))
    basis = nw.open_model(result.model).basis
    assert basis.coefficients.sizes["snapshot"] == 12 * LAST_POINTS
    assert basis.certificate.frobenius_error <= 1e-3
    assert result.measured["bytes_read"] == result.plan["bytes_to_read"]
    values = nw.open_snapshots(tmp_path / "store")["S"].values.reshape(12 * LAST_POINTS, -1)
    exact = np.linalg.svd(values, compute_uv=False)
    np.testing.assert_allclose(basis.spectrum.singular_values[: basis.rank], exact[: basis.rank], rtol=1e-9)
