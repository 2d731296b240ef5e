"""What an online step costs, and that the mesh has no part in it: ``python -m tests.cube.online 6 12 24``.

For every number of cells per side: the high-fidelity run, ten modes, a rule of cubature to 1e-5, and the same run reduced, alone
and as one of a batch of draws. Times are processor seconds of one process, best of three for the reduced ones; set
``OPENBLAS_NUM_THREADS=1`` to have one thread. All three meshes take a minute and 0.8 GB.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np

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
    full_seconds: float
    points: int
    error: float
    """Of u, against the full run: the largest of all times."""
    seconds: float
    batch_seconds: float
    """For each draw of a batch of `DRAWS`."""


def measure(cells: int, draws: int = DRAWS) -> Row:
    """Solve, reduce, and solve again on the reduced model."""
    begin = time.process_time()
    run = solve_cube(CubeParameters(), cells)
    full_seconds = time.process_time() - begin
    grid, modes = CubeGrid(cells), pod_modes(run)
    temperature, force = drive(grid, CubeParameters())
    strains = grid.mode_strains(modes)
    weights = np.full(len(strains), grid.weight)
    integrands = np.einsum("qsi,jqs->ijq", strains, run.sigma[1:], optimize=True).reshape(-1, len(weights))
    # By angle: neighbours of a fine mesh are alike, and the largest columns are then exchanged for one another without end.
    rule = nnomp(integrands, weights, TOLERANCE, normalised=True)
    assert rule.error <= TOLERANCE, f"the rule ended with an error of {rule.error:.1e} ({rule.ended})"
    points = PointSet(strains[rule.points], rule.weights, LAW)
    at_points, forces = grid.at_points(temperature.T).T[None][:, :, rule.points], project_loads(modes, force)[None]
    seconds, history = best_of_three(points, forces, at_points)
    # The draws of a batch differ, so that none is another's double: loads within one per cent.
    scales = np.linspace(0.99, 1.01, draws)[:, None, None]
    batch_seconds, _ = best_of_three(points, scales * forces, np.repeat(at_points, draws, axis=0))
    u = run.u[1:]
    error = float((np.linalg.norm(history.q[0, 1:] @ modes.T - u, axis=1) / np.linalg.norm(u, axis=1)).max())
    return Row(cells, len(modes), len(weights), full_seconds, points.count, error, seconds, batch_seconds / draws)


def pod_modes(run: CubeRecords) -> Floats:
    """Modes (n, RANK) in the mass inner product, by the method of snapshots."""
    snapshots = run.u.T
    values, vectors = np.linalg.eigh(snapshots.T @ (run.mass @ snapshots))
    largest = np.argsort(values)[::-1][:RANK]
    return np.asarray(snapshots @ vectors[:, largest] / np.sqrt(values[largest]))


def best_of_three(points: PointSet, forces: Floats, temperatures: Floats) -> tuple[float, ReducedHistory]:
    """Processor seconds and result of the fastest of three reduced runs."""
    found = []
    for _ in range(3):
        begin = time.process_time()
        history = solve_reduced([points], TIMES, forces, temperatures=[temperatures], keep=["p"])
        found.append((time.process_time() - begin, history))
    return min(found, key=lambda pair: pair[0])


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| cells per side | unknowns | points | full run, s | reduced points | error of u | reduced step, ms | in a batch, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.cells} | {row.unknowns} | {row.full_points} | {row.full_seconds:.1f} | {row.points} | {row.error:.1e} "
        f"| {100 * row.seconds:.1f} | {100 * row.batch_seconds:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table([measure(int(cells)) for cells in sys.argv[1:] or ["6"]]))
