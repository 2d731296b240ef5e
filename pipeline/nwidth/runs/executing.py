"""The workers that a study asks for: local ones and jobs, which end with the block, or those of a cluster, which stay.

workers ──local────> processes of this machine
        ──slurm────> jobs, a scheduler in this process
        ──address──> a cluster that runs already, with TLS or without
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from nwidth.config import Study
from nwidth.workers import ClusterExecutor, Progress, check_workers, connected_cluster, local_cluster


@contextmanager
def execution(study: Study, progress: Progress | None = None) -> Iterator[ClusterExecutor]:
    """Workers for the duration of the block; `progress` is told how many of them have come, while one waits.

    Raises
    ------
    ConfigError
        They cannot be had, or are not what the study counts on.
    RunError
        Jobs of Slurm ended again and again while there was work for them.
    """
    workers = study.workers
    if workers.kind == "local" and workers.address is None:
        with local_cluster(workers.count, workers.threads, workers.memory, workers.device) as executor:
            yield executor
        return
    with _jobs(study, progress) if workers.kind == "slurm" else cluster_of(study) as executor:
        check_workers(executor, workers.threads, workers.memory, workers.device)
        yield executor


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
