"""What every worker does when it starts; a module of its own because it must import distributed at the top."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from distributed import WorkerPlugin

from nwidth.zarr_settings import prepare_process
from nwidth_graphs.pool import DEVICE_SLOT, HOST_SLOT

# glibc's names for what it returns to the system, and for what it maps page by page; 32 MiB, the most that it accepts, hold a
# panel of up to 2000 snapshots.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEPT_BYTES = -1, -3, 32 * 2**20

# What the first block would otherwise wait a second for.
PRELOADED = ("numcodecs.blosc", "nwidth.stores.direct", "nwidth.stores.overlay", "nwidth_graphs.leaves")


class WorkerSettings(WorkerPlugin):
    """One BLAS thread per worker thread, and Zarr as `nwidth.zarr_settings` says."""

    name = "nwidth-worker-settings"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Called by the worker, in its own process."""
        from threadpoolctl import threadpool_limits

        # Before the limit: BLAS can be limited only once it is loaded, and SciPy brings one of its own.
        for module in PRELOADED:
            import_module(module)
        prepare_process()
        self.limits = threadpool_limits(1)
        keep_freed_memory()
        # Dask pauses a worker at four fifths of its limit until it has freed some: blocks are sized for the whole limit, and the
        # buffer of the largest is kept, so that such a worker would wait for ever. Its nanny still ends one that goes beyond.
        worker.memory_manager.memory_pause_fraction = False


def keep_freed_memory() -> None:
    """Let the allocator reuse the panels of a block instead of returning them to the system after each.

    Dask starts its workers with a trim threshold of 64 KiB, so that every panel of 4 MiB is mapped, faulted in page by page, and
    unmapped again: a third of the processor time of a Gram matrix. On a C library without these settings nothing happens.
    """
    import ctypes

    try:
        adjust = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    adjust(_M_MMAP_THRESHOLD, _KEPT_BYTES)
    adjust(_M_TRIM_THRESHOLD, _KEPT_BYTES)


class PoolRole(WorkerPlugin):
    """Gives a worker of a pool its slots, also one that comes back or joins in the middle of a pass."""

    name = "nwidth-pool-role"
    idempotent = True

    async def setup(self, worker: Any) -> None:
        """Called by the worker, in its own process."""
        await take_role(dask_worker=worker)


async def take_role(dask_worker: Any) -> None:
    """Slots by what the worker was started with: leaves at a time on its device (``GPU``, threads at most), or on its threads."""
    threads, gpu = dask_worker.state.nthreads, dask_worker.state.total_resources.get("GPU", 0)
    await dask_worker.set_resources(
        **{HOST_SLOT: 0 if gpu else threads, DEVICE_SLOT: min(int(gpu), threads)}  # zero: what was lent is given back
    )
