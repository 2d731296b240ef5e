"""Inner products, block by block: one object per block that knows how to reduce and to lift it.

    identity    u . v                       any block
    diagonal    sum_i w_i u_i v_i           rows are scaled by sqrt(w): quadrature weights, cos(latitude), lumped mass
    mass        u^T M v, M in element form  interior elements of the block here; those that straddle blocks in `Interface`
    sparse      u^T M v, M by its entries   the same two levels; without a factor, so that there is a Gram matrix and no R

Each offers the same operations (`gram` and `grow_gram`, `r_factor`, `lift`, `sketch`), so that no algorithm asks which it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.gram import gram, grow_gram
from nwidth_graphs.kernels.lift import LiftSums, lift
from nwidth_graphs.kernels.mass import ElementPatch, mass_gram, mass_lift
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.kernels.qr import r_factor, r_factor_of_panels
from nwidth_graphs.kernels.sketch import SketchSums, mass_power_step, power_step
from nwidth_graphs.kernels.sparse import SparsePatch


class BlockProduct(Protocol):
    """The inner product restricted to the rows of one block."""

    @property
    def runs_on_device(self) -> bool:
        """Whether blocks may be moved to a GPU for it."""
        ...

    def gram(self, block: Array, *, centre: bool) -> Array:
        """``X^T W X``, (m, m)."""
        ...

    def grow_gram(self, total: Array | None, block: Array, *, centre: bool) -> Array:
        """``total + X^T W X``, of which the lower triangle is meant (`kernels.gram.whole_gram`); None begins."""
        ...

    def r_factor(self, block: Array, *, centre: bool) -> Array:
        """R (m, m) with ``R^T R = X^T W X``, without forming it."""
        ...

    def lift(
        self, block: Array, transform: Array, predicted: Array | None, *, centre: bool, out: Array | None = None
    ) -> tuple[Array, LiftSums]:
        """Modes ``(X T)^T`` (r, rows), in `out` where that serves, and what the certificate needs."""
        ...

    def sketch(self, block: Array, test: Array, *, centre: bool, keep: bool) -> tuple[Array | None, SketchSums]:
        """Samples ``(X Om)^T`` (r, rows), where they are to be kept, and ``X^T W X Om`` with the snapshots' squares."""
        ...


@dataclass(frozen=True)
class DiagonalProduct:
    """``sum_i w_i u_i v_i``; `row_scale` holds sqrt(w), or None for the identity."""

    row_scale: Array | None = None
    runs_on_device = True

    def gram(self, block: Array, *, centre: bool) -> Array:
        """``X^T W X``."""
        return gram(block, centre=centre, row_scale=self.row_scale)

    def grow_gram(self, total: Array | None, block: Array, *, centre: bool) -> Array:
        """``total + X^T W X``, its lower triangle in place."""
        return grow_gram(total, block, centre=centre, row_scale=self.row_scale)

    def r_factor(self, block: Array, *, centre: bool) -> Array:
        """R of ``W^1/2 X``."""
        return r_factor(block, centre=centre, row_scale=self.row_scale)

    def lift(
        self, block: Array, transform: Array, predicted: Array | None, *, centre: bool, out: Array | None = None
    ) -> tuple[Array, LiftSums]:
        """Modes and sums with diagonal W."""
        return lift(block, transform, predicted, centre=centre, row_scale=self.row_scale, out=out)

    def sketch(self, block: Array, test: Array, *, centre: bool, keep: bool) -> tuple[Array | None, SketchSums]:
        """Samples and sums with diagonal W."""
        return power_step(block, test, centre=centre, row_scale=self.row_scale, keep=keep)


@dataclass(frozen=True)
class MassProduct:
    """The consistent mass of the elements within one block."""

    patch: ElementPatch
    # Sparse products and gathers of element rows are host code so far.
    runs_on_device = False

    def gram(self, block: Array, *, centre: bool) -> Array:
        """``X^T M_b X``."""
        return mass_gram(block, self.patch, centre=centre)

    def grow_gram(self, total: Array | None, block: Array, *, centre: bool) -> Array:
        """``total + X^T M_b X``."""
        return _added(total, self.gram(block, centre=centre))

    def r_factor(self, block: Array, *, centre: bool) -> Array:
        """R of the rows ``L_e^T X_e``, grouped by element."""
        columns = block.shape[1]
        if not np.isfinite(np.sum(block, axis=0, dtype=np.float64)).all():
            # A node whose cells all straddle panels is in no row below: its NaN must be seen here, where it can be named.
            return np.full((columns, columns), np.nan)
        if self.patch.whitened_rows == 0:
            return np.zeros((columns, columns))
        return r_factor_of_panels(
            lambda rows: self.patch.whitened_panels(block, rows, centre=centre), self.patch.whitened_rows, columns
        )

    def lift(
        self, block: Array, transform: Array, predicted: Array | None, *, centre: bool, out: Array | None = None
    ) -> tuple[Array, LiftSums]:
        """Modes and sums in the patch's mass."""
        return mass_lift(block, transform, predicted, self.patch, centre=centre)

    def sketch(self, block: Array, test: Array, *, centre: bool, keep: bool) -> tuple[Array | None, SketchSums]:
        """Samples and sums in the patch's mass."""
        return mass_power_step(block, test, self.patch, centre=centre, keep=keep)


@dataclass(frozen=True)
class SparseProduct:
    """The entries of a sparse matrix within one block."""

    patch: SparsePatch
    runs_on_device = False

    def gram(self, block: Array, *, centre: bool) -> Array:
        """``X^T M_b X``."""
        return mass_gram(block, self.patch, centre=centre)

    def grow_gram(self, total: Array | None, block: Array, *, centre: bool) -> Array:
        """``total + X^T M_b X``."""
        return _added(total, self.gram(block, centre=centre))

    def r_factor(self, block: Array, *, centre: bool) -> Array:
        """There is none: raises TypeError, for whoever chose the route has not looked at `FieldSource.gram_only`."""
        raise TypeError("a sparse matrix without a factor has a Gram matrix and no R")

    def lift(
        self, block: Array, transform: Array, predicted: Array | None, *, centre: bool, out: Array | None = None
    ) -> tuple[Array, LiftSums]:
        """Modes and sums in the entries of the block."""
        return mass_lift(block, transform, predicted, self.patch, centre=centre)

    def sketch(self, block: Array, test: Array, *, centre: bool, keep: bool) -> tuple[Array | None, SketchSums]:
        """Samples and sums in the entries of the block."""
        return mass_power_step(block, test, self.patch, centre=centre, keep=keep)


def _added(total: Array | None, own: Array) -> Array:
    return own if total is None else np.add(total, own, out=total)


def identity() -> DiagonalProduct:
    """The Euclidean inner product."""
    return DiagonalProduct(None)


@dataclass(frozen=True)
class Interface:
    """The elements that straddle panels, or the entries that couple them, over the nodes they touch.

    Each leaf hands its own interface rows up the tree (they are few: a surface, not a volume), and the root treats them as
    one more block, whose inner product is `patch`.
    """

    patch: ElementPatch | SparsePatch
    rows: Mapping[int, NDArray[np.int64]] = field(default_factory=dict)
    """Panel index -> the rows of its block that belong to the interface, in the order of the patch's nodes."""

    @property
    def n_rows(self) -> int:
        """Rows of the stacked interface."""
        return self.patch.n_nodes * self.patch.components

    def pick(self, panel: int, block: Array) -> Array | None:
        """The interface rows of one block, copied so that the block itself can go; None where it has none."""
        index = self.rows.get(panel)
        return None if index is None or index.size == 0 else np.array(block[index, :])

    def stack(self, parts: Mapping[int, Array]) -> Array:
        """All interface rows, panels in ascending order: the block on which `product` acts."""
        return np.concatenate([parts[panel] for panel in sorted(parts)], axis=0)

    def product(self) -> BlockProduct:
        """The inner product of the straddling elements, or of the coupling entries."""
        return SparseProduct(self.patch) if isinstance(self.patch, SparsePatch) else MassProduct(self.patch)
