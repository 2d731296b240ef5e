"""Blocks that one task takes one after the other: the next is fetched, and what the last one gave is put away, meanwhile.

    fetch    1   2     3
    leaf         1     2     3          on the task's own thread
    behind             1     2     3

A leaf need not know of it. A reader asks `following` what it will be asked for next, and who writes hands that to `behind`.
Outside of a sequence nothing follows, and whatever is handed over is done at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from contextvars import copy_context
from functools import partial
from typing import Any

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
    in_turn = in_turn or getattr(shared.get("reduction"), "sums", False)
    reader = getattr(shared.get("source"), "read", None)
    panels = getattr(leaf, "panels_to_read", lambda block: (block,))
    with closing(in_sequence(partial(leaf, **shared), blocks, reader, panels)) as results:
        return subtree(results, len(blocks), merge, in_turn=in_turn)


class Course:
    """A sequence under way, of the thread that runs it."""

    def __init__(self, reader: Any) -> None:
        self.reader = reader
        self.coming: list[Any] = []
        """Panels that the reader will be asked for, the present block's among them."""
        self.ending = ExitStack()
        """What ends what readers have begun for panels that may never be asked for."""
        self.behind: list[Future[Any]] = []
        """All that was handed over."""
        self.failed: BaseException | None = None


def in_sequence(
    leaf: Callable[[Any], Any],
    blocks: Sequence[Any],
    reader: Any = None,
    panels: Callable[[Any], Sequence[Any]] = lambda block: (block,),
) -> Generator[Any]:
    """Yield ``leaf(block)`` of all blocks in order, each when what it handed to `behind` is done, too.

    Parameters
    ----------
    leaf : called on this thread, for one block at a time
    reader : who reads the panels of a block, each once and in order; it alone is told what follows
    panels : the panels of a block that will be read
    """
    course, before = Course(reader), getattr(_here, "course", None)
    coming = [panel for block in blocks for panel in panels(block)] if reader is not None else []
    last: tuple[Any, int] | None = None
    try:
        for block in blocks:
            _here.course, course.coming = course, coming
            found = leaf(block)
            if last is not None:
                yield _settled(course, *last)
            last = found, len(course.behind)
        if last is not None:
            yield _settled(course, *last)
    finally:
        _here.course = before
        course.ending.close()
        for future in course.behind:
            future.exception()  # nothing of this task goes on after it


def following(reader: Any, panel: Any) -> Sequence[Any]:
    """The panels that `reader` will be asked for after this one, by the sequence that this thread is in; none outside of one."""
    course: Course | None = getattr(_here, "course", None)
    if course is None or course.reader is not reader:
        return ()
    places = (place for place, other in enumerate(course.coming) if other is panel)
    return course.coming[next(places, len(course.coming)) + 1 :]


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


def _settled(course: Course, result: Any, handed_over: int) -> Any:
    """The result of a leaf, when all that was handed over up to its end is done."""
    for future in course.behind[:handed_over]:
        future.result()
    return result.result() if isinstance(result, Future) else result


def _helper() -> ThreadPoolExecutor:
    """The thread beside this one: one only, so that what is handed over is done in order."""
    helper: ThreadPoolExecutor | None = getattr(_here, "helper", None)
    if helper is None:
        helper = _here.helper = ThreadPoolExecutor(1, "nwidth-behind")
    return helper
