"""Jobs of workers are kept at their number: one that ended is replaced, and one can tell when that is of no use any more.

    every few seconds:  squeue ──> a job that is gone, and whose worker is ──> dropped ──> a new one in its place

Dask's own cluster replaces neither a worker whose lifetime ended (dask-jobqueue, issue 691) nor a job that was cancelled while it
waited. Two things end the trying: jobs that end, one after the other, before their worker has joined, and submissions that are
refused while no worker is left.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

POLL_SECONDS = 5.0
"""Slurm's controller serves everybody: it is asked no more often than that."""
AT_ONCE = 20
"""Jobs submitted in one round."""
BARREN_JOBS = 3
"""Jobs that end before their worker has joined, while no other worker is there: more of them would do no better."""
REFUSED_ROUNDS = 3
"""Rounds in a row in which every submission is refused while nobody works; one refusal may be a busy controller."""

Queue = Callable[[], Mapping[str, str] | None]


@dataclass
class Keeper:
    """Looks after the jobs of a `dask_jobqueue.SLURMCluster`."""

    cluster: Any
    jobs: int
    """How many there should be."""
    queue: Queue
    """Asks Slurm which jobs of this cluster are not over, and why they wait."""
    log_of: Callable[[str], Path]
    """Where a job writes its errors."""
    connected: int = 0
    """Workers that have joined."""
    reasons: str = ""
    """Why jobs wait, in Slurm's words."""
    failure: str = ""
    """Why there is no point in going on; empty while there is."""
    _fruitful: set[str] = field(default_factory=set)
    _barren: list[str] = field(default_factory=list)
    _refused: int = 0
    _submitted: int = 0

    def look(self) -> None:
        """One round: see what became of the jobs, submit what is missing, decide whether to go on. For one thread at a time."""
        waiting = self.queue()
        refusals = self.cluster.sync(self._tend, waiting)
        self.reasons = ", ".join(sorted({reason for reason in (waiting or {}).values() if reason != "None"}))
        alive = self.connected or (waiting is None or bool(waiting)) or not refusals
        self._refused = 0 if alive else self._refused + 1
        self.failure = self._judged(refusals)

    def _judged(self, refusals: list[str]) -> str:
        if len(self._barren) >= BARREN_JOBS:
            last = self._barren[-1]
            return (
                f"{len(self._barren)} jobs in a row ended before their worker had joined, the last ({last}) with "
                f"{last_line(self.log_of(last))!r}; mend workers.slurm (interface, python, prologue, walltime), then run again; "
                f"logs: {self.log_of(last).parent}"
            )
        if self._refused >= REFUSED_ROUNDS:
            return f"Slurm takes no more jobs: {refusals[0]!r}; change workers.slurm, or wait, then run again"
        return ""

    async def _tend(self, waiting: Mapping[str, str] | None) -> list[str]:
        """Drop what is over, submit what is missing, in the cluster's own loop; what sbatch refused, in its words."""
        names = {str(worker.name) for worker in self.cluster.scheduler.workers.values()}
        self.connected = len(names)
        for name, job in list(self.cluster.workers.items()):
            if self._worker_names(name) & names:
                self._fruitful.add(job.job_id)
            elif waiting is not None and job.job_id not in waiting:
                if job.job_id not in self._fruitful:
                    self._barren.append(job.job_id)
                self._drop(name)
        if names:
            self._barren.clear()
        for name in set(self.cluster.worker_spec) - set(self.cluster.workers):
            del self.cluster.worker_spec[name]
        for _ in range(min(AT_ONCE, self.jobs - len(self.cluster.worker_spec))):
            # Never a name twice: some seconds after a worker has gone, Dask cancels the job of its name.
            self._submitted += 1
            self.cluster.worker_spec[f"job-{self._submitted}"] = self.cluster.new_spec
        await self.cluster
        refused = {name: job.refusal for name, job in self.cluster.workers.items() if job.refusal}
        for name in refused:
            self._drop(name)
        return list(refused.values())

    def _worker_names(self, name: Any) -> set[str]:
        """Names of the workers of a job."""
        suffixes = self.cluster.worker_spec.get(name, {}).get("group", [""])
        return {f"{name}{suffix}" for suffix in suffixes}

    def _drop(self, name: Any) -> None:
        del self.cluster.workers[name]
        self.cluster.worker_spec.pop(name, None)

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Look every few seconds, in a thread of its own, while the block lasts.

        Where there is no point in going on the scheduler is closed: whoever waits for results is told that the cluster went away,
        and `failure` says why.
        """
        stop = threading.Event()

        def tend() -> None:
            while not stop.wait(POLL_SECONDS):
                self.look()
                if self.failure:
                    self.cluster.sync(self.cluster.scheduler.close)
                    return

        thread = threading.Thread(target=tend, daemon=True, name="nwidth-jobs")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(timeout=60)


def last_line(log: Path) -> str:
    """The last line of a job's log that says something."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return "no log"
    return lines[-1][-300:] if lines else "an empty log"
