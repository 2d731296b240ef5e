"""Strips of panels: sums of large Gram matrices that are one sum from the start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import dask
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth.workers import ThreadExecutor
from nwidth_graphs import keeping
from nwidth_graphs.budget import factor_cost
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.inner import DiagonalProduct
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.leaves import Partial
from nwidth_graphs.reduction import GRAM, TSQR
from nwidth_graphs.source import FieldSource, Reading
from nwidth_graphs.strips import MIN_KEPT, Strip, block_bytes, blocks_of_factor, panels_of, strip_sizes
from tests.graphs.test_keeping import MemoryShelf

BLOCKS, ROWS, COLUMNS = 41, 30, 6
VALUES = np.random.default_rng(3).standard_normal((BLOCKS * ROWS - 7, COLUMNS))
FIELD: dict[str, Any] = {}
READ: list[int] = []


@pytest.fixture(autouse=True)
def _every_factor_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nwidth_graphs.reduction.IN_TURN_BYTES", 1)


def read(panel: Panel) -> Reading:
    """A panel of what `source_of` was given last, and a note that it was read."""
    READ.append(panel.index)
    values = FIELD["values"][panel.selection]
    return Reading(values, values.nbytes)


def source_of(values: Any = VALUES, shelf: Any = None) -> FieldSource:
    """A field of 41 panels, of which none was read."""
    READ.clear()
    FIELD["values"] = values
    return FieldSource("T", panels((len(values),), (ROWS,)), COLUMNS, 8, read=read, shelf=shelf)


def factor_of(source: FieldSource, threads: int = 2) -> Partial:
    """Its Gram matrix, on threads."""
    result: Partial = ThreadExecutor(threads).run(factor_graph([source], GRAM, "token"), "pass")["gram-T"]
    return result


@given(st.integers(0, 2000), st.integers(1, 70))
def test_sizes_fall_to_one(count: int, most: int) -> None:
    """Every panel is in one strip, none is larger than allowed, and whoever comes last has little to do."""
    sizes = strip_sizes(count, most)
    assert sum(sizes) == count
    assert sizes == sorted(sizes, reverse=True)
    assert all(1 <= size <= most for size in sizes)
    assert sizes[-1:] in ([], [1])


def test_strips_hold_all_panels_in_order() -> None:
    """The cut into strips is one of the same panels, and larger where the factor is larger beside them."""
    source = source_of()
    strips = blocks_of_factor(source, GRAM)
    assert [panel for strip in strips for panel in panels_of(strip)] == list(source.panels)
    # 288 of 1440 bytes: four panels make the factor a twentieth.
    assert [len(panels_of(strip)) for strip in strips][:3] == [4, 4, 4]
    assert isinstance(strips[0], Strip)
    cost = factor_cost([source], GRAM, stored_bytes=1, decode_bytes=1, threads=1, rank_bound=3)
    assert cost.tasks == factor_graph([source], GRAM, "token").n_tasks


@pytest.mark.parametrize(("count", "size"), [(41, 0), (400, 1)])
def test_results_of_many_strips_are_kept(count: int, size: int) -> None:
    """Of many strips all results are kept, though the last ones' are large beside what they were made of; of few none."""
    source = replace(source_of(), panels=panels((count * ROWS,), (ROWS,)))
    blocks = blocks_of_factor(source, GRAM)
    assert (len(blocks) >= MIN_KEPT) == (size == 1)
    assert keeping.grain(8 * COLUMNS**2, block_bytes(source, blocks), len(blocks)) == size
    assert block_bytes(source, source.panels) == ROWS * COLUMNS * 8


def test_who_keeps_single_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors that do not add up, blocks of Dask arrays and of devices, and small factors stay as they were."""
    source = source_of()
    assert blocks_of_factor(source, TSQR) is source.panels
    assert blocks_of_factor(source, GRAM, "cuda") is source.panels
    monkeypatch.setattr("nwidth_graphs.reduction.IN_TURN_BYTES", 10**6)
    assert blocks_of_factor(source, GRAM) is source.panels


def test_the_sum_is_the_gram_matrix_whoever_computes() -> None:
    """Every panel is read once, the matrix is symmetric and right, and the same on any number of threads and under Dask."""
    graph = factor_graph([source_of()], GRAM, "token")
    under_dask = dask.get(graph.graph, graph.roots["gram-T"])  # type: ignore[attr-defined]
    found = [factor_of(source_of(), threads) for threads in (1, 3)]
    assert sorted(READ) == list(range(BLOCKS))
    np.testing.assert_allclose(found[0].factor, VALUES.T @ VALUES, rtol=0, atol=1e-12 * len(VALUES))
    np.testing.assert_array_equal(found[0].factor, found[0].factor.T)
    for other in (found[1], under_dask):
        np.testing.assert_array_equal(other.factor, found[0].factor)
        assert (other.tally.blocks, other.tally.bytes_read) == (BLOCKS, VALUES.nbytes)


@pytest.mark.parametrize("size", [1, 8])
def test_a_kept_strip_is_not_read_again(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """What lies on the shelf gives the same bits; what was lost is read again, and nothing else; panels are what is counted."""
    monkeypatch.setattr(keeping, "MIN_GROUPS", 1)
    monkeypatch.setattr(keeping, "grain", lambda *_, **__: size)
    plain, shelf = factor_of(source_of()), MemoryShelf()
    first = factor_of(source_of(shelf=shelf))
    again = factor_of(source_of(shelf=shelf))
    assert not READ
    assert again.tally.blocks_reused == BLOCKS
    lost = sorted(shelf.held)[0]
    del shelf.held[lost]
    third = factor_of(source_of(shelf=shelf))
    assert len(READ) == int(lost[1].partition("x")[2])
    for result in (first, again, third):
        np.testing.assert_array_equal(result.factor, plain.factor)


@pytest.mark.parametrize("place", [0, 65, len(VALUES) - 1])
def test_a_bad_value_is_named_where_it_stands(place: int) -> None:
    """In the first, the middle and the last panel of a strip, the row and the snapshot are those of the field."""
    values: Any = VALUES.copy()
    values[place, 4] = np.nan
    (bad,) = factor_of(source_of(values)).bad
    assert (bad.place, bad.snapshot) == ((place,), 4)


def test_weights_are_those_of_each_panel() -> None:
    """In a weighted inner product every panel of a strip has its own weights."""
    weights = np.random.default_rng(4).uniform(1.0, 2.0, len(VALUES))

    def product(panel: Panel) -> DiagonalProduct:
        return DiagonalProduct(np.sqrt(weights[panel.selection]))

    source = replace(source_of(), product=product)
    np.testing.assert_allclose(factor_of(source).factor, VALUES.T @ (weights[:, None] * VALUES), rtol=0, atol=1e-12 * len(VALUES))
