"""Solve all runs of the demo and write them as a solver would.

    demo/design.csv                             parameters of every run, with units
    demo/runs/run-00/temperature.pvd            the time series of run 0
    demo/runs/run-00/temperature-0000.vtu       mesh and field at the first time (binary)
    demo/demo.json                              written last: the settings, and that everything above is complete

A laser runs along a figure of eight around the two large holes of a steel plate, 3 mm thick, at constant speed. Steel conducts
between 15 and 45 W/(m K), and the plate loses heat through its two faces.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.demo.design import latin_hypercube, write_design
from nwidth.demo.heat import HeatOperators, Medium, heat_operators, march
from nwidth.demo.plate import BLOCK, COLUMNS, ROWS, Floats, Quads, plate_mesh
from nwidth.errors import ConfigError, RunError

FIELD = "temperature_rise"
"""Temperature above the surroundings, in K."""

DURATION = 20.0  # s
TIME_STEP = 0.2  # s; the fastest laser moves one beam radius in it
THICKNESS = 3.0  # mm
CAPACITY = 3.6e-3  # J/(mm^3 K), steel
FILM = 2e-5  # W/(mm^2 K), heat lost through each face
BEAM = 4.0  # mm, standard deviation of the Gaussian beam

MARKER = "demo.json"
LAYOUT = 1
"""Raised when the generator writes other files for the same settings: then an older folder is not taken for a finished one."""


@dataclass(frozen=True)
class Settings:
    """What determines every file of the demo."""

    runs: int
    steps: int
    resolution: int
    seed: int
    layout: int = LAYOUT


@dataclass(frozen=True)
class DemoCase:
    """A generated demo."""

    folder: Path
    runs: tuple[Path, ...]  # one folder per run
    design: Path
    field: str
    n_unknowns: int
    n_snapshots: int
    fresh: bool  # False: an earlier call had made it already


def generate(
    folder: str | Path,
    runs: int = 16,
    steps: int = 25,
    resolution: int = 34,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> DemoCase:
    """Solve `runs` simulations of 20 s, with `steps` snapshots each, on a mesh of about ``18 resolution**2`` unknowns.

    The same settings give the same files, byte by byte, with the same library versions (about 300 MB); a folder that is
    complete is left as it is. ``progress(done, total)`` is called after every run.

    Raises
    ------
    ConfigError
        A setting is out of range, scikit-fem or PyVista is missing, or the folder holds a demo of other settings.
    RunError
        A file cannot be written.
    """
    settings, folder = Settings(runs, steps, resolution, seed), Path(folder)
    _check(settings)
    if (finished := _finished(folder, settings)) is not None:
        return _case(folder, settings, finished, fresh=False)
    points, quads = plate_mesh(resolution)
    operators = heat_operators(points, quads)
    design = latin_hypercube(runs, seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_design(folder / "design.csv", design)
    for run, parameters in enumerate(design):
        history = solve_run(points, operators, parameters, steps)
        _write_series(_run_folder(folder, run), points, quads, history)
        if progress is not None:
            progress(run + 1, runs)
    _write_marker(folder, settings, len(points))
    return _case(folder, settings, len(points), fresh=True)


def solve_run(points: Floats, operators: HeatOperators, parameters: dict[str, float], steps: int) -> list[tuple[float, Floats]]:
    """Solve one run: ``[(time in s, temperature rise (n,) in K), ...]`` at `steps` equal times up to 20 s."""
    between = max(1, round(DURATION / steps / TIME_STEP))
    dt = DURATION / steps / between
    medium = Medium(CAPACITY, 1e-3 * parameters["conductivity"], 2 * FILM / THICKNESS)

    def source(t: float) -> Floats:
        distance = ((points - laser_place(parameters["speed"] * t)) ** 2).sum(axis=1)
        return np.asarray(parameters["power"] / (THICKNESS * 2 * np.pi * BEAM**2) * np.exp(-distance / (2 * BEAM**2)))

    marching = islice(march(operators, medium, source, np.zeros(len(points)), dt), between - 1, steps * between, between)
    return [(DURATION * (step + 1) / steps, temperature) for step, temperature in enumerate(marching)]


def laser_place(length: float) -> Floats:
    """Place (2,) in mm of the laser after it has gone `length` mm along the figure of eight, round and round."""
    angle = np.linspace(0, 2 * np.pi, 2001)
    centre = BLOCK * np.array([COLUMNS, ROWS]) / 2
    curve = centre + np.column_stack([34 * np.sin(angle), 16 * np.sin(2 * angle)])
    travelled = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])
    at = length % travelled[-1]
    return np.array([np.interp(at, travelled, curve[:, 0]), np.interp(at, travelled, curve[:, 1])])


def _check(settings: Settings) -> None:
    for name, least in (("runs", 1), ("steps", 1), ("resolution", 2), ("seed", 0)):
        if getattr(settings, name) < least:
            raise ConfigError(f"the demo was asked for {name} = {getattr(settings, name)}; it must be at least {least}")
    missing = [package for package, module in (("scikit-fem", "skfem"), ("pyvista", "pyvista")) if find_spec(module) is None]
    if missing:
        raise ConfigError(f'the demo needs {" and ".join(missing)}; install with: pip install "nwidth[demo,mesh]"')


def _finished(folder: Path, settings: Settings) -> int | None:
    """Number of unknowns of the finished demo in `folder`, None where there is none."""
    try:
        marker: dict[str, Any] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        marker = {}
    if marker.get("settings") != asdict(settings):
        found = marker.get("settings")
        raise ConfigError(f"{folder} holds a demo of other settings ({found}); remove it, or name another folder")
    return int(marker["unknowns"])


def _write_marker(folder: Path, settings: Settings, unknowns: int) -> None:
    aside = folder / f"{MARKER}.part"
    aside.write_text(json.dumps({"settings": asdict(settings), "unknowns": unknowns}) + "\n", encoding="utf-8")
    aside.replace(folder / MARKER)


def _run_folder(folder: Path, run: int) -> Path:
    return folder / "runs" / f"run-{run:02d}"


def _case(folder: Path, settings: Settings, unknowns: int, *, fresh: bool) -> DemoCase:
    return DemoCase(
        folder=folder,
        runs=tuple(_run_folder(folder, run) for run in range(settings.runs)),
        design=folder / "design.csv",
        field=FIELD,
        n_unknowns=unknowns,
        n_snapshots=settings.runs * settings.steps,
        fresh=fresh,
    )


def _write_series(folder: Path, points: Floats, quads: Quads, history: list[tuple[float, Floats]]) -> None:
    """Write one VTU file per time and the PVD index that names them."""
    import pyvista as pv

    folder.mkdir(parents=True, exist_ok=True)
    grid = pv.UnstructuredGrid({pv.CellType.QUAD: quads}, np.column_stack([points, np.zeros(len(points))]))
    entries = []
    for step, (time, temperature) in enumerate(history):
        name = f"temperature-{step:04d}.vtu"
        grid.point_data[FIELD] = temperature
        _save(grid, folder / name)
        entries.append(f'    <DataSet timestep="{time:.10g}" part="0" file="{name}"/>')
    lines = ['<?xml version="1.0"?>', '<VTKFile type="Collection" version="0.1">', "  <Collection>"]
    text = "\n".join([*lines, *entries, "  </Collection>", "</VTKFile>"])
    (folder / "temperature.pvd").write_text(text + "\n", encoding="utf-8")


def _save(grid: Any, path: Path) -> None:
    """Write binary VTU with LZ4 and 32-bit indices: an eighth of the time and half of the size of PyVista's defaults."""
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

    writer = vtkXMLUnstructuredGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(grid)
    writer.SetCompressorTypeToLZ4()
    writer.SetIdTypeToInt32()
    writer.EncodeAppendedDataOff()
    if writer.Write() != 1 or writer.GetErrorCode() != 0:
        raise RunError(f"cannot write {path}; see that the disk has room and that the folder may be written, then run again")
