"""Neighbouring panels whose Gram matrix is one sum from the start: what a leaf of the factor pass takes at once.

    panel   panel   panel   ...        read one after the other, never two at a time
      └──────┴───────┴── into one (m, m), in place

A Gram matrix of m snapshots takes 8 m^2 bytes, whatever the panel. To make one for each panel, to fill its other triangle and to
add it to the others took a fifth of a pass at 5000 snapshots, and kept three of them in memory for each thread. Matrices that are
small, or small beside a panel, are made for each panel.

The last strips are the smallest: who comes to the end first waits for one panel of another's, and not for fifty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from nwidth_graphs.layout import Panel
from nwidth_graphs.reduction import FLOAT, Reduction
from nwidth_graphs.source import FieldSource

# A factor is small beside panels of which it takes this share of the bytes.
SMALL_FACTOR = 0.05
# A strip takes at most an eighth of the panels that are left: so many workers can share a field of few panels.
SHARERS = 8
# Of fewer strips than this too many are those small ones for results to be kept of all of them (`nwidth_graphs.keeping`).
MIN_KEPT = 48


@dataclass(frozen=True)
class Strip:
    """Some panels, in order."""

    panels: tuple[Panel, ...]


def panels_of(block: Any) -> Sequence[Any]:
    """The panels that a leaf reads for a block: those of a strip, or the block itself."""
    return block.panels if isinstance(block, Strip) else (block,)


def blocks_of_factor(source: FieldSource, reduction: Reduction, device: str = "cpu") -> Sequence[Panel | Strip]:
    """What the leaves of a factor pass take: panels, or strips of them where factors add up and are large beside a panel. Pure.

    The cut depends on shapes alone, as that into panels does. On a device blocks stay panels, which a pool of workers ships.
    """
    if source.array is not None or device != "cpu" or not reduction.merges_in_turn(source.snapshots):
        return source.panels
    factor, panel = FLOAT * source.snapshots**2, source.largest_panel * source.snapshots * source.itemsize
    sizes = strip_sizes(len(source.panels), max(1, math.ceil(factor / (SMALL_FACTOR * panel))))
    if len(sizes) == len(source.panels):
        return source.panels
    return [Strip(source.panels[stop - size : stop]) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


def block_bytes(source: FieldSource, blocks: Sequence[Any]) -> int:
    """Bytes of a block beside which its result is to be small, if it is to be kept: of a panel, of the largest of many strips, or
    of the average of few. Pure.
    """
    panel = source.largest_panel * source.snapshots * source.itemsize
    if not blocks or not isinstance(blocks[0], Strip):
        return panel
    return panel * (len(blocks[0].panels) if len(blocks) >= MIN_KEPT else len(source.panels) // len(blocks))


def strip_sizes(panels: int, most: int) -> list[int]:
    """Sizes of at most `most` panels, falling to 1 at the end. Pure.

    >>> strip_sizes(32, 3)
    [3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    """
    sizes: list[int] = []
    while panels > 0:
        sizes.append(min(most, max(1, panels // SHARERS)))
        panels -= sizes[-1]
    return sizes
