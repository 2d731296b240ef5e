"""Cutting space into panels: every place once, whole granules, never more rows than asked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth_graphs.layout import chunks_touched, panel_shape, panels

SPACES = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=1, max_size=3)


@given(SPACES, st.integers(1, 200))
def test_panels_tile_the_space(dims: list[tuple[int, int]], max_rows: int) -> None:
    """Every place lies in exactly one panel; panels are whole granules and small enough, or refused."""
    space, granule = [n for n, _ in dims], [g for _, g in dims]
    box = panel_shape(space, granule, max_rows)
    smallest = math.prod(min(g, n) for g, n in zip(granule, space, strict=True))
    if box is None:
        assert smallest > max_rows
        return
    assert math.prod(box) <= max_rows
    assert all(b == n or b % min(g, n) == 0 for b, g, n in zip(box, granule, space, strict=True))
    seen = np.zeros(space, int)
    cut = panels(space, box)
    for panel in cut:
        seen[panel.selection] += 1
        assert panel.rows == seen[panel.selection].size
        assert panel.shape == seen[panel.selection].shape
    assert (seen == 1).all()
    assert [panel.index for panel in cut] == list(range(len(cut)))


@given(SPACES, st.integers(1, 200))
def test_no_chunk_is_read_twice(dims: list[tuple[int, int]], max_rows: int) -> None:
    """Panels of whole chunks touch each chunk of the grid once in all."""
    space, chunk = [n for n, _ in dims], [min(g, n) for n, g in dims]
    box = panel_shape(space, chunk, max_rows)
    if box is not None:
        touched = sum(chunks_touched(panel.selection, chunk) for panel in panels(space, box))
        assert touched == math.prod(-(-n // c) for n, c in zip(space, chunk, strict=True))


@pytest.mark.parametrize(
    ("selection", "touched"), [((slice(0, 4),), 1), ((slice(3, 5),), 2), ((slice(0, 9),), 3), ((slice(4, 4),), 0)]
)
def test_chunks_touched(selection: tuple[slice, ...], touched: int) -> None:
    """Chunks of four places, counted by hand."""
    assert chunks_touched(selection, (4,)) == touched


def test_leading_dimensions_are_cut_first() -> None:
    """A panel is contiguous where it can be: trailing dimensions are whole before the leading one grows."""
    assert panel_shape((100, 10, 3), (1, 1, 3), 60) == (2, 10, 3)
    assert panel_shape((100, 10, 3), (1, 1, 3), 29) == (1, 9, 3)
    assert panel_shape((100, 10, 3), (1, 1, 3), 2) is None
