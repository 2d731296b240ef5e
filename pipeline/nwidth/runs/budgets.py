"""The memory of a worker where the study leaves it open: what the cluster's workers have, or a share of this machine.

workers.memory = "auto" ──address──> the smallest memory limit among the workers of that cluster
                        └──none────> this machine's memory, less a fifth, shared by the local workers
"""

from __future__ import annotations

import os

from nwidth.config import Study
from nwidth.errors import ConfigError
from nwidth.runs.executing import cluster_of

# The driver, the scheduler, and the system's own cache of files need some, too.
LOCAL_SHARE = 0.8


def with_memory(study: Study) -> Study:
    """The study with an amount in the place of ``workers.memory = "auto"``; as it is where one was given.

    Raises
    ------
    ConfigError
        Nothing answers at `workers.address`, or none of its workers has a memory limit.
    """
    if study.workers.memory > 0:
        return study
    memory = _local_memory(study.workers.count) if study.workers.address is None else _cluster_memory(study)
    return study.model_copy(update={"workers": study.workers.model_copy(update={"memory": memory})})


def _local_memory(count: int) -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(LOCAL_SHARE * total) // count


def _cluster_memory(study: Study) -> int:
    with cluster_of(study) as executor:
        workers = executor.client.scheduler_info(n_workers=-1)["workers"].values()
        limits = [worker["memory_limit"] for worker in workers if worker["memory_limit"] > 0]
    if not limits:
        raise ConfigError(
            f'workers.memory = "auto", and no worker of {study.workers.address} has a memory limit; start workers '
            "with --memory-limit, or set an amount"
        )
    return int(min(limits))
