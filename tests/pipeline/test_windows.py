"""Windows on clusters: the same bits on any number of workers, and bad days that cost time only."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest

from nwidth.errors import RunError
from nwidth.windows import IN_FLIGHT, MAX_LEAD, Flights
from nwidth.workers import ClusterExecutor, ThreadExecutor, executor_of
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.topology import MIN_WINDOW_LEAVES
from nwidth_graphs.trees import Gathered, TaskGraph, Tree, Window, build
from tests.graphs.problems import source_of
from tests.oracles.pod import matrix_with_spectrum
from tests.repository import REPOSITORY

LEAVES = 8


@pytest.fixture
def in_process(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of a cluster of threads of this process, with `request.param` workers."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=request.param, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def in_windows(client: Any, graph: TaskGraph, leaves: int = LEAVES, spy: Callable[[Window, Flights], None] | None = None) -> Any:
    """The roots of a graph that a cluster computes in windows of so many leaves; `spy` sees each window as it lands."""
    flights, gathered = Flights(), Gathered(graph)
    for window, values in flights.gathered(client, graph.windows(leaves)):
        if spy is not None:
            spy(window, flights)
        gathered.add(window, values)
    return gathered.roots()


def join(parts: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """A merge in which the order shows."""
    return tuple(entry for part in parts for entry in part)


def keep(result: Any, **_: Any) -> Any:
    """Closes nothing."""
    return result


def tree_of(leaf: Callable[..., Any], n_blocks: int, merge: Callable[..., Any] = join, **shared: Any) -> TaskGraph:
    """A pass of one tree over the numbers below `n_blocks`."""
    return build([Tree("join", "u", leaf, range(n_blocks), merge, keep, shared)], "aa")


def number(block: int, **_: Any) -> tuple[int, ...]:
    """A block's own number."""
    return (block,)


@pytest.mark.parametrize("in_process", [1, 2, 4], indirect=True)
@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda r: r.name)
def test_windows_on_any_cluster_give_the_same_bits(in_process: Any, reduction: Reduction) -> None:
    """One, two or four workers, in windows of 8 or 64 leaves or in one graph: the same bits."""
    source = source_of(matrix_with_spectrum(2600, 8, 0.5 ** np.arange(8), 0), [20] * 130)
    expected = ThreadExecutor(2).run(factor_graph([source], reduction, "aa"), "here")[f"{reduction.name}-u"]
    for leaves in (8, 64, 512):
        there = in_windows(in_process, factor_graph([source], reduction, "aa"), leaves)[f"{reduction.name}-u"]
        assert np.array_equal(there.factor, expected.factor)
        assert there.tally.blocks == 130


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_executors_cut_large_passes_themselves(in_process: Any) -> None:
    """More blocks than a window holds: threads and clusters give them in order, and progress counts across windows."""
    blocks = MIN_WINDOW_LEAVES + 100
    for executor in (ThreadExecutor(2), executor_of(in_process)):
        calls: list[int] = []
        roots = executor.run(tree_of(number, blocks), "join", lambda name, done, total: calls.append(done))  # noqa: B023
        assert roots == {"join-u": tuple(range(blocks))}
        assert calls == sorted(calls)
        assert calls[-1] == blocks


def wait_at_first(block: int, *, seconds: float) -> tuple[int, ...]:
    """The first block takes long, the others no time."""
    if block == 0:
        time.sleep(seconds)
    return (block,)


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_a_straggler_is_overtaken_but_not_left_behind(in_process: Any) -> None:
    """While one block takes long, later windows land, at most so many that the driver's memory stays bounded."""
    landed: list[int] = []

    def spy(window: Window, flights: Flights) -> None:
        landed.append(window.pieces[0].index)
        assert len(flights.flying) < IN_FLIGHT

    roots = in_windows(in_process, tree_of(wait_at_first, 20 * LEAVES, seconds=3.0), spy=spy)
    assert roots == {"join-u": tuple(range(20 * LEAVES))}
    overtaking = landed[: landed.index(0)]
    # The straggler's worker may hold a block of one more window, or its merge.
    assert len(overtaking) >= MAX_LEAD - 3
    assert max(overtaking) < MAX_LEAD
    assert sorted(landed) == list(range(20))


def fail_at(block: int, *, bad: int) -> tuple[int, ...]:
    """One block cannot be computed."""
    if block == bad:
        raise ArithmeticError(f"block {block}")
    time.sleep(0.01)
    return (block,)


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_an_error_ends_all_windows(in_process: Any) -> None:
    """A block that fails ends the pass with its own error, and the cluster forgets every other window."""
    with pytest.raises(ArithmeticError, match="block 20"):
        in_windows(in_process, tree_of(fail_at, 50 * LEAVES, bad=20))
    deadline = time.monotonic() + 10
    while in_process.cluster.scheduler.tasks:
        assert time.monotonic() < deadline, "tasks of an ended pass are left"
        time.sleep(0.05)


def full_disk(block: int, *, bad: int) -> tuple[int, ...]:
    """One block finds the disk full."""
    if block == bad:
        raise OSError(errno.ENOSPC, "no space left on device")
    return (block,)


@dataclass(frozen=True)
class GoneScheduler:
    """A client whose scheduler does not answer when results are fetched; it is the error of a refused connection."""

    client: Any

    def get(self, *arguments: Any, **options: Any) -> Any:
        """Submit, as ever."""
        return self.client.get(*arguments, **options)

    def gather(self, futures: Any) -> Any:
        """Nobody answers."""
        raise OSError("Timed out trying to connect to tcp://127.0.0.1:9 after 3 s")


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_an_error_of_a_block_is_not_a_lost_scheduler(in_process: Any) -> None:
    """An OSError that a block raised arrives as it was; one of the connection to the scheduler is a closed connection."""
    from distributed.comm.core import CommClosedError

    with pytest.raises(OSError, match="no space left") as own:
        in_windows(in_process, tree_of(full_disk, 3 * LEAVES, bad=20))
    assert own.value.errno == errno.ENOSPC
    with pytest.raises(CommClosedError, match="Timed out"):
        in_windows(GoneScheduler(in_process), tree_of(number, 3 * LEAVES))


@dataclass(frozen=True)
class DyingMerge:
    """Joins, but the first merge of block `first` kills its own process."""

    marker: str
    first: int

    def __call__(self, parts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        if parts[0][0] == self.first and _is_a_worker():
            try:
                os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return join(parts)
            os.kill(os.getpid(), signal.SIGKILL)
        return join(parts)


def _is_a_worker() -> bool:
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def test_a_worker_lost_in_the_tree_costs_time_only(tmp_path: Path, scheduler: str) -> None:
    """A worker process that is killed in a merge of the second window costs time only: the result is the right one."""
    from distributed import Client

    marker = tmp_path / "died"
    with Client(scheduler) as client:
        roots = in_windows(client, tree_of(number, 300, DyingMerge(str(marker), 64)), leaves=64)
        client.wait_for_workers(2, timeout=30)
    assert marker.exists()
    assert roots == {"join-u": tuple(range(300))}


def slow_on_one(block: int, *, seconds: float, slowdown: float) -> tuple[Any, ...]:
    """A block whose time depends on who has it: the worker named 0 is slower."""
    from distributed import get_worker

    name = get_worker().name
    time.sleep(seconds * (slowdown if name == 0 else 1.0))
    return (name,)


def timed(executor: ClusterExecutor, blocks: int, seconds: float, slowdown: float) -> tuple[float, list[Any]]:
    """Seconds of a pass, and who had each block."""
    graph = tree_of(slow_on_one, blocks, seconds=seconds, slowdown=slowdown)
    started = time.perf_counter()
    names = executor.run(graph, "slow")["join-u"]
    return time.perf_counter() - started, list(names)


def test_a_slow_worker_takes_few_blocks(scheduler: str) -> None:
    """Beside a worker ten times slower, the fast one does nearly all blocks, and the pass waits for no queue on the slow one."""
    from distributed import Client

    blocks, seconds, slowdown = 60, 0.05, 10.0
    with Client(scheduler) as client:
        client.wait_for_workers(2, timeout=30)
        executor = executor_of(client)
        timed(executor, 4, 0.0, 1.0)  # connections
        shared, _ = timed(executor, blocks // 2, seconds, 1.0)  # two fast workers, half of the blocks: what a machine takes today
        took, names = timed(executor, blocks, seconds, slowdown)
    # The slow one's share is 1 block in 11; it may have one more under way and one fetched ahead when the fast one has no more.
    assert names.count(0) <= blocks // 11 + 3
    # Alone, the fast one takes four times `shared`. A fair share of blocks on the slow one would take 15 s.
    assert took < 4 * shared + 2 * seconds * slowdown


@contextmanager
def scheduler_process() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler and a worker as processes of their own, as somebody else would start them."""
    with tempfile.TemporaryDirectory() as folder:
        contact = Path(folder) / "scheduler.json"
        common = ["--scheduler-file", str(contact), "--no-dashboard"]
        scheduler = _dask("scheduler", "--host", "127.0.0.1", "--port", "0", *common)
        worker = _dask("worker", *common, "--nthreads", "1", "--no-nanny", "--local-directory", folder)
        try:
            while not contact.exists() or not contact.read_text().endswith("}"):
                time.sleep(0.1)
            yield scheduler, json.loads(contact.read_text())["address"]
        finally:
            for process in (worker, scheduler):
                process.kill()
                process.wait()


def _dask(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "dask", *arguments], cwd=REPOSITORY, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_scheduler_killed_between_windows_is_one_sentence() -> None:
    """A scheduler process that is killed in the middle of a long pass ends it with a sentence, and does not hang."""
    from distributed import Client

    settings = {"distributed.comm.timeouts.connect": "3 s", "distributed.comm.retry.count": 0}
    with scheduler_process() as (process, address), dask.config.set(settings), Client(address) as client:
        client.wait_for_workers(1, timeout=30)
        executor = executor_of(client)

        def kill(name: str, done: int, total: int) -> None:
            if done > MIN_WINDOW_LEAVES:
                process.kill()

        with pytest.raises(RunError, match=r"the cluster .* went away before it was done; start it again"):
            executor.run(tree_of(fail_at, 20 * MIN_WINDOW_LEAVES, bad=-1), "join", kill)
