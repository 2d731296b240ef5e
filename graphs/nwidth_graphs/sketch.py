"""A sketching pass: the image of a test matrix under the Gram matrix of every field, in one graph, and what it costs.

    S_f (n_f, m), Om (m, r) ──blocks──> Z_f = S_f^T W_f S_f Om (m, r), squared norms (m,)                one read of the data
                               └──────> Y_f = S_f Om  written where it is made, if a writer is given     the same read

Where a factor pass carries m x m numbers up the tree, this one carries r x m. A panel holds all snapshots of its rows, so Y of
a block is complete when the block has been seen, and its image needs no second read: that is what makes a single read enough
for a basis (`nystrom`), and 2 reads as good as the 4 of a range finder with one power iteration (`sketch`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nwidth_graphs.budget import (
    LIFT_SHARED_TASKS,
    PassCost,
    inner_bytes,
    interface_bytes,
    lift_cost,
    process_bytes,
)
from nwidth_graphs.kernels.lift import row_means
from nwidth_graphs.kernels.panels import PANEL_ROWS, Array
from nwidth_graphs.kernels.sketch import WINDOW_COLUMNS, SketchSums, merge_sketch_sums
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import (
    MAX_BAD_VALUES,
    BadValue,
    Tally,
    find_bad_values,
    interface_rows,
    overflow_of,
    read_block,
    ship_block,
    tally_of,
)
from nwidth_graphs.lifting import Write
from nwidth_graphs.missing import with_mask
from nwidth_graphs.placement import device_for, leaf_annotations, to_host
from nwidth_graphs.reduction import FLOAT
from nwidth_graphs.source import FieldSource, Reading, without_array
from nwidth_graphs.trees import FAN_IN, TaskGraph, Tree, build, tree_tasks


@dataclass(frozen=True)
class Sketch:
    """What is sketched of one field."""

    source: FieldSource
    test: Array
    """Om (m, r)."""
    write: Write | None = None
    """Takes the samples ``Y^T`` (r, rows) of every panel, and its mean; None where only their image is wanted."""


@dataclass(frozen=True)
class SketchPartial:
    """The sketch of some blocks, what it cost, their interface rows, and the bad values met."""

    sums: SketchSums
    tally: Tally
    interface: dict[int, Array] = field(default_factory=dict)
    bad: tuple[BadValue, ...] = ()


def sketch_graph(sketches: Sequence[Sketch], token: str, device: str = "cpu") -> TaskGraph:
    """The graph of one pass over all fields; its roots, named by `sketch_root`, are `SketchPartial` values."""
    return build([_tree(sketch) for sketch in sketches], token, leaf_annotations(device))


def sketch_root(field: str) -> str:
    """Name of a field's root."""
    return f"sketch-{field}"


def _tree(sketch: Sketch) -> Tree:
    return Tree(
        method="sketch",
        field=sketch.source.name,
        leaf=sketch_leaf,
        blocks=sketch.source.panels,
        merge=merge_sketch_partials,
        close=close_sketch,
        shared={"source": without_array(sketch.source), "test": sketch.test, "write": sketch.write},
        array=sketch.source.array,
        read=ship_block,
    )


def sketch_leaf(
    panel: Panel, *, source: FieldSource, test: Array, write: Write | None, reading: Array | Reading | None = None
) -> SketchPartial:
    """Sketch one block, and write its samples (and its mean) where they are kept."""
    started = time.perf_counter()
    block_read = read_block(source, panel, reading)
    read_done = time.perf_counter()
    product = source.product(panel)
    device = device_for(product)
    block, there = device.to_device(block_read.values), device.to_device(test)
    with np.errstate(over="ignore", invalid="ignore"):  # seen in the sums, and said in words
        samples, sums = product.sketch(block, there, centre=source.centre, keep=write is not None)
    sums = SketchSums(to_host(sums.image), to_host(sums.squares))
    bad: tuple[BadValue, ...] = ()
    if not _finite(sums):
        bad = find_bad_values(source.name, panel, np.asarray(to_host(block)))
        sums = SketchSums(np.zeros_like(sums.image), np.zeros_like(sums.squares))
    elif write is not None and samples is not None:
        means = to_host(row_means(block)) if source.centre else None
        write(panel, *with_mask(block_read.masked, to_host(samples), means))
    tally = tally_of(block_read, started, read_done, device)
    return SketchPartial(sums, tally, interface_rows(source, panel, block_read.values), bad)


def merge_sketch_partials(parts: Sequence[SketchPartial]) -> SketchPartial:
    """Add the sums in the order given."""
    return SketchPartial(
        sums=merge_sketch_sums([part.sums for part in parts]),
        tally=Tally.merge([part.tally for part in parts]),
        interface={panel: rows for part in parts for panel, rows in part.interface.items()},
        bad=tuple(bad for part in parts for bad in part.bad)[:MAX_BAD_VALUES],
    )


def close_sketch(partial: SketchPartial, *, source: FieldSource, test: Array, write: object) -> SketchPartial:
    """At the root: the straddling elements' share."""
    sums = partial.sums
    with np.errstate(over="ignore", invalid="ignore"):
        if source.interface is not None and partial.interface and not partial.bad:
            rows = source.interface.stack(partial.interface)
            _, own = source.interface.product().sketch(rows, test, centre=source.centre, keep=False)
            sums = merge_sketch_sums([sums, own])
    bad = partial.bad if partial.bad or _finite(sums) else (overflow_of(source.name),)
    return SketchPartial(sums, partial.tally, {}, bad)


def _finite(sums: SketchSums) -> bool:
    """Whether the squares of all values, which everything later is made of, can be added up."""
    return bool(np.isfinite(np.sum(sums.squares)) and np.isfinite(np.sum(sums.image)))


# --- what it costs: pure arithmetic, as in `budget` -----------------------------------------------------------------------------


def sketch_costs(
    sources: Sequence[FieldSource],
    *,
    sample: int,
    sketches: int,
    stored_bytes: int,
    decode_bytes: int,
    threads: int,
) -> tuple[PassCost, ...]:
    """The passes of the route ``sketch``: some reads that sketch, one that lifts and measures.

    Parameters
    ----------
    sample : columns r of the test matrix (the largest, where it grows)
    sketches : sketching reads: 1 + power iterations, and one more where snapshots are scaled to unit norm
    stored_bytes, decode_bytes, threads : as in `nwidth_graphs.budget`
    """
    read = _sketch_cost(sources, sample, stored_bytes, decode_bytes, threads, kept=False)
    lift = lift_cost(
        sources, stored_bytes=stored_bytes, decode_bytes=decode_bytes, threads=threads, rank_bound=sample, after=None
    )
    return (*(read for _ in range(sketches)), lift)


def nystrom_costs(
    sources: Sequence[FieldSource], *, sample: int, stored_bytes: int, decode_bytes: int, threads: int
) -> tuple[PassCost, ...]:
    """The one pass of the route ``nystrom``, which writes its samples as provisional modes."""
    return (_sketch_cost(sources, sample, stored_bytes, decode_bytes, threads, kept=True),)


def _sketch_cost(
    sources: Sequence[FieldSource], sample: int, stored_bytes: int, decode_bytes: int, threads: int, *, kept: bool
) -> PassCost:
    return PassCost(
        name="sketch",
        reads=1,
        bytes_to_read=stored_bytes,
        flops=sum(4.0 * source.rows * source.snapshots * sample for source in sources),
        tasks=sum(tree_tasks(len(source.panels)) + LIFT_SHARED_TASKS for source in sources),
        peak_bytes=_peak_bytes(sources, sample, decode_bytes, threads, kept=kept),
    )


def _peak_bytes(sources: Sequence[FieldSource], sample: int, decode_bytes: int, threads: int, *, kept: bool) -> int:
    snapshots = sources[0].snapshots
    block = max(
        # A mass product makes the samples of the whole block, kept or not.
        source.largest_panel * sketch_row_bytes(snapshots, source.itemsize, sample, kept=kept or source.mass_entries > 0)
        + inner_bytes(source)
        for source in sources
    )
    leaf = block + decode_bytes + sketch_scratch_bytes(snapshots, sample)
    return (
        process_bytes(coupled=any(source.mass_entries for source in sources))
        + threads * leaf
        + sketch_merge_bytes(snapshots, sample)
        + sum(interface_bytes(source) for source in sources)
    )


def sketch_row_bytes(snapshots: int, itemsize: int, sample: int, *, kept: bool) -> int:
    """Bytes that one row of a block costs: its values, its weight, and its samples (as made, as written) where they are kept."""
    return snapshots * itemsize + 2 * FLOAT + (2 * FLOAT * sample if kept else 0)


def sketch_scratch_bytes(snapshots: int, sample: int) -> int:
    """Bytes of a leaf beyond its block: test matrix and its transpose, image and its update, windows, samples of one panel."""
    window = FLOAT * PANEL_ROWS * min(snapshots, WINDOW_COLUMNS)
    return FLOAT * 4 * sample * snapshots + 4 * window + FLOAT * 3 * PANEL_ROWS * sample


def sketch_merge_bytes(snapshots: int, sample: int) -> int:
    """Bytes of one merge at work: its operands and the result, with a copy of each in transit."""
    return 2 * (FAN_IN + 2) * FLOAT * (sample + 1) * snapshots
