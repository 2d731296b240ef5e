"""Zarr stores in which metadata and chunks have different fates.

Zarr keeps an array's shape in ``zarr.json`` and its values in chunks. A snapshot exists for readers when the shape says so.
Two wrappers rest on this:

    Overlay   writer   chunks go through to the store, ``zarr.json`` documents stay in memory: nothing new is visible
    Pinned    reader   ``zarr.json`` documents are those of one commit, whatever is on disk by now; counts the bytes of chunks
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore, ObjectStore, WrapperStore

from nwidth.errors import StoreError

METADATA = "zarr.json"

# (which reader, key) -> the open file or the object's tag; see `Pins`.
_PINNED: ContextVar[dict[tuple[int, str], OpenFile | str]] = ContextVar("nwidth_pinned_shards", default={})  # noqa: B039 (never changed in place)

if TYPE_CHECKING:
    Base = WrapperStore[Store]
else:
    Base = WrapperStore


class ReplacedError(StoreError):
    """A shard was replaced between two reads of it; reading again helps."""


def is_metadata(key: str) -> bool:
    """Whether `key` is a metadata document."""
    return key == METADATA or key.endswith("/" + METADATA)


def is_chunk(key: str) -> bool:
    """Whether `key` is a chunk of an array (Zarr also asks for the metadata files of older formats)."""
    return ("/c/" in key or key.endswith("/c")) and not key.rpartition("/")[2].startswith(".")


class Overlay(Base):
    """Holds metadata documents in memory, over a store that gets the chunks. `documents`: key -> text of the document."""

    def __init__(self, store: Store, documents: dict[str, bytes]) -> None:
        super().__init__(store)
        self.documents = documents

    def _with_store(self, store: Store) -> Overlay:
        return type(self)(store, self.documents)

    @property
    def _supports_sync_io(self) -> bool:
        return False  # one way in, so that no metadata can slip past the overlay

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if is_metadata(key):
            document = self.documents.get(key)
            return None if document is None else prototype.buffer.from_bytes(document)
        return await self._store.get(key, prototype, byte_range)

    async def exists(self, key: str) -> bool:
        return key in self.documents if is_metadata(key) else await self._store.exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        if is_metadata(key):
            self.documents[key] = value.to_bytes()
        else:
            await self._store.set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        if is_metadata(key):
            self.documents.setdefault(key, value.to_bytes())
        else:
            await self._store.set_if_not_exists(key, value)

    async def _set_many(self, values: Iterable[tuple[str, Buffer]]) -> None:
        for key, value in values:
            await self.set(key, value)


class ByteCount:
    """Bytes fetched, added up over threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.total = 0

    def add(self, count: int) -> None:
        with self._lock:
            self.total += count
        reader = _READER.get()
        if reader is not None and reader is not self:
            reader.add(count)


_READER: ContextVar[ByteCount | None] = ContextVar("nwidth_reader", default=None)


@contextmanager
def counting() -> Iterator[ByteCount]:
    """Count the bytes fetched for this very thread, while others read from the same store.

    What an event loop fetches for it is counted, too: it runs in the context of whoever asked.
    """
    count = ByteCount()
    token = _READER.set(count)
    try:
        yield count
    finally:
        _READER.reset(token)


class Pinned(Base):
    """A read-only view of one commit.

    `documents` replaces the metadata where given (None: the store itself has versions, as Icechunk does).
    `is_volatile` tells the chunks that a later append may replace by a longer one: the shard that the last committed
    snapshot shares with later ones. Its replacement holds the same old snapshots, but an index and a chunk read from two
    different replacements do not fit, so all reads of such a shard are served by one and the same file or object.
    """

    def __init__(
        self,
        store: Store,
        count: ByteCount,
        url: str,
        documents: Mapping[str, bytes] | None = None,
        is_volatile: Callable[[str], bool] = lambda key: False,
    ) -> None:
        super().__init__(store)
        self._count = count
        self._url = url
        self._documents = documents
        self._is_volatile = is_volatile
        self._pins = Pins(store)

    def is_volatile(self, key: str) -> bool:
        """Whether a later append may replace this chunk."""
        return self._is_volatile(key)

    def local_path(self, key: str) -> Path | None:
        """The file of a chunk, for readers that do without Zarr; None where chunks are not files."""
        return self._store.root / key if isinstance(self._store, LocalStore) else None

    def count_bytes(self, count: int) -> None:
        """Count bytes that were read from such a file."""
        self._count.add(count)

    def _with_store(self, store: Store) -> Pinned:
        return type(self)(store, self._count, self._url, self._documents, self._is_volatile)

    def with_read_only(self, read_only: bool = False) -> Pinned:
        if not read_only:
            raise StoreError(f"{self._url} was opened at one version to be read; open it with mode='a' to append")
        return self

    @property
    def _supports_sync_io(self) -> bool:
        return False  # all reads go through `get`, where they are counted

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        if is_metadata(key):
            return await self._metadata(key, prototype)
        if self._is_volatile(key):
            value = await self._pins.get(key, prototype, byte_range)
        else:
            value = await self._store.get(key, prototype, byte_range)
        if value is None:
            if not is_chunk(key):
                return None
            raise StoreError(missing_chunk(key, self._url))
        self._count.add(len(value))
        return value

    async def _metadata(self, key: str, prototype: BufferPrototype) -> Buffer | None:
        if self._documents is None:
            return await self._store.get(key, prototype)
        document = self._documents.get(key)
        return None if document is None else prototype.buffer.from_bytes(document)

    async def exists(self, key: str) -> bool:
        if is_metadata(key) and self._documents is not None:
            return key in self._documents
        return await self._store.exists(key)

    async def getsize(self, key: str) -> int:
        # Not inherited: what Zarr offers by default fetches the value to measure it, and a plan asks for the size of every chunk.
        return await self._store.getsize(key)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def get_ranges(
        self, key: str, byte_ranges: Sequence[ByteRequest | None], *, prototype: BufferPrototype, **limits: Any
    ) -> AsyncIterator[Sequence[tuple[int, Buffer | None]]]:
        # Not forwarded to the wrapped store: the default runs over `get`, which counts and pins.
        given = {name: value for name, value in limits.items() if value is not None}
        async for group in Store.get_ranges(self, key, byte_ranges, prototype=prototype, **given):
            yield group


def missing_chunk(key: str, url: str) -> str:
    """The sentence for a chunk that is not there."""
    array, _, chunk = key.partition("/c/")
    return f"chunk c/{chunk} of array {array} is missing from {url}; the store is damaged: restore it or ingest the run again"


class Pins:
    """Serves all reads of a shard, within one task, from the file or object that the task's first read met.

    Zarr reads the index of a shard (a suffix) and then its chunks (ranges), both in the asyncio task of that shard or in
    tasks started by it. A context variable is inherited in just that way, so what it holds is released with the task.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        held = _PINNED.get().get((id(self), key))
        is_index = isinstance(byte_range, SuffixByteRequest)
        value, pin = await self._fetch(key, None if is_index else held, byte_range)
        if is_index and pin is not None:
            _PINNED.set({**_PINNED.get(), (id(self), key): pin})
        return None if value is None else prototype.buffer.from_bytes(value)

    async def _fetch(
        self, key: str, held: OpenFile | str | None, byte_range: ByteRequest | None
    ) -> tuple[bytes | None, OpenFile | str | None]:
        if isinstance(self._store, ObjectStore):
            return await _fetch_object(self._store, key, held if isinstance(held, str) else None, byte_range)
        try:
            file = held if isinstance(held, OpenFile) else OpenFile(cast("LocalStore", self._store).root / key)
        except FileNotFoundError:
            return None, None
        return file.read(byte_range), file


async def _fetch_object(
    store: ObjectStore[Any], key: str, tag: str | None, byte_range: ByteRequest | None
) -> tuple[bytes | None, str | None]:
    import obstore
    from obstore.exceptions import PreconditionError

    options: dict[str, Any] = {"range": _object_range(byte_range)} if byte_range is not None else {}
    options |= {"if_match": tag} if tag else {}
    try:
        response = await obstore.get_async(store.store, key, options=cast("Any", options))
    except FileNotFoundError:
        return None, None
    except PreconditionError as error:
        raise ReplacedError(f"chunk {key} was replaced by an append while it was read; read it again") from error
    return bytes(await response.bytes_async()), response.meta["e_tag"]


class OpenFile:
    """One open file, closed when nobody holds it any longer: renaming another over its name does not change it."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def read(self, byte_range: ByteRequest | None) -> bytes:
        size = os.fstat(self._descriptor).st_size
        start, stop = _bounds(byte_range, size)
        return os.pread(self._descriptor, stop - start, start)


def _bounds(byte_range: ByteRequest | None, size: int) -> tuple[int, int]:
    if isinstance(byte_range, RangeByteRequest):
        return byte_range.start, min(size, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return byte_range.offset, size
    if isinstance(byte_range, SuffixByteRequest):
        return max(0, size - byte_range.suffix), size
    return 0, size


def _object_range(byte_range: ByteRequest) -> Any:
    if isinstance(byte_range, RangeByteRequest):
        return (byte_range.start, byte_range.end)
    if isinstance(byte_range, OffsetByteRequest):
        return {"offset": byte_range.offset}
    return {"suffix": byte_range.suffix}
