"""One Dask cluster of real processes for all tests of a session that need one: starting it costs seconds, using it nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

WORKER_BYTES = 2 * 2**30


@contextmanager
def real_cluster(n_workers: int = 2, memory: int = WORKER_BYTES, threads: int = 1) -> Iterator[Any]:
    """A `LocalCluster` of processes on the loopback interface, as a person would start one for ``workers.address``."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=n_workers,
        threads_per_worker=threads,
        memory_limit=memory,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=50,
    ) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers of one thread and 2 GiB each."""
    with real_cluster() as cluster:
        yield cluster.scheduler_address


@contextmanager
def real_pool(memory: int = WORKER_BYTES) -> Iterator[Any]:
    """A CPU worker and a worker whose GPU is the stand-in, two threads each, in processes of their own."""
    from distributed import Nanny, Scheduler, SpecCluster

    options: dict[str, Any] = {"nthreads": 2, "memory_limit": memory, "host": "127.0.0.1", "dashboard": False, "silence_logs": 50}
    kinds: dict[str, Any] = {
        "cpu": {"env": {"NWIDTH_DEVICE": "cpu"}},
        "gpu": {"env": {"NWIDTH_DEVICE": "strict"}, "resources": {"GPU": 2}},
    }
    with SpecCluster(
        workers={name: {"cls": Nanny, "options": {**options, **kind}} for name, kind in kinds.items()},
        scheduler={
            "cls": Scheduler,
            "options": {"host": "127.0.0.1", "dashboard": False, "dashboard_address": "127.0.0.1:0", "port": 0},
        },
        silence_logs=50,
    ) as cluster:
        yield cluster
