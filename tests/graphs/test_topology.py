"""Windows change nothing: every leaf is in one of them, and what is merged above them is what one graph would merge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import numpy as np
import pytest

from nwidth_graphs.topology import (
    FAN_IN,
    MIN_WINDOW_LEAVES,
    Handed,
    Upward,
    blocks_per_task,
    height,
    pieces,
    reduced,
    tree_tasks,
    width,
    window_leaves,
    windows,
)

SIZES = [1, 2, 7, 8, 9, 63, 64, 65, 73, 512, 513, 521, 1000, 4096, 4097, 5000]


def nested(parts: Sequence[object]) -> tuple[object, ...]:
    """A merge that remembers its operands and their order: equal results mean equal bits, whatever is merged."""
    return tuple(parts)


def node(level: int, index: int, n_blocks: int) -> object:
    """One node of the tree, from its definition: the merge of its children, or its only child."""
    if level == 0:
        return index
    first = index * FAN_IN
    children = [
        node(level - 1, child, n_blocks) for child in range(first, min(first + FAN_IN, -(-n_blocks // FAN_IN ** (level - 1))))
    ]
    return children[0] if len(children) == 1 else tuple(children)


@pytest.mark.parametrize("leaves", [8, 64, 512])
@pytest.mark.parametrize("n_blocks", SIZES)
def test_pieces_and_what_is_above_them_are_the_whole_tree(n_blocks: int, leaves: int) -> None:
    """Cut into windows of any size, whose results come in any order, a tree makes the same merges of the same operands."""
    cut = list(pieces(0, n_blocks, leaves))
    assert [index for piece in cut for index in range(piece.start, piece.stop)] == list(range(n_blocks))
    assert max(piece.n_leaves for piece in cut) <= leaves
    assert cut[0].whole == (len(cut) == 1)
    upward = Upward(n_blocks, nested)
    for place in np.random.default_rng(n_blocks).permutation(len(cut)):
        piece = cut[place]
        assert upward.top == []
        upward.add(piece.level, piece.index, reduced(list(range(piece.start, piece.stop)), nested))
    assert upward.top == [node(5, 0, n_blocks)]


def test_few_results_wait_for_others() -> None:
    """Where windows come in order, a tree of 100 000 blocks holds at most seven results per level above its windows."""
    upward, most = Upward(100_000, nested), 0
    cut = list(pieces(0, 100_000, MIN_WINDOW_LEAVES))
    for piece in cut:
        upward.add(piece.level, piece.index, None)
        most = max(most, upward.held)
    levels = next(level for level in range(20) if width(len(cut), level) == 1)
    assert len(cut) == 196
    assert most <= (FAN_IN - 1) * levels


@pytest.mark.parametrize("n_blocks", [1, 2, 8, 9, 64, 65, 600])
def test_sums_in_turn_are_those_from_left_to_right(n_blocks: int) -> None:
    """Whatever the order in which blocks come: two at a time, a node's children from the first to the last."""

    def added(parts: Sequence[Any]) -> Any:
        assert len(parts) == 2
        return ("+", *parts)

    def expected(level: int, index: int) -> Any:
        if level == 0:
            return index
        first = index * FAN_IN
        below = range(first, min(first + FAN_IN, width(n_blocks, level - 1)))
        return reduce(lambda one, other: ("+", one, other), [expected(level - 1, child) for child in below])

    upward = Upward(n_blocks, added, in_turn=True)
    tops = [upward.add(0, int(block), int(block)) for block in np.random.default_rng(n_blocks).permutation(n_blocks)]
    assert tops == [False] * (n_blocks - 1) + [True]
    assert upward.top == [expected(height(n_blocks), 0)]


def test_sums_in_turn_wait_for_nobody() -> None:
    """Of blocks that come in order, one result per level is held."""
    upward, most = Upward(4096, lambda _: None, in_turn=True), 0
    for block in range(4096):
        upward.add(0, block, None)
        most = max(most, upward.held)
    assert most == 4


def test_what_is_not_handed_over_stays_as_it_is() -> None:
    """Only sums of its own, and values that are `Handed` over, are added to in place."""

    class Sum:
        def __call__(self, parts: Sequence[list[int]]) -> list[int]:
            return [*parts[0], *parts[1]]

        def into(self, so_far: list[int], part: list[int]) -> list[int]:
            so_far += part
            return so_far

    lent, handed = [[block] for block in range(8)], [[block] for block in range(8)]
    for values, give in ((lent, list), (handed, Handed)):
        upward = Upward(8, Sum(), in_turn=True)
        for block in range(8):
            upward.add(0, block, values[block] if give is list else Handed(values[block]))
        assert upward.top == [list(range(8))]
    assert lent == [[block] for block in range(8)]
    assert handed == [list(range(8)), *([block] for block in range(1, 8))]


@pytest.mark.parametrize("in_turn", [False, True])
def test_threads_that_add_at_once_make_one_top(in_turn: bool) -> None:
    """Of the same merges, each made once; a merge of one node does not keep others from theirs."""
    made: list[Any] = []

    def merge(parts: Sequence[Any]) -> Any:
        time.sleep(0.0002)
        made.append(tuple(parts))
        return sum(parts[1:], parts[0]) if in_turn else nested(parts)

    upward, n_blocks = Upward(300, merge, in_turn=in_turn), 300
    with ThreadPoolExecutor(8) as pool:
        tops = list(pool.map(lambda block: upward.add(0, block, [block] if in_turn else block), range(n_blocks)))
    assert tops.count(True) == 1
    assert upward.top == [list(range(300)) if in_turn else node(height(300), 0, 300)]
    assert len(made) == (299 if in_turn else 38 + 5 + 1)
    assert upward.held == 1


def test_small_trees_share_a_window() -> None:
    """Fields that fit one window together are submitted together; larger ones are cut, and one that must not be is not."""
    assert [[piece.tree for piece in window] for window in windows([60, 60, 60], [False] * 3, 512)] == [[0, 1, 2]]
    several = list(windows([600, 300, 300], [False] * 3, 512))
    assert [[(piece.tree, piece.n_leaves) for piece in window] for window in several] == [
        [(0, 512)],
        [(0, 88), (1, 300)],
        [(2, 300)],
    ]
    assert [piece.whole for window in several for piece in window] == [False, False, True, True]
    ((piece,),) = windows([600], [True], 512)
    assert piece.whole
    assert piece.n_leaves == 600


@pytest.mark.parametrize("threads", [1, 16, 256, 257, 4000])
def test_a_window_feeds_all_threads_twice(threads: int) -> None:
    """A window is an aligned subtree, never smaller than two leaves per thread, and not larger than it must be."""
    leaves = window_leaves(threads)
    assert leaves >= max(MIN_WINDOW_LEAVES, 2 * threads)
    assert leaves == MIN_WINDOW_LEAVES or leaves // FAN_IN < 2 * threads


def test_tasks_take_several_blocks() -> None:
    """Eight, as long as every thread gets eight such tasks, or four where one scheduler could not feed all threads; or more."""
    assert [blocks_per_task(60_000, threads) for threads in (1, 16, 128, 129, 900)] == [8, 8, 8, 8, 8]
    assert (blocks_per_task(128, 2), blocks_per_task(127, 2)) == (8, 1)
    assert blocks_per_task(4 * 1000 * 8, 1000) == 8
    assert blocks_per_task(4 * 1000 * 8 - 1, 1000) == 1
    assert blocks_per_task(10**7, 2000) == 64


@pytest.mark.parametrize("n_blocks", SIZES)
def test_tasks_of_pieces_are_the_tasks_of_the_tree(n_blocks: int) -> None:
    """Whatever is merged above the windows is not a task: windows hold all others, and no more."""
    cut = list(pieces(0, n_blocks, 64))
    inside = sum(tree_tasks(piece.n_leaves) - 1 for piece in cut)  # without the root
    above = tree_tasks(len(cut)) - 1 - len(cut)
    assert inside + above + 1 == tree_tasks(n_blocks)
