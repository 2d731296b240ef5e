"""Cut a field into panels that fit the memory of a worker: shapes in, boxes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nwidth.config import ReduceSection
from nwidth.errors import PlanError
from nwidth.problems.options import inner_product_of
from nwidth.stages.route import choose_route
from nwidth_graphs.budget import MASS_ROW_BYTES, block_bytes_for, max_rows, row_bytes
from nwidth_graphs.layout import Panel, panel_reads, panel_shape, panels
from nwidth_graphs.reduction import FLOAT, TSQR
from nwidth_graphs.strips import SMALL_FACTOR

SPARSE = "sparse"
"""Kind of the inner products that are sparse matrices."""
# A pass that decodes every chunk more often than this is refused: another route, or more memory, costs less.
MAX_READS = 64.0
# Chunks that are fetched while a block is reduced. Six of 2 MiB are a third of a block of 32 MiB, and the disk keeps up while
# those are decoded; half a block of 64 MiB is better where a core decodes and multiplies faster than the disk reads.
LEAST_AHEAD = 6
MOST_AHEAD_BYTES = 32 * 2**20
# A column of chunks of this size is a block by itself, however much memory there is, where what comes of it is small beside it:
# its chunks lie in it one after the other, and are decoded in their place, and not beside it and copied (4 % less time at 256
# snapshots, and 35 MB less for two threads). Larger factors are what larger blocks make fewer of, but for those that grow over
# strips of them; the image of a sample is only added.
COLUMN_BYTES, SMALL_IMAGE = 16 * 2**20, 0.1


@dataclass(frozen=True)
class Memory:
    """What a worker may use."""

    bytes: int
    threads: int = 1


@dataclass(frozen=True)
class Cut:
    """How one field is cut: its panels, and the bytes that reading one takes beyond the panel itself."""

    panels: tuple[Panel, ...]
    box: tuple[int, ...]
    decode_bytes: int
    reads: float = 1.0
    """How often an average chunk is decoded in one pass: more than once where panels cut through chunks."""


def chunks_ahead(chunk_bytes: int, memory: Memory) -> int:
    """Chunks that a thread may hold of the next block while it reduces one: `LEAST_AHEAD`, or a 64th of its memory. Pure."""
    share = min(MOST_AHEAD_BYTES, memory.bytes // memory.threads // 64)
    return max(LEAST_AHEAD, share // max(1, chunk_bytes))


def rank_bound(request: ReduceSection, snapshots: int) -> int:
    """The most modes that a request can lead to."""
    return min(snapshots, request.rank or snapshots)


def cut_field(
    name: str,
    space: Sequence[int],
    granules: Sequence[Sequence[int]],
    snapshots: int,
    itemsize: int,
    request: ReduceSection,
    memory: Memory,
    decode_bytes: int,
    inner_row_bytes: int = 0,
    *,
    as_large_as_fits: bool = False,
    one_column: Callable[[int], bool] | None = None,
    fit: int | None = None,
) -> Cut:
    """Cut one field into panels that fit the memory; `granules` are the boxes that may be read alone, best first.

    The cut depends on shapes and on the memory of a worker only, never on how many workers there are. `fit` gives the rows that
    fit where a route counts them by itself; `as_large_as_fits` takes them all, where panels cut through chunks; `one_column`
    says whether the last of the granules, of so many bytes, is to be a block where it is large enough for one.

    Raises
    ------
    PlanError
        Not even one granule fits; the text says how much memory would.
    """
    bound = rank_bound(request, snapshots)
    # Where a block has gaps, which of its values are missing is a byte each.
    inner_row_bytes += snapshots if request.missing == "gappy" else 0
    # A fallback may turn Gram into TSQR in mid-run: the cut must serve both, or the second pass would not fit.
    reduction = TSQR if request.route != "gram" else choose_route(request).reduction
    if fit is None:
        fit = max_rows(snapshots, itemsize, bound, memory.bytes, memory.threads, decode_bytes, reduction, inner_row_bytes)
    target = block_bytes_for(math.prod(space) * snapshots * itemsize, memory.bytes // memory.threads) // (snapshots * itemsize)
    least = math.prod(min(g, n) for g, n in zip(granules[-1], space, strict=True))
    wanted = fit if as_large_as_fits else max(target, least)
    column = least * snapshots * itemsize
    if one_column is not None and column >= COLUMN_BYTES and one_column(column):
        wanted = least
    for granule in granules:
        # A shard is taken whole where it is no larger than a block wants to be; a chunk, which cannot be read in part, always.
        box = panel_shape(space, granule, min(fit, wanted))
        if box is not None:
            return Cut(panels(space, box), box, decode_bytes)
    # Negative where the fixed parts alone are too much: then those are short, too.
    short = (least - fit) * (row_bytes(snapshots, itemsize, bound) + inner_row_bytes) * memory.threads
    needed = math.ceil((memory.bytes + short) / 2**20)
    raise PlanError(
        f"field {name!r}: one column of its chunks with all {snapshots} snapshots does not fit the "
        f"{memory.bytes / 2**20:.0f} MiB of a worker; set workers.memory to at least {needed} MiB"
        + (", or workers.threads to 1" if memory.threads > 1 else "")
        + (", or ask for a rank" if request.rank is None else "")
    )


def cut_chunks(
    name: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    shards: Sequence[int] | None,
    snapshots: int,
    itemsize: int,
    request: ReduceSection,
    memory: Memory,
    *,
    components: bool,
    inner_product: str | None = None,
    sample: int | None = None,
    fit: int | None = None,
) -> Cut:
    """Cut a field (snapshot, *space[, component]) of a store into panels of whole shards, or of whole chunks.

    Panels are never cut between the components of a node: an inner product may couple nodes, not components. Where not even one
    chunk's worth of rows fits with all its snapshots, panels cut through chunks, which are then decoded once per panel.
    `sample` are the columns of a test matrix, where the field is sketched.
    """
    # Zarr has up to four chunks in flight (`nwidth.zarr_settings`), each as stored and as decoded.
    decode_bytes = 8 * math.prod(chunks) * itemsize
    granules = [(*part[1:-1], shape[-1]) if components else tuple(part[1:]) for part in (shards or chunks, chunks)]
    extra = inner_row_bytes(inner_product or inner_product_of(name, request))

    def one_column(column: int) -> bool:
        if sample is not None:
            return FLOAT * sample * snapshots <= SMALL_IMAGE * column
        reduction = choose_route(request).reduction
        return fit is None and (reduction.merges_in_turn(snapshots) or FLOAT * snapshots**2 <= SMALL_FACTOR * column)

    try:
        cut = cut_field(
            name, shape[1:], granules, snapshots, itemsize, request, memory, decode_bytes, extra, one_column=one_column, fit=fit
        )
        return replace(cut, decode_bytes=min(decode_bytes, _in_flight(cut.box, snapshots, chunks, itemsize)))
    except PlanError:
        through = _cut_through(
            name, shape, snapshots, itemsize, request, memory, decode_bytes, extra, components=components, fit=fit
        )
        reads = 0.0 if through is None else panel_reads(shape[1:], through.box, chunks[1:])
        if through is None or reads > MAX_READS:
            raise
        return replace(through, reads=reads)


def _in_flight(box: Sequence[int], snapshots: int, chunks: Sequence[int], itemsize: int) -> int:
    """Bytes of all chunks of one block, as stored and as decoded: what is in flight where a block has few chunks."""
    return 2 * math.prod(-(-extent // size) * size for extent, size in zip((snapshots, *box), chunks, strict=True)) * itemsize


def _cut_through(
    name: str,
    shape: Sequence[int],
    snapshots: int,
    itemsize: int,
    request: ReduceSection,
    memory: Memory,
    decode_bytes: int,
    extra: int,
    *,
    components: bool,
    fit: int | None,
) -> Cut | None:
    """Panels as large as the memory allows, whatever chunks they cut through; None where not one row fits."""
    row = (*[1] * (len(shape) - 2), shape[-1]) if components else (1,) * (len(shape) - 1)
    try:
        return cut_field(name, shape[1:], [row], snapshots, itemsize, request, memory, decode_bytes, extra, as_large_as_fits=True)
    except PlanError:
        return None


def inner_row_bytes(inner_product: str) -> int:
    """What a row costs beyond its values, for the sake of the inner product."""
    return MASS_ROW_BYTES if inner_product in ("mass", SPARSE) else 0
