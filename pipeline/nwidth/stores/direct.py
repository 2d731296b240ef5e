"""Read chunks straight into the caller's buffer, for the layouts and codecs that our own stores have.

    key ──index──> (offset, length) of each chunk ──fetch, a few ahead──> compressed bytes ──Blosc──> their place in `out`

Zarr's own pipeline decodes each chunk into fresh memory and copies it from there, between two threads: 1.5 times the processor
time of the decoding itself. Here a chunk is decoded where it belongs, on the thread that asked, while the next ones are being
fetched (`fetching.py`). Whatever is not exactly as expected (another codec, a chunk that was never written, damage) is left to
Zarr, which reads it or says what is wrong: `read_direct` only ever answers "done" or "not mine".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.stores.ahead import ahead, open_stream, scratch, stream_here
from nwidth.stores.fetching import NotDirectError, Span, StoredObject, counter_of, goes_directly, is_steady, open_object

if TYPE_CHECKING:
    import zarr

    from nwidth.stores.protocol import Coming

Slices = tuple[slice, ...]

# Selections of the same size that are taken to be wanted soon: one may be with another worker of this machine already.
_SOON = 2
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


Fetched = tuple[Part, NDArray[np.uint8]]
"""A part of a selection, and its chunk as stored."""


def read_direct(array: zarr.Array[Any], selection: Slices, out: NDArray[Any], coming: Coming | None = None) -> bool:
    """Fill `out` with ``array[selection]`` and return True; return False, with `out` undefined, where Zarr must do it.

    `selection` has a start and a stop for every axis, and so have those that are coming; `out` is C-contiguous, of the
    selection's shape and the array's dtype.
    """
    layout = chunk_format(array)
    if layout is None or out.size == 0 or not out.flags.c_contiguous:
        return False
    touched = list(parts_of(layout, selection))
    # Asked of all objects before the first is read: to find out on the way would be to read those before it twice.
    if not all(is_steady(array.store, _key(array, position)) for position, _ in touched):
        return False
    try:
        if touched and goes_directly(array.store, _key(array, touched[0][0]), array.nbytes):
            fetched = _past_the_cache(array, layout, selection, coming)
        else:
            soon = dict(parts_of(layout, following(selection, array.shape)))
            fetched = _fetched(array, layout, touched, soon)
        for part, found in fetched:
            _place(found, layout, part, out)
    except NotDirectError:
        return False
    return True


def _past_the_cache(array: zarr.Array[Any], layout: ChunkFormat, selection: Slices, coming: Coming | None) -> Iterator[Fetched]:
    """The parts of a selection, read by a thread of their own: one that went on from the last selection, where it has done so.

    What is read past the cache cannot be announced to the system.
    """
    stream = stream_here()
    if stream is None and coming is not None:
        keys = ((id(array), each) for each in chain([selection], coming.selections))
        stream = open_stream(keys, lambda key: _counted_later(array, layout, key[1]), coming.chunks)
    elif stream is not None and not stream.expects((id(array), selection)):
        # Its thread is busy with what was said to come.
        return _fetched(array, layout, list(parts_of(layout, selection)), directly=True)
    if stream is None:
        return ahead(_fetched(array, layout, list(parts_of(layout, selection)), directly=True))
    return _counted_now(stream.take(), counter_of(array.store))


def _counted_later(array: zarr.Array[Any], layout: ChunkFormat, selection: Slices) -> Iterator[tuple[Fetched, int]]:
    """The parts of a selection, each with the bytes that were read since the one before."""
    read: list[int] = []
    for fetched in _fetched(array, layout, list(parts_of(layout, selection)), directly=True, count=read.append):
        yield fetched, sum(read)
        read.clear()


def _counted_now(items: Iterator[tuple[Fetched, int]], count: Callable[[int], None]) -> Iterator[Fetched]:
    """What was read ahead counts for the block that it belongs to."""
    for fetched, nbytes in items:
        count(nbytes)
        yield fetched


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


def following(selection: Slices, shape: Sequence[int]) -> Slices:
    """What a reader of panels wants next: as much again and again, along the last axis that is not read whole. Pure."""
    axes = [axis for axis, (part, size) in enumerate(zip(selection, shape, strict=True)) if part.stop - part.start < size]
    wanted = list(selection)
    for axis in axes[-1:]:
        start, stop = selection[axis].start, selection[axis].stop
        wanted[axis] = slice(stop, min(stop + _SOON * (stop - start), shape[axis]))
    return tuple(wanted)


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


def _fetched(
    array: zarr.Array[Any],
    layout: ChunkFormat,
    touched: Sequence[tuple[tuple[int, ...], Sequence[Part]]],
    soon: Mapping[tuple[int, ...], Sequence[Part]] | None = None,
    *,
    directly: bool = False,
    count: Callable[[int], None] | None = None,
) -> Generator[Fetched]:
    """The parts of a selection with their chunks as stored, object by object; `soon` are those wanted next."""
    for position, parts in touched:
        with open_object(array.store, _key(array, position), count) as stored:
            if layout.shard is None:
                spans: list[Span] = [None for _ in parts]
            else:
                index = _shard_index(stored, layout, parts)
                spans = [_span(index, part) for part in parts]
                if not directly:
                    # The later ones, too: every block would begin with a wait for the disk, and end with a disk that waits.
                    later = [_span(index, part) for part in (soon or {}).get(position, ()) if index[part.number, 1] != _ABSENT]
                    stored.announce([_span(index, part) for part in parts] + later)
            yield from zip(parts, stored.chunks(spans, direct=directly), strict=True)


def _span(index: NDArray[np.uint64], part: Part) -> tuple[int, int]:
    return int(index[part.number, 0]), int(index[part.number, 1])


def _shard_index(stored: StoredObject, layout: ChunkFormat, parts: Sequence[Part]) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard: (n, 2)."""
    from google_crc32c import value

    count = math.prod(layout.chunks_per_object)
    raw = stored.suffix(count * _ENTRY_BYTES + _CHECKSUM_BYTES)
    index, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if value(index) != int.from_bytes(checksum, "little"):
        raise NotDirectError
    spans: NDArray[np.uint64] = np.frombuffer(index, "<u8").reshape(-1, 2)
    if any(spans[part.number, 1] == _ABSENT for part in parts):
        raise NotDirectError
    return spans


def _place(fetched: NDArray[np.uint8], layout: ChunkFormat, part: Part, out: NDArray[Any]) -> None:
    target = out[part.target]
    if layout.compressed and part.whole and target.flags.c_contiguous:
        _decompress(fetched, target)
        return
    nbytes = math.prod(layout.chunk) * out.dtype.itemsize
    if layout.compressed:
        decoded = scratch("decoded", nbytes)
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
