"""Modes of the nodes of a tree, between the worker that made them and the one that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nwidth.models.files import FieldShape
from nwidth.stacking import Columns, FillingReader, stacked
from nwidth.stages.scratch import FolderScratch
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.source import Reading

SPACE, BOX, RANK = (7, 10), (3, 4), 5
VALUES = np.random.default_rng(0).standard_normal((RANK, *SPACE))


@pytest.fixture
def scratch(tmp_path: Path) -> FolderScratch:
    """`VALUES`, written panel by panel, in chunks that are cut off at both ends."""
    made = FolderScratch(str(tmp_path))
    for panel in panels(SPACE, BOX):
        made.write("n0", FieldShape("u", ("y", "x"), SPACE, BOX), RANK, panel, VALUES[(slice(None), *panel.selection)])
    return made


@pytest.mark.parametrize("selection", [(slice(0, 7), slice(0, 10)), (slice(3, 6), slice(4, 8)), (slice(1, 7), slice(3, 9))])
def test_columns_are_read_into_their_place(scratch: FolderScratch, selection: tuple[slice, ...]) -> None:
    """Of all chunks, of one, of parts of several: what fills a place is what reading gives, and no field was read for it."""
    panel, read = Panel(0, selection), scratch.reader("n0")
    reader: object = read
    assert isinstance(reader, FillingReader)
    out = np.full((RANK, panel.rows), np.nan)
    assert reader.into(panel, out) == 0
    np.testing.assert_array_equal(out, VALUES[(slice(None), *selection)].reshape(RANK, -1))
    np.testing.assert_array_equal(out.T, read(panel).values)


def test_a_stack_has_its_parts_in_order(scratch: FolderScratch) -> None:
    """Some that fill their place and some that are copied there; the bytes of a store are counted."""
    panel = Panel(0, (slice(0, 7), slice(0, 10)))
    ones = Columns(lambda panel: Reading(np.ones((panel.rows, 2), np.float32), 8), 2)
    reading = stacked([ones, Columns(scratch.reader("n0"), RANK), ones])(panel)
    assert (reading.values.dtype, reading.bytes_read) == (np.float64, 16)
    np.testing.assert_array_equal(reading.values[:, 2:-2].T, VALUES.reshape(RANK, -1))
    np.testing.assert_array_equal(reading.values[:, [0, 1, -2, -1]], 1.0)
