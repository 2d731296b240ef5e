"""A reduction as a value: what a leaf computes, how two results merge, and what it costs.

    block ──leaf──> factor ──merge──> factor ──finish──> singular values, right vectors

`GRAM` and `TSQR` are two such values; `factor.py` turns either into a graph, and a new one is a new value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from nwidth_graphs.inner import BlockProduct
from nwidth_graphs.kernels.gram import add_to_gram, gram_floor, merge_grams, whole_gram
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array, panel_rows
from nwidth_graphs.kernels.qr import SKETCH_FACTOR, merge_r, qr_floor
from nwidth_graphs.kernels.svd import SmallSvd, svd_of_gram, svd_of_r

FLOAT = 8
"""Bytes of a float64: all arithmetic is done in it."""
# Factors of this size or more (724 snapshots) are merged in turn: a merge of eight of them would need more memory than a block.
IN_TURN_BYTES = 4 * 2**20
# The same for what a lift adds up, whose number of modes a plan does not always know.
SUMS_IN_TURN_BYTES = 2**20


@dataclass(frozen=True)
class Reduction:
    """One way to the small factor of ``S = Q R``."""

    name: str
    grow: Callable[[Array | None, BlockProduct, Array, bool], Array]
    """(what blocks before gave, or None, product, block (rows, m), centre) -> the same with this block in it."""
    whole: Callable[[Array], Array]
    """What has grown -> factor (m, m)."""
    merge: Callable[[Sequence[Array]], Array]
    """Associative up to rounding; the tree and its order are fixed by the plan, so equal plans give equal bits."""
    finish: Callable[[Array], SmallSvd]
    """factor -> its singular values, and right vectors on demand; the factor stays as it is."""
    scale: Callable[[Array, float], Array]
    """factor of ``a S`` from the factor of S: how a field's scaling enters after the pass."""
    column_scale: Callable[[Array, Array], Array]
    """factor of ``S diag(d)`` from the factor of S: how snapshot scaling enters after the pass."""
    column_norms: Callable[[Array], Array]
    """norms of the snapshots from the factor."""
    floor: Callable[[float, int], float]
    """(s_1, m) -> smallest trustworthy singular value."""
    flops: Callable[[int, int], float]
    """(rows, m) -> floating-point operations of the leaves."""
    scratch_bytes: Callable[[int], int]
    """m -> bytes of a leaf or merge beyond the block itself."""
    add: Callable[[Array, Array], Array] | None = None
    """``merge([a, b])`` in the memory of a, where `merge` is a sum from left to right; None where it is none."""

    @property
    def sums(self) -> bool:
        """Whether `merge` is a sum from left to right, so that merging two at a time gives the same bits."""
        return self.add is not None

    def leaf(self, product: BlockProduct, block: Array, centre: bool) -> Array:
        """The factor (m, m) of one block (rows, m)."""
        return self.whole(self.grow(None, product, block, centre))

    def merges_in_turn(self, snapshots: int) -> bool:
        """Whether a tree of such factors merges two at a time, see `trees.Tree.in_turn`."""
        return self.sums and FLOAT * snapshots**2 >= IN_TURN_BYTES

    def __reduce__(self) -> tuple[Callable[[str], Reduction], tuple[str]]:
        # Travels to workers by name: its functions are code, not data.
        return reduction_named, (self.name,)


def sums_bytes(snapshots: int, rank: int) -> int:
    """Bytes of what a lift adds up: overlap and coefficients of `rank` modes."""
    return FLOAT * rank * (snapshots + rank)


def sums_in_turn(snapshots: int, rank: int) -> bool:
    """Whether a lift's tree merges two at a time, see `trees.Tree.in_turn`."""
    return sums_bytes(snapshots, rank) >= SUMS_IN_TURN_BYTES


def _norms_of_gram(factor: Array) -> Array:
    squares = factor.diagonal()
    # A snapshot in the kernel of a stiffness matrix has a square of rounding, of either sign; NaN stays NaN.
    return np.where(squares < 0.0, 0.0, squares) ** 0.5


def _norms_of_r(factor: Array) -> Array:
    return (factor**2).sum(axis=0) ** 0.5


def _grown_r(factor: Array | None, product: BlockProduct, block: Array, centre: bool) -> Array:
    own = product.r_factor(block, centre=centre)
    return own if factor is None else merge_r([factor, own])


GRAM = Reduction(
    name="gram",
    grow=lambda total, product, block, centre: product.grow_gram(total, block, centre=centre),
    whole=whole_gram,
    merge=merge_grams,
    finish=svd_of_gram,
    scale=lambda factor, alpha: factor if alpha == 1.0 else factor * alpha**2,
    column_scale=lambda factor, scale: factor if np.all(scale == 1.0) else factor * scale[:, None] * scale[None, :],
    column_norms=_norms_of_gram,
    floor=lambda largest, _: gram_floor(largest),
    flops=lambda rows, m: float(rows) * m * m,
    # Up to three panels (widened, centred, scaled), and the sum that grows.
    scratch_bytes=lambda m: FLOAT * (3 * panel_rows(m) * m + m * m),
    add=add_to_gram,
)

TSQR = Reduction(
    name="tsqr",
    grow=_grown_r,
    whole=lambda factor: factor,
    merge=merge_r,
    finish=svd_of_r,
    scale=lambda factor, alpha: factor * alpha,
    column_scale=lambda factor, scale: factor * scale[None, :],
    column_norms=_norms_of_r,
    floor=qr_floor,
    # Sketch, triangular solve and symmetric product.
    flops=lambda rows, m: 2.0 * rows * m * m + 2.0 * rows * m,
    # The sketch panel is whole multiples of 2m rows; the sketch, its QR and the Gram matrix of the solved panels are m x m each.
    scratch_bytes=lambda m: FLOAT * (4 * max(PANEL_ROWS, 2 * SKETCH_FACTOR * m) * m + (3 * SKETCH_FACTOR + 6) * m * m),
)


def reduction_named(name: str) -> Reduction:
    """The reduction of that name; raises KeyError for an unknown one."""
    return {reduction.name: reduction for reduction in (GRAM, TSQR)}[name]
