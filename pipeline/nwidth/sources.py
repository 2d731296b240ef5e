"""From a store's schema to what the graph builders reduce: fields cut into panels, with readers and inner products that travel.

schema, request, memory ──> FieldSource(panels, read, product, interface)         nothing is read here but the mesh
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.inner import BlockProduct, DiagonalProduct
from nwidth_graphs.kernels.memory import LARGE_PAGE_BYTES, page_aligned
from nwidth_graphs.layout import Panel
from nwidth_graphs.sequence import following
from nwidth_graphs.source import Reading, as_rows

if TYPE_CHECKING:
    from nwidth.stores.protocol import StoreReference

_buffers = threading.local()


def reused_buffer(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array on this thread's own buffer, which grows to the largest block and is never freed.

    A fresh 64 MiB array costs more in page faults than the decoding of its contents, and products of one that lies on large pages
    take 2 % less time. What is returned is valid until the next call on the same thread: a leaf reduces it before it reads again.
    """
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    held: NDArray[np.uint8] | None = getattr(_buffers, "bytes", None)
    if held is None or held.nbytes < nbytes:
        _buffers.bytes = held = page_aligned((nbytes,), np.uint8, LARGE_PAGE_BYTES)
    return held[:nbytes].view(dtype).reshape(shape)


def part_of_ranges(ranges: Sequence[tuple[int, int]], start: int, stop: int) -> tuple[tuple[int, int], ...]:
    """The ranges that hold the snapshots ``start:stop`` of a selection, which is counted through all its ranges. Pure."""
    parts: list[tuple[int, int]] = []
    offset = 0
    for first, last in ranges:
        low, high = max(start - offset, 0), min(stop - offset, last - first)
        if low < high:
            parts.append((first + low, first + high))
        offset += last - first
    return tuple(parts)


@dataclass(frozen=True)
class StoreReader:
    """Reads one panel of one field from a store, all snapshots of the selection, into this thread's buffer."""

    reference: StoreReference
    name: str
    ranges: tuple[tuple[int, int], ...]
    """Snapshot ranges that are used, ascending."""
    ahead: int = 6
    """Chunks that may be held while a block is reduced, for the next one."""

    def part(self, start: int, stop: int) -> StoreReader:
        """The same field with the snapshots ``start:stop`` of the selection only."""
        return replace(self, ranges=part_of_ranges(self.ranges, start, stop))

    def __call__(self, panel: Panel) -> Reading:
        from nwidth.stores.overlay import counting
        from nwidth.stores.protocol import Coming

        path = f"fields/{self.name}"
        asked = list(self._selections([panel]))
        count = sum(stop - start for start, stop in self.ranges)
        block = reused_buffer((count, *panel.shape), self.reference.array(path).dtype)
        offset = 0
        with counting() as fetched:  # other threads of this worker read other panels meanwhile
            for place, selection in enumerate(asked, start=1):
                size = selection[0].stop - selection[0].start
                later = self._selections(following(self, panel))
                coming = Coming(chain(asked[place:], later), self.ahead)
                self.reference.read_block(path, selection, out=block[offset : offset + size], coming=coming)
                offset += size
        return Reading(as_rows(block), fetched.total, lent=True)

    def _selections(self, panels: Iterable[Panel]) -> Iterator[tuple[slice, ...]]:
        """What is read of the array for some panels, in order."""
        return ((slice(start, stop), *panel.selection) for panel in panels for start, stop in self.ranges)


@dataclass(frozen=True)
class StoredWeights:
    """The diagonal inner product of a store on one panel: ``sqrt(w)``, repeated for each component."""

    reference: StoreReference
    name: str
    components: int

    def __call__(self, panel: Panel) -> BlockProduct:
        space = panel.selection if self.components == 1 else panel.selection[:-1]
        weights = np.asarray(self.reference.read_block(f"inner_products/{self.name}/weights", space), np.float64)
        return DiagonalProduct(np.repeat(np.sqrt(weights).ravel(), self.components))


@dataclass(frozen=True)
class GivenWeights:
    """A diagonal inner product from an array in memory, over the space dimensions without the component."""

    weights: NDArray[np.float64] = field(repr=False)
    components: int

    def __call__(self, panel: Panel) -> BlockProduct:
        space = panel.selection if self.components == 1 else panel.selection[:-1]
        return DiagonalProduct(np.repeat(np.sqrt(self.weights[space]).ravel(), self.components))
