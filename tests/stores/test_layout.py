"""The choice of chunks and shards: bounds that hold for every shape."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth.errors import PlanError
from nwidth.stores.layout import (
    CHUNK_LIMIT,
    COLUMN_TARGET,
    DEFAULT_BUDGET,
    FEW_COLUMN_TARGET,
    FEW_SNAPSHOTS,
    PANEL_ROWS,
    SHARD_LIMIT,
    WIDE_CHUNK,
    MiB,
    choose_layout,
)

TYPES = st.sampled_from([np.dtype("f4"), np.dtype("f8"), np.dtype("c16")])
SPACES = st.one_of(
    st.tuples(st.integers(1, 50_000_000)),
    st.tuples(st.integers(1, 8_000_000), st.integers(1, 9)),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.tuples(st.integers(1, 400), st.integers(1, 400), st.integers(1, 400)),
)


def nbytes(shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> int:
    return math.prod(shape) * dtype.itemsize


@given(shape=SPACES, dtype=TYPES, expected=st.integers(1, 100_000), budget=st.integers(8 * MiB, 4096 * MiB))
def test_every_layout_keeps_its_bounds(shape: tuple[int, ...], dtype: np.dtype[np.generic], expected: int, budget: int) -> None:
    """Chunks and shards stay under their limits, fit into each other, and the writer's buffer under the budget."""
    snapshot = nbytes(shape, dtype)
    if snapshot > budget:
        with pytest.raises(PlanError, match="raise memory_budget"):
            choose_layout(shape, ("node",) * len(shape), dtype, expected, budget)
        return
    layout = choose_layout(shape, ("node",) * len(shape), dtype, expected, budget)
    assert nbytes(layout.chunks, dtype) <= CHUNK_LIMIT
    assert nbytes(layout.block, dtype) <= SHARD_LIMIT
    assert all(outer % inner == 0 for outer, inner in zip(layout.block, layout.chunks, strict=True))
    assert layout.block[0] * snapshot <= budget
    assert all(inner <= extent for inner, extent in zip(layout.chunks[1:], shape, strict=True))
    # No shard is mostly padding: along each axis it exceeds the field by less than one chunk.
    assert all(outer < extent + inner for outer, extent, inner in zip(layout.block[1:], shape, layout.chunks[1:], strict=True))


@given(
    nodes=st.integers(500_000, 20_000_000),
    expected=st.integers(64, 10_000),
    dtype=st.sampled_from([np.dtype("f4"), np.dtype("f8")]),
)
def test_large_fields_get_full_sizes(nodes: int, expected: int, dtype: np.dtype[np.generic]) -> None:
    """A large field is cut into chunks of 1-4 MiB of several snapshots each, in shards of 64-256 MiB."""
    layout = choose_layout((nodes,), ("node",), dtype, expected)
    assert MiB <= nbytes(layout.chunks, dtype) <= 4 * MiB
    assert layout.chunks[0] >= min(PANEL_ROWS, DEFAULT_BUDGET // nbytes((nodes,), dtype) // 2)
    assert layout.shards is not None
    assert 64 * MiB <= nbytes(layout.shards, dtype) <= 256 * MiB


@given(nodes=st.integers(1000, 1_000_000), expected=st.integers(1, 20_000))
def test_a_column_of_chunks_is_small(nodes: int, expected: int) -> None:
    """Some degrees of freedom of all snapshots are read in little memory, where the writer can hold the snapshots of a chunk."""
    layout = choose_layout((nodes,), ("node",), np.dtype("f8"), expected)
    column = expected * layout.chunks[1] * 8
    affordable = 2 * layout.chunks[0] * nodes * 8 <= DEFAULT_BUDGET
    target = COLUMN_TARGET if expected <= 16 * WIDE_CHUNK else 2 * COLUMN_TARGET
    target = FEW_COLUMN_TARGET if expected <= FEW_SNAPSHOTS else target
    assert column <= 1.1 * target or not affordable


@given(points=st.integers(2, 2_000_000), components=st.integers(1, 9))
def test_components_stay_together(points: int, components: int) -> None:
    """The component axis is never cut: a vector is read with one chunk."""
    layout = choose_layout((points, components), ("node", "component"), np.dtype("f8"), 100)
    assert layout.chunks[2] == components
    assert layout.block[2] == components


def test_a_small_field_is_one_chunk() -> None:
    """A field of a few kilobytes has no shards, and room for a store that grows."""
    layout = choose_layout((50,), ("node",), np.dtype("f4"), 10)
    assert layout.shards is None
    assert layout.chunks == (64, 50)
    assert "too small to need shards" in layout.reason


def test_an_empty_field_is_refused() -> None:
    """A field without values has no layout."""
    with pytest.raises(PlanError, match="holds no values"):
        choose_layout((0, 3), ("node", "component"), np.dtype("f8"), 10)
