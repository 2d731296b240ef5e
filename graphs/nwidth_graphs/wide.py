"""Wide and short fields, n << m: the factor of the transpose, over groups of snapshots with all rows.

    S (n, m)  ──groups──>  S_g (n, b)  ──leaf──>  S_g S_g^T, or R of [1 | S_g^T]   ──tree──>  (n, n)     one read
    factor ──W──> U (n, N), s      modes Phi = W^-1/2 U: directly, in the driver: they are small here
    S_g ──leaf──> A_g = Phi^T W S_g, what is missed, norms                                              one more read

The snapshot axis may be as long as it likes: what goes up the first tree does not grow with it, and what goes up the second are
the coefficients themselves, which are asked for.

Centring: the row means are sums over *all* groups, and subtracting ``m mean mean^T`` from a Gram matrix would cancel. With a
column of ones in front, ``R of [1 | S^T] = [[sqrt(m), sqrt(m) mean^T], [0, R_c]]`` and ``R_c`` is the factor of the centred
snapshots, to the accuracy of a QR factorisation; see `centred_factor`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.budget import PROCESS_BYTES, PassCost, merge_bytes
from nwidth_graphs.inner import identity
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Group
from nwidth_graphs.leaves import BadValue, MergePartials, Partial, Tally, find_bad_values, overflow_of, read_block, tally_of
from nwidth_graphs.reduction import FLOAT, Reduction
from nwidth_graphs.source import FieldSource, Reading, part_of, without_array
from nwidth_graphs.trees import SHARED_TASKS, TaskGraph, Tree, build, tree_tasks

Floats = NDArray[np.float64]
# Snapshots that are widened to float64 at a time.
COLUMNS = 2048


@dataclass(frozen=True)
class WideField:
    """Fields that share a basis, each with one panel that is its whole space, stacked in this order."""

    name: str
    sources: tuple[FieldSource, ...]
    groups: tuple[Group, ...]
    centre: bool = False

    @property
    def rows(self) -> int:
        """n of all fields together."""
        return sum(source.rows for source in self.sources)


@dataclass(frozen=True)
class Measured:
    """Second pass over some groups: entries in the order of the snapshots."""

    coefficients: Array
    """(N, snapshots)."""
    field_errors: Array
    """(fields, snapshots): squared norms of what the basis misses, field by field, unscaled."""
    field_norms: Array
    """(fields, snapshots): squared norms."""
    tally: Tally


@dataclass(frozen=True)
class Basis:
    """What the second pass measures, stacked over the fields."""

    modes: Floats
    """Phi (n, N), unscaled: ``x ~ Phi a``."""
    dual: Floats
    """``diag(a_f^2) W Phi`` (n, N): ``A = dual^T x``."""
    weights: tuple[Floats, ...]
    """W of every field: (n_f,) where it is diagonal, else (n_f, n_f)."""
    mean: Floats | None
    """(n,) where snapshots are centred."""


def wide_factor_graph(fields: Sequence[WideField], reduction: Reduction, token: str) -> TaskGraph:
    """First pass; its roots, named by `wide_factor_root`, are `Partial` values with factors (n, n), or (1 + n, 1 + n) centred."""
    return build([_factor_tree(field, reduction) for field in fields], token)


def wide_measure_graph(fields: Sequence[WideField], bases: Sequence[Basis], token: str) -> TaskGraph:
    """Second pass; its roots, named by `wide_measure_root`, are `Measured` values."""
    return build([_measure_tree(field, basis) for field, basis in zip(fields, bases, strict=True)], token)


def wide_factor_root(name: str) -> str:
    """Name of a basis's root in the first pass."""
    return f"wide-{name}"


def wide_measure_root(name: str) -> str:
    """Name of a basis's root in the second pass."""
    return f"measure-{name}"


def _factor_tree(field: WideField, reduction: Reduction) -> Tree:
    return Tree(
        method="wide",
        field=field.name,
        leaf=wide_leaf,
        blocks=field.groups,
        merge=_Merge(reduction),
        close=close_wide,
        shared={"field": _without_arrays(field), "reduction": reduction},
        array=_array(field),
    )


def _measure_tree(field: WideField, basis: Basis) -> Tree:
    return Tree(
        method="measure",
        field=field.name,
        leaf=measure_leaf,
        blocks=field.groups,
        merge=merge_measured,
        close=close_measured,
        shared={"field": _without_arrays(field), "basis": basis},
        array=_array(field),
    )


def _array(field: WideField) -> Any:
    """The Dask array (m, space...) whose blocks are the groups; None where leaves read for themselves."""
    return field.sources[0].array if len(field.sources) == 1 else None


def _without_arrays(field: WideField) -> WideField:
    return replace(field, sources=tuple(without_array(source) for source in field.sources))


@dataclass(frozen=True)
class _Merge:
    reduction: Reduction

    def __call__(self, parts: Sequence[Partial]) -> Partial:
        return MergePartials(self.reduction)(parts)


def wide_leaf(group: Group, *, field: WideField, reduction: Reduction, reading: Array | None = None) -> Partial:
    """Factor of the transposed snapshots of one group; which rows are masked travels in the place of interface rows."""
    started = time.perf_counter()
    found = _stacked(field, group, reading)
    block = found.values
    read_done = time.perf_counter()
    rows = np.concatenate([np.ones((1, group.size), block.dtype), block]).T if field.centre else block.T
    with np.errstate(over="ignore", invalid="ignore"):  # seen in the factor, and said in words
        factor = np.asarray(reduction.leaf(identity(), rows, False))
        finite = bool(np.isfinite(np.sum(reduction.column_norms(factor) ** 2)))
    bad: tuple[BadValue, ...] = ()
    if not finite:
        bad, factor = _bad_values(field, group, block), np.zeros_like(factor)
    return Partial(factor, tally_of(found, started, read_done), {group.index: _masked(found)}, bad)


def close_wide(partial: Partial, *, field: WideField, reduction: Reduction) -> Partial:
    """At the root: one mask for all groups, and squares whose sum is finite, too."""
    masks = partial.interface
    mask = masks[min(masks)]
    other = next((index for index in sorted(masks) if not np.array_equal(masks[index], mask)), None)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(np.sum(reduction.column_norms(partial.factor) ** 2)))
    bad = partial.bad
    if not bad and other is not None:
        bad = (_half_masked(field, min(masks), mask, other, masks[other]),)
    if not bad and not finite:
        bad = (overflow_of(field.sources[0].name),)
    return Partial(partial.factor, partial.tally, {0: mask}, bad)


def _half_masked(field: WideField, first: int, mask: Array, other: int, other_mask: Array) -> BadValue:
    """A row that is NaN in all snapshots of one group, and has values in another: not outside of the domain, but missing."""
    row = int(np.setxor1d(mask, other_mask)[0])
    group = field.groups[first if row in mask else other]
    for source in field.sources:
        panel = source.panels[0]
        if row < panel.rows:
            place = tuple(int(i) for i in np.unravel_index(row, panel.shape))
            return BadValue(source.name, group.start, place, float("nan"))
        row -= panel.rows
    raise AssertionError("a mask names a row that no field has")


def centred_factor(factor: Floats) -> tuple[Floats, Floats]:
    """(R_c (n, n), row means (n,)) from the R of ``[1 | S^T]``."""
    return factor[1:, 1:], factor[0, 1:] / factor[0, 0]


def measure_leaf(group: Group, *, field: WideField, basis: Basis, reading: Array | None = None) -> Measured:
    """Coefficients, errors and norms of the snapshots of one group."""
    started = time.perf_counter()
    found = _stacked(field, group, reading)
    block = found.values
    read_done = time.perf_counter()
    parts = [_measure(field, block[:, start : start + COLUMNS], basis) for start in range(0, group.size, COLUMNS)]
    coefficients, errors, norms = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    return Measured(coefficients, errors, norms, tally_of(found, started, read_done))


def merge_measured(parts: Sequence[Measured]) -> Measured:
    """Side by side, in the order given, which is that of the snapshots."""
    return Measured(
        np.concatenate([part.coefficients for part in parts], axis=1),
        np.concatenate([part.field_errors for part in parts], axis=1),
        np.concatenate([part.field_norms for part in parts], axis=1),
        Tally.merge([part.tally for part in parts]),
    )


def close_measured(measured: Measured, **_: object) -> Measured:
    """Nothing is left to do at the root."""
    return measured


def _measure(field: WideField, block: Array, basis: Basis) -> tuple[Floats, Floats, Floats]:
    columns = block.astype(np.float64)
    if basis.mean is not None:
        columns -= basis.mean[:, None]
    coefficients = basis.dual.T @ columns
    missed = columns - basis.modes @ coefficients
    return coefficients, _field_squares(field, missed, basis), _field_squares(field, columns, basis)


def _field_squares(field: WideField, columns: Floats, basis: Basis) -> Floats:
    squares, start = [], 0
    for source, weights in zip(field.sources, basis.weights, strict=True):
        rows = columns[start : start + source.rows]
        weighted = weights @ rows if weights.ndim == 2 else weights[:, None] * rows
        squares.append(np.sum(rows * weighted, axis=0))
        start += source.rows
    return np.stack(squares)


def _stacked(field: WideField, group: Group, given: Array | None) -> Reading:
    """All rows of all fields for one group, (n, b), in the data's own precision."""
    reading = _read(field.sources[0], group, given)
    if len(field.sources) == 1:
        return reading
    dtype = np.result_type(*(f"f{source.itemsize}" for source in field.sources))
    # Readers share a buffer: each block is copied before the next is read. Snapshots first, as they lie in a store.
    block = np.empty((group.size, field.rows), dtype)
    masked: list[Array] = []
    start, nbytes = 0, 0
    for index, source in enumerate(field.sources):
        if index:
            reading = _read(source, group, None)
        block[:, start : start + source.rows] = reading.values.T
        masked.append(_masked(reading) + start)
        start, nbytes = start + source.rows, nbytes + reading.bytes_read
    return Reading(block.T, nbytes, masked=np.concatenate(masked))


def _read(source: FieldSource, group: Group, given: Array | None) -> Reading:
    return read_block(source if given is not None else part_of(source, group), source.panels[0], given)


def _masked(reading: Reading) -> Array:
    return np.empty(0, np.int64) if reading.masked is None else np.asarray(reading.masked)


def _bad_values(field: WideField, group: Group, block: Array) -> tuple[BadValue, ...]:
    found: list[BadValue] = []
    start = 0
    for source in field.sources:
        rows = np.asarray(block[start : start + source.rows])
        start += source.rows
        if not np.isfinite(rows).all():
            found += find_bad_values(source.name, source.panels[0], rows)
    if not found:
        return (overflow_of(field.sources[0].name),)
    return tuple(BadValue(bad.field, bad.snapshot + group.start, bad.place, bad.value) for bad in found)


# --- what it costs: pure arithmetic, as in `budget` -----------------------------------------------------------------------------


def wide_costs(
    rows: int,
    snapshots: int,
    groups: Sequence[Group],
    reduction: Reduction,
    *,
    itemsize: int,
    rank_bound: int,
    likely_rank: int,
    dense: bool,
    stored_bytes: int,
    decode_bytes: int,
    threads: int,
    trees: int = 1,
) -> tuple[PassCost, ...]:
    """Both passes.

    Parameters
    ----------
    rows : n of the largest basis
    rank_bound, likely_rank : modes for which there is room, and modes that flops are counted for
    dense : whether an inner product is a matrix, and not a diagonal
    trees : bases that are reduced side by side
    """
    largest = max(group.size for group in groups)
    block = rows * largest * itemsize + decode_bytes
    sums = merge_bytes(rows, 1)
    factor = PROCESS_BYTES + threads * (block + reduction.scratch_bytes(rows + 1)) + trees * sums
    columns = FLOAT * min(largest, COLUMNS) * (5 * rows + 2 * rank_bound)
    shared = FLOAT * (2 * rows * rank_bound + (rows * rows if dense else rows))
    # Coefficients go up side by side: the last merge holds them all, once as parts and once joined.
    found = 2 * FLOAT * (rank_bound + 4) * snapshots
    measure = PROCESS_BYTES + threads * (block + columns + FLOAT * rank_bound * largest) + trees * (shared + 2 * found)
    tasks = trees * (tree_tasks(len(groups)) + SHARED_TASKS)
    entries = float(rows) * snapshots
    return (
        PassCost("factor", 1, stored_bytes, reduction.flops(snapshots, rows), tasks, factor),
        PassCost("measure", 1, stored_bytes, entries * (4.0 * likely_rank + (4.0 * rows if dense else 6.0)), tasks, measure),
    )
