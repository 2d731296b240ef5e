"""``python -m tests.scale [--quick]``: how a pass scales, as tables in Markdown.

Three tables: what a block costs driver and scheduler, whatever the number of blocks; fixed work on more and more workers (strong
scaling); work that grows with the workers (weak scaling). Workers are simulated: real ones, many in a process, that sleep.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable

from nwidth.workers import executor_of, local_cluster
from tests.scale.hive import simulated_cluster
from tests.scale.simulation import Measure, measure

MIB = 2**20
COLUMNS = (
    "workers | blocks | s per block | seconds | ideal | efficiency | driver + scheduler CPU ms / block | making tasks µs / block"
    " | most tasks in the scheduler | driver's peak grew by MB"
)


def costs(sizes: Iterable[int]) -> Iterable[Measure]:
    """A no-op leaf on a real cluster of two processes, in growing passes: one process, so peaks only ever grow."""
    with local_cluster(2, 1, 2**30) as executor:
        measure(executor, 64, 0.0)  # imports, connections
        for blocks in sizes:
            yield measure(executor, blocks, 0.0)


def strong(workers: Iterable[int], blocks: int, leaf_seconds: float) -> Iterable[Measure]:
    """The same blocks on more and more workers."""
    for count in workers:
        yield _simulated(count, blocks, leaf_seconds)


def weak(workers: Iterable[int], blocks_each: int, leaf_seconds: float) -> Iterable[Measure]:
    """As many blocks per worker, on more and more workers."""
    for count in workers:
        yield _simulated(count, count * blocks_each, leaf_seconds)


def _simulated(workers: int, blocks: int, leaf_seconds: float) -> Measure:
    with simulated_cluster(workers) as client:
        executor = executor_of(client)
        measure(executor, 2 * workers, 0.0)
        return measure(executor, blocks, leaf_seconds)


def line(made: Measure) -> str:
    """One line of a table."""
    return (
        f"| {made.workers} | {made.blocks:,} | {made.leaf_seconds:g} | {made.seconds:.2f} | {made.ideal_seconds:.2f} | "
        f"{made.efficiency:.2f} | {1e3 * made.cpu_per_block:.2f} | {1e6 * made.build_seconds / made.blocks:.1f} | "
        f"{made.most_tasks:,} | {made.peak_growth_bytes / MIB:.0f} |"
    )


def table(title: str, measures: Iterable[Measure]) -> None:
    """Print a table line by line, as its passes end."""
    print(f"\n### {title}\n\n| {COLUMNS} |\n|{' --- |' * len(COLUMNS.split(' | '))}", flush=True)
    for made in measures:
        print(line(made), flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute instead of ten")
    quick = parser.parse_args(arguments).quick
    load = os.getloadavg()[0]
    print(f"{time.strftime('%Y-%m-%d')}, {len(os.sched_getaffinity(0))} cores, load {load:.1f} at the start")
    table("cost of a block", costs((100, 1_000) if quick else (100, 1_000, 10_000, 100_000)))
    table("strong scaling", strong((1, 8, 64) if quick else (1, 2, 4, 8, 16, 32, 64, 128), 256 if quick else 1024, 0.1))
    table("weak scaling", weak((1, 8, 64) if quick else (1, 4, 16, 64, 128), 16, 0.5))
    return 0


if __name__ == "__main__":
    sys.exit(main())
