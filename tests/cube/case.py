"""The cube's loads and temperature as a case, and a snapshot store of some of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.readers.protocol import FieldSpec, IntegrationPoints, Run
from nwidth.stores import open_or_create_store
from nwidth_graphs.kernels.materials import IsotropicHardening, KinematicHardening, LinearElastic, NortonKinematic
from tests.cube import solver
from tests.cube.grid import CubeGrid
from tests.cube.solver import TIMES, CubeParameters, CubeRecords, Floats, cube_run

INPUTS = ("amplitude", "x", "y", "z", "width", "pressure", "omega")
TENSOR = ("xx", "yy", "zz", "xy", "yz", "zx")


def inputs_of(parameters: CubeParameters) -> dict[str, float]:
    """A run's parameters, one number for each input."""
    given = asdict(parameters)
    centre = given.pop("centre")
    return {**given, **dict(zip("xyz", centre, strict=True))}


def parameters_of(inputs: Mapping[str, float]) -> CubeParameters:
    """The other way round."""
    given = {name: float(value) for name, value in inputs.items()}
    centre = tuple(given.pop(axis) for axis in "xyz")
    return CubeParameters(centre=centre, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class CubeCase:
    """Pressure and rotation as two loads; the temperature in closed form, at any nodes."""

    cells: int = 6
    inputs: tuple[str, ...] = INPUTS

    @property
    def times(self) -> Floats:
        return TIMES

    def load_vectors(self, nodes: Floats) -> dict[str, Floats]:
        grid = CubeGrid(self.cells)
        units = {"pressure": CubeParameters(pressure=1.0, omega=0.0), "rotation": CubeParameters(pressure=0.0, omega=1.0)}
        return {name: solver._external_force(grid, unit, 1.0).reshape(-1, 3) for name, unit in units.items()}

    def load_factors(self, inputs: Mapping[str, Floats]) -> dict[str, Floats]:
        ramp, spin = np.minimum(TIMES / 0.1, 1.0), np.minimum(TIMES, 1.0) ** 2
        return {"pressure": np.outer(inputs["pressure"], ramp), "rotation": np.outer(inputs["omega"] ** 2, spin)}

    def temperature(self, inputs: Mapping[str, Floats], nodes: Floats) -> Floats:
        centre = np.stack([inputs[axis] for axis in "xyz"], axis=1)
        distance = ((nodes[None] - centre[:, None]) ** 2).sum(axis=2)
        hat = np.where(TIMES <= 1.0, TIMES, 2.0 - TIMES)
        bump = inputs["amplitude"][:, None] * np.exp(-inputs["width"][:, None] * distance)
        return np.asarray(20.0 + hat[None, :, None] * bump[:, None, :])


def store_of(folder: Path, runs: Sequence[CubeParameters], cells: int = 6) -> Path:
    """A store of displacement, stress and accumulated plastic strain of some runs, with their inputs as parameters."""
    store = open_or_create_store(folder / "cube.zarr", "zarr", {})
    for number, parameters in enumerate(runs):
        name = f"cube-{number}"
        records = cube_run(parameters, cells)
        with store.append(run_of(records), simulation=name, source_key=name, parameters=inputs_of(parameters)) as writer:
            for step, snapshot in enumerate(snapshots_of(records)):
                writer.write(step, {field: values[None] for field, values in snapshot.items()})
    return folder / "cube.zarr"


def run_of(records: CubeRecords) -> Run:
    """One run as a reader would give it."""
    nodes, points = records.mesh.n_points, len(records.weights)
    real = np.dtype(np.float64)
    fields = {
        "displacement": FieldSpec("node", ("node", "component"), (nodes, 3), real, ("x", "y", "z"), "mm"),
        "stress": FieldSpec("point", ("point", "component"), (points, 6), real, TENSOR, "MPa"),
        "p": FieldSpec("point", ("point",), (points,), real),
    }
    # The cube's solver counts points around the cell, and the product rule of hexahedra counts along x, y, z.
    local = np.tile([0, 1, 3, 2, 4, 5, 7, 6], records.mesh.n_cells)
    owners = IntegrationPoints(np.repeat(np.arange(records.mesh.n_cells), 8), local)
    return Run(fields, records.times, partial(snapshots_of, records), records.mesh, integration_points=owners)


def snapshots_of(records: CubeRecords) -> Iterator[dict[str, Any]]:
    """Snapshots one by one; the stress at the start is that of rest."""
    for step in range(len(records.times)):
        yield {"displacement": records.u[step].reshape(-1, 3), "stress": records.sigma[step], "p": records.p[step]}


def reference_fields(cells: int, inputs: Mapping[str, float]) -> dict[str, Floats]:
    """The full-order model of a Monte Carlo run: plastic strain and displacement at all times."""
    records = cube_run(parameters_of(inputs), cells)
    return {"p": records.p, "displacement": records.u.reshape(len(records.times), -1, 3)}


def cube_law() -> NortonKinematic:
    """The cube's material as a law of the package."""
    elastic = LinearElastic(solver.YOUNG, solver.POISSON, solver.EXPANSION, reference_temperature=20.0)
    hardening = KinematicHardening(solver.HARDENING, solver.RECALL)
    return NortonKinematic(elastic, solver.DRAG, solver.EXPONENT, IsotropicHardening(solver.YIELD), hardening)
