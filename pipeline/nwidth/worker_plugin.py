"""What every worker does when it starts; a module of its own because it must import distributed at the top."""

from __future__ import annotations

from typing import Any

from distributed import WorkerPlugin

from nwidth.zarr_settings import prepare_process


class WorkerSettings(WorkerPlugin):
    """One BLAS thread per worker thread, and Zarr as `nwidth.zarr_settings` says."""

    name = "nwidth-worker-settings"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Called by the worker, in its own process."""
        from threadpoolctl import threadpool_limits

        prepare_process()
        self.limits = threadpool_limits(1)
