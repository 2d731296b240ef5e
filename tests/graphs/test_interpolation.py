"""Interpolation points over chunkings: the tournament, the exact rounds, what they meet in the data, and what they cost."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.interpolation import (
    Proposed,
    exact_points,
    row_numbers,
    space_of,
    tournament_cost,
    tournament_graph,
    tournament_root,
)
from nwidth_graphs.kernels.interpolation import amplification, qdeim, qdeim_bound
from nwidth_graphs.layout import panels
from nwidth_graphs.source import FieldSource
from tests.graphs.problems import compute, refuse_to_read, row_panels, source_of
from tests.strategies import splits

Floats = NDArray[np.float64]


def basis(n: int, r: int, seed: int) -> Floats:
    """A random orthonormal basis (n, r)."""
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((n, r)))[0]


def tournament(source: FieldSource, **options: Any) -> Proposed:
    """The winners of a tournament."""
    found: Proposed = compute(tournament_graph([source], "aa", **options))[tournament_root(source.name)]
    return found


@given(cuts=splits(90), r=st.integers(1, 5), seed=st.integers(0, 99), lazy=st.booleans(), pool=st.sampled_from([None, 1, 3]))
@settings(max_examples=30)
def test_every_chunking_has_the_same_exact_points(cuts: tuple[int, ...], r: int, seed: int, lazy: bool, pool: int | None) -> None:
    """Rounds over any cut of the rows give the Q-DEIM points of the whole basis, in their order, whatever the pool."""
    U = basis(90, r, seed)
    found = exact_points(source_of(U, cuts, lazy=lazy), compute, "aa", pool=pool)
    assert found.proposal.numbers.tolist() == qdeim(U).tolist()
    np.testing.assert_array_equal(found.proposal.rows, U[found.proposal.numbers])
    if pool == 1:
        assert found.rounds == r
    assert found.rounds <= r


@given(cuts=splits(90), r=st.integers(1, 5), seed=st.integers(0, 99), lazy=st.booleans(), orthonormal=st.booleans())
@settings(max_examples=30)
def test_a_tournament_has_full_rank(cuts: tuple[int, ...], r: int, seed: int, lazy: bool, orthonormal: bool) -> None:
    """Winners of any cut are r rows of the basis of full rank, with a norm below the bound of the exact choice."""
    U = basis(90, r, seed)
    found = tournament(source_of(U, cuts, lazy=lazy), orthonormal=orthonormal)
    numbers = found.proposal.numbers
    assert len(set(numbers.tolist())) == r
    np.testing.assert_array_equal(found.proposal.rows, U[numbers])
    assert found.amplification == pytest.approx(amplification(U, numbers), rel=1e-9)
    assert found.amplification <= qdeim_bound(90, r)


def test_one_block_is_the_exact_choice() -> None:
    """Where one block holds all rows and no more than the pool, the tournament is Q-DEIM, order included."""
    U = basis(30, 5, 4)
    assert tournament(source_of(U, [30])).proposal.numbers.tolist() == qdeim(U).tolist()


def test_rows_are_numbered_in_the_order_of_the_field() -> None:
    """Over boxes of a field (r, 6, 5, 2) the numbers are those of its C order, and the points those of the flat basis."""
    U = basis(60, 4, 9)
    boxes = panels((6, 5, 2), (4, 2, 2))
    field = U.T.reshape(4, 6, 5, 2)
    assert space_of(boxes) == (6, 5, 2)
    numbers = np.concatenate([row_numbers(panel, (6, 5, 2)) for panel in boxes])
    assert sorted(numbers.tolist()) == list(range(60))
    array = da.from_array(field, chunks=((4,), (4, 2), (2, 2, 1), (2,)))
    source = FieldSource("u", boxes, 4, 8, array=array)
    found = exact_points(source, compute, "aa")
    assert found.proposal.numbers.tolist() == qdeim(U).tolist()


def test_a_basis_of_smaller_rank_gives_fewer_points() -> None:
    """A column twice: one point less, by either way, and no error inside of the graph."""
    U = basis(60, 3, 1)
    twice = np.column_stack([U, U[:, 0]])
    source = source_of(twice, [20] * 3)
    assert len(tournament(source, orthonormal=False).proposal.numbers) == 3
    assert exact_points(source, compute, "aa").proposal.numbers.tolist() == qdeim(U * [np.sqrt(2), 1, 1]).tolist()


@pytest.mark.parametrize("value", [np.inf, 1e200])
def test_bad_values_are_found(value: float) -> None:
    """An infinity is named by its place, an overflow has none; points are made of the other blocks."""
    U = basis(40, 3, 0)
    U[17, 1] = value
    for found in (tournament(source_of(U, [10] * 4)), exact_points(source_of(U, [10] * 4), compute, "aa")):
        (bad,) = found.bad
        assert (bad.place, bad.snapshot) == (((17,), 1) if value == np.inf else ((), -1))
    assert not {*range(10, 20)} & set(tournament(source_of(U, [10] * 4)).proposal.numbers.tolist())


def test_rows_outside_of_the_domain_are_no_points() -> None:
    """Rows that are NaN in all modes are masked, counted, and never chosen."""
    U = basis(40, 3, 0)
    masked = U.copy()
    masked[5:9] = np.nan
    found = tournament(source_of(masked, [10] * 4))
    assert found.tally.masked_rows == 4
    assert not found.bad
    assert not {5, 6, 7, 8} & set(found.proposal.numbers.tolist())


def test_building_reads_nothing_and_costs_what_is_promised() -> None:
    """A graph is made without a look at the data; its tasks are those of the cost."""
    source = FieldSource("u", row_panels([10] * 20), 6, 8, read=refuse_to_read)
    graph = tournament_graph([source], "aa")
    cost = tournament_cost([source], stored_bytes=1, decode_bytes=0, threads=1)
    assert cost.tasks == graph.n_tasks == len(graph.graph)
    assert graph.n_leaves == 20
