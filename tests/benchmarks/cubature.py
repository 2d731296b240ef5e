"""Empirical cubature timed beside its peers: ``python -m tests.benchmarks.cubature [--scale tiny|small|full] [--only PART]``.

    in memory   R x Q integrands in float64, to a tolerance: ours, ours with one point per visit, SciPy's exact solver
    chunked     R x (40 Q) integrands that are made chunk by chunk in single precision, never kept: in passes, in two levels

Every method runs in a process of its own, whose peak is told, and is stopped after a limit; on a machine that is busy with other
work read the seconds of processor time, with OPENBLAS_NUM_THREADS=1 in the environment. Integrands are the work of smooth modes
against stress states with a moving front, in closed form, so that every chunk can be made anew wherever it is wanted. The full
scale is 2000 x 50 000 and 2000 x 2 000 000.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.cubature import IntegrandSource, PointBlock
from nwidth_graphs.kernels.integrands import WorkIntegrands
from nwidth_graphs.kernels.rule import integrals
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.trees import TaskGraph
from tests.benchmarks.watch import watch

Floats = NDArray[np.floating[Any]]

TOLERANCE = 1e-4
WAVES = 64
HARMONICS = 6
# Multiples of the powers of the root of x^4 = x + 1: points that fill the cube evenly from any start on.
STEP = 1.2207440846057596 ** -np.arange(1.0, 4.0)


@dataclass(frozen=True)
class System:
    """Integrands of `modes` against `states` at `points`, from a seed."""

    modes: int
    states: int
    points: int
    seed: int = 0

    @property
    def rows(self) -> int:
        """R."""
        return self.modes * self.states

    def block(self, start: int, stop: int, dtype: type = np.float32) -> WorkIntegrands:
        """Strains and stresses of some of the points."""
        x = (np.arange(start, stop)[:, None] * STEP) % 1.0
        waves, along_modes, along_states, front = self._fields()
        tables: Floats = np.cos(np.pi * x[:, :, None] * np.arange(HARMONICS)).astype(dtype)
        shapes = tables[:, 0, waves[0]] * tables[:, 1, waves[1]] * tables[:, 2, waves[2]]
        strains = shapes @ along_modes.astype(dtype)
        stress = (shapes @ along_states.astype(dtype)).reshape(stop - start, 6, self.states)
        t = np.linspace(0.0, 1.0, self.states)
        path = np.stack([0.2 + 0.6 * t, 0.5 + 0.3 * np.sin(4.0 * t), 0.4 + 0.2 * t])
        square = (x**2).sum(axis=1)[:, None] + (path**2).sum(axis=0) - 2.0 * x @ path
        stress += np.exp(-15.0 * square).astype(dtype)[:, None, :] * front.astype(dtype)[:, None]
        return WorkIntegrands(strains.reshape(-1, 6, self.modes), stress)

    def matrix(self) -> Floats:
        """G (R, Q) in float64."""
        found = np.empty((self.rows, self.points))
        for start in range(0, self.points, 4096):
            stop = min(start + 4096, self.points)
            found[:, start:stop] = self.block(start, stop, np.float64).columns(np.arange(stop - start))
        return found

    def _fields(self) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
        """Wave numbers (3, WAVES); strains of modes (WAVES, 6 N), ever weaker; stresses (WAVES, 6 m), smooth in time; front."""
        random = np.random.default_rng(self.seed)
        waves = random.integers(0, HARMONICS, (3, WAVES))
        decay = (1.0 + np.linalg.norm(waves, axis=0)) ** -2.0
        modes = decay[:, None, None] * random.standard_normal((WAVES, 6, self.modes)) * 0.8 ** np.arange(self.modes)
        t = np.linspace(0.0, 1.0, self.states)
        in_time = np.cos(np.pi * np.arange(8)[:, None] * t) * 0.6 ** np.arange(8)[:, None]
        states = decay[:, None, None] * random.standard_normal((WAVES, 6, 8)) @ in_time
        return waves, modes.reshape(WAVES, -1), states.reshape(WAVES, -1), random.standard_normal(6)


@dataclass(frozen=True)
class Chunks:
    """``read(panel)`` of a system."""

    system: System

    def __call__(self, panel: Panel) -> PointBlock:
        part = panel.selection[0]
        block = self.system.block(part.start, part.stop)
        return PointBlock(block, np.full(panel.rows, 1.0 / self.system.points), block.strains.nbytes + block.stress.nbytes)


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    method: str
    seconds: float | None
    cpu_seconds: float | None = None
    points: int | None = None
    error: float | None = None
    visits: int | None = None
    peak_bytes: int | None = None
    note: str = ""


IN_MEMORY = ("nwidth nnomp, trimmed", "nwidth nnomp", "nwidth nnomp, one point a visit", "scipy nnls")
CHUNKED = ("nwidth in passes", "nwidth in two levels")
SCALES = {"tiny": (4, 10, 2_000), "small": (10, 50, 20_000), "full": (20, 100, 50_000)}
CHUNK = 20_000


def systems(scale: str) -> dict[str, tuple[System, tuple[str, ...]]]:
    """Cases of a scale: system and methods."""
    modes, states, points = SCALES[scale]
    return {
        "in memory": (System(modes, states, points), IN_MEMORY),
        "chunked": (System(modes, states, 40 * points), CHUNKED),
    }


def solve(method: str, system: System) -> dict[str, Any]:
    """Run one method here: seconds of the search alone, points, error, visits."""
    if method in CHUNKED:
        return _chunked(method, system)
    from nwidth_graphs.kernels.cubature import nnomp, nonnegative_exact

    G, weights = system.matrix(), np.full(system.points, 1.0 / system.points)
    start, busy = time.perf_counter(), time.process_time()
    if method == "scipy nnls":
        rule = nonnegative_exact(G, weights)
    else:
        pool = 1 if "one point" in method else 1000
        rule = nnomp(G, weights, TOLERANCE, pool=pool, trim="trimmed" in method)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    b = integrals(G, weights)
    error = float(np.linalg.norm(G[:, rule.points] @ rule.weights - b) / np.linalg.norm(b))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "points": len(rule.points),
        "error": error,
        "visits": rule.visits,
    }


def _chunked(method: str, system: System) -> dict[str, Any]:
    """Threads here, so that the peak of this process is that of all."""
    import dask.threaded

    from nwidth_graphs.cubature_search import measured_error, one_level_rule, two_level_rule

    def run(graph: TaskGraph) -> Mapping[str, Any]:
        values = dask.threaded.get(graph.graph, list(graph.roots.values()), num_workers=2)
        return dict(zip(graph.roots, values, strict=True))

    chunks = IntegrandSource("closed-form", panels((system.points,), (min(CHUNK, -(-system.points // 8)),)), Chunks(system))
    search = one_level_rule if "passes" in method else two_level_rule
    start, busy = time.perf_counter(), time.process_time()
    found = search(chunks, TOLERANCE, run, trim=True)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    error = measured_error(chunks, found.rule.points, found.rule.weights, run).relative
    note = f"{sum(found.counts)} candidates" if found.counts else ""
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "points": len(found.rule.points),
        "error": error,
        "visits": found.passes,
        "note": note,
    }


def measure(method: str, system: System, limit: float) -> Outcome:
    """Run one method in a process of its own, for at most `limit` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        told, result = Path(folder) / "job.json", Path(folder) / "result.json"
        told.write_text(json.dumps({"method": method, "system": asdict(system)}))
        watched = watch([sys.executable, "-m", "tests.benchmarks.cubature", "--child", str(told), str(result)], limit, {})
        if watched.status is None:
            busy = sum(watched.samples[-1].cpu.values())
            return Outcome(method, None, note=f"stopped after {limit:.0f} s, of which {busy:.0f} s of processor time")
        if not result.exists():
            return Outcome(method, None, note=f"failed: {watched.errors.strip().splitlines()[-1:]}")
        return Outcome(method, **json.loads(result.read_text()))


def table(name: str, system: System, outcomes: list[Outcome]) -> str:
    """The outcomes of a case as Markdown."""
    lines = [
        f"\n{name}: {system.rows} x {system.points:,}, to {TOLERANCE:g}\n",
        "| method | seconds | of one core | points | error | visits of all columns | peak GiB | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        if one.seconds is None:
            lines.append(f"| {one.method} | | | | | | | {one.note} |")
            continue
        peak = (one.peak_bytes or 0) / 2**30
        numbers = f"{one.seconds:.2f} | {one.cpu_seconds:.2f} | {one.points} | {one.error:.1e} | {one.visits} | {peak:.2f}"
        lines.append(f"| {one.method} | {numbers} | {one.note} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cubature", description=__doc__)
    parser.add_argument("--scale", choices=tuple(SCALES), default="small")
    parser.add_argument("--only", action="append", help="a part of a case's or of a method's name; may be repeated")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds of one method")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.child:
        return _child(Path(asked.child[0]), Path(asked.child[1]))
    for name, (system, methods) in systems(asked.scale).items():
        chosen = [one for one in methods if not asked.only or any(part in f"{name}: {one}" for part in asked.only)]
        outcomes = []
        for method in chosen:
            outcomes.append(measure(method, system, asked.limit))
            print(outcomes[-1], file=sys.stderr, flush=True)
        if outcomes:
            print(table(name, system, outcomes))
    return 0


def _child(told: Path, result: Path) -> int:
    job = json.loads(told.read_text())
    found = solve(job["method"], System(**job["system"]))
    found["peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result.write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
