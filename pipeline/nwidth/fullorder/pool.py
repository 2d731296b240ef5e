"""Where points run: on threads of this process, or on the workers of a Dask cluster; at most so many at once.

    jobs ──at most `slots` in flight──> submit ──> outcomes, as they finish

Points are independent calls with a process behind each: no graph, no data that move. So this is the interface of
`concurrent.futures`, which Dask's client offers, too, and no task is made by hand. A job is handed out when a slot is free: a
design of a million points is never a million futures.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nwidth.errors import RunError
from nwidth.fullorder.attempts import Job, run_point
from nwidth.fullorder.protocol import Outcome

SLOT = "SOLVER"
"""The resource by which a worker says how many solvers it takes; without it, it takes one for each of its threads."""


@dataclass(frozen=True)
class Pool:
    """Something that runs jobs."""

    submit: Callable[[Job], Future[Outcome]]
    slots: int
    where: str
    """For people."""
    which: Callable[[str], str]
    """Whoever lacks an executable, by name; empty where all have it."""

    def outcomes(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Run `jobs`, and give their outcomes as they come.

        Raises
        ------
        RunError
            The cluster went away.
        """
        coming, flying = iter(jobs), dict[Future[Outcome], Job]()
        try:
            while True:
                while len(flying) < self.slots and (job := next(coming, None)) is not None:
                    flying[self.submit(job)] = job
                if not flying:
                    return
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    yield self._outcome(future, flying.pop(future))
        finally:
            for future in flying:
                future.cancel()

    def _outcome(self, future: Future[Outcome], job: Job) -> Outcome:
        try:
            return future.result()
        except CancelledError:
            raise RunError(f"the cluster ({self.where}) went away; start it again, then produce again") from None
        except Exception as error:  # whatever a worker died of is one point's trouble
            return Outcome(job.point.name, "failed", f"{type(error).__name__}: {error}")


@contextmanager
def threads(slots: int | str, cores_each: int) -> Iterator[Pool]:
    """Threads of this process: each waits for a solver, which is a process of its own."""
    at_once = slots if isinstance(slots, int) else max(1, len(os.sched_getaffinity(0)) // cores_each)
    with ThreadPoolExecutor(at_once, thread_name_prefix="solver") as executor:
        yield Pool(lambda job: executor.submit(run_point, job), at_once, "this machine", _lacking_here)


@contextmanager
def cluster(client: Any, slots: int | str, where: str, coming: int = 1) -> Iterator[Pool]:
    """Workers of a Dask cluster: one solver for each thread, or for each unit of the resource `SLOT` that they have.

    `coming` is how many solvers the workers will take at least, where they are not all there yet.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    offered = int(sum(worker["resources"].get(SLOT, 0) for worker in workers))
    at_once = slots if isinstance(slots, int) else max(coming, offered or sum(worker["nthreads"] for worker in workers))
    asked: dict[str, Any] = {"resources": {SLOT: 1}} if offered else {}
    executor, mark = client.get_executor(pure=False, **asked), secrets.token_hex(4)

    def submit(job: Job) -> Future[Outcome]:
        future: Future[Outcome] = executor.submit(run_point, job, key=f"produce-{job.solver.name}-{job.point.name}-{mark}")
        return future

    def lacking(command: str) -> str:
        found = client.run(shutil.which, command)
        return ", ".join(address for address, path in found.items() if path is None)

    try:
        yield Pool(submit, at_once, where, lacking)
    finally:
        executor.shutdown(wait=False)


def _lacking_here(command: str) -> str:
    return "" if shutil.which(command) else "this machine"
