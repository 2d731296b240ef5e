"""Who computes: threads of this process, local worker processes, or a cluster at an address. All reduce the same passes.

    executor.run(graph, progress) -> {root name: result}

BLAS runs on one thread per worker thread everywhere: two pools on the same cores spin on each other.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nwidth.errors import ConfigError, RunError
from nwidth.operations.observing import labelled
from nwidth.windows import POLL_SECONDS, Flights, watching
from nwidth.zarr_settings import zarr_settings
from nwidth_graphs.placement import DEVICE_VARIABLE
from nwidth_graphs.threads import reduce_on_threads
from nwidth_graphs.topology import MIN_WINDOW_LEAVES, blocks_per_task, window_leaves
from nwidth_graphs.trees import Gathered

if TYPE_CHECKING:
    from nwidth_graphs.trees import TaskGraph

Progress = Callable[[str, int, int], None]
"""``progress(pass name, blocks done, blocks in all)``."""

CONNECT_SECONDS = 20
UNGUARDED = (
    "no local worker could be started: each of them imports the script that asks for it; put what the script runs under "
    '`if __name__ == "__main__":`, or set workers.kind = "threads"'
)
# Of Dask's own loggers: a worker whose heartbeat is on its way while the cluster closes would print a traceback at ERROR. What
# goes wrong with work reaches the driver as an exception, and people as a sentence.
QUIET = logging.CRITICAL


class Executor(Protocol):
    """Runs a graph and gives the values of its roots."""

    @property
    def description(self) -> str:
        """Who computes, for the provenance."""
        ...

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        ...

    def addresses(self) -> dict[str, str]:
        """``scheduler`` and, where there is one, ``dashboard``: where others can watch."""
        ...

    def place(self, graph: TaskGraph, name: str) -> TaskGraph:
        """The pass with its blocks split among the workers of a pool; the graph itself where there is nothing to split."""
        ...

    def run(self, graph: TaskGraph, name: str, progress: Progress | None = None) -> dict[str, Any]:
        """Compute all roots of `graph`; `name` labels the pass for people."""
        ...


@dataclass(frozen=True)
class ThreadExecutor:
    """Threads of this process: for data in its memory, and for studies that shall take little of it."""

    threads: int
    n_workers: int = 1

    @property
    def description(self) -> str:
        """For the provenance."""
        return f"{self.threads} threads of one process"

    def addresses(self) -> dict[str, str]:
        """None: there is no scheduler to watch."""
        return {}

    def place(self, graph: TaskGraph, name: str) -> TaskGraph:
        """The graph itself: all threads are alike."""
        return graph

    def run(self, graph: TaskGraph, name: str, progress: Progress | None = None) -> dict[str, Any]:
        """Run on threads that end with the pass, and their memory with them; BLAS is limited to one thread meanwhile."""
        from threadpoolctl import threadpool_limits

        total, numbers = graph.n_leaves, itertools.count(1)

        def done() -> None:
            if progress is not None:
                progress(name, next(numbers), total)

        with threadpool_limits(1), zarr_settings():
            if all(tree.array is None for tree in graph.trees):
                return reduce_on_threads(graph, self.threads, done)
            return self._with_dask(graph, done)

    def _with_dask(self, graph: TaskGraph, done: Callable[[], object]) -> dict[str, Any]:
        """Blocks that Dask makes are reduced where it makes them, in one graph."""
        import dask.threaded
        from dask.callbacks import Callback
        from dask.threaded import ContextAwareThreadPoolExecutor

        window, gathered = graph.whole, Gathered(graph)
        names = set(window.leaf_names)

        def posttask(key: Any, *_: object) -> None:
            if isinstance(key, tuple) and key[0] in names:
                done()

        with Callback(posttask=posttask), ContextAwareThreadPoolExecutor(self.threads, "nwidth") as pool:
            gathered.add(window, dask.threaded.get(window.graph, list(window.keys), pool=pool))
        return gathered.roots()


@dataclass(frozen=True)
class ClusterExecutor:
    """Workers of a Dask cluster, through its client."""

    client: Any
    n_workers: int
    description: str
    device: str = "cpu"
    """As in a study's ``workers.device``."""

    def addresses(self) -> dict[str, str]:
        """``scheduler`` and, where there is one, ``dashboard``: where others can watch."""
        scheduler = getattr(self.client.scheduler, "address", "")
        links = {"scheduler": str(scheduler), "dashboard": str(self.client.dashboard_link or "")}
        return {name: link for name, link in links.items() if link}

    def place(self, graph: TaskGraph, name: str) -> TaskGraph:
        """Where the workers are a pool, split the pass by a probe; see `nwidth.pooling`.

        Raises
        ------
        RunError
            As `run` does.
        """
        if self.device != "pool":
            return graph
        from nwidth.pooling import place

        with self._in_words(name), self._standing_in():
            return place(self.client, labelled(graph, name), self._window(graph)[0])

    def run(self, graph: TaskGraph, name: str, progress: Progress | None = None) -> dict[str, Any]:
        """Run on the cluster, window by window; the driver receives the small results of windows, and merges them.

        Raises
        ------
        RunError
            Workers died repeatedly on one block, or the cluster went away.
        """
        from threadpoolctl import threadpool_limits

        def report(done: int) -> None:
            if progress is not None:
                progress(name, min(done, graph.n_leaves), graph.n_leaves)

        graph = labelled(graph, name)
        # Tickets bound what a window ships, so of a split pass there is one window at a time.
        split = graph.placement is not None
        flights, gathered = Flights(at_once=1) if split else Flights(), Gathered(graph)
        with self._in_words(name), self._standing_in() if split else nullcontext():
            windows = graph.windows(*self._window(graph))
            # One BLAS thread: what is merged here has the bits that it would have in a worker.
            with threadpool_limits(1), watching(self.client, flights, report if progress is not None else None):
                for window, values in flights.gathered(self.client, windows):
                    gathered.add(window, values)
            report(graph.n_leaves)
        return gathered.roots()

    def _standing_in(self) -> AbstractContextManager[None]:
        from nwidth.pooling import standing_in

        return standing_in(self.client)

    @contextmanager
    def _in_words(self, name: str) -> Iterator[None]:
        """Turn what a cluster raises into one sentence."""
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError
        from distributed.comm.core import CommClosedError

        try:
            yield
        except KilledWorker as error:
            raise RunError(
                f"pass {name!r}: {error.allowed_failures + 1} workers died one after the other on the same block, the last at "
                f"{error.last_worker.address}; most often memory was short: raise workers.memory, or lower workers.threads"
            ) from error
        except (FutureCancelledError, CommClosedError) as error:
            raise RunError(
                f"pass {name!r}: the cluster ({self.description}) went away before it was done; start it again, then run again"
            ) from error

    def _window(self, graph: TaskGraph) -> tuple[int, int]:
        """As `window_of`; a pass of few blocks need not ask how many threads there are."""
        if blocks_per_task(graph.n_leaves, 1) == 1:
            return MIN_WINDOW_LEAVES, 1
        from distributed.comm.core import CommClosedError

        try:
            threads = sum(self.client.nthreads().values())
        except OSError as error:
            raise CommClosedError(str(error)) from error
        return window_of(graph.n_leaves, threads)


def window_of(n_leaves: int, threads: int) -> tuple[int, int]:
    """Blocks of a window, and of a task, of a pass over so many blocks."""
    per_task = blocks_per_task(n_leaves, threads)
    return window_leaves(threads) * per_task, per_task


@contextmanager
def local_cluster(count: int, threads: int, memory: int, device: str = "cpu") -> Iterator[ClusterExecutor]:
    """A cluster of local processes on the loopback interface, closed at the end of the block.

    Raises
    ------
    ConfigError
        `device` asks for a GPU, and this machine has none that CuPy can use; or a script asks for workers as soon as it is
        imported, which each of them does.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise ConfigError(UNGUARDED)
    import dask
    from distributed import Client

    settings = {
        "distributed.admin.log-format": "%(message)s",
        "distributed.worker.memory.spill": False,
        # No block is sent to a busy worker: one that is ten times slower than the others holds up a pass by one block, not two.
        # Waiting for the next block costs milliseconds, and a block takes a good part of a second.
        "distributed.scheduler.worker-saturation": 1.0,
        # Dask's statistical profiler looks at every thread 100 times a second, and each process 50 times at its own clock: a
        # tenth of a core for two processes that do nothing else. Twice a second is enough for blocks of a tenth of a second.
        "distributed.worker.profile.interval": "500ms",
        "distributed.admin.tick.interval": "200ms",
    }
    with (
        dask.config.set(settings),
        _local_workers(count, threads, memory, device) as cluster,
        Client(cluster) as client,
    ):
        yield _executor(client, f"{len(cluster.workers)} local workers x {threads} threads x {memory / 2**30:.3g} GiB", device)


def _local_workers(count: int, threads: int, memory: int, device: str) -> Any:
    """A cluster of `count` processes; in a pool, one more for each GPU of this machine."""
    from distributed import LocalCluster, Scheduler, SpecCluster

    gpus = 0 if device == "cpu" else usable_gpus(device)
    scheduler: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    if device == "pool":
        from nwidth.pooling import local_specification

        options = {"nthreads": threads, "memory_limit": memory, "host": "127.0.0.1", "dashboard": False, "silence_logs": QUIET}
        return SpecCluster(
            workers=local_specification(count, gpus, options),
            scheduler={"cls": Scheduler, "options": {**scheduler, "port": 0}},
            silence_logs=QUIET,
        )
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=threads,
            memory_limit=memory,
            processes=True,
            silence_logs=QUIET,
            resources={"GPU": threads} if device == "cuda" else {},
            **scheduler,
        )
    except RuntimeError as error:
        if not _in_a_script() or "failed to start" not in str(error):
            raise
        raise ConfigError(UNGUARDED) from error


def _in_a_script() -> bool:
    """Whether Python runs a person's own file: not a module, a notebook, or our command."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    return file is not None and getattr(main, "__spec__", None) is None and Path(file).stem != "nwidth"


@contextmanager
def connected_cluster(
    address: str, device: str = "cpu", *, security: Any = None, wait: float | None = None
) -> Iterator[ClusterExecutor]:
    """A running cluster.

    Parameters
    ----------
    security : certificates, as `nwidth.clusters.tls.security_of` gives them; None for an address without TLS
    wait : seconds for the first worker to appear; `CONNECT_SECONDS` by default

    Raises
    ------
    ConfigError
        Nothing answers at the address, it does not accept our certificates, it has no workers, or they have other versions.
    """
    if security is not None:
        from nwidth.clusters.tls import check_handshake

        check_handshake(address, security)
    with client_at(address, security) as client:
        deadline = time.monotonic() + (CONNECT_SECONDS if wait is None else wait)
        while not client.scheduler_info(n_workers=-1)["workers"]:
            if time.monotonic() > deadline:
                raise ConfigError(
                    f"the scheduler at {address!r} has no workers; start some, or raise workers.wait, then run again"
                )
            time.sleep(POLL_SECONDS)
        yield joined(client, f"cluster at {address}", device)


def client_at(address: str, security: Any) -> Any:
    """A Dask client of the scheduler at an address; refused in words where nobody answers."""
    from distributed import Client
    from distributed.versions import VersionMismatchWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VersionMismatchWarning)  # what matters of it is a refusal: `check_versions`
            return Client(address, timeout=CONNECT_SECONDS, security=security)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no Dask scheduler answers at {address!r}: start one, or remove workers.address ({error})") from None


def joined(client: Any, description: str, device: str = "cpu") -> ClusterExecutor:
    """An executor on workers that this process did not start; they must have its versions.

    Raises
    ------
    ConfigError
        A worker has other packages; it is named.
    """
    from nwidth.clusters.versions import check_versions

    check_versions(client)
    return _executor(client, description, device)


def check_workers(executor: ClusterExecutor, threads: int, memory: int, device: str) -> None:
    """Refuse a cluster whose workers are not what the plan counts on: it would die, or wait for ever.

    Raises
    ------
    ConfigError
        A worker has less memory or more threads than the study says, or none has the GPU that the study asks for.
    """
    workers = executor.client.scheduler_info(n_workers=-1)["workers"]
    for address, worker in workers.items():
        if 0 < worker["memory_limit"] < memory:  # 0: the worker was started without a limit
            raise ConfigError(
                f"the worker {address} has {worker['memory_limit'] / 2**20:.0f} MiB, and workers.memory counts on "
                f"{memory / 2**20:.0f} MiB; lower workers.memory, or start workers with --memory-limit"
            )
        if worker["nthreads"] > threads:
            raise ConfigError(
                f"the worker {address} has {worker['nthreads']} threads, and workers.threads counts on {threads}, which "
                f"share its memory; set workers.threads = {worker['nthreads']}, or start workers with --nthreads"
            )
    with_gpu = sum(worker["resources"].get("GPU", 0) >= 1 for worker in workers.values())
    if device != "cpu" and not with_gpu:
        raise ConfigError(
            f'workers.device = "{device}", and none of the {len(workers)} workers ({executor.description}) has a GPU; start '
            'workers with --resources "GPU=1", or set workers.device = "cpu"'
        )
    if device == "pool" and with_gpu == len(workers):
        raise ConfigError(
            f'workers.device = "pool", and all of the {len(workers)} workers ({executor.description}) have a GPU; start '
            'workers without one, too, or set workers.device = "cuda"'
        )


def usable_gpus(device: str) -> int:
    """GPUs of this machine that CuPy can use; one where `placement.DEVICE_VARIABLE` says what stands for a GPU.

    Raises
    ------
    ConfigError
        There is none.
    """
    if os.environ.get(DEVICE_VARIABLE, "cuda") != "cuda":
        return 1
    way_out = 'set workers.device = "cpu"'
    try:
        import cupy  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise ConfigError(f'workers.device = "{device}" needs CuPy, which is not installed; install it, or {way_out}') from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise ConfigError(
            f'workers.device = "{device}", and CuPy finds no usable GPU ({error}); mend the driver, or {way_out}'
        ) from None
    if count == 0:
        raise ConfigError(f'workers.device = "{device}", and this machine has no GPU; {way_out}')
    return int(count)


def executor_of(client: Any) -> ClusterExecutor:
    """An executor on a client that the caller owns."""
    return _executor(client, "the caller's Dask client")


def client_of(executor: Executor) -> Any:
    """The Dask client behind an executor; None of one that computes in this process."""
    return executor.client if isinstance(executor, ClusterExecutor) else None


def _executor(client: Any, description: str, device: str = "cpu") -> ClusterExecutor:
    from nwidth.operations.observing import attach
    from nwidth.worker_plugin import WorkerSettings

    client.register_plugin(WorkerSettings())
    attach(client)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return ClusterExecutor(client, len(workers), description, device)
