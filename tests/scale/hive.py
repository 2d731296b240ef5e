"""Many workers of one thread each in one process: ``python -m tests.scale.hive ADDRESS COUNT``.

They are real workers, each with its own connection to the scheduler; what they save is a process each. Their work is sleeping, so
that one core can carry a hundred of them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from tests.repository import REPOSITORY

START_SECONDS = 120


@contextmanager
def simulated_cluster(n_workers: int) -> Iterator[Any]:
    """A client of a scheduler in this process and of `n_workers` workers in another: time spent here is driver and scheduler."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        command = [sys.executable, "-m", "tests.scale.hive", cluster.scheduler_address, str(n_workers)]
        hive = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.DEVNULL)
        try:
            client.wait_for_workers(n_workers, timeout=START_SECONDS)
            yield client
        finally:
            hive.kill()
            hive.wait()


async def live(address: str, count: int) -> None:
    """Start the workers, and stay until they are told to go."""
    from distributed import Worker

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nwidth-hive-"))
        workers = [
            Worker(address, nthreads=1, name=f"sleeper-{index}", memory_limit=0, dashboard=False, local_directory=folder)
            for index in range(count)
        ]
        await asyncio.gather(*workers)
        await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], int(sys.argv[2])))
