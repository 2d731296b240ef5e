"""One pass over blocks that take a given time and give nothing: what is left is what driver and scheduler cost."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nwidth.workers import ClusterExecutor
from nwidth_graphs.layout import Panel
from nwidth_graphs.trees import TaskGraph, Tree, build

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Measure:
    """What one simulated pass cost."""

    blocks: int
    workers: int
    leaf_seconds: float
    build_seconds: float
    """Making all windows, nothing else."""
    seconds: float
    cpu_seconds: float
    """Of this process: driver and scheduler, and the making of the windows."""
    peak_growth_bytes: int
    """How much the largest resident size of this process grew."""
    most_tasks: int
    """The most tasks that the scheduler knew at one time."""

    @property
    def ideal_seconds(self) -> float:
        """Blocks shared evenly, and nothing else."""
        return -(-self.blocks // self.workers) * self.leaf_seconds

    @property
    def efficiency(self) -> float:
        """Ideal over measured."""
        return self.ideal_seconds / self.seconds

    @property
    def cpu_per_block(self) -> float:
        """Driver and scheduler, seconds of processor."""
        return self.cpu_seconds / self.blocks


def sleep_leaf(panel: Panel, *, seconds: float) -> int:
    """A block: `seconds` of somebody's time."""
    if seconds:
        time.sleep(seconds)
    return 1


def add(parts: Sequence[int]) -> int:
    """The smallest merge there is."""
    return sum(parts)


def keep(result: int, **_: Any) -> int:
    """Closes nothing."""
    return result


def sleeping_graph(blocks: int, leaf_seconds: float) -> TaskGraph:
    """A pass over `blocks` panels."""
    panels = [Panel(index, (slice(100 * index, 100 * index + 100),)) for index in range(blocks)]
    return build([Tree("sleep", "u", sleep_leaf, panels, add, keep, {"seconds": leaf_seconds})], "0123456789abcdef")


def build_seconds(blocks: int) -> float:
    """Seconds to make all windows of a pass, one after the other."""
    started = time.perf_counter()
    for _ in sleeping_graph(blocks, 0.0).windows():
        pass
    return time.perf_counter() - started


def measure(executor: ClusterExecutor, blocks: int, leaf_seconds: float) -> Measure:
    """Run one pass and measure it; the workers should be other processes, or their time counts as the scheduler's."""
    building = build_seconds(blocks)
    peak = _peak_bytes()
    graph = sleeping_graph(blocks, leaf_seconds)
    with _sampling(executor.client) as most:
        started, cpu = time.perf_counter(), time.process_time()
        results = executor.run(graph, "sleep", lambda name, done, total: None)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    assert results == {"sleep-u": blocks}
    growth = _peak_bytes() - peak
    return Measure(blocks, executor.n_workers, leaf_seconds, building, seconds, cpu, growth, max(most))


@contextmanager
def _sampling(client: Any) -> Iterator[list[int]]:
    """Numbers of tasks that the scheduler, which lives in this process, has at regular times."""
    seen, stop = [0], threading.Event()
    scheduler = client.cluster.scheduler

    def sample() -> None:
        while not stop.wait(SAMPLE_SECONDS):
            seen.append(len(scheduler.tasks))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def _peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
