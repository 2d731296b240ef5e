"""Scheduler and workers at an address: versions, limits, disks, BLAS, clocks, and each worker's own way to the store."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.doctor.checks import Check, guarded
from nwidth.doctor.machine import LITTLE_ROOM, SLOW_DISK, cgroup_cores, cgroup_memory, disk_rates

if TYPE_CHECKING:
    from nwidth.config import Study

LARGE_SKEW = 1.0
"""Seconds between clocks: logs and ledgers of several machines are read side by side."""
CLOCK_TRIES = 3
ASKED_FOR_TIME = 64
SHOWN = 3
PROBE_BYTES = 8 * 2**20
ANSWER_SECONDS = 60.0


def check_workers(address: str | None, study: Study | None) -> list[Check]:
    """Ask the scheduler and every worker.

    Raises
    ------
    ConfigError
        Nobody answers at the address, or the certificates are wrong.
    """
    with _connected(address, study) as client:
        workers: Mapping[str, Mapping[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
        where = client.scheduler.address
        if not workers:
            return [Check("workers", "fail", f"the scheduler at {where} has none", "start some: dask worker " + where)]
        threads = sum(worker["nthreads"] for worker in workers.values())
        found = [Check("workers", "ok", f"{len(workers)} at {where}, {threads} threads in all")]
        agree = check_versions_of(client)
        tries: list[tuple[str, Callable[[], list[Check]]]] = [("clocks", lambda: [check_clocks(client, list(workers))])]
        if agree.status == "ok":  # what does not speak our version cannot be asked for more
            tries += [("machines", lambda: check_machines(client, workers, study))]
            tries += [("worker reads", lambda: [check_reads(client, study)])] if study is not None else []
        return [*found, agree, *(check for name, attempt in tries for check in guarded(name, attempt))]


@contextmanager
def _connected(address: str | None, study: Study | None) -> Iterator[Any]:
    from nwidth.clusters.address import resolved
    from nwidth.clusters.tls import check_handshake, security_of
    from nwidth.workers import client_at

    place = resolved(address or (study.workers.address if study is not None else None) or "")
    security = security_of(place, study.workers.tls if study is not None else None, study.folder if study is not None else Path())
    if security is not None:
        check_handshake(place, security)
    with client_at(place, security) as client:
        yield client


def check_versions_of(client: Any) -> Check:
    """Packages of the scheduler and of all workers beside ours; whoever differs is named."""
    from nwidth.clusters.versions import OURS, mismatch

    answers = client.get_versions(packages=list(OURS))
    ours = answers["client"]["packages"]
    ends: list[tuple[str, Any, tuple[str, ...]]] = [("the scheduler", answers["scheduler"], ("dask", "distributed"))]
    ends += [(f"the worker {address}", answer, OURS) for address, answer in sorted(answers["workers"].items())]
    wrong = [
        f"{who} has {found}"
        for who, answer, names in ends
        if (found := mismatch(ours, (answer or {}).get("packages", {}), names))
    ]
    if not wrong:
        return Check(
            "versions", "ok", "client, scheduler and workers agree: " + ", ".join(f"{name} {ours[name]}" for name in OURS)
        )
    return Check("versions", "fail", _shown(wrong), "install the same lock file, or use the same image, on both sides")


def _shown(sentences: list[str]) -> str:
    more = len(sentences) - SHOWN
    return "; ".join(sentences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


def check_clocks(client: Any, workers: list[str]) -> Check:
    """How far the workers' clocks are from ours, beyond what the way there and back leaves open."""
    skews = {address: _skew(client, address) for address in workers[:ASKED_FOR_TIME]}
    furthest = max(skews, key=lambda address: abs(skews[address][0]))
    skew, open_ = skews[furthest]
    found = f"{len(skews)} workers asked; the furthest from ours, {furthest}, is {skew:+.3f} s off (±{open_:.3f} s)"
    if abs(skew) - open_ > LARGE_SKEW:
        return Check(
            "clocks", "warn", found, "synchronise the clocks (chrony, ntpd): logs would be out of order, signatures refused"
        )
    return Check("clocks", "ok", found)


def _skew(client: Any, address: str) -> tuple[float, float]:
    """(seconds that a worker's clock is ahead, half the way there and back): of the quickest of some tries."""
    tries = []
    for _ in range(CLOCK_TRIES):
        start = time.time()
        there = client.run(time.time, workers=[address])[address]
        end = time.time()
        tries.append((end - start, there - (start + end) / 2))
    way, skew = min(tries)
    return skew, way / 2


def check_machines(client: Any, workers: Mapping[str, Mapping[str, Any]], study: Study | None) -> list[Check]:
    """What every worker's own process sees: memory and its limits, BLAS threads, and its local folder."""
    answers: Mapping[str, Any] = client.run(look_around, on_error="return")
    silent = [f"{address}: {answer!r}" for address, answer in answers.items() if isinstance(answer, BaseException)]
    if silent:
        return [Check("machines", "fail", _shown(silent), "see the logs of these workers")]
    return [_memory(answers, workers, study), _threads(answers, workers), _disks(answers)]


def look_around(dask_worker: Any) -> dict[str, Any]:
    """Runs in a worker: what it has; a full or slow disk is an answer, and no error."""
    import numpy as np
    import psutil  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_info

    np.ones((2, 2)) @ np.ones((2, 2))
    folder = Path(dask_worker.local_directory)
    try:
        written, read = disk_rates(folder, PROBE_BYTES)
        disk = ""
    except OSError as error:
        written = read = 0.0
        disk = str(error.strerror)
    status = os.statvfs(folder)
    return {
        "memory": psutil.virtual_memory().available,
        "container": cgroup_memory(),
        "cores": cgroup_cores() or float(len(os.sched_getaffinity(0))),
        "blas": max((pool["num_threads"] for pool in threadpool_info() if pool.get("user_api") == "blas"), default=0),
        "host": os.uname().nodename,
        "folder": str(folder),
        "free": status.f_bavail * status.f_frsize,
        "disk": disk,
        "written": written,
        "read": read,
    }


def _memory(answers: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]], study: Study | None) -> Check:
    """Limits: those that Dask keeps, those that the container kills at, and what the study counts on."""
    limits = {address: int(worker["memory_limit"] or 0) for address, worker in workers.items()}
    wrong = [
        f"the worker {address} may use {limits[address] / 2**30:.3g} GiB, and its container is killed at {inner / 2**30:.3g} GiB"
        for address, answer in answers.items()
        if (inner := answer["container"]) is not None and limits.get(address, 0) > inner
    ]
    if wrong:
        return Check(
            "worker memory", "fail", _shown(wrong), "start workers with a --memory-limit some 512 MiB below the container's"
        )
    wanted = 0 if study is None else study.workers.memory
    small = [f"the worker {address} has {limit / 2**30:.3g} GiB" for address, limit in limits.items() if 0 < limit < wanted]
    if small:
        advice = f"lower workers.memory, which counts on {wanted / 2**30:.3g} GiB, or start workers with --memory-limit"
        return Check("worker memory", "fail", _shown(small), advice)
    unlimited = [address for address, limit in limits.items() if limit == 0]
    if unlimited:
        return Check(
            "worker memory", "warn", f"{len(unlimited)} workers have no limit, such as {unlimited[0]}",
            "start workers with --memory-limit: one that grows is then ended by its nanny, and not by the system",
        )  # fmt: skip
    return Check("worker memory", "ok", f"limits of {min(limits.values()) / 2**30:.3g} GiB at least")


def _threads(answers: Mapping[str, Any], workers: Mapping[str, Mapping[str, Any]]) -> Check:
    """Threads of workers beside cores; BLAS has one thread per task where a run limits it, which it does itself."""
    crowded = [
        f"the worker {address} has {workers[address]['nthreads']} threads on {answer['cores']:g} cores"
        for address, answer in answers.items()
        if workers.get(address, {}).get("nthreads", 0) > answer["cores"]
    ]
    if crowded:
        return Check(
            "worker threads", "warn", _shown(crowded), "start workers with fewer --nthreads: more only wait for each other"
        )
    threads = ", ".join(str(count) for count in sorted({answer["blas"] for answer in answers.values()}))
    cores = min(answer["cores"] for answer in answers.values())
    hosts = len({answer["host"] for answer in answers.values()})
    return Check("worker threads", "ok", f"{cores:g} cores at least, on {hosts} host(s); BLAS has {threads} threads, in a run 1")


def _disks(answers: Mapping[str, Any]) -> Check:
    """The folders where workers spill and keep what they start with."""
    full = [
        f"the worker {address} cannot write {answer['folder']}: {answer['disk']}"
        for address, answer in answers.items()
        if answer["disk"]
    ]
    if full:
        return Check(
            "worker disks", "fail", _shown(full), "make room there, or start these workers with another --local-directory"
        )
    little = [
        f"the worker {address} has {answer['free'] / 1e9:.3g} GB left in {answer['folder']}"
        for address, answer in answers.items()
        if answer["free"] < LITTLE_ROOM
    ]
    if little:
        return Check(
            "worker disks", "warn", _shown(little), "make room there, or start these workers with another --local-directory"
        )
    written, read = (min(answer[name] for answer in answers.values()) / 1e6 for name in ("written", "read"))
    found = f"the slowest writes {written:.0f} MB/s and reads {read:.0f} MB/s"
    if 1e6 * min(written, read) < SLOW_DISK:
        return Check("worker disks", "warn", found, "start workers with --local-directory on a disk of their node")
    return Check("worker disks", "ok", found)


def check_reads(client: Any, study: Study) -> Check:
    """Every worker reads the study's store by itself, all at once, as a pass does."""
    from nwidth.doctor.store import largest_field, timed_reads
    from nwidth.stores import open_store

    store = open_store(study.store_url, options=study.store_options)
    schema = store.schema()
    if not schema.n_snapshots:
        return Check("worker reads", "ok", "the store is empty")
    answers: Mapping[str, Any] = client.run(timed_reads, store.reference(), largest_field(study, schema), on_error="return")
    failed = [f"the worker {address}: {answer}" for address, answer in answers.items() if isinstance(answer, BaseException)]
    if failed:
        return Check(
            "worker reads", "fail", _shown(failed), "give the store by a path or URL that every node reaches, with its rights"
        )
    slowest = min(answers, key=lambda address: answers[address].rate)
    together = sum(answer.rate for answer in answers.values())
    found = f"{together / 1e6:.0f} MB/s in all; the slowest worker, {slowest}: {answers[slowest].words}"
    return Check("worker reads", "ok", found)
