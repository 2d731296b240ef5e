"""A pass on threads of this process, without a scheduler: each thread takes the next block of one list until there is none.

    blocks   0 1 2 3 4 5 6 7 ...            who is free takes the next, and fetches the one after it meanwhile (`sequence.py`)
             │ │ │ │ └────── thread 2
             └─┴─┴─┴──────── thread 1       results are merged as they come, in the tree's own order (`topology.Upward`)

So no thread waits for another before the last block, a pass has no task but its blocks, and every bit is that of Dask's workers.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from typing import Any

from nwidth_graphs.sequence import leaves_in_sequence
from nwidth_graphs.topology import Handed
from nwidth_graphs.trees import Gathered, TaskGraph, Tree


def reduce_on_threads(graph: TaskGraph, threads: int, done: Callable[[], object] | None = None) -> dict[str, Any]:
    """Root name -> value of a pass whose leaves read for themselves; they run on `threads` threads, which end with it.

    `done` is called after each block, by one thread at a time. Where a leaf fails, no other block is begun.
    """
    gathered = Gathered(graph)
    lists = [_List(enumerate(tree.blocks)) for tree in graph.trees]
    telling = threading.Lock()

    def work() -> None:
        for number, (tree, blocks) in enumerate(zip(graph.trees, lists, strict=True)):
            with closing(_reduced(tree, blocks)) as results:
                for block, value in results:
                    gathered.add_leaf(number, block, value)
                    if done is not None:
                        with telling:
                            done()

    def work_or_stop() -> None:
        try:
            work()
        except BaseException:
            _stop(lists)
            raise

    with ThreadPoolExecutor(threads, "nwidth") as pool:
        try:
            for future in [pool.submit(copy_context().run, work_or_stop) for _ in range(threads)]:
                future.result()
        except BaseException:  # an interrupt of this thread, too
            _stop(lists)
            raise
    return gathered.roots()


def _reduced(tree: Tree, blocks: _List) -> Generator[tuple[int, Handed]]:
    """The results of those blocks that this thread gets, each with its number."""
    taken: deque[int] = deque()

    def mine() -> Iterator[Any]:
        for number, block in blocks:
            taken.append(number)
            yield block

    with closing(leaves_in_sequence(tree.leaf, mine(), tree.shared)) as results:
        for result in map(Handed, results):
            yield taken.popleft(), result


class _List:
    """Blocks that several threads take from, until one of them stops it."""

    def __init__(self, blocks: Iterator[tuple[int, Any]]) -> None:
        self._blocks, self._lock = blocks, threading.Lock()
        self.stopped = False

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return self

    def __next__(self) -> tuple[int, Any]:
        with self._lock:
            if self.stopped:
                raise StopIteration
            return next(self._blocks)


def _stop(lists: list[_List]) -> None:
    for blocks in lists:
        blocks.stopped = True
