"""Where a block is computed: on the host, or on the device of a worker that has one.

A GPU worker is a plain Dask worker that was started with ``--resources GPU=1``. Leaf tasks ask for that resource, move their
block to the device here, and hand small host factors back, so that merges run anywhere and nothing of a device travels.

Resources are annotations, and Dask drops annotations silently when it fuses tasks (dask 7036): our leaf tasks are built
unfusable (`trees.py`), so theirs are kept.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from nwidth_graphs.kernels.panels import Array

DEVICE_VARIABLE = "NWIDTH_DEVICE"
"""``cpu`` or ``cuda``: overrides what the worker's resources say."""


def leaf_annotations(device: str) -> Mapping[str, Any]:
    """What a leaf layer asks of its worker."""
    return {"resources": {"GPU": 1}} if device == "cuda" else {}


def to_device(array: Array) -> Array:
    """Move a host array to this worker's device; the array itself on a CPU worker."""
    if not _worker_has_device():
        return array
    import cupy  # type: ignore[import-not-found, unused-ignore]

    return cupy.asarray(array)


def to_host(array: Array) -> Array:
    """Bring an array back to the host; the array itself where it is there already."""
    get = getattr(array, "get", None)
    return get() if get is not None and type(array).__module__.startswith("cupy") else array


def _worker_has_device() -> bool:
    override = os.environ.get(DEVICE_VARIABLE)
    if override is not None:
        return override == "cuda"
    # Asked of the running task's own worker; a process outside a cluster has none.
    import sys

    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        worker = distributed.get_worker()
    except ValueError:
        return False
    return bool(worker.state.total_resources.get("GPU"))
