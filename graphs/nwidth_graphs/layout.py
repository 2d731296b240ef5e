"""What a chunking means: cut the space dimensions of a field into panels that hold all snapshots of their rows.

    field (m, n0, n1, ...)      snapshots first, then space (and the component, which is never cut)

         n0 ->
      m  ┌────┬────┬────┬──┐    a panel is a box over the space dimensions, a whole number of chunks wide,
      |  │ p0 │ p1 │ p2 │p3│    so that a pass reads every chunk exactly once;
      v  └────┴────┴────┴──┘    as a block of a reduction it is a matrix (rows, m)

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
