"""What is said to Slurm: sbatch, squeue, scancel. Imported only where jobs are wanted, because dask-jobqueue is an extra."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from dask_jobqueue.slurm import SLURMJob
from distributed.core import Status

COMMAND_SECONDS = 60


class Job(SLURMJob):
    """A job that a refused submission does not break: what sbatch said is kept for the one who looks after the jobs."""

    refusal: str = ""

    async def start(self) -> None:
        """Submit."""
        try:
            await super().start()  # type: ignore[no-untyped-call, unused-ignore]
        except RuntimeError as error:
            # dask-jobqueue's text holds the whole call; Slurm's own words are at its end.
            self.refusal = " ".join(str(error).rpartition("stderr:\n")[2].split())
            self.status = Status.running

    async def close(self) -> None:
        """Cancel, where it was submitted."""
        await super().close()  # type: ignore[no-untyped-call, unused-ignore]
        self.status = Status.closed


def test_only(script: str) -> str:
    """What sbatch has against a job, in its own words; empty where it would take it. Nothing is submitted."""
    done = _run("sbatch", "--test-only", text=script)
    return "" if done is None or done.returncode == 0 else " ".join(done.stderr.split())


def queued(name: str) -> Mapping[str, str] | None:
    """Ids of the jobs of that name that are not over, and why each waits (``None``: it runs); None where there is no answer."""
    done = _run("squeue", "--noheader", f"--name={name}", "--format=%i|%r")
    if done is None or done.returncode != 0:
        return None
    return dict(line.strip().split("|", 1) for line in done.stdout.splitlines() if "|" in line)


def _run(*words: str, text: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """The answer of a command; None where the controller is too busy to give one."""
    try:
        # Programs of the site, found by PATH as for any user of Slurm; the words are ours.
        return subprocess.run(  # noqa: S603
            words, input=text, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None
