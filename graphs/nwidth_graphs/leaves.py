"""What runs inside a task: read a block, move it where it is computed, reduce it, and hand back something small.

    read ──> to device ──> reduce ──> host factor + tally          one task; the block never leaves it

Numerical trouble is a field of the result (`bad`), not an exception: the edge turns it into words.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np

from nwidth_graphs.kernels.lift import LiftSums, merge_lift_sums, row_means
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel
from nwidth_graphs.missing import with_mask, without_masked_rows
from nwidth_graphs.placement import Device, device_for, to_host
from nwidth_graphs.reduction import Reduction
from nwidth_graphs.sequence import behind
from nwidth_graphs.source import FieldSource, Reading, as_rows
from nwidth_graphs.strips import Strip, panels_of

# Enough to see a pattern; a field full of NaN would otherwise carry its every place.
MAX_BAD_VALUES = 5
# More than what Linux says of a process, on any number of processors.
_STATUS_BYTES = 2**16


@dataclass(frozen=True)
class Tally:
    """What a task cost; tallies add up the tree."""

    bytes_read: int = 0
    read_seconds: float = 0.0
    compute_seconds: float = 0.0
    blocks: int = 0
    peak_process_bytes: int = 0
    blocks_reused: int = 0
    """Blocks among them whose partial lay on the shelf, so that nothing was read for them."""
    blocks_unkept: int = 0
    """Blocks whose partial could not be kept, for want of room."""
    masked_rows: int = 0
    """Unknowns outside of the domain, see `nwidth_graphs.missing`."""
    blocks_on_device: int = 0
    """Blocks among them that were reduced on a device, see `nwidth_graphs.placement`."""
    blocks_shipped: int = 0
    """Blocks among them that another worker had read and decoded."""

    @staticmethod
    def merge(parts: Sequence[Tally]) -> Tally:
        """Sums, and the maximum of the peaks."""
        return Tally(
            bytes_read=sum(part.bytes_read for part in parts),
            read_seconds=sum(part.read_seconds for part in parts),
            compute_seconds=sum(part.compute_seconds for part in parts),
            blocks=sum(part.blocks for part in parts),
            peak_process_bytes=max((part.peak_process_bytes for part in parts), default=0),
            blocks_reused=sum(part.blocks_reused for part in parts),
            blocks_unkept=sum(part.blocks_unkept for part in parts),
            masked_rows=sum(part.masked_rows for part in parts),
            blocks_on_device=sum(part.blocks_on_device for part in parts),
            blocks_shipped=sum(part.blocks_shipped for part in parts),
        )


@dataclass(frozen=True)
class BadValue:
    """A NaN or an infinity: where it stands in the field (space indices) and in which snapshot."""

    field: str
    snapshot: int
    place: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class Partial:
    """The factor of some blocks, what they cost, their interface rows, and the bad values met."""

    factor: Array
    tally: Tally
    interface: dict[int, Array] = field(default_factory=dict)
    bad: tuple[BadValue, ...] = ()


@dataclass(frozen=True)
class LiftPartial:
    """The certificate's sums over some blocks, what they cost, and the interface rows."""

    sums: LiftSums
    tally: Tally
    interface: dict[int, Array] = field(default_factory=dict)


def read_block(source: FieldSource, panel: Panel, reading: Array | Reading | None) -> Reading:
    """Read one block through the source's own reader, or take what there is: a block (m, space...) that a Dask array's graph
    has made, or the reading of `ship_block`.

    Rows outside of the domain come as zeros, and are named in `Reading.masked`.
    """
    if isinstance(reading, Reading):
        return reading
    if reading is not None:
        found = Reading(as_rows(reading))
    elif source.read is not None:
        found = source.read(panel)
    else:
        raise TypeError(f"field {source.name!r} has neither a reader nor a Dask array")
    found = without_masked_rows(found)
    return found if source.fill is None else source.fill(panel, found)


def ship_block(panel: Panel, *, source: FieldSource, **_: Any) -> Reading:
    """The first half of any leaf, for a leaf on another worker: read one block, in memory of its own."""
    started = time.perf_counter()
    found = read_block(source, panel, None)
    values = np.array(found.values, order="K") if found.lent else found.values
    return replace(found, values=values, lent=False, read_seconds=time.perf_counter() - started)


def factor_leaf(
    block: Panel | Strip, *, source: FieldSource, reduction: Reduction, reading: Array | Reading | None = None
) -> Partial:
    """Reduce one block to its factor, panel by panel where it is a strip; `reading` is that of a single panel."""
    factor: Array = None
    host: Array = None
    tallies: list[Tally] = []
    interface: dict[int, Array] = {}
    for panel in panels_of(block):
        started = time.perf_counter()
        panel_read = read_block(source, panel, reading)
        read_done = time.perf_counter()
        product = source.product(panel)
        device = device_for(product)
        values = device.to_device(panel_read.values)
        with np.errstate(over="ignore", invalid="ignore"):  # seen in the factor, and said in words
            factor = reduction.grow(factor, product, values, source.centre)
        host = to_host(factor)
        interface |= interface_rows(source, panel, panel_read.values)
        bad = () if _finite(host, reduction) else find_bad_values(source.name, panel, np.asarray(to_host(values)))
        tallies.append(tally_of(panel_read, started, read_done, device))
        if bad:
            return Partial(np.zeros_like(host), Tally.merge(tallies), interface, bad)
    started = time.perf_counter()
    whole = reduction.whole(host)
    tallies.append(Tally(compute_seconds=time.perf_counter() - started))
    return Partial(whole, Tally.merge(tallies), interface)


def lift_leaf(
    panel: Panel,
    *,
    source: FieldSource,
    write: Callable[[Panel, Array, Array | None], None],
    transform: Array,
    predicted: Array | None,
    reading: Array | Reading | None = None,
) -> LiftPartial:
    """Lift one block, write its modes (and its mean), and measure what the basis misses there.

    A `write` that has ``place(panel)`` says with it in which memory of this process to make a panel's modes, or None.
    """
    started = time.perf_counter()
    block_read = read_block(source, panel, reading)
    read_done = time.perf_counter()
    product = source.product(panel)
    device = device_for(product)
    block, there = device.to_device(block_read.values), device.to_device(transform)
    expected = None if predicted is None else device.to_device(predicted)
    place = getattr(write, "place", None)
    out = None if place is None or block_read.masked is not None else place(panel)
    modes, sums = product.lift(block, there, expected, centre=source.centre, out=out)
    means = row_means(block) if source.centre else None
    behind(partial(write, panel, *with_mask(block_read.masked, to_host(modes), None if means is None else to_host(means))))
    squares = None if sums.residual_squares is None else to_host(sums.residual_squares)
    host_sums = LiftSums(to_host(sums.overlap), to_host(sums.coefficients), squares)
    tally = tally_of(block_read, started, read_done, device)
    return LiftPartial(host_sums, tally, interface_rows(source, panel, block_read.values))


@dataclass(frozen=True)
class MergePartials:
    """``merge(parts)`` of a factor tree, in the order given; everything beside factors adds up."""

    reduction: Reduction

    def __call__(self, parts: Sequence[Partial]) -> Partial:
        """The merge of some partials, in new memory."""
        return _merged_partial(self.reduction.merge([part.factor for part in parts]), parts)

    def into(self, so_far: Partial, part: Partial) -> Partial:
        """The merge of two in the memory of the first, where their factors are sums: for who made that first one himself."""
        add = self.reduction.add
        return self([so_far, part]) if add is None else _merged_partial(add(so_far.factor, part.factor), [so_far, part])


def _merged_partial(factor: Array, parts: Sequence[Partial]) -> Partial:
    return Partial(
        factor=factor,
        tally=Tally.merge([part.tally for part in parts]),
        interface={panel: rows for part in parts for panel, rows in part.interface.items()},
        bad=tuple(bad for part in parts for bad in part.bad)[:MAX_BAD_VALUES],
    )


def merge_lift_partials(parts: Sequence[LiftPartial]) -> LiftPartial:
    """Add the sums in the order given."""
    return LiftPartial(
        sums=merge_lift_sums([part.sums for part in parts]),
        tally=Tally.merge([part.tally for part in parts]),
        interface={panel: rows for part in parts for panel, rows in part.interface.items()},
    )


def close_factor(partial: Partial, *, source: FieldSource, reduction: Reduction) -> Partial:
    """At the root: add the elements that straddle panels, as one more block."""
    factor = partial.factor
    with np.errstate(over="ignore", invalid="ignore"):
        if source.interface is not None and partial.interface and not partial.bad:
            rows = source.interface.stack(partial.interface)
            own = reduction.leaf(source.interface.product(), rows, source.centre)
            factor = reduction.merge([factor, own])
    # Blocks that are finite each may still have squares whose sum is not.
    bad = partial.bad if partial.bad or _finite(factor, reduction) else (overflow_of(source.name),)
    return Partial(factor, partial.tally, {}, bad)


def close_lift(
    partial: LiftPartial, *, source: FieldSource, transform: Array, predicted: Array | None, write: object
) -> LiftPartial:
    """At the root: the straddling elements' share of the certificate (all modes have been written by then)."""
    if source.interface is None or not partial.interface:
        return partial
    rows = source.interface.stack(partial.interface)
    _, own = source.interface.product().lift(rows, transform, predicted, centre=source.centre)
    return LiftPartial(merge_lift_sums([partial.sums, own]), partial.tally)


def find_bad_values(name: str, panel: Panel, block: Any) -> tuple[BadValue, ...]:
    """The first places of a block (rows, m) that are not finite, in the field's own indices.

    Empty where every value is finite: then squares overflowed, and the caller says so.
    """
    rows, snapshots = np.nonzero(~np.isfinite(block))
    found = []
    for row, snapshot in list(zip(rows, snapshots, strict=True))[:MAX_BAD_VALUES]:
        local = np.unravel_index(int(row), panel.shape)
        place = tuple(int(i) + part.start for i, part in zip(local, panel.selection, strict=True))
        found.append(BadValue(name, int(snapshot), place, float(block[row, snapshot])))
    return tuple(found) or (overflow_of(name),)


def overflow_of(name: str) -> BadValue:
    """What stands for a field whose values are finite and whose squares are not."""
    return BadValue(name, -1, (), float("inf"))


def _finite(factor: Array, reduction: Reduction) -> bool:
    """Whether the squares of all values, which everything later is made of, can be added up."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.sum(reduction.column_norms(factor) ** 2)))


def interface_rows(source: FieldSource, panel: Panel, values: Array) -> dict[int, Array]:
    """A block's rows that elements straddling panels need, by panel; they travel up the tree."""
    if source.interface is None:
        return {}
    rows = source.interface.pick(panel.index, values)
    return {} if rows is None else {panel.index: rows}


def tally_of(reading: Reading, started: float, read_done: float, device: Device | None = None) -> Tally:
    """The tally of one block whose leaf ends now; times are those of `time.perf_counter`."""
    shipped = reading.read_seconds is not None
    return Tally(
        bytes_read=reading.bytes_read,
        read_seconds=read_done - started if reading.read_seconds is None else reading.read_seconds,
        compute_seconds=time.perf_counter() - read_done,
        blocks=1,
        peak_process_bytes=peak_process_bytes(),
        masked_rows=0 if reading.masked is None else len(reading.masked),
        blocks_on_device=int(device is not None and device.name != "cpu"),
        blocks_shipped=int(shipped),
    )


def peak_process_bytes() -> int:
    """Largest resident size that this process ever had.

    Linux tells it of the process itself; `getrusage`, elsewhere, starts a child at the peak of the process that forked it.
    """
    try:
        status = os.pread(_status_file(os.getpid()), _STATUS_BYTES, 0)
        return 1024 * int(status.partition(b"VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@cache
def _status_file(process: int) -> int:
    """Open for good: opening it after every block was several times an exchange of the interpreter's lock between threads."""
    return os.open("/proc/self/status", os.O_RDONLY)
