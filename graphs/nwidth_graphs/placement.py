"""Where a block is computed: on the host, or on the device of a worker that has one.

    host block ──to_device──> device block ──kernels──> small device result ──to_host──> small host result

A worker with the resource GPU is a plain Dask worker that was started with ``--resources "GPU=2"``: two leaves at a time, of
which one reads and decodes while the other is copied and multiplied. Leaf tasks ask for that resource (``device = "cuda"``), or
for a place that a split has given them (``device = "pool"``, see `pool`). Small host factors come back, so that merges run
anywhere and nothing of a device travels.

A device is a small object, chosen in the worker: `HostDevice` moves nothing, `CudaDevice` is a GPU through CuPy, and
`StrictDevice` is the stand-in for tests: its arrays refuse whatever is not in the array API standard, so what runs on them has
left no step to NumPy by accident.

Resources are annotations, and Dask drops annotations silently when it fuses tasks (dask 7036): our leaf tasks are built
unfusable (`trees.py`), so theirs are kept.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol

import numpy as np

from nwidth_graphs.kernels.panels import Array

DEVICE_VARIABLE = "NWIDTH_DEVICE"
"""``cpu``, ``cuda`` or ``strict``: overrules what the worker's resources say."""


class Device(Protocol):
    """What holds a block while it is reduced."""

    @property
    def name(self) -> str:
        """``cpu``, ``cuda`` or ``strict``."""
        ...

    def to_device(self, array: Array) -> Array:
        """A copy of a host array on the device; its own buffer may be written again when this returns."""
        ...

    def to_host(self, array: Array) -> Array:
        """A device array as a NumPy array, complete when this returns."""
        ...

    def wait(self) -> None:
        """Return when all that this thread asked of the device is done."""
        ...


class RunsOnDevice(Protocol):
    """An inner product, as far as places go."""

    @property
    def runs_on_device(self) -> bool:
        """Whether blocks may be moved to a device for it."""
        ...


class HostDevice:
    """No device: blocks stay where they are."""

    name = "cpu"

    def to_device(self, array: Array) -> Array:
        """The array itself."""
        return array

    def to_host(self, array: Array) -> Array:
        """The array itself."""
        return array

    def wait(self) -> None:
        """Nothing to wait for."""


class StrictDevice:
    """The stand-in for tests: arrays of `array_api_strict`, which lie on the host and behave as foreign ones."""

    name = "strict"

    def to_device(self, array: Array) -> Array:
        """A copy, as a device would make."""
        import array_api_strict  # type: ignore[import-not-found, unused-ignore]

        return array_api_strict.asarray(np.array(array, order="K"))

    def to_host(self, array: Array) -> Array:
        """The NumPy array within."""
        return np.asarray(array)

    def wait(self) -> None:
        """Nothing to wait for."""


class CudaDevice:
    """The current GPU, through CuPy: a stream of its own and a pinned buffer for every thread.

    Work of two threads on two non-blocking streams overlaps: while one's products run, the other's block is decoded, staged in
    page-locked memory and copied. Only `to_host`, which ends every leaf with a small result, waits.
    """

    name = "cuda"

    def __init__(self) -> None:
        self._mine = threading.local()

    def to_device(self, array: Array) -> Array:
        """Stage in this thread's pinned buffer, and copy without waiting for the copy."""
        import cupy  # type: ignore[import-not-found, unused-ignore]

        stream = self._stream()
        stream.synchronize()  # the buffer may still be on its way; after a leaf it never is
        staged = self._staged(array)
        moved = cupy.empty(staged.shape, staged.dtype, order="C" if staged.flags.c_contiguous else "F")
        moved.set(staged, stream=stream)
        return moved

    def to_host(self, array: Array) -> Array:
        """Wait for this thread's stream, and copy."""
        self._stream()
        return array.get(order="A")

    def wait(self) -> None:
        """Wait for this thread's stream."""
        self._stream().synchronize()

    def _stream(self) -> Any:
        """This thread's stream, made CuPy's current one in this thread: kernels, which know of no stream, run in it."""
        import cupy

        if not hasattr(self._mine, "stream"):
            self._mine.stream = cupy.cuda.Stream(non_blocking=True)
        self._mine.stream.use()
        return self._mine.stream

    def _staged(self, array: Array) -> Array:
        """A copy in page-locked memory, which grows to the largest block: from pageable memory a copy would block."""
        import cupyx  # type: ignore[import-not-found, unused-ignore]

        held = getattr(self._mine, "pinned", None)
        if held is None or held.nbytes < array.nbytes:
            self._mine.pinned = held = cupyx.empty_pinned(array.nbytes, np.uint8)
        order: Any = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        staged = held[: array.nbytes].view(array.dtype).reshape(array.shape, order=order)
        np.copyto(staged, array)
        return staged


_DEVICES: dict[str, Callable[[], Device]] = {"cpu": HostDevice, "cuda": CudaDevice, "strict": StrictDevice}


@cache
def device_named(name: str) -> Device:
    """The device of that name, one per process; raises ValueError for an unknown one."""
    if name not in _DEVICES:
        raise ValueError(f"{DEVICE_VARIABLE} = {name!r}: write one of {', '.join(_DEVICES)}")
    return _DEVICES[name]()


def current_device() -> Device:
    """The device of this worker: what `DEVICE_VARIABLE` says, else a GPU where the worker has that resource, else the host."""
    return device_named(os.environ.get(DEVICE_VARIABLE) or ("cuda" if worker_resource("GPU") else "cpu"))


def device_for(product: RunsOnDevice) -> Device:
    """Where a block is reduced in an inner product: this worker's device, or its host where the product is host code."""
    return current_device() if product.runs_on_device else device_named("cpu")


def to_device(array: Array) -> Array:
    """Move a host array to this worker's device; the array itself on a CPU worker."""
    return current_device().to_device(array)


def to_host(array: Array) -> Array:
    """Bring an array back to the host, wherever it lies; the array itself where it is there already."""
    if isinstance(array, np.ndarray):
        return array
    kind = type(array).__module__.partition(".")[0]
    return device_named({"cupy": "cuda", "array_api_strict": "strict"}.get(kind, "cpu")).to_host(array)


def leaf_annotations(device: str) -> Mapping[str, Any]:
    """What a leaf layer asks of its worker, for ``workers.device``; in a pool every leaf asks for itself."""
    return {"resources": {"GPU": 1}} if device == "cuda" else {}


def worker_resource(name: str) -> float:
    """How much of a resource the running task's own worker has; 0 outside of a cluster."""
    distributed = sys.modules.get("distributed")  # a process that never imported it runs no worker
    if distributed is None:
        return 0
    try:
        worker = distributed.get_worker()
    except ValueError:
        return 0
    return float(worker.state.total_resources.get(name) or 0)
