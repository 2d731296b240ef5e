"""Who computes changes nothing: threads and clusters of any size give the same bits, and GPU leaves stay on GPU workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import ConfigError, FieldError
from nwidth.workers import ThreadExecutor, connected_cluster, executor_of, local_cluster
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource, Reading
from tests.graphs.problems import row_panels, source_of
from tests.oracles.pod import matrix_with_spectrum

FIELD = np.ascontiguousarray(matrix_with_spectrum(6000, 10, 0.3 ** np.arange(10), 0).T)


def lazy_field() -> xr.DataArray:
    return xr.DataArray(da.from_array(FIELD, chunks=(5, 700)), dims=("snapshot", "x"), name="u")


@pytest.fixture
def in_process(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of a cluster of threads of this process, with `request.param` workers."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=request.param, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def bits(basis: nw.Basis) -> tuple[NDArray[Any], ...]:
    return basis.modes.values, basis.spectrum.singular_values, basis.coefficients.values, basis.certificate.relative_errors


@pytest.mark.parametrize("in_process", [1, 2, 4], indirect=True)
@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_any_number_of_workers_gives_the_same_bits(in_process: Any, route: Any) -> None:
    """A cluster of one, two or four workers gives the very bits of the threads of this process."""
    here = nw.pod(lazy_field(), rank=4, route=route)
    there = nw.pod(lazy_field(), rank=4, route=route, client=in_process)
    for one, other in zip(bits(here), bits(there), strict=True):
        assert np.array_equal(one, other)


def blocks_per_thread(dask_scheduler: Any) -> float:
    """How many blocks a scheduler gives to a thread at a time."""
    return float(dask_scheduler.WORKER_SATURATION)


def test_processes_give_the_same_bits_and_their_modes() -> None:
    """Worker processes return the same bits, modes are not lost in a copy, a repair and a mean come back; no block is queued."""
    here = nw.pod(lazy_field(), rank=9, route="gram", centre=True)
    assert here.certificate.repaired
    for count in (1, 2):
        with local_cluster(count, 1, 2**30) as executor:
            there = nw.pod(lazy_field(), rank=9, route="gram", centre=True, client=executor.client)
            assert executor.client.run_on_scheduler(blocks_per_thread) == 1.0
            for one, other in zip((*bits(here), here.mean.values), (*bits(there), there.mean.values), strict=True):
                assert np.array_equal(one, other)


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_bad_values_come_back_in_words(in_process: Any) -> None:
    """A NaN that a worker met is the same sentence as one met here."""
    field = lazy_field().copy()
    field[3, 4321] = np.nan
    with pytest.raises(FieldError, match="'u' is nan at x 4321, in snapshot 3"):
        nw.pod(field, client=in_process)


@pytest.mark.parametrize("in_process", [2], indirect=True)
def test_progress_counts_the_leaves(in_process: Any) -> None:
    """Here and on a cluster, also at the second run, each pass ends at all of its leaves and never counts backwards."""
    for client in (None, in_process, in_process):
        calls: list[tuple[str, int, int]] = []
        nw.pod(lazy_field(), rank=3, client=client, progress=lambda *call, calls=calls: calls.append(call))
        for name in ("gram", "lift"):
            done = [(n, total) for pass_name, n, total in calls if pass_name == name]
            assert done == sorted(done)
            assert done[-1][0] == done[-1][1] >= 1
            assert all(n <= total for n, total in done)


def test_threads_need_no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where leaves read for themselves, Dask makes no graph and runs none; what it makes itself, it runs."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("Dask was asked")

    monkeypatch.setattr("dask.threaded.get", refuse)
    monkeypatch.setattr("nwidth_graphs.trees._window", refuse)
    result = ThreadExecutor(2).run(factor_graph([source_of(FIELD.T, [1000] * 6)], GRAM, "aa"), "gram")
    np.testing.assert_allclose(result["gram-u"].factor, FIELD @ FIELD.T, atol=1e-12)
    with pytest.raises(AssertionError, match="Dask was asked"):
        nw.pod(lazy_field(), rank=3)


def test_threads_report_themselves() -> None:
    """The executor of this process names its threads, runs a graph, and calls progress once for each leaf."""
    calls: list[int] = []
    executor = ThreadExecutor(2)
    graph = factor_graph([source_of(FIELD.T, [1000] * 6)], GRAM, "aa")
    result = executor.run(graph, "gram", lambda name, done, total: calls.append(done))
    np.testing.assert_allclose(result["gram-u"].factor, FIELD @ FIELD.T, atol=1e-12)
    assert calls == [1, 2, 3, 4, 5, 6]
    assert executor.description == "2 threads of one process"


def note_the_worker() -> None:
    """Count a read with the worker that did it."""
    from distributed import get_worker

    worker = vars(get_worker())
    worker["reads"] = worker.get("reads", 0) + 1


def read_and_note(panel: Any) -> Reading:
    note_the_worker()
    return Reading(FIELD.T[panel.selection[0]])


def load_and_note(block: NDArray[Any]) -> NDArray[Any]:
    note_the_worker()
    return block


@pytest.mark.parametrize("lazy", [False, True])
def test_gpu_leaves_run_only_where_a_gpu_is(lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a worker with the resource GPU stands one without: leaves run on the first only, whatever Dask would fuse."""
    from distributed import Client, Scheduler, SpecCluster, Worker

    monkeypatch.setenv("NWIDTH_DEVICE", "cpu")  # no CuPy: the place is what is tested
    blocks: dict[str, Any] = {"read": read_and_note}
    if lazy:
        blocks = {"array": da.from_array(FIELD, chunks=(10, 500)).map_blocks(load_and_note, dtype=float, meta=np.empty((0, 0)))}
    graph = factor_graph([FieldSource("u", row_panels([500] * 12), 10, 8, **blocks)], GRAM, "aa", device="cuda")
    workers = {
        name: {"cls": Worker, "options": {"nthreads": 1, "dashboard": False, **extra}}
        for name, extra in (("plain", {}), ("device", {"resources": {"GPU": 1}}))
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0", "port": 0, "host": "127.0.0.1"},
    }
    with SpecCluster(workers=workers, scheduler=scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(2)
        result = executor_of(client).run(graph, "gram")
        reads = {name: vars(worker).get("reads", 0) for name, worker in cluster.workers.items()}
    np.testing.assert_allclose(result["gram-u"].factor, FIELD @ FIELD.T, atol=1e-12)
    assert reads == {"plain": 0, "device": 12}


def test_no_scheduler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nothing answers is refused with the setting to change."""
    monkeypatch.setattr("nwidth.workers.CONNECT_SECONDS", 0.5)
    words = r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'.*remove workers\.address"
    with pytest.raises(ConfigError, match=words), connected_cluster("tcp://127.0.0.1:9"):
        pass
