"""Memory of a thread for chunks, and a thread of its own that makes them ahead.

reader thread   ──chunk──> [ waits ] ──> the thread that asked decodes        three buffers: decoded, waiting, being filled
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.memory import page_aligned

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
    """The next of this thread's buffers for direct reads: one is decoded, one waits, and one is being filled."""
    turn = (getattr(_held, "turn", 0) + 1) % (AHEAD_DIRECTLY + 1)
    ring: dict[int, NDArray[np.uint8]] = getattr(_held, "ring", {})
    if turn not in ring or ring[turn].nbytes < nbytes:
        ring[turn] = page_aligned((nbytes,), np.uint8)
    _held.turn, _held.ring = turn, ring
    return ring[turn][:nbytes]


def ahead[T](items: Generator[T]) -> Iterator[T]:
    """The same items, made on a thread of their own: at most `AHEAD_DIRECTLY` are handed out or wait, and one is being made.

    The thread belongs to the one that asks, and counts what it reads for that one. It has ended with the items when this ends,
    for whatever reason.
    """
    ready: SimpleQueue[tuple[bool, T | BaseException | None]] = SimpleQueue()
    room = threading.Semaphore(AHEAD_DIRECTLY)
    stopped = threading.Event()

    def produce() -> None:
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


def _helper() -> ThreadPoolExecutor:
    """The thread that reads ahead for this one."""
    helper: ThreadPoolExecutor | None = getattr(_held, "helper", None)
    if helper is None:
        helper = _held.helper = ThreadPoolExecutor(1, "nwidth-ahead")
    return helper
