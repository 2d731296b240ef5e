"""CalculiX: ascii against binary of one run, against an independent writer, and against the reference values of real runs."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.errors import FormatError
from nwidth.readers.calculix import FrdReader
from tests.readers.frd_writer import write_frd
from tests.readers.gather import gather
from tests.shared_data import shared_data

FIXTURES = Path(__file__).parent / "fixtures"
ASCII, BINARY = FIXTURES / "elements-ascii.frd", FIXTURES / "elements-binary.frd"
SQUARE = [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (0.0, 1.0, 0.0)]


def tiny(path: Path, **changes: Any) -> Path:
    """A file of two triangles and two times, nodes numbered 7, 3, 12, 5."""
    rng = np.random.default_rng(1)
    arguments: dict[str, Any] = {
        "nodes": [7, 3, 12, 5],
        "points": SQUARE,
        "elements": [(4, 7, [7, 3, 12]), (9, 7, [7, 12, 5])],
        "steps": [
            (time, {"DISP": (["D1", "D2", "D3"], rng.normal(size=(4, 3))), "NDTEMP": ([], rng.normal(size=4))})
            for time in (1.0, 2.0)
        ],
    }
    write_frd(path, **(arguments | changes))
    return path


def copy_of(source: Path, folder: Path) -> Path:
    """A fixture and its .dat, copied."""
    for file in FIXTURES.glob(f"{source.stem}.*"):
        shutil.copy(file, folder)
    return folder / source.name


def test_ascii_and_binary_of_one_run_agree_to_the_digits_printed() -> None:
    """All fields of the ascii file equal those of the binary one within half a unit of the sixth digit (five decimals)."""
    ascii_run, binary_run = FrdReader().open(ASCII), FrdReader().open(BINARY)
    one, two = gather(ascii_run), gather(binary_run)
    np.testing.assert_allclose(ascii_run.times, binary_run.times, rtol=5e-6)
    assert list(one) == list(two) == ["DISP", "NDTEMP", "STRESS", "FORC", "PE", "ERROR", "S", "PEEQ"]
    for name in one:
        # 5 decimals: half a unit is 5e-6 of the leading digit; float32 rounding of either side adds 1.2e-7.
        np.testing.assert_allclose(one[name], two[name], rtol=5.2e-6, atol=1e-36)
    assert ascii_run.mesh is not None
    assert binary_run.mesh is not None
    assert ascii_run.mesh.difference(binary_run.mesh) is None


def test_every_value_name_component_and_time_survives(tmp_path: Path) -> None:
    """What an independent writer wrote is what the reader gives, node numbers neither contiguous nor sorted."""
    rng = np.random.default_rng(2)
    stress = rng.normal(size=(2, 4, 8))
    names = [f"C{k}" for k in range(8)]
    path = tiny(tmp_path / "a.frd", steps=[(0.25 * k, {"STRESS": (names, stress[k])}) for k in range(2)])
    run = FrdReader().open(path)
    assert run.times.tolist() == [0.0, 0.25]
    assert run.fields["STRESS"].components == tuple(names)
    assert run.fields["STRESS"].location == "node"
    np.testing.assert_allclose(gather(run)["STRESS"], stress, rtol=5.2e-6)
    assert run.mesh is not None
    assert run.mesh.connectivity.tolist() == [0, 1, 2, 0, 2, 3]
    assert run.mesh.cell_types.tolist() == [5, 5]
    np.testing.assert_array_equal(run.mesh.points, SQUARE)


def test_windows_line_ends_read_the_same(tmp_path: Path) -> None:
    """A file with carriage returns gives the same values."""
    path = tiny(tmp_path / "a.frd")
    other = tmp_path / "b.frd"
    other.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    one, two = gather(FrdReader().open(path)), gather(FrdReader().open(other))
    np.testing.assert_array_equal(one["DISP"], two["DISP"])


def test_mid_side_nodes_lie_where_vtk_expects_them() -> None:
    """In every quadratic cell each edge's third node is the middle of its two ends, in VTK's own edge numbering."""
    pyvista = pytest.importorskip("pyvista")
    mesh = FrdReader().open(BINARY).mesh
    assert mesh is not None
    cells = np.insert(mesh.connectivity, mesh.offsets[:-1], np.diff(mesh.offsets))
    grid = pyvista.UnstructuredGrid(cells, mesh.cell_types, mesh.points)
    quadratic = [k for k, kind in enumerate(mesh.cell_types) if kind in (24, 25, 26)]
    assert len(quadratic) == 3
    for k in quadratic:
        for edge in grid.get_cell(k).edges:
            np.testing.assert_allclose(edge.points[2], (edge.points[0] + edge.points[1]) / 2, atol=1e-7)
    volumes = grid.compute_cell_sizes()["Volume"]
    np.testing.assert_allclose(sorted(volumes), sorted([1, 0.5, 1 / 6] * 2), rtol=1e-6)


def test_line_elements_list_their_ends_first(tmp_path: Path) -> None:
    """A three-node line keeps its order: frd and VTK both put the middle node last."""
    path = tiny(tmp_path / "a.frd", elements=[(1, 12, [7, 3, 12])])
    mesh = FrdReader().open(path).mesh
    assert mesh is not None
    assert (mesh.cell_types.tolist(), mesh.connectivity.tolist()) == ([21], [0, 1, 2])


def test_integration_points_name_their_cell_and_number() -> None:
    """The .dat beside the .frd gives S and PEEQ at the points of each element, in the solver's component order."""
    run = FrdReader().open(ASCII)
    places = run.integration_points
    assert places is not None
    assert np.bincount(places.cell).tolist() == [8, 2, 1, 27, 9, 4]
    assert places.local[:8].tolist() == list(range(8))
    assert run.fields["S"].components == ("sxx", "syy", "szz", "sxy", "sxz", "syz")
    assert (run.fields["PEEQ"].location, run.fields["PEEQ"].shape) == ("point", (51,))
    # The first row of the table, as it stands in the text of the file.
    first_row = next(line for line in ASCII.with_suffix(".dat").read_text().splitlines() if line.startswith("        11   1"))
    assert gather(run)["S"][0, 0].tolist() == [float(word) for word in first_row.split()[2:]]


def test_fortran_exponents_of_three_digits(tmp_path: Path) -> None:
    """A value printed as 1.234567-101, without its E, is read as 1.234567e-101."""
    path = copy_of(ASCII, tmp_path)
    dat = path.with_suffix(".dat")
    text = dat.read_text()
    first = next(line for line in text.splitlines() if line.startswith("        11   1"))
    dat.write_text(text.replace(first, f"{first[:15]} 1.234567-101{first[28:]}", 1))
    assert gather(FrdReader().open(path))["S"][0, 0, 0] == 1.234567e-101


@pytest.mark.parametrize("source", [ASCII, BINARY])
def test_every_truncation_is_refused(source: Path, tmp_path: Path) -> None:
    """A .frd cut at any of 60 places is refused with its name, never read in part."""
    whole = source.read_bytes()
    path = tmp_path / "cut.frd"
    for stop in np.linspace(0, len(whole) - 7, 60).astype(int):
        path.write_bytes(whole[:stop])
        with pytest.raises(FormatError, match=r"cut\.frd"):
            FrdReader().open(path)


def test_truncated_dat_is_refused(tmp_path: Path) -> None:
    """A .dat cut within its last table, and a .dat.gz cut anywhere, are refused before they are believed."""
    path = copy_of(ASCII, tmp_path)
    dat = path.with_suffix(".dat")
    dat.write_bytes(dat.read_bytes()[:-200])
    with pytest.raises(FormatError, match=r"elements-ascii\.dat.*truncated"):
        gather(FrdReader().open(path))
    path = copy_of(BINARY, tmp_path)
    packed = path.with_suffix(".dat.gz")
    packed.write_bytes(packed.read_bytes()[:-500])
    with pytest.raises(FormatError, match="truncated or damaged"):
        FrdReader().open(path)


def test_missing_time_is_named(tmp_path: Path) -> None:
    """A time that only one of the two files has is refused by its value."""
    path = copy_of(BINARY, tmp_path)
    packed = path.with_suffix(".dat.gz")
    text = gzip.decompress(packed.read_bytes()).decode()
    packed.write_bytes(gzip.compress(text[: text.index(" stresses", 10)].encode()))
    with pytest.raises(FormatError, match=r"time 1 is missing in elements-binary\.dat\.gz"):
        FrdReader().open(path)


def test_field_missing_at_one_time_is_named_and_can_be_left_out(tmp_path: Path) -> None:
    """A field that is there at some times only is refused with field and time; the others can be chosen."""
    one = {"DISP": (["D1", "D2", "D3"], np.ones((4, 3)))}
    path = tiny(tmp_path / "a.frd", steps=[(1.0, one | {"PE": ([], np.ones(4))}), (2.0, one)])
    with pytest.raises(FormatError, match="no field PE at time 2"):
        FrdReader().open(path)
    assert list(FrdReader().open(path, fields=["DISP"]).fields) == ["DISP"]


def test_numbers_of_another_mesh_are_refused(tmp_path: Path) -> None:
    """An element that names an absent node, and one of an unknown type, are refused by number."""
    with pytest.raises(FormatError, match="node 99"):
        FrdReader().open(tiny(tmp_path / "a.frd", elements=[(1, 7, [7, 3, 99])]))
    with pytest.raises(FormatError, match="type 15"):
        FrdReader().open(tiny(tmp_path / "a.frd", elements=[(1, 15, [7, 3, 12])]))


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    """A node count of 10^11 in a file of a kilobyte is refused by comparing it with the file's length."""
    path = tiny(tmp_path / "a.frd")
    path.write_text(path.read_text().replace(f"{4:12d}{'':37}1", f"{10**11:12d}{'':37}1", 1))
    with pytest.raises(FormatError, match="truncated"):
        FrdReader().open(path)


def test_blade_reference_values() -> None:
    """blade-calculix: 60 times every 2 s, 5154 nodes, 2769 C3D10, nodal fields only, displacement clamped at z = 0."""
    run = FrdReader().open(shared_data("blade-calculix") / "blade3.frd")
    assert run.mesh is not None
    assert (len(run.times), run.mesh.n_points, run.mesh.n_cells) == (60, 5154, 2769)
    np.testing.assert_allclose(run.times, 2.0 * np.arange(1, 61))
    values = gather(run)
    largest = values["PE"].max(axis=1)
    assert (np.diff(largest) >= 0).all()
    assert np.abs(values["DISP"][:, run.mesh.points[:, 2] == 0]).max() == 0


@pytest.mark.slow
def test_ensemble_reference_values() -> None:
    """blade-ensemble: largest PEEQ per point from 0.0381 (point 1) to 0.0542 (point 17), monotone in time."""
    largest = {}
    for folder in sorted(shared_data("blade-ensemble").glob("point-*")):
        run = FrdReader().open(folder / "blade.frd", fields=["PEEQ", "DISP"])
        assert (len(run.times), run.fields["PEEQ"].shape) == (12, (4 * 1595,))
        peeq = gather(run)["PEEQ"].max(axis=1)
        assert (np.diff(peeq) >= 0).all()
        largest[int(folder.name[-2:])] = peeq[-1]
    assert len(largest) == 20
    assert (min(largest, key=largest.__getitem__), max(largest, key=largest.__getitem__)) == (1, 17)
    # The references are rounded to four decimals.
    assert abs(largest[1] - 0.0381) < 5e-5
    assert abs(largest[17] - 0.0542) < 5e-5
