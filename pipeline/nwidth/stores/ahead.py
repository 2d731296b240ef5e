"""Memory of a thread for chunks, and a thread of its own that makes them ahead.

reader thread   ──chunk──> [ wait ] ──> the thread that asked decodes         buffers: decoded, waiting, being filled

A `Stream` goes on from one thing that is asked for to the next: while a block is reduced, the first chunks of the next one come.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.memory import page_aligned
from nwidth_graphs.sequence import at_the_end

# Chunks handed out or waiting, of those that a thread of its own reads: the one that is being decoded, and the next.
AHEAD_DIRECTLY = 2

_held = threading.local()


def scratch(use: str, nbytes: int) -> NDArray[np.uint8]:
    """This thread's own memory for one chunk, fetched or decoded; it grows to the largest and is never freed."""
    kept: NDArray[np.uint8] | None = getattr(_held, use, None)
    if kept is None or kept.nbytes < nbytes:
        kept = np.empty(nbytes, np.uint8)
        setattr(_held, use, kept)
    return kept[:nbytes]


def next_of_ring(nbytes: int) -> NDArray[np.uint8]:
    """The next of this thread's buffers for direct reads: one is decoded, others wait, and one is being filled."""
    turn = (getattr(_held, "turn", 0) + 1) % (getattr(_held, "depth", AHEAD_DIRECTLY) + 1)
    ring: dict[int, NDArray[np.uint8]] = getattr(_held, "ring", {})
    if turn not in ring or ring[turn].nbytes < nbytes:
        ring[turn] = page_aligned((nbytes,), np.uint8)
    _held.turn, _held.ring = turn, ring
    return ring[turn][:nbytes]


def ahead[T](items: Generator[T], depth: int = AHEAD_DIRECTLY) -> Generator[T]:
    """The same items, made on a thread of their own: at most `depth` are handed out or wait, and one is being made.

    The thread belongs to the one that asks, and counts what it reads for that one. It has ended with the items when this ends,
    for whatever reason.
    """
    ready: SimpleQueue[tuple[bool, T | BaseException | None]] = SimpleQueue()
    room = threading.Semaphore(depth)
    stopped = threading.Event()

    def produce() -> None:
        _held.depth = depth
        try:
            for item in items:
                room.acquire()
                if stopped.is_set():
                    return
                ready.put((True, item))
            ready.put((False, None))
        except BaseException as error:
            ready.put((False, error))
        finally:
            items.close()

    made = _helper().submit(copy_context().run, produce)
    try:
        while True:
            good, item = ready.get()
            if not good:
                if item is not None:
                    raise item  # type: ignore[misc]
                return
            yield item  # type: ignore[misc]
            room.release()
    finally:
        stopped.set()
        room.release()
        made.result()


class Stream[K, T]:
    """``make(key)`` for several keys, in the order in which they will be asked for, made ahead across their borders.

    It takes this thread's reader until it is closed: who wants something else meanwhile makes that himself. The next key is asked
    for when all of the one before is made.
    """

    def __init__(self, keys: Iterable[K], make: Callable[[K], Iterable[T]], depth: int) -> None:
        self._begun: SimpleQueue[K | None] = SimpleQueue()
        self._items = ahead(_one_after_the_other(keys, make, self._begun), depth)
        self._next: list[K | None] = []
        """The key of what comes, where somebody has asked; None at the end."""
        self._within = False

    def expects(self, key: K) -> bool:
        """Whether `key` is the next one, and all of the one before was taken."""
        if self._within:
            return False
        self._next = self._next or [self._begun.get()]
        return self._next == [key]

    def take(self) -> Iterator[T]:
        """What is made for the next key. Where it fails, or is left unfinished, nothing more can be taken."""
        self._within = True
        while (item := next(self._items)) is not None:
            yield item
        if not self._next:
            self._begun.get()
        self._next = []
        self._within = False

    def close(self) -> None:
        """Make no more of it."""
        self._items.close()


def _one_after_the_other[K, T](
    keys: Iterable[K], make: Callable[[K], Iterable[T]], begun: SimpleQueue[K | None]
) -> Generator[T | None]:
    """The items for each key, and None after them; keys are told as they begin, and None after the last."""
    try:
        for key in keys:
            begun.put(key)
            yield from make(key)
            yield None
    finally:
        begun.put(None)


def open_stream[K, T](keys: Iterable[K], make: Callable[[K], Iterable[T]], depth: int) -> Stream[K, T] | None:
    """A stream of this thread until its sequence of blocks ends; None outside of one."""
    stream = Stream(keys, make, depth)
    if not at_the_end(partial(_close, stream)):
        return None
    _held.stream = stream
    return stream


def stream_here() -> Stream[Any, Any] | None:
    """This thread's stream, where there is one."""
    return getattr(_held, "stream", None)


def _close(stream: Stream[Any, Any]) -> None:
    _held.stream = None
    stream.close()


def _helper() -> ThreadPoolExecutor:
    """The thread that reads ahead for this one."""
    helper: ThreadPoolExecutor | None = getattr(_held, "helper", None)
    if helper is None:
        helper = _held.helper = ThreadPoolExecutor(1, "nwidth-ahead")
    return helper
