"""Fetch the bytes of one stored object, a few chunks ahead of whoever decodes them.

    a file        read on the thread that asked, into its own buffer; the system is told what comes next
    any other     through the store's own asynchronous reads, on a loop of this process

For a file, an event loop and a fresh buffer for every chunk cost a third as much as decoding; and one open file is one version
of a shard, whatever an append puts in its place meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int] | None
"""Offset and length within an object; None for all of it."""

# Chunks on their way or waiting to be decoded: enough to hide the disk behind the decoding, within the plan's allowance of
# eight chunks for reading (`problems/cutting.py`).
AHEAD = 4


class NotDirectError(Exception):
    """Something is not as expected here; Zarr is to read it."""


class StoredObject(Protocol):
    """One object of a store: a chunk, or a shard of chunks."""

    def suffix(self, nbytes: int) -> bytes:
        """The last bytes, `nbytes` of them."""
        ...

    def chunks(self, spans: Sequence[Span]) -> Iterator[NDArray[np.uint8]]:
        """The bytes of each span, in order; each is valid until the next is asked for."""
        ...

    def announce(self, spans: Sequence[tuple[int, int]]) -> None:
        """Say that these spans are likely to be asked for soon; nothing is returned, and nothing is kept in this process."""
        ...


@contextmanager
def open_object(store: Any, key: str) -> Iterator[StoredObject]:
    """Open one object of a Zarr store.

    Raises
    ------
    NotDirectError
        It is not there, or shorter than asked for.
    """
    path = local_path(store, key)
    if path is None:
        yield RemoteObject(store, key)
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise NotDirectError from error
    try:
        yield LocalFile(descriptor, getattr(store, "count_bytes", _ignore))
    finally:
        os.close(descriptor)


def is_steady(store: Any, key: str) -> bool:
    """Whether several reads of an object see the same version of it: of an open file they do, whatever replaces its name."""
    if local_path(store, key) is not None:
        return True
    return not getattr(store, "is_volatile", _never)(key)


def local_path(store: Any, key: str) -> Path | None:
    """The file that holds an object, or None where the store is not a local folder of files."""
    from zarr.storage import LocalStore

    if isinstance(store, LocalStore):
        return store.root / key
    known = getattr(store, "local_path", None)
    path: Path | None = None if known is None else known(key)
    return path


class LocalFile:
    """An open file."""

    def __init__(self, descriptor: int, count: Any) -> None:
        self._descriptor, self._count = descriptor, count

    def suffix(self, nbytes: int) -> bytes:
        size = os.fstat(self._descriptor).st_size
        found = os.pread(self._descriptor, nbytes, max(0, size - nbytes))
        if len(found) != nbytes:
            raise NotDirectError
        self._count(nbytes)
        return found

    def chunks(self, spans: Sequence[Span]) -> Iterator[NDArray[np.uint8]]:
        exact = [(0, os.fstat(self._descriptor).st_size) if span is None else span for span in spans]
        # All of them at once: the disk works ahead in the page cache, which is nobody's memory, while this thread decodes.
        self.announce(exact)
        for start, length in exact:
            buffer = scratch("fetched", length)
            done = 0
            while done < length:
                count = os.preadv(self._descriptor, [memoryview(buffer)[done:]], start + done)
                if count == 0:
                    raise NotDirectError
                done += count
            self._count(length)
            yield buffer

    def announce(self, spans: Sequence[tuple[int, int]]) -> None:
        if hasattr(os, "posix_fadvise"):
            for start, length in spans:
                os.posix_fadvise(self._descriptor, start, length, os.POSIX_FADV_WILLNEED)


class RemoteObject:
    """An object behind a store's asynchronous interface."""

    def __init__(self, store: Any, key: str) -> None:
        self._store, self._key = store, key

    def suffix(self, nbytes: int) -> bytes:
        from zarr.abc.store import SuffixByteRequest

        found = _submit(self._get(SuffixByteRequest(nbytes))).result().tobytes()
        if len(found) != nbytes:
            raise NotDirectError
        return found

    def chunks(self, spans: Sequence[Span]) -> Iterator[NDArray[np.uint8]]:
        coming = (_submit(self._chunk(span)) for span in spans)
        waiting = list(islice(coming, AHEAD))
        while waiting:
            fetched = waiting.pop(0).result()
            waiting += islice(coming, 1)
            yield fetched

    def announce(self, spans: Sequence[tuple[int, int]]) -> None:
        """Nothing: what is fetched would have to be held here until it is asked for."""

    async def _chunk(self, span: Span) -> NDArray[np.uint8]:
        from zarr.abc.store import RangeByteRequest

        return await self._get(None if span is None else RangeByteRequest(span[0], span[0] + span[1]))

    async def _get(self, request: Any) -> NDArray[np.uint8]:
        from zarr.core.buffer import default_buffer_prototype

        found = await self._store.get(self._key, default_buffer_prototype(), request)
        if found is None:
            raise NotDirectError
        fetched: NDArray[np.uint8] = np.asarray(found.as_numpy_array()).view(np.uint8)
        return fetched


_held = threading.local()


def scratch(use: str, nbytes: int) -> NDArray[np.uint8]:
    """This thread's own memory for one chunk, fetched or decoded; it grows to the largest and is never freed."""
    kept: NDArray[np.uint8] | None = getattr(_held, use, None)
    if kept is None or kept.nbytes < nbytes:
        kept = np.empty(nbytes, np.uint8)
        setattr(_held, use, kept)
    return kept[:nbytes]


def _submit(work: Coroutine[Any, Any, NDArray[np.uint8]]) -> Future[NDArray[np.uint8]]:
    return asyncio.run_coroutine_threadsafe(work, _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process's fetches, on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="nwidth-fetch").start()
    return loop


def _ignore(_: int) -> None:
    """Nobody counts."""


def _never(_: str) -> bool:
    return False
