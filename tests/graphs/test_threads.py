"""A pass on threads without a scheduler: the tree's own merges, no thread that waits, and nothing begun after a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import pytest

from nwidth_graphs.sequence import behind, reduce_in_sequence
from nwidth_graphs.threads import reduce_on_threads
from nwidth_graphs.topology import reduced
from nwidth_graphs.trees import Tree, build

PATIENCE = 10.0


def tree_of(leaf: Callable[[Any], Any], n_blocks: int, name: str = "u") -> Tree:
    """A tree whose result shows all of its merges."""
    return Tree("nest", name, leaf, range(n_blocks), tuple, lambda result: ("closed", result), {})


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("n_blocks", [1, 2, 9, 70])
def test_merges_are_those_of_the_tree(n_blocks: int, threads: int) -> None:
    """Whoever takes which block; each tree is closed, and every block is told."""
    told: list[int] = []
    graph = build([tree_of(lambda block: behind(lambda: block), n_blocks, name) for name in ("u", "v")], "token")
    found = reduce_on_threads(graph, threads, lambda: told.append(1))
    expected = ("closed", reduced(list(range(n_blocks)), tuple))
    assert found == {"nest-u": expected, "nest-v": expected}
    assert len(told) == 2 * n_blocks


def test_nobody_waits_for_a_slow_block() -> None:
    """While one thread is busy with the first block, the other does all that is left, of both trees."""
    others = threading.Semaphore(0)

    def leaf(block: int) -> int:
        if block == 0:
            assert all(others.acquire(timeout=PATIENCE) for _ in range(39 + 20))
        else:
            others.release()
        return block

    def second(block: int) -> int:
        others.release()
        return block

    found = reduce_on_threads(build([tree_of(leaf, 40), tree_of(second, 20, "v")], "token"), 2)
    assert found["nest-v"] == ("closed", reduced(list(range(20)), tuple))
    assert found["nest-u"] == ("closed", reduced(list(range(40)), tuple))


def test_after_a_failure_no_block_is_begun() -> None:
    """The other thread ends with the block that it has, and the error is the caller's."""
    begun: list[int] = []
    failed = threading.Event()

    def leaf(block: int) -> int:
        begun.append(block)
        if block == 3:
            failed.set()
            raise ValueError("bad block")
        if block > 3:
            assert failed.wait(PATIENCE)
        return block

    with pytest.raises(ValueError, match="bad block"):
        reduce_on_threads(build([tree_of(leaf, 1000), tree_of(leaf, 1000, "v")], "token"), 2)
    assert len(begun) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("nwidth_")]


def test_an_interrupt_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C reaches the thread that waits; the others end after their block."""
    from concurrent.futures import Future

    begun, interrupted = threading.Event(), threading.Event()

    def interrupt(self: Future[Any], timeout: float | None = None) -> None:
        assert begun.wait(PATIENCE)
        interrupted.set()
        raise KeyboardInterrupt

    blocks: list[int] = []

    def leaf(block: int) -> int:
        blocks.append(block)
        begun.set()
        assert interrupted.wait(PATIENCE)
        return block

    monkeypatch.setattr(Future, "result", interrupt)
    with pytest.raises(KeyboardInterrupt):
        reduce_on_threads(build([tree_of(leaf, 1000)], "token"), 2)
    assert len(blocks) < 100


def test_threads_know_what_their_caller_knows() -> None:
    """Context variables, such as who counts the bytes."""
    known = ContextVar("known", default="nothing")
    known.set("something")
    found = reduce_on_threads(build([tree_of(lambda _: known.get(), 2)], "token"), 2)
    assert found["nest-u"] == ("closed", ("something", "something"))


class Large:
    """A result that counts those of its kind that are in memory."""

    alive = most = 0

    def __init__(self, blocks: list[int]) -> None:
        self.blocks = blocks
        Large.alive += 1
        Large.most = max(Large.most, Large.alive)

    def __del__(self) -> None:
        Large.alive -= 1


class Adding:
    """A sum of large results, in new memory or in that of the first."""

    def __call__(self, parts: Sequence[Large]) -> Large:
        return Large([block for part in parts for block in part.blocks])

    def into(self, so_far: Large, part: Large) -> Large:
        so_far.blocks += part.blocks
        return so_far


@pytest.mark.parametrize(("n_blocks", "most"), [(8, 2), (9, 2), (16, 3), (64, 3), (100, 4)])
def test_large_results_are_in_no_hands_but_their_own(n_blocks: int, most: int) -> None:
    """One sum for each level above the leaves, and the fresh one: no loop, generator or frame keeps another."""
    Large.alive = Large.most = 0
    tree = Tree("add", "u", lambda block: Large([block]), range(n_blocks), Adding(), lambda result: result, {}, in_turn=True)
    found = reduce_on_threads(build([tree], "token"), 1)["add-u"]
    assert found.blocks == list(range(n_blocks))
    assert Large.most == most
    del found
    Large.most = 0
    found = reduce_in_sequence(tree.leaf, range(n_blocks), {}, Adding(), in_turn=True)
    assert found.blocks == list(range(n_blocks))
    assert Large.most == most
