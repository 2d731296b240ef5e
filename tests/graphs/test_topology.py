"""Windows change nothing: every leaf is in one of them, and what is merged above them is what one graph would merge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from nwidth_graphs.topology import (
    FAN_IN,
    MIN_WINDOW_LEAVES,
    Upward,
    blocks_per_task,
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
