"""Interpolation points beside the bare products: ``python -m tests.benchmarks.interpolation [--rows 1000000] [--modes 100]``.

    products      U^T U of every block, summed up the same tree: the repository's own Gram pass
    tournament    Q-DEIM proposals of every block, merged up the same tree: one pass
    exact         Q-DEIM of the whole basis in rounds, each a pass

All run on the same blocks, held as a store gives them, by the same scheduler with a thread for each core and one BLAS thread in
each. The bases: `random`, whose rows all weigh the same, which is the worst case of lazy updates; `spread`, whose rows differ as
those of a field with a few loaded places do; `smooth`, waves over the rows, as of a field on a mesh.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.factor import factor_graph
from nwidth_graphs.interpolation import Proposed, exact_points, tournament_graph, tournament_root
from nwidth_graphs.kernels.interpolation import amplification_of, qdeim_bound
from nwidth_graphs.kernels.qr import solve_right
from nwidth_graphs.layout import Panel
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource, Reading
from nwidth_graphs.trees import TaskGraph
from tests.benchmarks.__main__ import machine

Floats = NDArray[np.float64]

BASES = ("random", "spread", "smooth")
BLOCKS = 16
REPEATS = 3


@dataclass(frozen=True)
class Block:
    """``read(panel)`` of a basis in memory, stored mode by mode as (r, n)."""

    modes: Floats

    def __call__(self, panel: Panel) -> Reading:
        return Reading(self.modes[:, panel.selection[0]].T)


@dataclass(frozen=True)
class Measured:
    """Seconds of each pass on one basis, least of some, and how good the points are."""

    basis: str
    rows: int
    modes: int
    products: float
    tournament: float
    products_cpu: float
    """Seconds of all threads: what a machine that is shared with others does not blur."""
    tournament_cpu: float
    exact: float
    rounds: int
    tournament_amplification: float
    exact_amplification: float
    random_amplification: float
    """Of as many rows drawn at random."""
    log10_bound: float
    """Of Q-DEIM's proven bound."""

    @property
    def ratio(self) -> float:
        """Tournament over bare products, in seconds of all threads."""
        return self.tournament_cpu / self.products_cpu


def orthonormal_modes(kind: str, rows: int, modes: int) -> Floats:
    """An orthonormal basis, (r, n): mode by mode, as it lies in a store."""
    random = np.random.default_rng(0)
    if kind == "smooth":
        x = np.linspace(0.0, 1.0, rows)
        values = np.stack([np.exp(-x) * np.cos(np.pi * k * x) for k in range(modes)])
    else:
        values = random.standard_normal((modes, rows))
        values *= np.exp(random.standard_normal(rows)) if kind == "spread" else 1.0
    for _ in range(2):  # Cholesky QR, twice
        values = np.ascontiguousarray(solve_right(values.T, np.linalg.cholesky(values @ values.T).T).T)
    return values


def measure(kind: str, rows: int, modes: int, blocks: int = BLOCKS, repeats: int = REPEATS) -> Measured:
    """Measure one basis on this machine."""
    from threadpoolctl import threadpool_limits

    values = orthonormal_modes(kind, rows, modes)
    cuts = np.linspace(0, rows, blocks + 1).astype(int)
    panels = tuple(Panel(i, (slice(int(a), int(b)),)) for i, (a, b) in enumerate(itertools.pairwise(cuts)))
    source = FieldSource("u", panels, modes, 8, read=Block(values))
    gram, points = (
        (lambda: execute(factor_graph([source], GRAM, "bench"))),
        (lambda: execute(tournament_graph([source], "bench"))),
    )
    with threadpool_limits(1):
        products, products_cpu, _ = _least(gram, repeats)
        tournament, tournament_cpu, roots = _least(points, repeats)
        exact, _, choice = _least(lambda: exact_points(source, execute, "bench"), 1)
    found: Proposed = roots[tournament_root("u")]
    drawn = np.random.default_rng(0).choice(rows, modes, replace=False)
    return Measured(
        basis=kind, rows=rows, modes=modes, products=products, tournament=tournament,
        products_cpu=products_cpu, tournament_cpu=tournament_cpu, exact=exact, rounds=choice.rounds,
        tournament_amplification=found.amplification, exact_amplification=amplification_of(choice.proposal.rows),
        random_amplification=amplification_of(values[:, drawn].T), log10_bound=float(np.log10(qdeim_bound(rows, modes))),
    )  # fmt: skip


def execute(graph: TaskGraph) -> Mapping[str, Any]:
    """Run a graph on threads, one for each core."""
    import dask.threaded

    values = dask.threaded.get(graph.graph, list(graph.roots.values()), num_workers=len(os.sched_getaffinity(0)))
    return dict(zip(graph.roots, values, strict=True))


def _least(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Least seconds, least seconds of all threads, and the answer."""
    wall, cpu, answer = float("inf"), float("inf"), None
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        answer = work()
        wall, cpu = min(wall, time.perf_counter() - started), min(cpu, time.process_time() - used)
    return wall, cpu, answer


def table(found: list[Measured]) -> str:
    """All bases as Markdown."""
    head = "| basis | products | tournament | ratio of CPU time | exact, rounds | amplification: tournament, exact, random rows |"
    rows = [
        f"| {one.basis} | {one.products:.2f} s | {one.tournament:.2f} s | {one.ratio:.1f} | {one.exact:.2f} s, {one.rounds} | "
        f"{one.tournament_amplification:.3g}, {one.exact_amplification:.3g}, {one.random_amplification:.3g} |"
        for one in found
    ]
    return "\n".join([head, "|---" * 6 + "|", *rows])


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, and write the records where asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.interpolation", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--modes", type=int, default=100)
    parser.add_argument("--out", type=Path, help="write the records as JSON")
    asked = parser.parse_args(arguments)
    found = [measure(kind, asked.rows, asked.modes) for kind in BASES]
    print(f"{asked.rows} x {asked.modes}, {machine()}\n\n{table(found)}")
    if asked.out:
        asked.out.write_text(json.dumps([asdict(one) | {"ratio": one.ratio} for one in found], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
