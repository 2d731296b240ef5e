"""Read chunks straight into the caller's buffer, for the layouts and codecs that our own stores have.

    key ──index──> (offset, length) of each chunk ──fetch, a few ahead──> compressed bytes ──Blosc──> their place in `out`

Zarr's own pipeline decodes each chunk into fresh memory and copies it from there, between two threads: 1.5 times the processor
time of the decoding itself. Here a chunk is decoded where it belongs, on the thread that asked, while the next ones are being
fetched. Whatever is not exactly as expected (another codec, a chunk that was never written, damage) is left to Zarr, which
reads it or says what is wrong: `read_direct` only ever answers "done" or "not mine".
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import zarr

Slices = tuple[slice, ...]

# Chunks on their way or waiting to be decoded: enough to hide the disk behind the decoding, within the plan's allowance of
# eight chunks for reading (`problems/stored.py`).
AHEAD = 4
_ABSENT = 2**64 - 1
_ENTRY_BYTES = 16
_CHECKSUM_BYTES = 4
_BLOSC_HEADER = 16


@dataclass(frozen=True)
class ChunkFormat:
    """How an array's chunks lie in the store."""

    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    compressed: bool

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of one object of the store."""
        return self.shard or self.chunk

    @property
    def chunks_per_object(self) -> tuple[int, ...]:
        return tuple(outer // inner for outer, inner in zip(self.stored, self.chunk, strict=True))


@dataclass(frozen=True)
class Part:
    """One chunk that a selection touches: where it is in its object, and what of it goes where in the output."""

    number: int
    """Its place in the shard's index; 0 without shards."""
    source: Slices
    target: Slices
    whole: bool


class NotDirectError(Exception):
    """Something is not as expected here; Zarr is to read it."""


def read_direct(array: zarr.Array[Any], selection: Slices, out: NDArray[Any]) -> bool:
    """Fill `out` with ``array[selection]`` and return True; return False, with `out` undefined, where Zarr must do it.

    `selection` has a start and a stop for every axis; `out` is C-contiguous, of the selection's shape and the array's dtype.
    """
    layout = chunk_format(array)
    if layout is None or out.size == 0 or not out.flags.c_contiguous:
        return False
    touched = list(parts_of(layout, selection))
    # Asked of all objects before the first is read: to find out on the way would be to read those before it twice.
    if any(_is_volatile(array, position) for position, _ in touched):
        return False
    try:
        for position, parts in touched:
            _read_object(array, layout, position, parts, out)
    except NotDirectError:
        return False
    return True


def chunk_format(array: zarr.Array[Any]) -> ChunkFormat | None:
    """The format of an array's chunks, or None where it is not one of those that are read here. Pure."""
    from zarr.codecs import Crc32cCodec, ShardingCodec

    metadata = array.metadata
    if metadata.zarr_format != 3 or array.dtype.kind not in "fiu" or array.dtype.byteorder == ">":
        return None
    codecs = tuple(metadata.codecs)
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec):
        compressed = _is_compressed(codecs)
        return None if compressed is None else ChunkFormat(tuple(array.chunks), None, compressed)
    sharding = codecs[0]
    plain_index = (
        sharding.index_location == "end"
        and len(sharding.index_codecs) == 2
        and _is_little_endian(sharding.index_codecs[0])
        and isinstance(sharding.index_codecs[1], Crc32cCodec)
    )
    compressed = _is_compressed(tuple(sharding.codecs))
    if not plain_index or compressed is None or array.shards is None:
        return None
    return ChunkFormat(tuple(array.chunks), tuple(array.shards), compressed)


def _is_compressed(codecs: Sequence[Any]) -> bool | None:
    """False for plain bytes, True for Blosc over them, None for anything else."""
    from zarr.codecs import BloscCodec

    if not codecs or not _is_little_endian(codecs[0]):
        return None
    if len(codecs) == 1:
        return False
    return True if len(codecs) == 2 and isinstance(codecs[1], BloscCodec) else None


def _is_little_endian(codec: Any) -> bool:
    from zarr.codecs import BytesCodec

    return isinstance(codec, BytesCodec) and codec.endian in (None, "little")


def parts_of(layout: ChunkFormat, selection: Slices) -> Iterator[tuple[tuple[int, ...], list[Part]]]:
    """The objects that a selection touches, each with the parts of its chunks. Pure."""
    per_object = layout.chunks_per_object
    touched = [range(part.start // size, -(-part.stop // size)) for part, size in zip(selection, layout.stored, strict=True)]
    for position in product(*touched):
        inner = [
            range(max(part.start // size, at * count), min(-(-part.stop // size), (at + 1) * count))
            for part, size, at, count in zip(selection, layout.chunk, position, per_object, strict=True)
        ]
        yield position, [_part(layout.chunk, per_object, place, selection) for place in product(*inner)]


def _part(chunk: Sequence[int], per_object: Sequence[int], place: Sequence[int], selection: Slices) -> Part:
    number = 0
    source, target = [], []
    for index, size, count, wanted in zip(place, chunk, per_object, selection, strict=True):
        number = number * count + index % count
        start, stop = max(wanted.start, index * size), min(wanted.stop, (index + 1) * size)
        source.append(slice(start - index * size, stop - index * size))
        target.append(slice(start - wanted.start, stop - wanted.start))
    whole = all(part.stop - part.start == size for part, size in zip(source, chunk, strict=True))
    return Part(number, tuple(source), tuple(target), whole)


def _key(array: zarr.Array[Any], position: tuple[int, ...]) -> str:
    return f"{array.path}/{array.metadata.encode_chunk_key(position)}".lstrip("/")


def _is_volatile(array: zarr.Array[Any], position: tuple[int, ...]) -> bool:
    """Whether an append may replace the object, so that its index and its chunks must come from one and the same file."""
    return bool(getattr(array.store, "is_volatile", lambda _: False)(_key(array, position)))


def _read_object(
    array: zarr.Array[Any], layout: ChunkFormat, position: tuple[int, ...], parts: Sequence[Part], out: NDArray[Any]
) -> None:
    """Fetch the chunks of one object in order, `AHEAD` at a time, and decode each into its place."""
    key, store = _key(array, position), array.store
    spans = [None] if layout.shard is None else _spans(store, key, layout, parts)
    queue = [(part, spans[0] if layout.shard is None else spans[part.number]) for part in parts]
    coming = ((part, _submit(_fetch(store, key, span))) for part, span in queue)
    waiting = list(islice(coming, AHEAD))
    while waiting:
        part, future = waiting.pop(0)
        fetched = future.result()
        waiting += islice(coming, 1)
        _place(fetched, layout, part, out)


def _spans(store: Any, key: str, layout: ChunkFormat, parts: Sequence[Part]) -> Any:
    """Offset and length of every chunk of a shard: (n, 2)."""
    from google_crc32c import value
    from zarr.abc.store import SuffixByteRequest

    count = math.prod(layout.chunks_per_object)
    raw = _submit(_fetch_request(store, key, SuffixByteRequest(count * _ENTRY_BYTES + _CHECKSUM_BYTES))).result()
    if raw.nbytes != count * _ENTRY_BYTES + _CHECKSUM_BYTES:
        raise NotDirectError
    index, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if value(index.tobytes()) != int.from_bytes(checksum.tobytes(), "little"):
        raise NotDirectError
    spans = np.frombuffer(index, "<u8").reshape(-1, 2)
    if any(spans[part.number, 1] == _ABSENT for part in parts):
        raise NotDirectError
    return spans


async def _fetch(store: Any, key: str, span: Any) -> NDArray[np.uint8]:
    from zarr.abc.store import RangeByteRequest

    request = None if span is None else RangeByteRequest(int(span[0]), int(span[0] + span[1]))
    return await _fetch_request(store, key, request)


async def _fetch_request(store: Any, key: str, request: Any) -> NDArray[np.uint8]:
    from zarr.core.buffer import default_buffer_prototype

    found = await store.get(key, default_buffer_prototype(), request)
    if found is None:
        raise NotDirectError
    fetched: NDArray[np.uint8] = np.asarray(found.as_numpy_array()).view(np.uint8)
    return fetched


def _place(fetched: NDArray[np.uint8], layout: ChunkFormat, part: Part, out: NDArray[Any]) -> None:
    target = out[part.target]
    if layout.compressed and part.whole and target.flags.c_contiguous:
        _decompress(fetched, target)
        return
    nbytes = math.prod(layout.chunk) * out.dtype.itemsize
    if layout.compressed:
        decoded = _scratch(nbytes)
        _decompress(fetched, decoded)
    elif fetched.nbytes != nbytes:
        raise NotDirectError
    else:
        decoded = fetched
    target[...] = decoded.view(out.dtype).reshape(layout.chunk)[part.source]


def _decompress(fetched: NDArray[np.uint8], target: NDArray[Any]) -> None:
    from numcodecs import blosc

    # Blosc trusts the sizes in its header: a truncated chunk would be read beyond its end. (Zarr's import has told Blosc to
    # decode on the calling thread.)
    if fetched.nbytes < _BLOSC_HEADER:
        raise NotDirectError
    decoded_bytes, stored_bytes = (int.from_bytes(fetched[at : at + 4].tobytes(), "little") for at in (4, 12))
    if stored_bytes != fetched.nbytes or decoded_bytes != target.nbytes:
        raise NotDirectError
    try:
        blosc.decompress(fetched, target)
    except (RuntimeError, ValueError) as error:
        raise NotDirectError from error


_held = threading.local()


def _scratch(nbytes: int) -> NDArray[np.uint8]:
    """This thread's own memory for one chunk."""
    kept: NDArray[np.uint8] | None = getattr(_held, "chunk", None)
    if kept is None or kept.nbytes != nbytes:
        _held.chunk = kept = np.empty(nbytes, np.uint8)
    return kept


def _submit(work: Any) -> Future[NDArray[np.uint8]]:
    return asyncio.run_coroutine_threadsafe(work, _loop())


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of this process's fetches, on a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name="nwidth-fetch").start()
    return loop
