"""What an online step costs, and that the mesh has no part in it: ``python -m tests.cube.online 6 12 24``.

For every number of cells per side: the high-fidelity run, ten modes, a rule of cubature to 1e-5, and the same run reduced, alone
and as one of a batch of draws. Times are wall-clock seconds of one process; the reduced ones are the best of three.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.materials import IsotropicHardening, KinematicHardening, LinearElastic, NortonKinematic
from nwidth_graphs.kernels.reduced_newton import project_loads, solve_reduced
from nwidth_graphs.kernels.reduced_problem import PointSet, ReducedHistory
from tests.cube.grid import CubeGrid
from tests.cube.solver import CubeParameters, CubeRecords, solve_cube

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
    seconds: float
    batch_seconds: float
    """For each draw of a batch of `DRAWS`."""


def measure(cells: int, draws: int = DRAWS) -> Row:
    """Solve, reduce, and solve again on the reduced model."""
    begin = time.perf_counter()
    run = solve_cube(CubeParameters(), cells)
    full_seconds = time.perf_counter() - begin
    modes = pod_modes(run)
    points, temperature = reduced_points(run, CubeGrid(cells), modes)
    forces = project_loads(modes, run.force)[None]
    seconds, history = best_of_three(points, forces, temperature[None])
    # The draws of a batch differ, so that none is another's double: loads within one per cent.
    scales = np.linspace(0.99, 1.01, draws)[:, None, None]
    batch_seconds, _ = best_of_three(points, scales * forces, np.repeat(temperature[None], draws, axis=0))
    error = np.linalg.norm(history.q[0, 1:] @ modes.T - run.u[1:], axis=1) / np.linalg.norm(run.u[1:], axis=1)
    return Row(
        cells, run.u.shape[1], len(run.weights), full_seconds, points.count, float(error.max()), seconds, batch_seconds / draws
    )


def pod_modes(run: CubeRecords) -> NDArray[np.float64]:
    """Modes (n, RANK) in the mass inner product, by the method of snapshots."""
    snapshots = run.u.T
    values, vectors = np.linalg.eigh(snapshots.T @ (run.mass @ snapshots))
    largest = np.argsort(values)[::-1][:RANK]
    return np.asarray(snapshots @ vectors[:, largest] / np.sqrt(values[largest]))


def reduced_points(run: CubeRecords, grid: CubeGrid, modes: NDArray[np.float64]) -> tuple[PointSet, NDArray[np.float64]]:
    """The points of a rule for the internal forces of the run, and the temperature (T, Q) there."""
    strains = grid.mode_strains(modes)
    integrands = np.einsum("qsi,jqs->ijq", strains, run.sigma[1:], optimize=True).reshape(-1, len(run.weights))
    rule = nnomp(integrands, run.weights, TOLERANCE)
    temperature = grid.at_points(run.temperature.T).T[:, rule.points]
    return PointSet(strains[rule.points], rule.weights, LAW), temperature


def best_of_three(
    points: PointSet, forces: NDArray[np.float64], temperatures: NDArray[np.float64]
) -> tuple[float, ReducedHistory]:
    """Seconds and result of the fastest of three reduced runs."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        history = solve_reduced([points], np.linspace(0.0, 2.0, 11), forces, temperatures=[temperatures], keep=["p"])
        found.append((time.perf_counter() - begin, history))
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
    print(table([measure(int(word)) for word in sys.argv[1:] or ["6"]]))
