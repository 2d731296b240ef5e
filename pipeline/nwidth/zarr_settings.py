"""How Zarr reads in a worker: for one Dask thread at a time, and nothing that was not asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# More threads of Zarr's own would fight with Dask's for the same cores; coalescing across gaps would fetch bytes that nobody
# asked for, and a pass reads every byte once.
ZARR_SETTINGS = {
    "async.concurrency": 4,
    "threading.max_workers": 1,
    "array.sharding_coalesce_max_gap_bytes": 0,
}


def prepare_process() -> None:
    """Make the settings for the life of this process."""
    import zarr

    zarr.config.set(ZARR_SETTINGS)


@contextmanager
def zarr_settings() -> Iterator[None]:
    """Make the settings for the time of a computation in this process."""
    import zarr

    with zarr.config.set(ZARR_SETTINGS):
        yield
