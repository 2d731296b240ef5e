"""Rows that are NaN in every snapshot are outside of the domain; whatever else is not finite is refused where it stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.layout import Panel
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.missing import masked_rows, without_masked_rows
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.source import Reading
from nwidth_graphs.truncation import truncate
from tests.graphs.problems import Weights, compute, source_of

REDUCTIONS = pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)
CUTS = [7, 20, 33]


def masked_field(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(60, 5) values with a third of the rows outside, one whole panel among them, and which rows are inside."""
    generator = np.random.default_rng(seed)
    values, inside = generator.standard_normal((60, 5)), generator.random(60) > 1 / 3
    inside[:7] = False
    values[~inside] = np.nan
    return values, inside


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.booleans())
def test_masked_rows_are_those_that_are_nan_throughout(seed: int, snapshots: int, transposed: bool) -> None:
    """Any pattern of NaN and infinity, any number of snapshots, either order in memory: the rows found are all-NaN rows."""
    generator = np.random.default_rng(seed)
    values = np.ones((40, snapshots), order="F" if transposed else "C")
    values[generator.random(values.shape) < 0.02] = np.nan
    values[generator.random(40) < 0.3] = np.nan
    values[generator.random(values.shape) < 0.01] = np.inf
    found = masked_rows(values)
    expected = np.flatnonzero(np.isnan(values).all(axis=1))
    np.testing.assert_array_equal(expected if found is not None else [], found if found is not None else expected)


@pytest.mark.parametrize("lent", [True, False])
def test_only_a_lent_buffer_is_changed(lent: bool) -> None:
    """The user's own array keeps its NaN; a buffer of the reader is zeroed in place, without a copy."""
    values, inside = masked_field()
    found = without_masked_rows(Reading(values, lent=lent))
    np.testing.assert_array_equal(found.values[~inside], 0.0)
    assert (found.values is values) == lent
    assert np.isnan(values).any() != lent


@REDUCTIONS
@pytest.mark.parametrize("lazy", [False, True], ids=["reader", "dask"])
@pytest.mark.parametrize("centre", [False, True])
def test_both_passes_see_the_valid_rows_alone(reduction: Reduction, lazy: bool, centre: bool) -> None:
    """Factor, modes, mean and the sums of the certificate are those of the field without its masked rows; modes are NaN there."""
    values, inside = masked_field()
    weights = np.linspace(1.0, 2.0, len(values))
    whole = source_of(values, CUTS, lazy=lazy, centre=centre, product=Weights(weights))
    kept = source_of(values[inside], [int(inside.sum())], centre=centre, product=Weights(weights[inside]))
    found, expected = (compute(factor_graph([source], reduction, "aa"))[factor_root("u", reduction)] for source in (whole, kept))
    assert not found.bad
    assert (found.tally.masked_rows, expected.tally.masked_rows) == ((~inside).sum(), 0)
    atol = 100 * np.finfo(float).eps * np.abs(expected.factor).max()
    np.testing.assert_allclose(found.factor, expected.factor, atol=atol)
    cut = truncate({"u": expected.factor}, {"u": 1.0}, reduction, rows=int(inside.sum()), rtol=None, rank=3)
    modes, means = np.zeros((3, len(values))), np.zeros(len(values))

    def write(panel: Panel, rows: Any, mean: Any) -> None:
        modes[:, panel.selection[0]] = rows
        if centre:
            means[panel.selection[0]] = mean

    sums = compute(lift_graph([Lift(whole, cut.transform, cut.coefficients, write)], "aa"))[lift_root("u")].sums
    phi = modes[:, inside]
    np.testing.assert_allclose(phi * weights[inside] @ phi.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(sums.overlap, np.eye(3), atol=1e-12)
    assert np.isnan(modes[:, ~inside]).all()
    if centre:
        np.testing.assert_allclose(means[inside], values[inside].mean(axis=1), atol=1e-15)
        assert np.isnan(means[~inside]).all()


@REDUCTIONS
@pytest.mark.parametrize("snapshot", [0, 3])
def test_a_snapshot_that_was_never_written_is_no_mask(reduction: Reduction, snapshot: int) -> None:
    """NaN in all of one snapshot, be it the first, is a bad value in that snapshot, at the first row that is inside."""
    values, inside = masked_field()
    values[:, snapshot] = np.nan
    found = compute(factor_graph([source_of(values, CUTS)], reduction, "aa"))[factor_root("u", reduction)]
    first = int(np.flatnonzero(inside)[0])
    assert (found.bad[0].place, found.bad[0].snapshot) == ((first,), snapshot)


@REDUCTIONS
def test_infinity_is_never_a_mask(reduction: Reduction) -> None:
    """A row of infinities is a bad value."""
    values, inside = masked_field()
    row = int(np.flatnonzero(inside)[0])
    values[row] = np.inf
    found = compute(factor_graph([source_of(values, CUTS)], reduction, "aa"))[factor_root("u", reduction)]
    assert found.bad[0].place == (row,)
