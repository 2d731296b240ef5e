"""Second pass of a dictionary: several sets of modes lifted from one block, in one read, each with its own residual.

    S_f (n_f, m) ──blocks──┬─> Phi_0 = S_f T_0 ──> sums_0        the global basis
                           └─> Phi_1 = S_f T_1 ──> sums_1        all local bases beside one another

A set is one product with its transform and one set of `LiftSums`. The modes of a set need not be orthonormal: local bases are
orthonormal one by one, and the overlap of two of them is the transition operator between them. Predicted coefficients Q are
those of each snapshot *in its own basis*, zero in the rows of all others, so that ``S - Phi Q`` is what its own basis leaves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nwidth_graphs.kernels.lift import LiftSums, merge_lift_sums, row_means
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Tally, interface_rows, read_block, ship_block, tally_of
from nwidth_graphs.missing import with_mask
from nwidth_graphs.placement import device_for, leaf_annotations, to_host
from nwidth_graphs.source import FieldSource, Reading, without_array
from nwidth_graphs.trees import TaskGraph, Tree, build

Write = Callable[[Panel, Sequence[Array], Array | None], None]
"""``write(panel, modes of every set (r, rows), mean (rows,) or None)``: called in the worker, once per panel."""


@dataclass(frozen=True)
class ModeSet:
    """Modes that are lifted together."""

    transform: Array
    """T (m, r)."""
    predicted: Array | None
    """Q (r, m) where the residual is to be formed; None where Pythagoras does."""


@dataclass(frozen=True)
class DictionaryLift:
    """What is lifted for one field, and where its modes go."""

    source: FieldSource
    sets: tuple[ModeSet, ...]
    write: Write


@dataclass(frozen=True)
class DictionaryPartial:
    """The sums of every set over some blocks, what they cost, and the interface rows."""

    sums: tuple[LiftSums, ...]
    tally: Tally
    interface: dict[int, Array] = field(default_factory=dict)


def dictionary_graph(lifts: Sequence[DictionaryLift], token: str, device: str = "cpu") -> TaskGraph:
    """The graph of one pass over all fields; its roots, named by `dictionary_root`, are `DictionaryPartial` values."""
    return build([_tree(lift) for lift in lifts], token, leaf_annotations(device))


def dictionary_root(field: str) -> str:
    """Name of a field's root."""
    return f"lift-{field}"


def dictionary_leaf(
    panel: Panel,
    *,
    source: FieldSource,
    sets: tuple[ModeSet, ...],
    write: Write,
    reading: Array | Reading | None = None,
) -> DictionaryPartial:
    """Lift all sets from one block, write their modes (and the mean), and measure what each misses there."""
    started = time.perf_counter()
    block_read = read_block(source, panel, reading)
    read_done = time.perf_counter()
    product = source.product(panel)
    device = device_for(product)
    block = device.to_device(block_read.values)
    modes, sums = [], []
    for one in sets:
        predicted = None if one.predicted is None else device.to_device(one.predicted)
        lifted, found = product.lift(block, device.to_device(one.transform), predicted, centre=source.centre)
        modes.append(with_mask(block_read.masked, to_host(lifted), None)[0])
        squares = None if found.residual_squares is None else to_host(found.residual_squares)
        sums.append(LiftSums(to_host(found.overlap), to_host(found.coefficients), squares))
    means = to_host(row_means(block)) if source.centre else None
    write(panel, modes, None if means is None else with_mask(block_read.masked, modes[0], means)[1])
    tally = tally_of(block_read, started, read_done, device)
    return DictionaryPartial(tuple(sums), tally, interface_rows(source, panel, block_read.values))


def merge_dictionaries(parts: Sequence[DictionaryPartial]) -> DictionaryPartial:
    """Add the sums of every set in the order given: every entry is a sum over rows, so any tree gives the same up to rounding."""
    return DictionaryPartial(
        sums=tuple(merge_lift_sums(sums) for sums in zip(*(part.sums for part in parts), strict=True)),
        tally=Tally.merge([part.tally for part in parts]),
        interface={panel: rows for part in parts for panel, rows in part.interface.items()},
    )


def close_dictionary(
    partial: DictionaryPartial, *, source: FieldSource, sets: tuple[ModeSet, ...], write: object
) -> DictionaryPartial:
    """At the root: the straddling elements' share of every certificate (all modes have been written by then)."""
    if source.interface is None or not partial.interface:
        return partial
    rows, product = source.interface.stack(partial.interface), source.interface.product()
    own = (product.lift(rows, one.transform, one.predicted, centre=source.centre)[1] for one in sets)
    sums = tuple(merge_lift_sums([before, straddling]) for before, straddling in zip(partial.sums, own, strict=True))
    return DictionaryPartial(sums, partial.tally)


def _tree(lift: DictionaryLift) -> Tree:
    shared: Mapping[str, object] = {"source": without_array(lift.source), "sets": lift.sets, "write": lift.write}
    return Tree(
        method="lift",
        field=lift.source.name,
        leaf=dictionary_leaf,
        blocks=lift.source.panels,
        merge=merge_dictionaries,
        close=close_dictionary,
        shared=shared,
        array=lift.source.array,
        read=ship_block,
    )
