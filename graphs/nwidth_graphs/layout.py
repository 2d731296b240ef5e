"""What a chunking means: cut the space dimensions of a field into panels that hold all snapshots of their rows.

    field (m, n0, n1, ...)      snapshots first, then space (and the component, which is never cut)

         n0 ->
      m  ┌────┬────┬────┬──┐    a panel is a box over the space dimensions, a whole number of chunks wide,
      |  │ p0 │ p1 │ p2 │p3│    so that a pass reads every chunk exactly once;
      v  └────┴────┴────┴──┘    as a block of a reduction it is a matrix (rows, m)

Where the factor of all snapshots is too large, the snapshot axis is cut, too, into *groups* of whole chunks:

         ┌────┬────┐
    g0   │    │    │    a group is a range of snapshots; a block is then a panel with the snapshots of one group
         ├────┼────┤
    g1   │    │    │
         └────┴────┘

Everything here is pure arithmetic on shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Panel:
    """One box of the space dimensions: ``field[:, *selection]`` is its block."""

    index: int
    selection: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the box in each space dimension."""
        return tuple(part.stop - part.start for part in self.selection)

    @property
    def rows(self) -> int:
        """Rows of the block: the product of the extents."""
        return math.prod(self.shape)


def panel_shape(space: Sequence[int], granule: Sequence[int], max_rows: int) -> tuple[int, ...] | None:
    """The largest box of whole granules with at most `max_rows` rows; None where one granule alone is larger.

    Trailing dimensions are filled first, so that panels are contiguous where they can be; the leading one is cut.

    Parameters
    ----------
    space : shape of the field without its snapshot dimension
    granule : the smallest box that may be read alone (a chunk or a shard)
    max_rows : rows that fit the memory of one task
    """
    box = [min(g, n) for g, n in zip(granule, space, strict=True)]
    if math.prod(box) > max_rows:
        return None
    for axis in reversed(range(len(space))):
        others = math.prod(box) // box[axis]
        granules = max(1, max_rows // (others * box[axis]))
        box[axis] = min(space[axis], granules * box[axis])
    return tuple(box)


def panels(space: Sequence[int], box: Sequence[int]) -> tuple[Panel, ...]:
    """Cut the space dimensions into boxes of one shape (the last ones are smaller), leading dimension slowest."""
    cuts = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)] for size, step in zip(space, box, strict=True)
    ]
    return tuple(Panel(index, selection) for index, selection in enumerate(product(*cuts)))


def chunks_touched(selection: Sequence[slice], chunks: Sequence[int]) -> int:
    """How many chunks of a grid a selection touches: the price of a read, and of a panel that cuts through chunks."""
    return math.prod(
        -(-part.stop // size) - part.start // size if part.stop > part.start else 0
        for part, size in zip(selection, chunks, strict=True)
    )


@dataclass(frozen=True)
class Group:
    """A range of snapshots: ``field[start:stop]``."""

    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Snapshots of the group."""
        return self.stop - self.start


def groups(snapshots: int, size: int) -> tuple[Group, ...]:
    """Cut the snapshots into ranges of `size` (the last one is smaller)."""
    return tuple(
        Group(index, start, min(start + size, snapshots)) for index, start in enumerate(range(0, snapshots, max(1, size)))
    )


def whole_panel(space: Sequence[int]) -> Panel:
    """The panel that is the whole space."""
    return Panel(0, tuple(slice(0, extent) for extent in space))


def panel_reads(space: Sequence[int], box: Sequence[int], chunks: Sequence[int]) -> float:
    """How often a pass over panels of that box decodes an average chunk: 1.0 where no panel cuts through one."""
    return math.prod(_axis_reads(n, step, size) for n, step, size in zip(space, box, chunks, strict=True))


def _axis_reads(extent: int, step: int, size: int) -> float:
    """Visits of chunks of `size` along one axis that is cut every `step`, each weighed by what the chunk holds."""
    if step % size == 0 or step >= extent:
        return 1.0
    visits = 0
    for start in range(0, extent, step):
        stop = min(start + step, extent)
        first, last = start // size * size, min(-(-stop // size) * size, extent)
        visits += last - first
    return visits / extent
