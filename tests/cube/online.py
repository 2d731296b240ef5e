"""What an online step costs, and that the mesh has no part in it: ``python -m tests.cube.online 6 12 24:12``.

For every number of cells per side: the high-fidelity run, ten modes, a rule of cubature to 1e-5, and the same run reduced, alone
and as one of a batch of draws. Times are wall-clock seconds of one process; the reduced ones are the best of three.
``24:12`` takes the modes of the run with 12 cells to the mesh with 24, and leaves out its full run, which takes long.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.materials import IsotropicHardening, KinematicHardening, LinearElastic, NortonKinematic
from nwidth_graphs.kernels.reduced_newton import project_loads, solve_reduced
from nwidth_graphs.kernels.reduced_problem import PointSet, ReducedHistory
from tests.cube.grid import CubeGrid
from tests.cube.solver import TIMES, CubeParameters, CubeRecords, Floats, drive, solve_cube

RANK, TOLERANCE, DRAWS = 10, 1e-5, 64

LAW = NortonKinematic(LinearElastic(2e5, 0.3, 2e-5, 20.0), 300.0, 30.0, IsotropicHardening(10.0), KinematicHardening(1e5, 1000.0))


@dataclass(frozen=True)
class Row:
    """One mesh of the table."""

    cells: int
    unknowns: int
    full_points: int
    full_seconds: float | None
    """None where the modes are those of a coarser mesh and the full run was left out."""
    points: int
    error: float
    """Of u, against the full run; against the reduced run at all points where there is none."""
    seconds: float
    batch_seconds: float
    """For each draw of a batch of `DRAWS`."""


@dataclass(frozen=True)
class Training:
    """What the points are chosen from."""

    grid: CubeGrid
    modes: Floats
    u: Floats  # (11, n)
    sigma: Floats  # (11, Q, 6)
    full_seconds: float | None


def measure(cells: int, modes_of: int | None = None, draws: int = DRAWS) -> Row:
    """Solve, reduce, and solve again on the reduced model; with the modes of a coarser mesh, the full run is left out."""
    training = full_run(cells) if modes_of is None else prolonged_run(cells, modes_of)
    grid, modes = training.grid, training.modes
    temperature, force = drive(grid, CubeParameters())
    strains = grid.mode_strains(modes)
    weights = np.full(len(strains), grid.weight)
    integrands = np.einsum("qsi,jqs->ijq", strains, training.sigma[1:], optimize=True).reshape(-1, len(weights))
    rule = nnomp(integrands, weights, TOLERANCE)
    points = PointSet(strains[rule.points], rule.weights, LAW)
    at_points, forces = grid.at_points(temperature.T).T[None][:, :, rule.points], project_loads(modes, force)[None]
    seconds, history = best_of_three(points, forces, at_points)
    # The draws of a batch differ, so that none is another's double: loads within one per cent.
    scales = np.linspace(0.99, 1.01, draws)[:, None, None]
    batch_seconds, _ = best_of_three(points, scales * forces, np.repeat(at_points, draws, axis=0))
    u = training.u[1:]
    error = float((np.linalg.norm(history.q[0, 1:] @ modes.T - u, axis=1) / np.linalg.norm(u, axis=1)).max())
    return Row(cells, len(modes), len(weights), training.full_seconds, points.count, error, seconds, batch_seconds / draws)


def full_run(cells: int) -> Training:
    """The high-fidelity run and its modes."""
    begin = time.perf_counter()
    run = solve_cube(CubeParameters(), cells)
    return Training(CubeGrid(cells), pod_modes(run), run.u, run.sigma, time.perf_counter() - begin)


def prolonged_run(cells: int, coarse: int) -> Training:
    """Modes of a coarser mesh, whose fields the finer one has among its own, and their run at all points of the finer one."""
    grid, source = CubeGrid(cells), CubeGrid(coarse)
    axis = np.arange(coarse + 1) / coarse
    nodal = pod_modes(solve_cube(CubeParameters(), coarse)).reshape(*[coarse + 1] * 3, -1)  # z, y, x
    assert np.array_equal(source.nodes[1], [axis[1], 0.0, 0.0])
    prolong = RegularGridInterpolator((axis, axis, axis), nodal)
    modes = prolong(grid.nodes[:, ::-1]).reshape(3 * len(grid.nodes), RANK)
    temperature, force = drive(grid, CubeParameters())
    points = PointSet(grid.mode_strains(modes), np.full(8 * cells**3, grid.weight), LAW)
    history = solve_reduced(
        [points], TIMES, project_loads(modes, force)[None], temperatures=[grid.at_points(temperature.T).T[None]], keep=["flux"]
    )
    return Training(grid, modes, history.q[0] @ modes.T, history.duals[0]["flux"][0], None)


def pod_modes(run: CubeRecords) -> Floats:
    """Modes (n, RANK) in the mass inner product, by the method of snapshots."""
    snapshots = run.u.T
    values, vectors = np.linalg.eigh(snapshots.T @ (run.mass @ snapshots))
    largest = np.argsort(values)[::-1][:RANK]
    return np.asarray(snapshots @ vectors[:, largest] / np.sqrt(values[largest]))


def best_of_three(points: PointSet, forces: Floats, temperatures: Floats) -> tuple[float, ReducedHistory]:
    """Seconds and result of the fastest of three reduced runs."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        history = solve_reduced([points], TIMES, forces, temperatures=[temperatures], keep=["p"])
        found.append((time.perf_counter() - begin, history))
    return min(found, key=lambda pair: pair[0])


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| cells per side | unknowns | points | full run, s | reduced points | error of u | reduced step, ms | in a batch, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        full = "not run" if row.full_seconds is None else f"{row.full_seconds:.1f}"
        lines.append(
            f"| {row.cells} | {row.unknowns} | {row.full_points} | {full} | {row.points} | {row.error:.1e} "
            f"| {100 * row.seconds:.1f} | {100 * row.batch_seconds:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cases = [[int(number) for number in word.split(":")] for word in sys.argv[1:] or ["6"]]
    print(table([measure(*case) for case in cases]))
