"""Fields with gaps: leaves that fill what is missing from the modes of an iteration before, and the passes that make those.

    scan      which snapshots miss values, and how many                                                  one read
    iterate   S filled ──factor pass──> T ──gappy pass──> Phi = S T (scratch), G, B, sums over the gaps ──> a_j        two reads
                 ^                                                                                            │
                 └──────────────────── missing entries of the next block: phi . a_j ──────────────────────────┘

The filling is never written: each leaf computes it from its rows of the modes and the coefficients. Some observed values are
hidden during the iterations, as if they were missing, and the error of their filling is measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.budget import PassCost
from nwidth_graphs.inner import DiagonalProduct
from nwidth_graphs.kernels.gappy import GapSums, fill_in_place, gap_sums, hidden_entries
from nwidth_graphs.kernels.lift import LiftSums, merge_lift_sums, row_means
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally, read_block, tally_of
from nwidth_graphs.missing import with_mask
from nwidth_graphs.placement import leaf_annotations
from nwidth_graphs.reduction import FLOAT
from nwidth_graphs.source import FieldSource, Reading, without_array
from nwidth_graphs.trees import FAN_IN, TaskGraph, Tree, build

# The sums over gaps of one field, (g, r, r): more than this is no longer a small result.
MAX_SUMS_BYTES = 256 * 2**20

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Hidden:
    """Observed entries that are treated as missing; drawn by place, so that any cut hides the same ones."""

    space: tuple[int, ...]
    """The field's shape without snapshots: numbers its rows."""
    snapshots: tuple[int, ...]
    share: float
    seed: int

    def __call__(self, panel: Panel, missing: Bools) -> Bools:
        """(rows, m): what is hidden of one block. A row keeps all that it has where nothing else would be left of it."""
        hidden = hidden_entries(self._rows(panel), self.snapshots, self.share, self.seed, missing.shape[1]) & ~missing
        hidden[(hidden | missing).all(axis=1)] = False
        return hidden

    def _rows(self, panel: Panel) -> NDArray[np.int64]:
        number = np.zeros((), np.int64)
        for axis, part in enumerate(panel.selection):
            stride = math.prod(self.space[axis + 1 :])
            number = number[..., None] + np.arange(part.start, part.stop, dtype=np.int64) * stride
        return number.ravel()


@dataclass(frozen=True)
class Fill:
    """``fill(panel, reading)``: the block with values in its gaps."""

    columns: Callable[[Panel], Reading] | None = None
    """(rows, k) of a panel: modes of the iteration before, and the mean where there is one; None before the first."""
    coefficients: Floats | None = None
    """(k, m)."""
    hidden: Hidden | None = None

    def __call__(self, panel: Panel, reading: Reading) -> Reading:
        """Fill one block; one without gaps is handed on as it is."""
        missing = np.isnan(reading.values)
        gaps = missing if self.hidden is None else missing | self.hidden(panel, missing)
        return self.filled(panel, reading, gaps)

    def filled(self, panel: Panel, reading: Reading, gaps: Bools) -> Reading:
        """The block with values in `gaps`; a buffer that the reader lends is changed in place."""
        if not gaps.any():
            return reading
        values = reading.values if reading.lent else np.array(reading.values, order="K")
        columns = None if self.columns is None else self.columns(panel).values
        fill_in_place(values, gaps, columns, self.coefficients)
        return replace(reading, values=values)


@dataclass(frozen=True)
class GapCount:
    """Missing entries of some rows, snapshot by snapshot."""

    missing: NDArray[np.int64]
    """(m,)."""
    rows: int
    """Rows that are not masked."""
    tally: Tally


@dataclass(frozen=True)
class GappyPartial:
    """The sums of a gappy pass over some blocks."""

    sums: LiftSums
    gaps: GapSums
    hidden_error: float
    """``sum w (filling - x)^2`` over the hidden entries."""
    hidden_square: float
    """``sum w x^2`` over the hidden entries, centred where the basis is."""
    hidden_count: int
    tally: Tally


@dataclass(frozen=True)
class GappyLift:
    """What a gappy pass does with one field, whose `fill` is a `Fill`."""

    source: FieldSource
    transform: Array
    """T (m, r)."""
    snapshots: tuple[int, ...]
    """Those with gaps."""
    write: Callable[[Panel, Floats], None]
    """Takes the modes, and under them the mean where there is one, (k, rows)."""


def scan_graph(sources: Sequence[FieldSource], token: str) -> TaskGraph:
    """The graph of one pass that counts gaps; its roots, ``gappy-scan-<field>``, are `GapCount` values."""
    return build(
        [
            Tree(
                method="gappy-scan", field=source.name, leaf=scan_leaf, blocks=source.panels, merge=merge_counts, close=_as_it_is,
                shared={"source": without_array(source)}, array=source.array,
            )
            for source in sources
        ],
        token,
    )  # fmt: skip


def gappy_graph(lifts: Sequence[GappyLift], token: str, device: str = "cpu") -> TaskGraph:
    """The graph of one gappy pass; its roots, ``gappy-<field>``, are `GappyPartial` values."""
    return build([_gappy_tree(lift) for lift in lifts], token, leaf_annotations(device))


def _gappy_tree(lift: GappyLift) -> Tree:
    source, fill = lift.source, lift.source.fill
    if not isinstance(fill, Fill):
        raise TypeError(f"field {source.name!r} has no filling")
    bare = replace(without_array(source), fill=None)
    return Tree(
        method="gappy",
        field=source.name,
        leaf=gappy_leaf,
        blocks=source.panels,
        merge=merge_gappy,
        close=_as_it_is,
        shared={"source": bare, "fill": fill, "transform": lift.transform, "snapshots": lift.snapshots, "write": lift.write},
        array=source.array,
    )


def gappy_costs(
    sources: Sequence[FieldSource], passes: Sequence[PassCost], iterations: int, threads: int, rank: int
) -> tuple[PassCost, ...]:
    """What filling takes at most, before the passes of a route, and those passes with what filling adds to them. Pure.

    Parameters
    ----------
    passes : the route's own, the first of which makes a factor, the last of which lifts
    iterations : most iterations
    """
    factor, lift = passes[0], passes[-1]
    snapshots = sources[0].snapshots
    # Which values are missing, a byte each; a strip of estimates beside its values; the columns that fill.
    block = (
        max(source.largest_panel for source in sources) * (snapshots + FLOAT * (rank + 1)) + 3 * FLOAT * PANEL_ROWS * snapshots
    )
    sums = 2 * (FAN_IN + 2) * min(MAX_SUMS_BYTES, FLOAT * snapshots * rank**2)

    def grown(cost: PassCost, name: str, reads: int, more: int) -> PassCost:
        return replace(
            cost, name=name, reads=cost.reads * reads, bytes_to_read=cost.bytes_to_read * reads, flops=cost.flops * reads,
            tasks=cost.tasks * reads, peak_bytes=cost.peak_bytes + threads * block + more,
        )  # fmt: skip

    return (
        replace(grown(factor, "gappy scan", 1, 0), flops=0.0),
        grown(factor, "gappy gram", iterations, 0),
        grown(lift, "gappy lift", iterations, sums),
        *(grown(cost, cost.name, 1, 0) for cost in passes),
    )


def scan_leaf(panel: Panel, *, source: FieldSource, reading: Array | Reading | None = None) -> GapCount:
    """Count the missing entries of one block."""
    started = time.perf_counter()
    found = read_block(source, panel, reading)
    read_done = time.perf_counter()
    # Snapshot by snapshot, as they lie in memory: a mask of the whole block is not needed here.
    missing = np.array([np.count_nonzero(np.isnan(found.values[:, j])) for j in range(source.snapshots)])
    masked = 0 if found.masked is None else len(found.masked)
    return GapCount(missing, panel.rows - masked, tally_of(found, started, read_done))


def gappy_leaf(
    panel: Panel,
    *,
    source: FieldSource,
    fill: Fill,
    transform: Array,
    snapshots: tuple[int, ...],
    write: Callable[[Panel, Floats], None],
    reading: Array | Reading | None = None,
) -> GappyPartial:
    """Fill one block, lift it, write its modes, and add up what its gaps contribute to the coefficients of the next filling."""
    started = time.perf_counter()
    found = read_block(source, panel, reading)
    read_done = time.perf_counter()
    missing = np.isnan(found.values)
    hidden = np.zeros_like(missing) if fill.hidden is None else fill.hidden(panel, missing)
    truth = np.asarray(found.values[hidden], np.float64)
    gaps = missing | hidden
    filled = fill.filled(panel, found, gaps).values
    product = source.product(panel)
    modes, sums = product.lift(filled, transform, None, centre=source.centre)
    mean = row_means(filled) if source.centre else None
    scale = product.row_scale if isinstance(product, DiagonalProduct) else None
    weights = None if scale is None else np.asarray(scale, np.float64) ** 2
    error, square = _hidden_squares(filled, truth, hidden, mean, weights)
    partial = gap_sums(modes, filled, mean, gaps, snapshots, weights)
    written, below = with_mask(found.masked, modes, mean)
    write(panel, written if below is None else np.vstack([written, below]))
    return GappyPartial(sums, partial, error, square, len(truth), tally_of(found, started, read_done))


def _hidden_squares(
    filled: Array, truth: Floats, hidden: Bools, mean: Floats | None, weights: Floats | None
) -> tuple[float, float]:
    rows = np.nonzero(hidden)[0]
    weight = 1.0 if weights is None else weights[rows]
    centred = truth if mean is None else truth - mean[rows]
    return float(np.sum(weight * (filled[hidden] - truth) ** 2)), float(np.sum(weight * centred**2))


def merge_counts(parts: Sequence[GapCount]) -> GapCount:
    """Sums."""
    return GapCount(
        np.sum([part.missing for part in parts], axis=0), sum(part.rows for part in parts), Tally.merge([p.tally for p in parts])
    )


def merge_gappy(parts: Sequence[GappyPartial]) -> GappyPartial:
    """Sums, in the order given."""
    gaps = parts[0].gaps
    for part in parts[1:]:
        gaps = gaps + part.gaps
    return GappyPartial(
        sums=merge_lift_sums([part.sums for part in parts]),
        gaps=gaps,
        hidden_error=math.fsum(part.hidden_error for part in parts),
        hidden_square=math.fsum(part.hidden_square for part in parts),
        hidden_count=sum(part.hidden_count for part in parts),
        tally=Tally.merge([part.tally for part in parts]),
    )


def _as_it_is(partial: GapCount | GappyPartial, **_: object) -> GapCount | GappyPartial:
    return partial
