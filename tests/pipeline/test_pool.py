"""A pool of CPU and GPU workers: one run, three ways for a block, every byte once; workers that go cost time only.

No GPU is needed: the GPU worker's device is `array_api_strict`, whose arrays lie on the host and refuse NumPy.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.config import ReduceSection
from nwidth.errors import ConfigError
from nwidth.pooling import PROBE_BLOCKS, place, pool_of, rates_of
from nwidth.problems import Memory, problem_from_store
from nwidth.runs import run
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import PodResult, Problem
from nwidth.stages.sinks import FolderSink
from nwidth.stores import open_store
from nwidth.workers import ClusterExecutor, ThreadExecutor, check_workers, local_cluster
from nwidth_graphs import placement
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.kernels.gram import EPS
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally
from nwidth_graphs.pool import DEVICE_SLOT, HOST_SLOT, Placement, Way
from nwidth_graphs.reduction import GRAM, Reduction
from nwidth_graphs.source import FieldSource, Reading
from tests.clusters import WORKER_BYTES, real_pool
from tests.graphs.problems import row_panels, source_of
from tests.runs.studies import add_run, snapshots_of, study_of

UNKNOWNS, SNAPSHOTS, RANK = 440_000, 20, 5


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field of 67 MiB, in twelve blocks or more: enough to be probed."""
    folder = tmp_path_factory.mktemp("pool")
    add_run(folder / "store.zarr", "alpha", {"T": snapshots_of(UNKNOWNS, SNAPSHOTS, decades=2)})
    return folder / "store.zarr"


@pytest.fixture(scope="module")
def pool() -> Iterator[Any]:
    """A pool of real processes for all tests that leave it whole."""
    with real_pool() as cluster:
        yield cluster


def passes_of(folder: Path) -> list[dict[str, Any]]:
    """What the record of a run says of its passes."""
    (record,) = [json.loads(path.read_text()) for path in folder.glob("*.json") if "measured" in path.read_text()]
    found: list[dict[str, Any]] = record["measured"]["passes"]
    return found


def test_a_study_on_a_pool(tmp_path: Path, store: Path, pool: Any) -> None:
    """Every pass of a study goes all three ways, reads every byte once, and gives the host's model to rounding.

    Blocks that were to be reduced on the device were, and no others: what a CPU worker computes never is on one.
    """
    workers = {"device": "pool", "threads": 2, "memory": "1 GiB"}
    request = {"rank": RANK, "route": "gram"}
    there = run(study_of(tmp_path / "pool", store, pool.scheduler_address, workers=workers, reduce=request))
    here = run(study_of(tmp_path / "host", store, reduce=request))
    passes = passes_of(there.folder)
    assert [measure["name"] for measure in passes] == ["gram", "lift"]
    for measure, cost, host in zip(passes, there.plan["passes"], here.measured["passes"], strict=True):
        split = measure["split"]
        assert measure["bytes_read"] == cost["bytes_to_read"] == host["bytes_read"]
        assert split["host"] + split["device"] + split["shipped"] == measure["blocks"] >= 6 * PROBE_BLOCKS
        assert min(split["host"], split["device"], split["shipped"]) >= PROBE_BLOCKS
        assert measure["blocks_on_device"] == split["device"] + split["shipped"]
        assert measure["blocks_shipped"] == split["shipped"]
        assert all(seconds > 0 for seconds in split["seconds"].values())
        assert host["split"] is None
        assert measure["peak_bytes"] <= there.plan["peak_bytes_per_worker"]
    pooled, plain = (nw.open_model(result.model).bases["T"] for result in (there, here))
    # A Gram matrix of n products: n eps s_1^2, and so for a singular value s: n eps s_1^2 / s, s >= 0.1 s_1 here.
    values = plain.spectrum.singular_values
    np.testing.assert_allclose(pooled.spectrum.singular_values[:RANK], values[:RANK], rtol=UNKNOWNS * EPS * 100)
    overlap = pooled.modes.values.reshape(RANK, -1) @ plain.modes.values.reshape(RANK, -1).T
    np.testing.assert_allclose(np.abs(overlap), np.eye(RANK), atol=1e-9)


def problem_of(store: Path, scratch: Path, reader: Any) -> tuple[Problem, ReduceSection]:
    """What a run of this store reduces, with its reader wrapped."""
    request = ReduceSection(rank=RANK)
    problem = problem_from_store(open_store(store), request, Memory(WORKER_BYTES), scratch)[0]
    source = problem.sources["T"]
    return replace(problem, sources={"T": replace(source, read=reader(source.read))}), request


def reduced_on(cluster: Any, problem: Problem, request: ReduceSection, folder: Path, progress: Any = None) -> PodResult:
    """Reduce on a pool, as a run does."""
    from distributed import Client

    with Client(cluster) as client:
        executor = ClusterExecutor(client, 2, "a pool", "pool")
        return reduce_problem(problem, request, executor, FolderSink(folder), "pool", progress)


@dataclass(frozen=True)
class DyingOnDevice:
    """Reads as `read` does; the fourth time that a GPU worker reads, its process kills itself, and never again."""

    read: Any
    folder: str

    def __call__(self, panel: Panel) -> Reading:
        if os.environ.get("NWIDTH_DEVICE") == "strict":
            Path(self.folder, f"read-{panel.index}").touch()
            if len(list(Path(self.folder).glob("read-*"))) == PROBE_BLOCKS:
                try:
                    os.close(os.open(Path(self.folder, "died"), os.O_CREAT | os.O_EXCL))
                    os.kill(os.getpid(), signal.SIGKILL)
                except FileExistsError:
                    pass
        return self.read(panel)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Slow:
    """Reads as `read` does, a moment later."""

    read: Any

    def __call__(self, panel: Panel) -> Reading:
        time.sleep(0.05)
        return self.read(panel)  # type: ignore[no-any-return]


def check_singular_values(result: PodResult, n: int = UNKNOWNS, m: int = SNAPSHOTS) -> None:
    """Singular values fall by two decades, as they were made."""
    exact = np.logspace(0, -2, m)
    np.testing.assert_allclose(result.bases[0].spectrum.singular_values, exact, rtol=n * EPS * 1e4)


def test_a_gpu_worker_that_dies_costs_time_only(tmp_path: Path, store: Path) -> None:
    """A GPU worker that is killed among the first blocks comes back, gets its slots again, and the pass ends right."""
    problem, request = problem_of(store, tmp_path, lambda read: DyingOnDevice(read, str(tmp_path)))
    with real_pool() as cluster:
        result = reduced_on(cluster, problem, request, tmp_path / "model.zarr")
    assert (tmp_path / "died").exists()
    check_singular_values(result)
    assert all(measure.blocks == len(problem.sources["T"].panels) for measure in result.passes)


def test_the_others_stand_in_for_a_gpu_worker_that_is_gone(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the only GPU worker leaves in the middle of a pass and none comes back, its blocks are computed on the hosts."""
    monkeypatch.setattr("nwidth.pooling.GRACE_SECONDS", 0.2)
    monkeypatch.setattr("nwidth.pooling.LOOK_SECONDS", 0.1)
    problem, request = problem_of(store, tmp_path, Slow)
    with real_pool() as cluster:
        gone = threading.Event()

        def take_away(name: str, done: int, total: int) -> None:
            if not gone.is_set():
                gone.set()
                cluster.sync(cluster.workers["gpu"].close)

        result = reduced_on(cluster, problem, request, tmp_path / "model.zarr", take_away)
    check_singular_values(result)
    first, second = result.passes
    assert first.split is not None
    assert first.blocks_on_device < first.split["device"] + first.split["shipped"]
    assert (second.split, second.blocks_on_device) == (None, 0)  # nothing is left to split


INTERVALS: list[tuple[str, int, float, float]] = []
STEP_SECONDS = 0.05
ONE_PRODUCT_AT_A_TIME = threading.Lock()
"""As on a device."""


def noted(kind: str) -> None:
    """Take a while, and note when, and in which thread."""
    started = time.perf_counter()
    time.sleep(STEP_SECONDS)
    INTERVALS.append((kind, threading.get_ident(), started, time.perf_counter()))


def read_slowly(panel: Panel) -> Reading:
    noted("read")
    return Reading(np.ones((panel.rows, 2)))


def grow_slowly(total: Any, product: Any, block: Any, centre: bool) -> Any:
    assert type(block).__module__.startswith("array_api_strict")
    with ONE_PRODUCT_AT_A_TIME:
        noted("compute")
    return GRAM.grow(total, product, block, centre)


def test_reading_overlaps_with_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU worker with two slots reads one block while its device is busy with another: most of both times is shared."""
    from distributed import Client, LocalCluster

    monkeypatch.setenv(placement.DEVICE_VARIABLE, "strict")
    slow = Slowly(**{**vars(GRAM), "grow": grow_slowly})
    source = FieldSource("u", row_panels([10] * 12), 2, 8, read=read_slowly)
    INTERVALS.clear()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, resources={"GPU": 2}, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        ClusterExecutor(client, 1, "one GPU worker", "cuda").run(factor_graph([source], slow, "aa", "cuda"), "gram")
    reads, computes = ([entry[1:] for entry in INTERVALS if entry[0] == kind] for kind in ("read", "compute"))
    assert len(reads) == len(computes) == 12
    shared = sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for thread, start, end in reads
        for other, other_start, other_end in computes
        if thread != other
    )
    # Two threads that alternate share all but the first read and the last product; a third leaves room for a busy machine.
    assert shared > 12 * STEP_SECONDS / 3


class Slowly(Reduction):
    """A reduction that travels within this process as it is, not by its name."""

    def __reduce__(self) -> Any:
        return Slowly, tuple(vars(self).values())


def test_slots_follow_what_workers_were_started_with(pool: Any) -> None:
    """A CPU worker has a slot per thread, a GPU worker one per leaf on its device, and neither those of the other for long."""
    from distributed import Client

    with Client(pool) as client:
        for _ in range(2):
            found = pool_of(client)
            assert (list(found.hosts.values()), list(found.devices.values())) == ([2], [2])
            client.run(lend, list(found.hosts), workers=list(found.hosts))  # as if it had stood in for the other
        check_workers(ClusterExecutor(client, 2, "a pool", "pool"), 2, 2**30, "pool")


async def lend(addresses: list[str], dask_worker: Any) -> None:
    """Give a CPU worker a slot of the other kind."""
    assert dask_worker.address in addresses
    await dask_worker.set_resources(**{DEVICE_SLOT: 1})


def test_what_cannot_be_split_is_left_as_it_is(pool: Any) -> None:
    """Few blocks, or blocks that no device can take, go to whoever is free."""
    from distributed import Client

    values = np.random.default_rng(0).standard_normal((120, 3))
    few = factor_graph([source_of(values, [60, 60])], GRAM, "aa")
    with Client(pool) as client:
        assert place(client, few, 512) is few
        mass = factor_graph([replace(source_of(values, [5] * 24), mass_entries=9)], GRAM, "aa")
        assert place(client, mass, 512) is mass


def test_every_field_is_split(pool: Any) -> None:
    """Of two fields the larger is probed, both are split by its rates, and the pass equals the host's."""
    from distributed import Client

    values = np.random.default_rng(0).standard_normal((600, 3))
    sources = [source_of(values[:100], [20] * 5, name="small"), source_of(values, [20] * 30, name="large")]
    graph = factor_graph(sources, GRAM, "aa")
    with Client(pool) as client:
        executor = ClusterExecutor(client, 2, "a pool", "pool")
        placed = executor.place(graph, "gram")
        assert placed.placement is not None
        assert {tree: len(found) for tree, found in placed.placement.ways.items()} == {0: 5, 1: 30}
        results = executor.run(placed, "gram")
    expected = ThreadExecutor(1).run(factor_graph(sources, GRAM, "aa"), "gram")
    for name, partial in expected.items():
        np.testing.assert_allclose(results[name].factor, partial.factor, rtol=0, atol=600 * EPS * 600)
        assert results[name].tally.bytes_read == partial.tally.bytes_read


def test_rates_are_of_the_fastest_leaf() -> None:
    """A first leaf that paid for imports does not count, the copy is taken from the device's time, and bundles count by block."""
    leaves = {
        Way.HOST: [Tally(read_seconds=9, compute_seconds=8, blocks=1), Tally(read_seconds=2, compute_seconds=3, blocks=1)],
        Way.DEVICE: [Tally(read_seconds=8, compute_seconds=4, blocks=8)],
        Way.SHIPPED: [Tally(read_seconds=1, compute_seconds=7, blocks=1)],
    }
    rates = rates_of(leaves, copy=0.125, ship=0.25)
    assert (rates.decode, rates.multiply, rates.device_decode) == (1, 3, 1)
    assert (rates.copy, rates.device_multiply, rates.ship) == (0.125, 0.375, 0.25)


def test_a_pool_needs_both_kinds(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A pool without a GPU worker is refused, and so is one without a CPU worker, each with what to do."""
    from distributed import Client, LocalCluster

    with pytest.raises(ConfigError, match=r'"pool", and none of the 2 workers .* has a GPU; start workers with --resources'):
        run(study_of(tmp_path, store, scheduler, workers={"device": "pool"}))
    with (
        LocalCluster(n_workers=1, processes=False, resources={"GPU": 1}, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        pytest.raises(ConfigError, match=r'"pool", and all of the 1 workers .* have a GPU; start workers without one, too'),
    ):
        check_workers(ClusterExecutor(client, 1, "a cluster", "pool"), 64, 2**20, "pool")


@pytest.mark.slow
def test_a_local_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address, `count` CPU workers and one for each GPU are started, with the slots that go with them."""
    monkeypatch.setenv(placement.DEVICE_VARIABLE, "strict")
    with local_cluster(1, 2, 2**30, "pool") as executor:
        assert executor.n_workers == 2
        found = pool_of(executor.client)
        assert (list(found.hosts.values()), list(found.devices.values())) == ([2], [2])


def test_the_placement_is_recorded() -> None:
    """What a split was made for can be written as JSON."""
    assert json.loads(json.dumps(Placement({0: bytes([1, 2, 3, 3])}, 4).as_dict())) == {
        "host": 1,
        "device": 1,
        "shipped": 2,
        "seconds": None,
    }
    assert HOST_SLOT != DEVICE_SLOT
