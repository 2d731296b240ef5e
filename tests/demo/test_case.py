"""The demo from its settings to its files: what a solver would leave behind, the same every time."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.config import load_study
from nwidth.demo import DemoCase, generate, write_study
from nwidth.demo.case import FIELD, laser_place, solve_run
from nwidth.demo.design import PARAMETERS, latin_hypercube
from nwidth.demo.heat import heat_operators
from nwidth.demo.plate import HOLES, plate_mesh
from nwidth.errors import ConfigError

pytest.importorskip("skfem", reason="the demo's solver is scikit-fem: pip install 'nwidth[demo]'")
pv = pytest.importorskip("pyvista", reason="the demo writes through PyVista: pip install 'nwidth[mesh]'")

TINY: dict[str, Any] = {"runs": 3, "steps": 4, "resolution": 3, "seed": 7}


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> DemoCase:
    return generate(tmp_path_factory.mktemp("demo"), **TINY)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_series_holds_what_was_solved(case: DemoCase) -> None:
    """Reading the PVD series back gives mesh, times and every value of the solver, bit for bit."""
    points, quads = plate_mesh(TINY["resolution"])
    parameters = latin_hypercube(TINY["runs"], TINY["seed"])[1]
    solved = solve_run(points, heat_operators(points, quads), parameters, TINY["steps"])
    reader = pv.get_reader(case.runs[1] / "temperature.pvd")
    assert reader.time_values == pytest.approx([time for time, _ in solved], rel=1e-9)
    for step, (_, temperature) in enumerate(solved):
        reader.set_active_time_point(step)
        grid = reader.read()[0]
        assert np.array_equal(grid.points, np.column_stack([points, np.zeros(len(points))]))
        assert np.array_equal(grid.cells.reshape(-1, 5)[:, 1:], quads)
        assert set(grid.celltypes) == {9}
        assert grid.point_data.keys() == [FIELD]
        assert np.array_equal(grid.point_data[FIELD], temperature)


def test_case_describes_the_folder(case: DemoCase) -> None:
    """Counts and paths of the case are those of the files."""
    assert case.fresh
    assert case.n_snapshots == 12 == len(list(case.folder.rglob("*.vtu")))
    assert [path.name for path in case.runs] == ["run-00", "run-01", "run-02"]
    assert case.n_unknowns == len(plate_mesh(TINY["resolution"])[0])
    assert case.field == FIELD


def test_design_file_has_units_and_the_solved_parameters(case: DemoCase) -> None:
    """The CSV's header names units, and its rows are the numbers that were solved, to the last digit."""
    with case.design.open(encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["run", "conductivity [W/(m K)]", "speed [mm/s]", "power [W]"]
    design = latin_hypercube(TINY["runs"], TINY["seed"])
    assert [[float(value) for value in row] for row in rows] == [
        [float(run), *values.values()] for run, values in enumerate(design)
    ]


@pytest.mark.parametrize("runs", [1, 5, 16])
def test_latin_hypercube_fills_every_slice(runs: int) -> None:
    """Each parameter has exactly one run in each of its equal slices."""
    design = latin_hypercube(runs, seed=3)
    for parameter in PARAMETERS:
        places = [(values[parameter.name] - parameter.low) / (parameter.high - parameter.low) for values in design]
        assert sorted(int(place * runs) for place in places) == list(range(runs))


def test_same_seed_same_files(case: DemoCase, tmp_path: Path) -> None:
    """Two folders of the same settings are equal byte by byte, and another seed changes the values."""
    generate(tmp_path / "again", **TINY)
    assert contents(tmp_path / "again") == contents(case.folder)
    other = generate(tmp_path / "other", **{**TINY, "seed": 8})
    assert other.design.read_bytes() != case.design.read_bytes()


def test_finished_folder_is_left_alone(tmp_path: Path) -> None:
    """A second call writes nothing; a folder without its marker, as a killed run leaves it, is completed."""
    first = generate(tmp_path, **TINY)
    before = contents(tmp_path)
    victim = first.runs[0] / "temperature-0000.vtu"
    victim.write_bytes(b"half")
    assert not generate(tmp_path, **TINY).fresh
    assert victim.read_bytes() == b"half"
    (tmp_path / "demo.json").unlink()
    assert generate(tmp_path, **TINY).fresh
    assert contents(tmp_path) == before


def test_progress_counts_runs(tmp_path: Path) -> None:
    """Progress is told after each run."""
    told: list[tuple[int, int]] = []
    generate(tmp_path, **{**TINY, "resolution": 2}, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("change", [{"runs": 0}, {"steps": 0}, {"resolution": 1}, {"seed": -1}])
def test_bad_settings_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    """A setting out of range is named, and no folder is made."""
    with pytest.raises(ConfigError, match=f"{next(iter(change))} = .*must be at least"):
        generate(tmp_path / "demo", **{**TINY, **change})
    assert not (tmp_path / "demo").exists()


def test_folder_of_other_settings_is_refused(case: DemoCase) -> None:
    """Files of other settings are never mixed or overwritten."""
    before = contents(case.folder)
    with pytest.raises(ConfigError, match="demo of other settings"):
        generate(case.folder, **{**TINY, "seed": 8})
    assert contents(case.folder) == before


def test_laser_keeps_its_speed_and_stays_on_the_plate() -> None:
    """Equal lengths along the path are equal steps, and the beam's centre never enters a hole."""
    places = np.array([laser_place(length) for length in np.arange(0.0, 500.0, 0.5)])
    strides = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert strides.max() <= 0.5 * (1 + 1e-12)  # a chord is never longer than its arc
    assert strides.min() >= 0.495
    for (column, row), radius in HOLES.items():
        centre = 20.0 * (np.array([column, row]) + 0.5)
        assert np.linalg.norm(places - centre, axis=1).min() > radius + 4.0
    assert places.min() > 0
    assert np.all(places.max(axis=0) < [100, 60])


def test_study_is_one_that_nwidth_reads(tmp_path: Path) -> None:
    """The study file passes the configuration's own check, and an edited one is kept."""
    path = write_study(tmp_path)
    study = load_study(path)
    assert study.reduce.fields == (FIELD,)
    assert study.reduce.inner_product == "mass"
    assert study.workers.count == 2
    path.write_text("# mine\n", encoding="utf-8")
    assert write_study(tmp_path).read_text(encoding="utf-8") == "# mine\n"


def test_default_size_is_what_the_demo_promises() -> None:
    """The default mesh has at least 20 000 unknowns."""
    assert 20_000 <= len(plate_mesh(34)[0]) <= 25_000
