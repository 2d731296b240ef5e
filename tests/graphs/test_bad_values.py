"""Values that cannot be reduced are found where they stand, on both routes, and never travel as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.layout import panels
from nwidth_graphs.leaves import MAX_BAD_VALUES, Partial
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.source import FieldSource, Reading, as_rows
from tests.graphs.problems import compute, source_of

REDUCTIONS = pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)


def partial_of(source: FieldSource, reduction: Reduction) -> Partial:
    found: Partial = compute(factor_graph([source], reduction, "aa"))[factor_root("u", reduction)]
    return found


@REDUCTIONS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_bad_value_is_found_in_the_fields_own_indices(reduction: Reduction, value: float) -> None:
    """In a field over (lat, lon, component), cut both ways, the place and the snapshot are those of the field."""
    field = np.ones((4, 6, 5, 2))
    field[2, 4, 3, 1] = value

    def read(panel: Any) -> Reading:
        return Reading(as_rows(field[(slice(None), *panel.selection)]))

    found = partial_of(FieldSource("u", panels((6, 5, 2), (2, 3, 2)), 4, 8, read=read), reduction)
    assert [(bad.snapshot, bad.place) for bad in found.bad] == [(2, (4, 3, 1))]
    np.testing.assert_equal(found.bad[0].value, value)


@REDUCTIONS
def test_only_the_first_few_are_carried(reduction: Reduction) -> None:
    """A field full of infinities reports a handful of places, in order."""
    found = partial_of(source_of(np.full((40, 3), np.inf), [10] * 4), reduction)
    assert len(found.bad) == MAX_BAD_VALUES
    assert (found.bad[0].place, found.bad[0].snapshot) == ((0,), 0)


@REDUCTIONS
@pytest.mark.parametrize("rows", [10, 400])
def test_squares_that_overflow_are_told_from_bad_values(reduction: Reduction, rows: int) -> None:
    """Finite values whose squares overflow are marked, with no place: in one block, and only in the sum of all blocks."""
    for size, cuts in ((1e200, [rows]), (9.5e153 / np.sqrt(rows), [rows // 2, rows // 2])):
        found = partial_of(source_of(np.full((rows, 3), size), cuts), reduction)
        assert [bad.snapshot for bad in found.bad] == [-1]
    fine = partial_of(source_of(np.full((rows, 3), 1e152 / np.sqrt(rows)), [rows]), reduction)
    assert not fine.bad
