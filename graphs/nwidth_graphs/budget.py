"""What a pass will cost, before it runs: bytes, flops, tasks and the peak memory of a worker. Pure arithmetic.

    peak of a worker = process + threads x (block + decoding + modes + scratch) + merges

Every constant is a measured one with its reason; the predictions are upper bounds, and every run prints them beside what it
measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nwidth_graphs.kernels.panels import panel_rows
from nwidth_graphs.reduction import FLOAT, GRAM, SUMS_IN_TURN_BYTES, Reduction, sums_bytes, sums_in_turn
from nwidth_graphs.source import FieldSource
from nwidth_graphs.strips import blocks_of_factor
from nwidth_graphs.trees import FAN_IN, SHARED_TASKS, tree_tasks

MIB = 2**20
# A worker before its first block of any size: 75 MiB started by Dask, 93 when it has read a few chunks of a plain Zarr store and
# multiplied them, 117 of an Icechunk store (Linux, Python 3.13). The rest is room for what the C library keeps of what was freed.
PROCESS_BYTES = 128 * MIB
# What SciPy adds to a worker whose leaves need it: its linear algebra and sparse matrices, with a BLAS of their own.
SCIPY_BYTES = 35 * MIB
# Blocks beyond this size win nothing: reading and arithmetic are amortised, and a lost task would lose more.
TARGET_BLOCK_BYTES = 64 * MIB
MIN_BLOCK_BYTES = 4 * MIB
# A thread with little memory takes smaller blocks: whoever gives half a GiB wants a run to be small. Blocks of 32 MiB cost a few
# per cent more than those of 64, and twice the tasks.
BLOCKS_IN_A_THREAD = 16
# A small field is cut into about this many blocks, so that a few workers share it. It is not the number of workers: the cut,
# and with it the bits of the result, must not depend on who computes.
BLOCKS_OF_A_SMALL_FIELD = 16
# A mass product holds three float64 temporaries of 64 columns, and per row the sparse matrix and what it is assembled from: up to
# 4 KiB for quadratic tetrahedra. Used to cut; the peak is predicted from the patches themselves.
MASS_ROW_BYTES = 3 * 64 * FLOAT + 4096
# Bytes of one entry of an element mass: itself, its row and column while M is assembled, and its place in the sparse matrix.
MASS_ENTRY_BYTES = 36
# Large factors that a worker holds beside those that its threads make: the sum so far, what is added to it and what comes of
# that, and one that came too early. (Of 200 MB each, a worker of one thread was seen to hold four in all, two threads five.)
FACTORS_IN_TURN = 4
# What a pass sends to a worker once, not once per block: one task for all that leaves share, whatever it is.
FACTOR_SHARED_TASKS = SHARED_TASKS
LIFT_SHARED_TASKS = SHARED_TASKS


@dataclass(frozen=True)
class PassCost:
    """The cost of one pass over the data."""

    name: str
    reads: float
    """How often the selection is decoded: more than once per visit where panels cut through chunks."""
    bytes_to_read: int
    """Bytes as the store holds them (compressed), where that is known; logical bytes otherwise."""
    flops: float
    tasks: int
    peak_bytes: int
    """Of one worker process."""


def block_bytes_for(field_bytes: int, thread_bytes: int) -> int:
    """Size of the blocks that a field is cut into, memory permitting; `thread_bytes` is a thread's share of a worker."""
    most = min(TARGET_BLOCK_BYTES, thread_bytes // BLOCKS_IN_A_THREAD, field_bytes // BLOCKS_OF_A_SMALL_FIELD)
    return max(MIN_BLOCK_BYTES, most)


def max_rows(
    snapshots: int,
    itemsize: int,
    rank_bound: int,
    memory: int,
    threads: int,
    decode_bytes: int,
    reduction: Reduction,
    inner_row_bytes: int = 0,
) -> int:
    """Rows of a block that fit one thread of a worker with `memory` bytes, in both passes; not positive where nothing fits."""
    fixed = process_bytes(coupled=inner_row_bytes > 0) + merge_bytes(snapshots, rank_bound, reduction=reduction)
    factor = FLOAT * snapshots * snapshots  # whether factors are kept is not known yet
    per_thread = (memory - fixed) // threads - decode_bytes - scratch_bytes(reduction, snapshots, rank_bound) - factor
    return per_thread // (row_bytes(snapshots, itemsize, rank_bound) + inner_row_bytes)


def process_bytes(*, coupled: bool) -> int:
    """Bytes of a worker that holds no block; `coupled` where an inner product couples rows, which takes sparse matrices."""
    return PROCESS_BYTES + (SCIPY_BYTES if coupled else 0)


def row_bytes(snapshots: int, itemsize: int, rank_bound: int) -> int:
    """Bytes that one row of a block costs: its values, its row of the modes (once as made, once as written), its weight."""
    return snapshots * itemsize + 2 * FLOAT * rank_bound + 2 * FLOAT


def scratch_bytes(reduction: Reduction | None, snapshots: int, rank_bound: int, most_rows: int | None = None) -> int:
    """Bytes of a leaf beyond its block, the larger of the two passes; of the lifting pass alone where there is no reduction."""
    rows = panel_rows(snapshots) if most_rows is None else min(panel_rows(snapshots), most_rows)
    lift = FLOAT * (4 * rows * snapshots + 3 * rows * rank_bound + 4 * rank_bound * snapshots)
    return lift if reduction is None else max(reduction.scratch_bytes(snapshots), lift)


def merge_bytes(snapshots: int, rank_bound: int, *, factors: bool = True, reduction: Reduction | None = None) -> int:
    """Bytes of one merge at work: its operands and the result, with a copy of each in transit.

    Of factors of all snapshots, of sums of a lift, or of whatever is larger; `reduction` is that of the factors.
    """
    # Of fewer modes than the bound a lift's sums may be small enough to be merged all at once.
    most = sums_bytes(snapshots, rank_bound)
    sums = max(_merged(2, most), _merged(FAN_IN, min(most, SUMS_IN_TURN_BYTES)))
    if not factors:
        return sums
    factor = FLOAT * snapshots * snapshots
    in_turn = reduction is not None and reduction.merges_in_turn(snapshots)
    return max(sums, FACTORS_IN_TURN * factor if in_turn else _merged(FAN_IN, factor))


def _merged(operands: int, nbytes: int) -> int:
    return 2 * (operands + 2) * nbytes


def factor_cost(
    sources: Sequence[FieldSource],
    reduction: Reduction,
    *,
    stored_bytes: int,
    decode_bytes: int,
    threads: int,
    rank_bound: int,
    kept: bool = False,
) -> PassCost:
    """The first pass; `kept` where its factors are kept for a run that resumes, and so wait for who writes them."""
    flops = sum(reduction.flops(source.rows, source.snapshots) for source in sources)
    return PassCost(
        name="factor",
        reads=1,
        bytes_to_read=stored_bytes,
        flops=flops,
        tasks=sum(
            tree_tasks(len(blocks_of_factor(source, reduction)), in_turn=reduction.merges_in_turn(source.snapshots))
            + FACTOR_SHARED_TASKS
            for source in sources
        ),
        peak_bytes=peak_bytes(
            sources, reduction, decode_bytes=decode_bytes, threads=threads, rank_bound=rank_bound, factors_kept=kept
        ),
    )


def lift_cost(
    sources: Sequence[FieldSource],
    *,
    stored_bytes: int,
    decode_bytes: int,
    threads: int,
    rank_bound: int,
    after: Reduction | None = GRAM,
) -> PassCost:
    """The second pass: modes, coefficients and, where errors are small, residual: n m N multiply-adds each.

    `after` is the factor pass before it, whose m x m matrices a worker's peak includes; None where there was none.
    """
    return PassCost(
        name="lift",
        reads=1,
        bytes_to_read=stored_bytes,
        flops=sum(6.0 * source.rows * source.snapshots * rank_bound for source in sources),
        tasks=sum(
            tree_tasks(len(source.panels), in_turn=sums_in_turn(source.snapshots, rank_bound)) + LIFT_SHARED_TASKS
            for source in sources
        ),
        peak_bytes=peak_bytes(sources, after, decode_bytes=decode_bytes, threads=threads, rank_bound=rank_bound),
    )


def peak_bytes(
    sources: Sequence[FieldSource],
    reduction: Reduction | None,
    *,
    decode_bytes: int,
    threads: int,
    rank_bound: int,
    factors_kept: bool = False,
) -> int:
    """Upper bound of the resident size of a worker in either pass; of a factor that is kept, each thread holds one more."""
    snapshots = sources[0].snapshots
    block = max(
        source.largest_panel * row_bytes(snapshots, source.itemsize, rank_bound) + inner_bytes(source) for source in sources
    )
    # Fields of fewer rows than a panel in cache are those that no factor of all snapshots is made of.
    rows = None if reduction is not None else max(source.largest_panel for source in sources)
    leaf = block + decode_bytes + scratch_bytes(reduction, snapshots, rank_bound, rows)
    if factors_kept:
        leaf += FLOAT * snapshots * snapshots
    merges = merge_bytes(snapshots, rank_bound, factors=reduction is not None, reduction=reduction)
    process = process_bytes(coupled=any(source.mass_entries for source in sources))
    return process + threads * leaf + merges + sum(interface_bytes(source) for source in sources)


def interface_bytes(source: FieldSource) -> int:
    """Bytes of the interface rows that travel up the tree, stacked once at the root."""
    return 0 if source.interface is None else 2 * source.interface.n_rows * source.snapshots * FLOAT


def inner_bytes(source: FieldSource) -> int:
    """What a mass product takes for the largest panel; nothing for the others."""
    if source.mass_entries == 0:
        return 0
    return source.largest_panel * 3 * 64 * FLOAT + source.mass_entries * MASS_ENTRY_BYTES
