"""Blocks that one thread takes one after the other: the next is fetched, and what the last one gave is put away, meanwhile.

    fetch    1   2     3
    leaf         1     2     3          on the task's own thread
    behind             1     2     3

A leaf need not know of it. A reader asks `following` what it will be asked for next, and who writes hands that to `behind`.
Outside of a sequence nothing follows, and whatever is handed over is done at once.

The blocks may be a list, or come from where several threads take theirs: each is taken when somebody first needs to know of it,
and a block that a reader has begun to fetch is this thread's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import Any

from nwidth_graphs.strips import panels_of
from nwidth_graphs.topology import subtree

_here = threading.local()


def reduce_in_sequence(
    leaf: Callable[..., Any],
    blocks: Sequence[Any],
    shared: Mapping[str, Any],
    merge: Callable[[Sequence[Any]], Any],
    *,
    in_turn: bool = False,
) -> Any:
    """The top of the tree over ``leaf(block, **shared)`` of some neighbouring blocks, merged as results come.

    Sums are taken in turn in any case: a thread then holds two of them, and not all of its blocks'.
    """
    with closing(leaves_in_sequence(leaf, blocks, shared)) as results:
        return subtree(results, len(blocks), merge, in_turn=in_turn or adds_up(shared))


def adds_up(shared: Mapping[str, Any]) -> bool:
    """Whether the results of leaves that share these values are sums, which may be added as they come."""
    return getattr(shared.get("reduction"), "sums", False)


def leaves_in_sequence(leaf: Callable[..., Any], blocks: Iterable[Any], shared: Mapping[str, Any]) -> Generator[Any]:
    """``leaf(block, **shared)`` of all blocks, as `in_sequence`: the reader is that of the field that they share."""
    reader = getattr(shared.get("source"), "read", None)
    return in_sequence(partial(leaf, **shared), blocks, reader, getattr(leaf, "panels_to_read", panels_of))


class Course:
    """A sequence under way, of the thread that runs it."""

    def __init__(self, blocks: Iterable[Any], reader: Any, panels: Callable[[Any], Sequence[Any]]) -> None:
        self.reader = reader
        self.place = -1
        """Of the present block, among those taken."""
        self.ending = ExitStack()
        """What ends what readers have begun for panels that may never be asked for."""
        self.behind: list[Future[Any]] = []
        """What was handed over for the present block."""
        self.failed: BaseException | None = None
        self._panels = panels
        self._blocks = iter(blocks)
        self._taken: list[Any] = []
        self._taking = threading.Lock()

    def steps(self) -> Iterator[Any]:
        """The blocks, each the present one while it is out."""
        for block in self._from(0):
            self.place += 1
            yield block

    def after(self, panel: Any) -> Iterator[Any]:
        """The panels to read after one of the present block's, its other ones first; none where it is not to be read."""
        return self._after(self.place, panel)

    def _after(self, place: int, panel: Any) -> Iterator[Any]:
        own = list(self._panels(self._taken[place]))
        at = next((index for index, other in enumerate(own) if other is panel), None)
        if at is not None:
            yield from own[at + 1 :]
            for block in self._from(place + 1):
                yield from self._panels(block)

    def _from(self, place: int) -> Iterator[Any]:
        """The blocks from one on, taken when they are asked for: by this thread, or by the one that reads ahead for it."""
        while True:
            with self._taking:
                if place == len(self._taken):
                    self._taken += islice(self._blocks, 1)
                if place == len(self._taken):
                    return
            yield self._taken[place]
            place += 1


def in_sequence(
    leaf: Callable[[Any], Any],
    blocks: Iterable[Any],
    reader: Any = None,
    panels: Callable[[Any], Sequence[Any]] = panels_of,
) -> Generator[Any]:
    """Yield ``leaf(block)`` of all blocks in order, each when what it handed to `behind` is done, too, or at once.

    Parameters
    ----------
    leaf : called on this thread, for one block at a time
    blocks : asked for the next one when it is needed, and by one thread at a time
    reader : who reads the panels of a block, each once and in order; it alone is told what follows
    panels : the panels of a block that will be read
    """
    course, before = Course(blocks, reader, panels), getattr(_here, "course", None)
    # The result that waits for what it handed over, which is here until that is done: a result can be as large as a block, and
    # from when it is yielded on it is its new owner's alone.
    waiting: list[Any] = []
    handed: list[Future[Any]] = []
    try:
        for block in course.steps():
            _here.course = course
            found = leaf(block)
            if waiting:
                yield _settled(waiting, handed)
            waiting.append(found)
            del found
            handed, course.behind = course.behind, []
            if not handed:
                yield _settled(waiting, handed)
        if waiting:
            yield _settled(waiting, handed)
    finally:
        _here.course = before
        course.ending.close()
        for future in (*handed, *course.behind):
            future.exception()  # nothing of this sequence goes on after it


def following(reader: Any, panel: Any) -> Iterator[Any]:
    """The panels that `reader` will be asked for after this one, by the sequence that this thread is in; none outside of one.

    They are found as they are asked for, on whatever thread.
    """
    course: Course | None = getattr(_here, "course", None)
    return iter(()) if course is None or course.reader is not reader else course.after(panel)


def at_the_end(close: Callable[[], None]) -> bool:
    """Have `close` called when this thread's sequence is over, however it ends; False, and never, outside of one."""
    course: Course | None = getattr(_here, "course", None)
    if course is not None:
        course.ending.callback(close)
    return course is not None


def behind[T](work: Callable[[], T]) -> T | Future[T]:
    """Do `work` after all that was handed over before: on a thread beside this one in a sequence, otherwise at once.

    A leaf may return the future as its result. Where something that was handed over before has failed, `work` is not done, and
    fails in the same way.
    """
    course: Course | None = getattr(_here, "course", None)
    if course is None:
        return work()
    owner = course

    def in_its_turn() -> T:
        if owner.failed is not None:
            raise owner.failed
        try:
            return work()
        except BaseException as error:
            owner.failed = error
            raise

    future = _helper().submit(copy_context().run, in_its_turn)
    owner.behind.append(future)
    return future


def all_put_away() -> None:
    """Wait until all that this thread's sequence handed over is done; fails as it did. At once outside of a sequence."""
    last = behind(_nothing)
    if isinstance(last, Future):
        last.result()


def _nothing() -> None:
    pass


def _settled(waiting: list[Any], handed: list[Future[Any]]) -> Any:
    """The result that waits, when all that was handed over for it is done; then neither is held here any more."""
    for future in handed:
        future.result()
    handed.clear()
    result = waiting.pop()
    return result.result() if isinstance(result, Future) else result


def _helper() -> ThreadPoolExecutor:
    """The thread beside this one: one only, so that what is handed over is done in order."""
    helper: ThreadPoolExecutor | None = getattr(_here, "helper", None)
    if helper is None:
        helper = _here.helper = ThreadPoolExecutor(1, "nwidth-behind")
    return helper
