"""The writer of one run: collects snapshots until whole shards can be written, so that no shard is compressed twice.

                      tail shard, shared with older runs       whole shards
    snapshots   ... |====old====|--new--------------| |--new---------------------| ...
                                 ^ one read-modify-write       ^ written once, nothing read

The buffer ends at the border of a shard. It holds at most one shard's worth of snapshots, and fewer where the memory budget
says so; the layout was chosen such that this does not happen for a store that this budget created.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FieldError
from nwidth.stores.gaps import FieldMask

if TYPE_CHECKING:
    import zarr


class FieldBuffer:
    """Collects consecutive snapshots of one field, and writes them up to the next border of a shard.

    `start` is the place of the run's first snapshot in the array; `rows` bounds how many snapshots are held.
    """

    def __init__(self, name: str, array: zarr.Array[Any], start: int, rows: int) -> None:
        self._name = name
        self._array = array
        self._start = start
        self._rows = rows
        self._shard_rows = (array.shards or array.chunks)[0]
        self._values = np.empty((0, *array.shape[1:]), array.dtype)
        self._first = 0
        self._held = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one snapshot."""
        return self._array.shape[1:]

    def add(self, first: int, values: NDArray[Any]) -> None:
        """Take snapshots ``first, first + 1, ...`` of the run; whatever completes a shard is written."""
        at = self._start + first
        if self._held and at != self._first + self._held:
            self.flush()
        while len(values):
            if not self._held:
                self._begin(at)
            taken = min(len(values), len(self._values) - self._held)
            self._values[self._held : self._held + taken] = values[:taken]
            self._held += taken
            at, values = at + taken, values[taken:]
            if self._held == len(self._values):
                self.flush()

    def _begin(self, at: int) -> None:
        room = min(self._shard_rows - at % self._shard_rows, self._rows, self._array.shape[0] - at)
        if len(self._values) != room:
            self._values = np.empty((room, *self.shape), self._array.dtype)
        self._first = at

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._array[self._first : self._first + self._held] = self._values[: self._held]
        self._held = 0


def buffer_rows(array: zarr.Array[Any], budget: int) -> int:
    """Snapshots of `array` that `budget` bytes hold: a whole shard, or else whole chunks, or else at least one."""
    snapshot_bytes = math.prod(array.shape[1:]) * array.dtype.itemsize
    affordable = max(1, budget // snapshot_bytes)
    shard_rows, chunk_rows = (array.shards or array.chunks)[0], array.chunks[0]
    if affordable >= shard_rows:
        return int(shard_rows)
    return affordable - affordable % chunk_rows or affordable


@dataclass(frozen=True)
class WriterSettings:
    """How a run is written.

    count      snapshots of the run
    budget     bytes that may be held, all fields together
    heartbeat  called after each batch: keeps a lease on the store alive
    failures   a context that puts failures of the store into words
    gaps       NaN may come and go from snapshot to snapshot
    """

    count: int
    budget: int
    heartbeat: Callable[[], None] = lambda: None
    failures: Callable[[], AbstractContextManager[None]] = nullcontext
    gaps: bool = False


class BufferedRunWriter:
    """The `RunWriter` of both kinds of store; `start` is the place of the run's first snapshot in the arrays."""

    def __init__(self, arrays: Mapping[str, zarr.Array[Any]], start: int, settings: WriterSettings) -> None:
        sizes = {name: math.prod(array.shape[1:]) * array.dtype.itemsize for name, array in arrays.items()}
        shares = {name: settings.budget * size // sum(sizes.values()) for name, size in sizes.items()}
        self._buffers = {
            name: FieldBuffer(name, array, start, buffer_rows(array, shares[name])) for name, array in arrays.items()
        }
        self._dtypes = {name: array.dtype for name, array in arrays.items()}
        self._masks = {name: FieldMask(settings.gaps) for name in arrays}
        self._written = np.zeros(settings.count, bool)
        self._settings = settings

    def write(self, first: int, batch: Mapping[str, NDArray[Any]]) -> None:
        """Write snapshots ``first, first + 1, ...`` of this run: field name -> (k, *shape) values.

        Raises
        ------
        nwidth.errors.FieldError
            A field is missing or unknown, has another shape or type, comes twice, or holds infinite values, or NaN that are not
            at the same places in every snapshot.
        nwidth.errors.StoreError
            No room, no permission, or the store cannot be reached.
        """
        values = {name: np.asarray(field) for name, field in batch.items()}
        count = self._check(first, values)
        with self._settings.failures():
            for name, field in values.items():
                self._buffers[name].add(first, field)
            self._settings.heartbeat()
        self._written[first : first + count] = True

    def finish(self) -> None:
        """Write what is still held; refuse a run of which a snapshot was never given (`FieldError`)."""
        if not self._written.all():
            missing = int(np.argmin(self._written))
            raise FieldError(
                f"snapshot {missing} of {self._written.size} was never written; the run is incomplete and nothing of it was kept"
            )
        for buffer in self._buffers.values():
            buffer.flush()

    def _check(self, first: int, values: Mapping[str, NDArray[Any]]) -> int:
        if set(values) != set(self._buffers):
            raise FieldError(
                f"a batch has the fields {sorted(values)}, expected {sorted(self._buffers)}; give all fields together"
            )
        counts = {len(field) if field.ndim else 0 for field in values.values()}
        count = counts.pop()
        if counts or first < 0 or first + count > self._written.size:
            raise FieldError(
                f"a batch at snapshot {first} has fields of {sorted({count, *counts})} snapshots, the run has "
                f"{self._written.size}, and all fields of a batch have equally many"
            )
        if self._written[first : first + count].any():
            raise FieldError(f"a snapshot of {first}..{first + count - 1} was written before; write every snapshot once")
        for name, field in values.items():
            self._check_field(name, first, field)
        return count

    def _check_field(self, name: str, first: int, field: NDArray[Any]) -> None:
        if field.shape[1:] != self._buffers[name].shape:
            raise FieldError(
                f"field {name!r} has shape {field.shape[1:]} at snapshot {first}, expected {self._buffers[name].shape}"
            )
        if not np.can_cast(field.dtype, self._dtypes[name], "safe"):
            raise FieldError(
                f"field {name!r} has type {field.dtype}, and {self._dtypes[name]} would lose digits; convert it first"
            )
        found = self._masks[name].refused(field)
        if found is not None:
            other = ", where snapshots before it are nan" if found.masked else ""
            where = f"snapshot {first + found.snapshot}, place {found.place}{other}"
            raise FieldError(f"field {name!r} is {found.value} at {where}; drop it or mend it")
