"""The workers that a study asks for: local ones and jobs, which end with the block, or those of a cluster, which stay.

workers ──local────> processes of this machine
        ──threads──> threads of this process
        ──slurm────> jobs, a scheduler in this process
        ──address──> a cluster that runs already, with TLS or without
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache, partial

from nwidth.config import Study
from nwidth.workers import ClusterExecutor, Executor, Progress, ThreadExecutor, check_workers, connected_cluster, local_cluster


@contextmanager
def execution(study: Study, progress: Progress | None = None) -> Iterator[Executor]:
    """Workers for the duration of the block; `progress` is told how many of them have come, while one waits.

    Raises
    ------
    ConfigError
        They cannot be had, or are not what the study counts on.
    RunError
        Jobs of Slurm ended again and again while there was work for them.
    """
    workers = study.workers
    if workers.kind == "threads":
        yield ThreadExecutor(workers.threads)
        return
    if workers.kind == "local" and workers.address is None:
        with local_cluster(workers.count, workers.threads, workers.memory, workers.device) as executor:
            yield executor
        return
    with _jobs(study, progress) if workers.kind == "slurm" else cluster_of(study) as executor:
        check_workers(executor, workers.threads, workers.memory, workers.device)
        yield executor


Workers = Callable[[], AbstractContextManager[Executor]]
"""Gives the workers of a study to a `with` block."""


@contextmanager
def execution_of_all(study: Study, progress: Progress | None = None) -> Iterator[Workers]:
    """Workers for all that a run does: started when they are first asked for, and the same ones for the passes and for mechanics.

    Without a table [mechanics] the passes alone take workers, and give them back before the rest is done.
    """
    if study.mechanics is None:
        yield partial(execution, study, progress)
        return
    with ExitStack() as stack:
        started = cache(lambda: stack.enter_context(execution(study, progress)))
        yield lambda: nullcontext(started())


def cluster_of(study: Study) -> AbstractContextManager[ClusterExecutor]:
    """The cluster at the study's address, reached with its certificates.

    Raises
    ------
    ConfigError
        As `nwidth.workers.connected_cluster`, `nwidth.clusters.tls.security_of` and `nwidth.clusters.address.resolved` say.
    """
    from nwidth.clusters.address import resolved
    from nwidth.clusters.tls import security_of

    workers, address = study.workers, resolved(study.workers.address or "")
    security = security_of(address, workers.tls, study.folder)
    wait = workers.wait if "wait" in workers.model_fields_set else None
    return connected_cluster(address, workers.device, security=security, wait=wait)


def _jobs(study: Study, progress: Progress | None) -> AbstractContextManager[ClusterExecutor]:
    from nwidth.clusters.slurm import slurm_cluster

    return slurm_cluster(study, progress)
