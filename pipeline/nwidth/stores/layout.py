"""The choice of chunks and shards from a field's shape. Pure (no I/O).

Two readers pull in opposite directions: ingestion writes, and a person looks at, one snapshot at a time; a tall-skinny
factorization reads row panels, some degrees of freedom of *all* snapshots. So a field is chunked both ways, and small
chunks are packed into shards: the inner chunk (1-4 MiB) is what a reader decodes, the shard (64-256 MiB) is the
object on disk and the Dask block.

                    degrees of freedom ->
        snapshots   +----+----+----+----++----+----+----+----+
            |       | chunk   |    |    ||    |    |    |    |   one box    = inner chunk
            v       +----+----+----+----++----+----+----+----+   double line = border of a shard
                    |    |    |    |    ||    |    |    |    |
                    +====+====+====+====++====+====+====+====+
                    |    |    |    |    ||    |    |    |    |

A shard must be whole in memory to be written, and all shards that a group of snapshots touches are written together:
``shard rows * snapshot bytes`` is the writer's buffer, and it is what `memory_budget` bounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from nwidth.errors import PlanError

MiB = 1 << 20

# Below 1 MiB the fixed cost of a chunk shows in reads (6-9 times slower at 64 KiB); above 4 MiB one snapshot gets dear to see.
CHUNK_TARGET = 2 * MiB
CHUNK_LIMIT = 4 * MiB
# Dask spends about a millisecond per task: blocks under 64 MiB make the scheduler the bottleneck, over 256 MiB memory is.
SHARD_TARGET = 128 * MiB
SHARD_LIMIT = 256 * MiB
# Whoever reads some degrees of freedom of all snapshots reads whole columns of chunks, and holds them in memory: with as many
# snapshots in a chunk as keep such a column below this, no store needs large workers. A single snapshot then costs at most
# CHUNK_TARGET / COLUMN_TARGET, a 16th, of the store to see; an 8th of one of few snapshots, whose columns are half as large, for
# each thread of a run holds a column and what is made of it.
COLUMN_TARGET = 32 * MiB
FEW_SNAPSHOTS = 256
FEW_COLUMN_TARGET = 16 * MiB
# Groups of snapshots, which a tree of nodes reduces one by one, are whole chunks, and cost memory with their number squared:
# beyond this many snapshots in a chunk, columns of twice the size are the smaller evil.
WIDE_CHUNK = 512
# Snapshots per inner chunk of a wide field at least: enough for the chunk to be a panel. Of a
# small field more, up to LEAST_EXPECTED, so that space is cut too and several workers share a pass over it; one snapshot then
# takes this many bytes to see.
PANEL_ROWS = 8
GROUP_TARGET = 16 * MiB
# A store grows: a first run of 10 snapshots must not fix chunks of 10 for ever.
LEAST_EXPECTED = 64
DEFAULT_BUDGET = 1024 * MiB


@dataclass(frozen=True)
class Layout:
    """Chunks and shards of one field, (snapshots, *space), and the reason in words."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    reason: str

    @property
    def block(self) -> tuple[int, ...]:
        """The smallest unit that is written whole, and the Dask block: the shard, or the chunk where there are no shards."""
        return self.shards or self.chunks


def choose_layout(
    shape: tuple[int, ...],
    dims: tuple[str, ...],
    dtype: np.dtype[Any],
    expected_snapshots: int,
    memory_budget: int = DEFAULT_BUDGET,
) -> Layout:
    """Choose chunks and shards of a field whose snapshots have `shape`. Pure (no I/O).

    Parameters
    ----------
    shape, dims
        Shape of one snapshot and the names of its dimensions; a last dimension ``component`` is never cut.
    dtype
        Type of the stored numbers.
    expected_snapshots
        How many snapshots the store is expected to hold in the end (a guess is enough).
    memory_budget
        Bytes that the writer may hold for this field: bounds ``shard rows * snapshot bytes``.

    Raises
    ------
    PlanError
        One snapshot alone does not fit `memory_budget`.

    Examples
    --------
    >>> choose_layout((1_000_000, 3), ("node", "component"), np.dtype("f8"), 400).chunks
    (16, 5435, 3)
    """
    if not shape or min(shape) < 1:
        raise PlanError(f"a field of shape {shape} holds no values; drop it from the run")
    snapshot_bytes = math.prod(shape) * dtype.itemsize
    if snapshot_bytes > memory_budget:
        raise PlanError(
            f"one snapshot takes {snapshot_bytes} bytes and the writer may hold {memory_budget}; raise memory_budget above that"
        )
    rows_wanted = _power_of_two(max(expected_snapshots, LEAST_EXPECTED))
    rows_afford = _power_of_two_below(memory_budget // snapshot_bytes)
    group = min(LEAST_EXPECTED, max(PANEL_ROWS, _power_of_two_below(GROUP_TARGET // snapshot_bytes)))
    chunk_rows = min(rows_wanted, rows_afford, max(group, _column_rows(expected_snapshots)))
    chunk = _cut(shape, _indivisible(shape, dims), CHUNK_TARGET // (chunk_rows * dtype.itemsize))
    chunk_bytes = chunk_rows * math.prod(chunk) * dtype.itemsize
    if chunk_bytes > CHUNK_LIMIT:  # an uncut component axis: give up snapshots before the chunk grows
        chunk_rows = max(1, _power_of_two_below(chunk_rows * CHUNK_LIMIT // chunk_bytes))
        chunk_bytes = chunk_rows * math.prod(chunk) * dtype.itemsize
    shard_rows = _shard_rows(chunk_rows, chunk_bytes, min(rows_wanted, rows_afford))
    shard = _grow(shape, chunk, max(1, SHARD_TARGET // (chunk_bytes * (shard_rows // chunk_rows))))
    chunks, shards = (chunk_rows, *chunk), (shard_rows, *shard)
    shard_bytes = math.prod(shards) * dtype.itemsize
    if shards == chunks:
        return Layout(chunks, None, f"chunks of {_size(chunk_bytes)} hold the field; too small to need shards")
    return Layout(
        chunks, shards, f"chunks of {_size(chunk_bytes)} in shards of {_size(shard_bytes)}, {shard_rows} snapshots each"
    )


def _column_rows(snapshots: int) -> int:
    """Snapshots of a chunk that keep a column of chunks at its target."""
    target = FEW_COLUMN_TARGET if snapshots <= FEW_SNAPSHOTS else COLUMN_TARGET
    rows = _power_of_two(math.ceil(snapshots * CHUNK_TARGET / target))
    return rows if rows <= WIDE_CHUNK else max(WIDE_CHUNK, rows // 2)


def _shard_rows(chunk_rows: int, chunk_bytes: int, rows: int) -> int:
    """Snapshots of a shard: as many as wanted and affordable, as long as one column of chunks stays under the target."""
    return chunk_rows * max(1, min(rows // chunk_rows, _power_of_two_below(max(1, SHARD_TARGET // chunk_bytes))))


def _indivisible(shape: tuple[int, ...], dims: tuple[str, ...]) -> int:
    """How many trailing axes are never cut: the components of a vector or tensor belong together."""
    return 1 if dims and dims[-1] == "component" and len(shape) > 1 else 0


def _cut(shape: tuple[int, ...], whole_axes: int, values: int) -> tuple[int, ...]:
    """Extents holding about `values` numbers: trailing axes whole, the first that does not fit cut evenly, ones before it.

    Contiguous in C order, so a chunk is a run of neighbouring degrees of freedom.
    """
    extents: list[int] = []
    for axis in reversed(range(len(shape))):
        if axis >= len(shape) - whole_axes or shape[axis] <= values:
            extents.append(shape[axis])
        else:
            pieces = math.ceil(shape[axis] / max(1, values))
            extents.append(math.ceil(shape[axis] / pieces))
        values = max(1, values // extents[-1])
    return tuple(reversed(extents))


def _grow(shape: tuple[int, ...], chunk: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Multiples of `chunk` along space holding at most `count` chunks, trailing axes first, evenly over the axis."""
    extents: list[int] = []
    for axis in reversed(range(len(shape))):
        needed = math.ceil(shape[axis] / chunk[axis])
        pieces = math.ceil(needed / max(1, count))
        taken = math.ceil(needed / pieces)
        extents.append(taken * chunk[axis])
        count = max(1, count // taken) if taken == needed else 1
    return tuple(reversed(extents))


def _power_of_two(value: int) -> int:
    """The least power of two that is not below `value`."""
    return 1 << max(0, value - 1).bit_length()


def _power_of_two_below(value: int) -> int:
    """The greatest power of two that is not above `value` (1 for values below 1)."""
    return 1 << (max(1, value).bit_length() - 1)


def _size(n_bytes: int) -> str:
    return f"{n_bytes / MiB:.3g} MiB" if n_bytes >= MiB else f"{n_bytes / 1024:.3g} KiB"
