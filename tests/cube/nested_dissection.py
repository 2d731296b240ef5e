"""Nested dissection of the structured grid: an elimination order with little fill.

A plane of nodes halves the box, each half is halved in its turn, and every plane comes after both of its halves
(A. George, SIAM J. Numer. Anal. 10 (1973) 345). No entry of the factors joins two halves that a plane keeps apart. For ``n``
nodes in three dimensions the factors have ``O(n**(4/3))`` entries and cost ``O(n**2)`` operations.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

type Box = tuple[tuple[int, int], ...]
"""First node and one past the last, along x, y, z."""


def nested_dissection(side: int) -> NDArray[np.int64]:
    """(side**3,) numbers of the nodes, ``x + side * y + side**2 * z``, in the order of their elimination."""
    numbers = np.arange(side**3).reshape(side, side, side).transpose(2, 1, 0)
    return np.concatenate([numbers[tuple(slice(*ends) for ends in box)].ravel() for box in _in_order(((0, side),) * 3)])


def _in_order(box: Box) -> Iterator[Box]:
    """Boxes that are eliminated one after the other: lower half, upper half, the plane between them."""
    axis = max(range(3), key=lambda i: box[i][1] - box[i][0])
    first, last = box[axis]
    if last - first <= 2:
        yield box
        return
    middle = (first + last) // 2
    yield from _in_order(_with(box, axis, (first, middle)))
    yield from _in_order(_with(box, axis, (middle + 1, last)))
    yield _with(box, axis, (middle, middle + 1))


def _with(box: Box, axis: int, ends: tuple[int, int]) -> Box:
    return (*box[:axis], ends, *box[axis + 1 :])
