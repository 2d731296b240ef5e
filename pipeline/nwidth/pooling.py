"""A pool of CPU and GPU workers: who is who, how long each step of a block takes on either, and so where every block goes.

    workers ──resource GPU?──> slots, host or device
    a few blocks of the pass itself ──each way──> seconds of each step ──split_blocks──> the way of every block

The blocks of the probe are leaves of the pass like all others: their results stay on the cluster until the pass takes them, so
every byte is read once. A pass that is too small to probe, or resumed, is not split: then whoever is free takes the next block,
with the device that it has.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth_graphs.leaves import Tally
from nwidth_graphs.placement import DEVICE_VARIABLE, current_device
from nwidth_graphs.pool import DEVICE_SLOT, HOST_SLOT, IN_TRANSIT, Placement, Rates, Way, split_blocks, ways
from nwidth_graphs.source import FieldSource

if TYPE_CHECKING:
    from nwidth_graphs.trees import TaskGraph, Tree

# The first block of a way pays for imports, a first connection and a device that wakes up; the faster of two does not.
PROBE_BLOCKS = 2
# A probe that is more than half of the pass would decide what it was to find out.
MIN_PROBES = 2
# A worker that died comes back within seconds where something starts it again; after this, others stand in for it.
GRACE_SECONDS = 10.0
LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Pool:
    """The workers of a cluster by kind: address -> leaves at a time."""

    hosts: Mapping[str, int]
    devices: Mapping[str, int]

    @property
    def mixed(self) -> bool:
        """Whether there is anything to split."""
        return bool(self.hosts) and bool(self.devices)


def pool_of(client: Any) -> Pool:
    """Give every worker of the cluster, and each that comes later, its slots, and say who is who."""
    from nwidth.worker_plugin import PoolRole, take_role

    client.register_plugin(PoolRole())
    client.run(take_role)  # those whose plugin was there before may have stood in for others since
    workers = client.scheduler_info(n_workers=-1)["workers"]

    def having(slot: str) -> dict[str, int]:
        return {address: int(count) for address, worker in workers.items() if (count := worker["resources"].get(slot, 0)) >= 1}

    return Pool(having(HOST_SLOT), having(DEVICE_SLOT))


def place(client: Any, graph: TaskGraph, leaves: int) -> TaskGraph:
    """The pass with its blocks split among the workers of the pool, by a probe of `PROBE_BLOCKS` blocks for every way.

    `leaves` are those of a window. The graph itself comes back where there is nothing to split.
    """
    trees = [index for index, tree in enumerate(graph.trees) if _on_device(tree)]
    pool = pool_of(client)
    if not trees or not pool.mixed:
        return graph
    largest = max(trees, key=lambda index: len(graph.trees[index].blocks))
    open_ways = [way for way in Way if way is not Way.SHIPPED or graph.trees[largest].read is not None]
    first = open_ways * PROBE_BLOCKS
    size, in_transit = len(graph.trees[largest].blocks), IN_TRANSIT * len(pool.devices)
    if size < MIN_PROBES * len(first):
        return graph
    rest = bytes([Way.HOST]) * (size - len(first))
    rates, held = _probe(client, graph.placed(Placement({largest: bytes(first) + rest}, in_transit)), largest, first, leaves)
    if rates is None:
        return graph
    threads, n_gpu = sum(pool.hosts.values()), len(pool.devices)
    gpu_threads = max(1, sum(pool.devices.values()) // n_gpu)
    found: dict[int, bytes] = {}
    for index in trees:
        blocks = len(graph.trees[index].blocks)
        split = split_blocks(rates, threads, n_gpu, blocks, gpu_threads=gpu_threads)
        found[index] = ways(split, blocks, first if index == largest else ())
    return graph.placed(Placement(found, in_transit, rates, held))


def _on_device(tree: Tree) -> bool:
    """Whether the leaves of a tree read for themselves, and their arithmetic runs on a device."""
    source = tree.shared.get("source")
    return (
        tree.array is None
        and isinstance(source, FieldSource)
        and source.array is None
        and source.interface is None
        and source.mass_entries == 0
    )


def _probe(client: Any, graph: TaskGraph, tree: int, first: Sequence[Way], leaves: int) -> tuple[Rates | None, Any]:
    """Run the first leaves of a tree, each its way, and time their steps; None where a way has no leaf that read."""
    probe = graph.probe(tree, len(first), leaves)
    if probe is None:
        return None, None
    source: FieldSource = graph.trees[tree].shared["source"]
    block_bytes = source.largest_panel * source.snapshots * source.itemsize
    futures = client.get(*probe, sync=False)
    tallies = client.gather(client.map(_tally_of, futures, pure=False))
    fresh = {way: [t for t, w in zip(tallies, first, strict=True) if w == way and t.blocks > t.blocks_reused] for way in Way}
    if any(not fresh[way] for way in set(first)):
        return None, futures
    copy = client.submit(_copy_seconds, block_bytes, resources={DEVICE_SLOT: 1}, pure=False).result()
    ship = _ship_seconds(client, block_bytes) if Way.SHIPPED in first else math.inf
    return rates_of(fresh, copy, ship), futures


def rates_of(tallies: Mapping[Way, Sequence[Tally]], copy: float, ship: float) -> Rates:
    """Seconds per block of every step, each from its fastest leaf; `copy` and `ship` were measured by themselves. Pure."""

    def least(seconds: str, *of: Way) -> float:
        return min(float(getattr(tally, seconds)) / tally.blocks for way in of for tally in tallies.get(way, ()))

    on_device = least("compute_seconds", Way.DEVICE, Way.SHIPPED)
    return Rates(
        decode=least("read_seconds", Way.HOST, Way.SHIPPED),
        multiply=least("compute_seconds", Way.HOST),
        device_decode=least("read_seconds", Way.DEVICE),
        copy=min(copy, on_device),
        # The leaf's own time has the copy in it; a clock is no finer than this.
        device_multiply=max(on_device - copy, 1e-6),
        ship=ship,
    )


def _tally_of(result: Any) -> Tally:
    tally: Tally = result.tally
    return tally


def _copy_seconds(n_bytes: int) -> float:
    """Seconds to move that much to this worker's device, the fastest of `PROBE_BLOCKS`."""
    device, block = current_device(), np.zeros(n_bytes, np.uint8)
    found = []
    for _ in range(PROBE_BLOCKS):
        started = time.perf_counter()
        device.to_device(block)
        device.wait()
        found.append(time.perf_counter() - started)
    return min(found)


def _ship_seconds(client: Any, block_bytes: int) -> float:
    """Seconds from worker to worker for one block, from what the probe's own took; 0 where none was large enough to tell."""
    received = [entry for entries in client.run(_received).values() for entry in entries]
    rates = [bandwidth for total, bandwidth in received if total >= block_bytes / 2]
    return block_bytes / max(rates) if rates else 0.0


def _received(dask_worker: Any) -> list[tuple[int, float]]:
    return [(entry["total"], entry["bandwidth"]) for entry in list(dask_worker.transfer_incoming_log)[-4 * PROBE_BLOCKS :]]


@contextmanager
def standing_in(client: Any) -> Iterator[None]:
    """While a split pass runs: where all workers of one kind have gone for good, those of the other take their place.

    A task waits for a worker with its slot for ever. So when no worker has had one for `GRACE_SECONDS`, all get it: what was
    meant for a device is then computed on the host, and the other way round.
    """
    stop = threading.Event()

    def look() -> None:
        missing_since: dict[str, float] = {}
        while not stop.wait(LOOK_SECONDS):
            try:
                workers = client.scheduler_info(n_workers=-1)["workers"].values()
                for slot in (HOST_SLOT, DEVICE_SLOT):
                    if not workers or any(worker["resources"].get(slot, 0) >= 1 for worker in workers):
                        missing_since.pop(slot, None)
                    elif time.monotonic() - missing_since.setdefault(slot, time.monotonic()) > GRACE_SECONDS:
                        client.run(_stand_in, slot)
                client.run_on_scheduler(_wake)
            except (OSError, RuntimeError, TimeoutError):  # the cluster is going away: the pass itself will tell
                return

    thread = threading.Thread(target=look, daemon=True, name="nwidth-pool")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def _wake(dask_scheduler: Any) -> None:
    """Have tasks that wait for a slot looked at again: Dask does so when a worker joins, and not when its resources change."""
    if dask_scheduler.unrunnable:
        for worker in list(dask_scheduler.workers.values()):
            runnable = dask_scheduler.bulk_schedule_unrunnable_after_adding_worker(worker)
            dask_scheduler.transitions(runnable, stimulus_id="nwidth-pool")


async def _stand_in(slot: str, dask_worker: Any) -> None:
    await dask_worker.set_resources(**{slot: dask_worker.state.nthreads})


def local_specification(count: int, gpus: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """The workers of a local pool for Dask's `SpecCluster`: `count` without a device, and one for each of the GPUs."""
    from distributed import Nanny

    threads = options["nthreads"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = visible if len(visible) == gpus and all(visible) else [str(index) for index in range(gpus)]
    hosts = {f"cpu-{index}": {**options, "env": {DEVICE_VARIABLE: "cpu"}} for index in range(count)}
    devices = {
        f"gpu-{index}": {**options, "resources": {"GPU": threads}, "env": {"CUDA_VISIBLE_DEVICES": name}}
        for index, name in enumerate(names)
    }
    return {name: {"cls": Nanny, "options": chosen} for name, chosen in {**hosts, **devices}.items()}
