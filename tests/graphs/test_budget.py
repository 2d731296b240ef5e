"""What a pass is said to cost beforehand: arithmetic that only grows, and that the cut obeys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth_graphs.budget import (
    MIB,
    PROCESS_BYTES,
    SCIPY_BYTES,
    block_bytes_for,
    factor_cost,
    lift_cost,
    max_rows,
    merge_bytes,
    peak_bytes,
    process_bytes,
    row_bytes,
)
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.layout import Panel
from nwidth_graphs.lifting import Lift, lift_graph
from nwidth_graphs.reduction import GRAM, TSQR, sums_bytes, sums_in_turn
from nwidth_graphs.source import FieldSource
from tests.graphs.problems import row_panels

DEFAULTS: dict[str, Any] = {"rows": 10_000, "snapshots": 100, "itemsize": 4, "threads": 1, "decode": 0, "rank": 10}


def peak(reduction: Any = TSQR, *, kept: bool = False, **changes: Any) -> int:
    v = DEFAULTS | changes
    source = FieldSource("u", row_panels([v["rows"]] * 3), v["snapshots"], v["itemsize"])
    options: dict[str, Any] = {"decode_bytes": v["decode"], "threads": v["threads"], "rank_bound": v["rank"]}
    return peak_bytes([source], reduction, **options, factors_kept=kept)


@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)
@given(name=st.sampled_from(sorted(DEFAULTS)), factor=st.floats(1.1, 20.0))
def test_the_peak_grows_with_everything(reduction: Any, name: str, factor: float) -> None:
    """More rows, snapshots, bytes per value, threads, decoding or modes never cost less."""
    more = max(DEFAULTS[name] + 1, round(DEFAULTS[name] * factor))
    assert peak(reduction, **{name: more}) > peak(reduction) > PROCESS_BYTES


@given(
    st.integers(1, 2000), st.sampled_from([4, 8]), st.integers(1, 200), st.integers(300, 20_000), st.integers(1, 8), st.booleans()
)
def test_a_block_of_the_largest_rows_fits(snapshots: int, itemsize: int, rank: int, mib: int, threads: int, tsqr: bool) -> None:
    """`max_rows` is what `peak_bytes` allows where factors are kept: so many rows fit, one more per thread does not."""
    reduction = TSQR if tsqr else GRAM
    bound = min(rank, snapshots)
    rows = max_rows(snapshots, itemsize, bound, mib * MIB, threads, MIB, reduction)
    if rows < 1:
        return
    options: dict[str, Any] = {
        "snapshots": snapshots, "itemsize": itemsize, "threads": threads, "decode": MIB, "rank": bound
    }  # fmt: skip
    assert peak(reduction, kept=True, rows=rows, **options) <= mib * MIB
    assert peak(reduction, kept=True, rows=rows + 1, **options) > mib * MIB - threads


def test_costs_are_counted() -> None:
    """Bytes, tasks, flops and reads of both passes, by hand."""
    source = FieldSource("u", row_panels([100] * 20), 50, 8)
    common: dict[str, Any] = {"stored_bytes": 1234, "decode_bytes": 0, "threads": 2, "rank_bound": 5}
    first, second = factor_cost([source], GRAM, **common), lift_cost([source], **common)
    assert (first.reads, first.bytes_to_read, first.flops) == (1, 1234, 2000.0 * 50 * 50)
    assert (second.reads, second.bytes_to_read) == (1, 1234)
    assert first.tasks == factor_graph([source], GRAM, "aa").n_tasks
    assert second.tasks >= first.tasks  # the transform and the coefficients travel, too
    assert second.flops >= 4.0 * 2000 * 50 * 5  # modes and coefficients at the least
    assert factor_cost([source], TSQR, **common).flops > first.flops


@pytest.mark.parametrize(("rank", "in_turn"), [(5, False), (2000, True)])
def test_large_sums_of_a_lift_are_merged_in_turn(rank: int, in_turn: bool) -> None:
    """Two operands of a merge in place of eight, which is a task for each block; tasks and memory are planned as they are."""
    source = FieldSource("u", row_panels([3000] * 20), 3000, 8)
    planned = lift_cost([source], stored_bytes=0, decode_bytes=0, threads=1, rank_bound=rank)
    graph = lift_graph([Lift(source, np.zeros((3000, rank)), None, write_nothing)], "aa")
    assert graph.trees[0].in_turn == in_turn == sums_in_turn(3000, rank)
    assert planned.tasks == graph.n_tasks
    # Two operands, the sum, and a copy of each; or as many small ones.
    assert merge_bytes(3000, rank, factors=False) == max(8 * sums_bytes(3000, rank), 20 * min(MIB, sums_bytes(3000, rank)))


def write_nothing(panel: Panel, modes: Any, mean: Any) -> None:
    """Takes modes."""


def test_coupled_rows_take_sparse_matrices() -> None:
    """An inner product that couples rows loads SciPy in the workers, which is planned, and cut for."""
    source = FieldSource("u", row_panels([1000]), 10, 8)
    coupled = replace(source, mass_entries=1)
    options: dict[str, Any] = {"decode_bytes": 0, "threads": 1, "rank_bound": 5}
    assert peak_bytes([coupled], GRAM, **options) > peak_bytes([source], GRAM, **options) + SCIPY_BYTES
    assert process_bytes(coupled=True) == process_bytes(coupled=False) + SCIPY_BYTES


def test_blocks_have_a_sensible_size() -> None:
    """Small fields are cut into some blocks, large ones into blocks of a bounded size, whoever computes."""
    assert block_bytes_for(1, 2**31) == 4 * MIB
    assert block_bytes_for(10**12, 2**31) == 64 * MIB
    assert block_bytes_for(10**12, 512 * MIB) == 32 * MIB
    assert block_bytes_for(16 * 10 * MIB, 2**31) == 10 * MIB
    assert row_bytes(100, 4, 10) == 400 + 160 + 16
