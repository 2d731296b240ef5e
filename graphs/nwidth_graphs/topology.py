"""The shape of a tree, and how it is cut into windows. Pure arithmetic: no task, no Dask, no data.

    level 2                      top
                 ┌────────────────┴──────────┐
    level 1     node 0                     node 1           FAN_IN nodes into one, in a fixed order
             ┌───┴────┬── ...          ┌─────┴── ...
    level 0  0        1   ...  7       8        ...         the leaves, one per block

The shape is a function of the number of blocks alone, never of the schedule. So a tree of any size can be computed in *windows*:
aligned pieces, each all that lies below one node. A scheduler sees a few windows at a time, `Upward` does the merges above them,
and every merge is the one that it would have been in one graph: the same operands, in the same order, the same bits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

# 8 keeps a merge small (8 factors at once) and the tree flat: 10 000 blocks are 5 levels and 14 % more tasks.
FAN_IN = 8
# Up to 512 blocks are one window, as most passes are; a scheduler holds three of them (1 800 tasks, a few MB) at a time.
MIN_WINDOW_LEAVES = FAN_IN**3
# While the last blocks of a window run, the next window must feed all other threads, twice over.
LEAVES_PER_THREAD = 2
# A scheduler hands out 900 tasks a second (docs/explanation/scale.md), and a thread takes 0.15 s or so for a block of 64 MiB: so
# many threads can be fed block by block, and eight times as many in tasks of eight blocks.
THREADS_PER_SCHEDULER = 128
# But no thread should wait long at the end of a pass for one that has just begun a task of several blocks: an eighth of the pass
# at most, or a quarter where the scheduler would cost more.
MIN_TASKS_PER_THREAD = 8
MIN_TASKS_PER_HUNGRY_THREAD = 4


class Handed:
    """A value on its way to its only owner: whoever passes it on does not keep it in memory.

    A loop's variable, a generator that waits and the frames of callers all hold what they have seen last, and factors can be
    as large as blocks.
    """

    def __init__(self, value: Any) -> None:
        self._held = [value]

    def take(self) -> Any:
        """The value, once."""
        return self._held.pop()


@dataclass(frozen=True)
class Piece:
    """A part of a tree that one window computes: the node `index` of `level`, and all below it."""

    tree: int
    """Which of the trees of a pass."""
    level: int
    index: int
    start: int
    stop: int
    """Its leaves are ``range(start, stop)``."""
    whole: bool
    """Whether it is the entire tree, and so closes it, too."""

    @property
    def n_leaves(self) -> int:
        """Leaves below its node."""
        return self.stop - self.start


def width(n_blocks: int, level: int) -> int:
    """Nodes of one level of a tree: ``ceil(n_blocks / FAN_IN^level)``."""
    whole, rest = divmod(n_blocks, int(FAN_IN**level))
    return whole + (rest > 0)


def height(n_blocks: int) -> int:
    """Levels of merges of a tree: the least ``h`` with ``FAN_IN^h >= n_blocks``."""
    level = 0
    while FAN_IN**level < n_blocks:
        level += 1
    return level


def tree_tasks(n_blocks: int, *, in_turn: bool = False) -> int:
    """Tasks of a tree over `n_blocks` leaves, without what is shared: leaves, merges and the root.

    A node that merges its children in turn takes a task for each child but the first; all of them together are one for each leaf
    but the first, whatever the fan-in.
    """
    if in_turn:
        return 2 * max(n_blocks, 1)
    tasks, level = n_blocks + 1, n_blocks
    while level > 1:
        whole, rest = divmod(level, FAN_IN)
        tasks += whole + (rest > 1)
        level = whole + (rest > 0)
    return tasks


def window_leaves(threads: int) -> int:
    """Leaves of a window for a cluster of `threads` threads: the smallest aligned subtree that keeps them busy."""
    leaves = MIN_WINDOW_LEAVES
    while leaves < LEAVES_PER_THREAD * threads:
        leaves *= FAN_IN
    return leaves


def blocks_per_task(n_blocks: int, threads: int) -> int:
    """Neighbouring blocks that one task reduces: `FAN_IN`, where there are enough of them for all threads, or a power of it at
    which one scheduler can feed these; 1 otherwise.

    A task of several blocks fetches the next one while one is reduced (`sequence.py`), and makes the merges of the tree itself,
    so this changes no bit. It is lost whole with its worker, but for what was kept of it.
    """
    blocks = 1
    while True:
        hungry = blocks * THREADS_PER_SCHEDULER < threads
        tasks = threads * (MIN_TASKS_PER_HUNGRY_THREAD if hungry else MIN_TASKS_PER_THREAD)
        if n_blocks < tasks * blocks * FAN_IN or not (hungry or blocks == 1):
            return blocks
        blocks *= FAN_IN


def reduced(level: Sequence[Any], merge: Callable[[Sequence[Any]], Any]) -> Any:
    """The top of the tree over some aligned neighbours, which are there already."""
    while len(level) > 1:
        groups = [level[start : start + FAN_IN] for start in range(0, len(level), FAN_IN)]
        # One child alone is not merged: it is its parent.
        level = [group[0] if len(group) == 1 else merge(group) for group in groups]
    return level[0]


def subtree(results: Iterator[Any], count: int, merge: Callable[[Sequence[Any]], Any], *, in_turn: bool = False) -> Any:
    """The top of the tree over the next `count` results, merged as they come: no more at a time than the tree itself holds.

    `in_turn` merges the children of a node two at a time, from the first to the last. Results are this subtree's own.
    """
    if count == 1:
        return next(results)
    span = 1
    while span * FAN_IN < count:
        span *= FAN_IN
    children = (subtree(results, min(span, count - start), merge, in_turn=in_turn) for start in range(0, count, span))
    if not in_turn:
        return merge(list(children))
    so_far = next(children)
    for child in map(Handed, children):
        so_far = merged_pair(so_far, child.take(), merge, own=True)
    return so_far


def merged_pair(first: Any, second: Any, merge: Callable[[Sequence[Any]], Any], *, own: bool) -> Any:
    """``merge([first, second])``, in the memory of the first where that is our `own` and `merge` knows how (`into`)."""
    into = getattr(merge, "into", None) if own else None
    return merge([first, second]) if into is None else into(first, second)


def pieces(tree: int, n_blocks: int, leaves: int) -> Iterator[Piece]:
    """Cut one tree into aligned pieces of at most `leaves` leaves, a power of `FAN_IN`; a tree that fits is one piece."""
    level = height(min(leaves, n_blocks))
    span = FAN_IN**level
    for index in range(width(n_blocks, level)):
        yield Piece(tree, level, index, index * span, min((index + 1) * span, n_blocks), whole=span >= n_blocks)


def windows(n_blocks: Sequence[int], undivided: Sequence[bool], leaves: int) -> Iterator[tuple[Piece, ...]]:
    """Cut several trees into windows of at most `leaves` leaves; small trees share one. A tree may ask to stay whole."""
    window: list[Piece] = []
    for tree, (size, whole) in enumerate(zip(n_blocks, undivided, strict=True)):
        for piece in pieces(tree, size, max(size, 1) if whole else leaves):
            if window and sum(other.n_leaves for other in window) + piece.n_leaves > leaves:
                yield tuple(window)
                window = []
            window.append(piece)
    if window:
        yield tuple(window)


class Upward:
    """Merges results into the top of their tree, each merge as soon as its operands are there: in any order, from any threads.

    Where results come in order it holds at most ``FAN_IN - 1`` of them per level. `in_turn` merges the children of a node two at
    a time, from the first to the last: then it holds one per level, and those that came too early.
    """

    def __init__(self, n_blocks: int, merge: Callable[[Sequence[Any]], Any], *, in_turn: bool = False) -> None:
        self._n_blocks, self._merge, self._in_turn = n_blocks, merge, in_turn
        self._nodes: dict[tuple[int, int], _Node] = {}
        self._lock = threading.Lock()
        self.top: list[Any] = []
        """Empty until all results have come; then the tree's top, alone."""

    @property
    def held(self) -> int:
        """Results that wait for others."""
        with self._lock:
            return sum(node.held for node in self._nodes.values()) + len(self.top)

    def add(self, level: int, index: int, value: Any) -> bool:
        """Take the result of one node, and merge upward as far as it goes: on this thread, while others add.

        What is `Handed` over is this tree's own, and merged in its memory where `merge` knows how. Returns whether that made the
        top.
        """
        own = isinstance(value, Handed)
        held = _Held(value.take() if own else value, own)
        del value  # it is the node's from here on
        while (children := width(self._n_blocks, level)) > 1:
            parent, place = divmod(index, FAN_IN)
            with self._lock:
                node = self._nodes.setdefault((level + 1, parent), _Node(min(FAN_IN, children - parent * FAN_IN)))
                node.waiting[place] = held
            del held
            while operands := self._operands(node):
                merged = _Held(self._merged(operands), own=len(operands) > 1 or operands[0].own)
                operands.clear()
                with self._lock:
                    node.so_far, node.busy = [merged], False
                del merged
            with self._lock:
                if not node.complete or self._nodes.pop((level + 1, parent), None) is None:
                    return False
            (held,) = node.so_far
            level, index = level + 1, parent
        self.top.append(held.value)
        return True

    def _merged(self, operands: list[_Held]) -> Any:
        """What becomes of them."""
        values = [held.value for held in operands]
        if len(values) != 2 or not self._in_turn:
            return reduced(values, self._merge)
        return merged_pair(values[0], values[1], self._merge, own=operands[0].own)

    def _operands(self, node: _Node) -> list[_Held]:
        """What can be merged at a node now, which is this thread's until it is; empty where that is nothing."""
        with self._lock:
            return [] if node.busy else node.take(2 if self._in_turn else node.children)


@dataclass(frozen=True)
class _Held:
    """A result that waits."""

    value: Any
    own: bool
    """Whether it is in nobody else's hands."""


class _Node:
    """A node of a tree whose children come one by one."""

    def __init__(self, children: int) -> None:
        self.children = children
        self.waiting: dict[int, _Held] = {}
        self.so_far: list[_Held] = []
        """The merge of the first children, where there is one."""
        self.merged = 0
        """How many they are."""
        self.busy = False
        """Whether a thread is merging them with the next."""

    @property
    def held(self) -> int:
        """Results that it holds."""
        return len(self.waiting) + len(self.so_far)

    @property
    def complete(self) -> bool:
        """Whether all of its children are merged."""
        return self.merged == self.children and not self.busy

    def take(self, count: int) -> list[_Held]:
        """The next `count` operands, the merge so far first, if they are all there; they are no longer held here."""
        fresh = min(count, self.children) - len(self.so_far)
        places = range(self.merged, self.merged + fresh)
        if not fresh or self.merged == self.children or not all(place in self.waiting for place in places):
            return []
        operands = [*self.so_far, *(self.waiting.pop(place) for place in places)]
        self.so_far, self.merged, self.busy = [], self.merged + fresh, True
        return operands
