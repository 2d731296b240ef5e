"""Fetch the bytes of one stored object, a few chunks ahead of whoever decodes them.

    a file           read on the thread that asked, into its own buffer; the system is told what comes next
    a large array's  the same past the system's cache, on a thread of its own that is a few chunks ahead (`ahead.py`)
    any other        through the store's own asynchronous reads, on a loop of this process

For a file, an event loop and a fresh buffer for every chunk cost a third as much as decoding; and one open file is one version
of a shard, whatever an append puts in its place meanwhile.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth import disks
from nwidth.stores.ahead import next_of_ring, scratch
from nwidth_graphs.kernels.memory import PAGE_BYTES

Span = tuple[int, int] | None
"""Offset and length within an object; None for all of it."""

# Chunks on their way or waiting to be decoded: enough to hide the disk behind the decoding, within the plan's allowance of
# eight chunks at least for reading (`problems/cutting.py`).
AHEAD = 4
# Arrays from this size on are read past the cache: a second pass would hardly find them there, or find little else.
DIRECT_ARRAY_BYTES = 2**30


class NotDirectError(Exception):
    """Something is not as expected here; Zarr is to read it."""


class StoredObject(Protocol):
    """One object of a store: a chunk, or a shard of chunks."""

    def suffix(self, nbytes: int) -> bytes:
        """The last bytes, `nbytes` of them."""
        ...

    def chunks(self, spans: Sequence[Span], *, direct: bool = False) -> Iterator[NDArray[np.uint8]]:
        """The bytes of each span, in order; each is valid until the next is asked for.

        `direct` asks for a read past the system's cache, where there is such a thing; a chunk is then valid until `ahead` gives
        its buffer out again.
        """
        ...

    def announce(self, spans: Sequence[tuple[int, int]]) -> None:
        """Say that these spans are likely to be asked for soon; nothing is returned, and nothing is kept in this process."""
        ...


@contextmanager
def open_object(store: Any, key: str, count: Callable[[int], None] | None = None) -> Iterator[StoredObject]:
    """Open one object of a Zarr store; `count` is told the bytes read of a file, where the store is not to be told at once.

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
        yield LocalFile(descriptor, counter_of(store) if count is None else count)
    finally:
        os.close(descriptor)


def counter_of(store: Any) -> Callable[[int], None]:
    """Who is told of bytes that were read of a store's files."""
    count: Callable[[int], None] = getattr(store, "count_bytes", _ignore)
    return count


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

    def chunks(self, spans: Sequence[Span], *, direct: bool = False) -> Iterator[NDArray[np.uint8]]:
        exact = [(0, os.fstat(self._descriptor).st_size) if span is None else span for span in spans]
        if direct and self._past_the_cache():
            yield from self._directly(exact)
            return
        # All of them at once: the disk works ahead in the page cache, which is nobody's memory, while this thread decodes.
        self.announce(exact)
        for start, length in exact:
            buffer = next_of_ring(length) if direct else scratch("fetched", length)
            done = 0
            while done < length:
                count = os.preadv(self._descriptor, [memoryview(buffer)[done:]], start + done)
                if count == 0:
                    raise NotDirectError
                done += count
            self._count(length)
            yield buffer

    def _past_the_cache(self) -> bool:
        """From now on; False where the file system has no direct reads."""
        import fcntl

        device = os.fstat(self._descriptor).st_dev
        if not disks.reads.fit(device):
            return False
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, fcntl.fcntl(self._descriptor, fcntl.F_GETFL) | disks.DIRECT_FLAG)
        except OSError:
            disks.reads.refuse(device)
            return False
        return True

    def _directly(self, spans: Sequence[tuple[int, int]]) -> Iterator[NDArray[np.uint8]]:
        """Whole pages around each span."""
        device, page = os.fstat(self._descriptor).st_dev, PAGE_BYTES
        for start, length in spans:
            before = start % page
            buffer = next_of_ring(-(-(before + length) // page) * page)
            with disks.reads.busy(device, length):
                done = self._filled(buffer, start - before)
            if done < before + length:
                raise NotDirectError
            self._count(length)
            yield buffer[before : before + length]

    def _filled(self, buffer: NDArray[np.uint8], offset: int) -> int:
        """Bytes that could be read into a buffer: fewer at the end of the file."""
        done = 0
        while done < buffer.nbytes:
            try:
                count = os.preadv(self._descriptor, [memoryview(buffer)[done:]], offset + done)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                disks.reads.refuse(os.fstat(self._descriptor).st_dev)  # it wants other pages than ours
                raise NotDirectError from error
            done += count
            if count == 0 or count % PAGE_BYTES:
                break
        return done

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

    def chunks(self, spans: Sequence[Span], *, direct: bool = False) -> Iterator[NDArray[np.uint8]]:
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


def goes_directly(store: Any, key: str, nbytes: int) -> bool:
    """Whether an array of so many bytes, of which `key` is an object, is read past the system's cache."""
    if nbytes < DIRECT_ARRAY_BYTES:
        return False
    path = local_path(store, key)
    try:
        return path is not None and disks.reads.fit(path.stat().st_dev)
    except OSError:
        return False  # whoever opens it will say what is wrong


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
