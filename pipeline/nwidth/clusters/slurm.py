"""Workers as jobs of Slurm: a scheduler in this process, one job for every worker (or for a few), and this process keeps them.

    this process: scheduler, driver ──sbatch──> job: worker ──joins──┐ TLS
                        ^                       job: worker ──joins──┤
                        └────────────────────────────────────────────┘

The run begins with the first worker and takes in the others as they come. Jobs may end and come back: blocks that were in work
are computed again, with the same bits. When the run is over, or is interrupted, the jobs are cancelled; when this process is
killed, they end by themselves a minute later.
"""

from __future__ import annotations

import math
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from nwidth.clusters.keeping import POLL_SECONDS, Keeper
from nwidth.config import SlurmSection, Study, WorkersSection
from nwidth.errors import ConfigError, RunError
from nwidth.workers import ClusterExecutor, Progress, joined

PROGRAMS = ("sbatch", "squeue", "scancel")
NANNY_BYTES = 256 * 2**20
"""A worker's nanny and its loader, beside the memory that the worker may use: Slurm counts them, and kills the job for them."""
SHORTEST_END, LONGEST_END = 30.0, 300.0
"""Seconds before the end of a job by which its worker has left by itself; one that Slurm kills costs its blocks."""
FIRST_LOOKS = 0.5
"""Seconds between the first looks: on an idle cluster workers are there at once."""


@contextmanager
def slurm_cluster(study: Study, progress: Progress | None = None) -> Iterator[ClusterExecutor]:
    """A cluster of jobs, cancelled at the end of the block.

    `progress` is called with ``queue (<Slurm's reason>)``, the number of workers that have joined, and how many are wanted,
    until the first has come.

    Raises
    ------
    ConfigError
        There is no Slurm or no dask-jobqueue here; sbatch refuses the job (in its words); no worker came in
        ``workers.slurm.queue_wait``; or the jobs end before their workers have joined.
    RunError
        During the block: jobs end again and again, or Slurm takes no more of them.
    """
    workers, options = study.workers, study.workers.slurm or SlurmSection()
    _refuse_without_slurm()
    from distributed import Client

    from nwidth.clusters import slurm_jobs
    from nwidth.clusters.tls import temporary_security

    name = f"nwidth-{study.study.name}-{uuid.uuid4().hex[:6]}"
    logs = study.folder / options.logs if options.logs else study.run_folder / "jobs"
    logs.mkdir(parents=True, exist_ok=True)
    with (
        temporary_security(study.run_folder) if options.encrypt else nullcontext() as security,
        _started(job_arguments(workers, options, name, logs), security) as cluster,
        Client(cluster) as client,
    ):
        refusal = slurm_jobs.test_only(cluster.job_script())
        if refusal:
            raise ConfigError(f"Slurm refuses the job of a worker: {refusal}; change workers.slurm or workers.memory, threads")
        jobs = math.ceil(workers.count / options.per_job)
        keeper = Keeper(cluster, jobs, lambda: slurm_jobs.queued(name), lambda job: logs / f"{name}-{job}.err")
        _await_first(keeper, workers.count, options.queue_wait, progress)
        with keeper.keeping():
            try:
                yield joined(client, f"{workers.description}, {jobs} jobs of Slurm", workers.device)
            except RunError as error:
                if keeper.failure:
                    raise RunError(keeper.failure) from error
                raise


def _refuse_without_slurm() -> None:
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        raise ConfigError(
            f'workers.kind = "slurm" needs {", ".join(absent)}, which this machine has not; run on a node of the cluster from '
            "which jobs are submitted"
        )
    try:
        import dask_jobqueue  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        raise ConfigError('workers.kind = "slurm" needs dask-jobqueue; pip install "nwidth[slurm]"') from None


def job_arguments(workers: WorkersSection, options: SlurmSection, name: str, logs: Path) -> dict[str, Any]:
    """The arguments of `dask_jobqueue.SLURMCluster` for a study; None leaves a choice to Slurm or to ``jobqueue.yaml``. Pure."""
    walltime = walltime_seconds(options.walltime)
    # Anywhere in the second half of what there is: workers that began together do not leave together, and hand on what they hold.
    usable = walltime - min(max(walltime / 10, SHORTEST_END), LONGEST_END)
    megabytes = math.ceil(options.per_job * (workers.memory + NANNY_BYTES) / 2**20)
    arguments = [
        *("--lifetime", f"{0.75 * usable:.0f}s", "--lifetime-stagger", f"{0.25 * usable:.0f}s"),
        *("--memory-limit", str(workers.memory)),  # once more, in bytes: rounded, it may be less than the plan counts on
        *(("--resources", f"GPU={workers.threads}") if workers.device == "cuda" else ()),
    ]
    return {
        "job_name": name,
        "processes": options.per_job,
        "cores": options.per_job * workers.threads,
        "memory": f"{options.per_job * workers.memory}B",
        "job_mem": f"{megabytes}M",
        "walltime": options.walltime,
        "queue": options.queue or None,
        "account": options.account or None,
        "interface": options.interface or None,
        "local_directory": options.local_directory or None,
        "log_directory": str(logs),
        "python": options.python or None,
        "job_script_prologue": list(options.prologue) or None,
        "job_extra_directives": list(options.directives) or None,
        "worker_extra_args": arguments,
    }


def walltime_seconds(text: str) -> float:
    """``"1-12:00:00"`` -> 129600.0; days, hours, minutes, seconds."""
    days, _, clock = text.rpartition("-")
    hours, minutes, seconds = (int(part) for part in clock.split(":"))
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


def _started(arguments: dict[str, Any], security: Any) -> Any:
    """The scheduler, and no job yet. Its dashboard is for this machine only."""
    import dask
    from dask_jobqueue.slurm import SLURMCluster

    from nwidth.clusters.slurm_jobs import Job

    # As for local workers: no block is sent to a busy one.
    cluster: Any = SLURMCluster
    with dask.config.set({"distributed.scheduler.worker-saturation": 1.0}):
        return cluster(
            job_cls=Job,
            security=security,
            silence_logs=40,
            scheduler_options={"dashboard_address": "127.0.0.1:0", "port": 0},
            **arguments,
        )


def _await_first(keeper: Keeper, wanted: int, patience: float, progress: Progress | None) -> None:
    """Look until a worker has joined.

    Raises
    ------
    ConfigError
        None comes.
    """
    start, pause = time.monotonic(), FIRST_LOOKS
    while True:
        keeper.look()
        if keeper.connected:
            return
        if keeper.failure:
            raise ConfigError(keeper.failure)
        if progress is not None:
            progress(f"queue ({keeper.reasons or 'starting'})", 0, wanted)
        if time.monotonic() - start > patience:
            raise ConfigError(
                f"no worker came in {patience:.0f} s; Slurm says: {keeper.reasons or 'nothing'}; raise workers.slurm.queue_wait, "
                "or ask for less (count, memory, walltime)"
            )
        time.sleep(pause)
        pause = min(1.5 * pause, POLL_SECONDS)
