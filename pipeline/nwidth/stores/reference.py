"""A picklable pointer to one committed version of a store: what travels to workers, and how they read.

A reference holds an address and a version, no metadata and no connection: about 300 bytes in every task. The store is
opened once per process and version. `read_block` is the way to read: it fills a buffer of the caller's where one is given,
and says which array and chunk is damaged where one is.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import NwidthError, StoreError
from nwidth.stores.failures import store_failures
from nwidth.stores.options import StoreOptions
from nwidth.stores.protocol import Coming, StoreKind
from nwidth.stores.schema import RUN, SNAPSHOT, STORE_ID_KEY

if TYPE_CHECKING:
    import zarr

    from nwidth.stores.overlay import ByteCount

Slices = tuple[slice, ...]

_OPENED: OrderedDict[tuple[int, Reference], Opened] = OrderedDict()
_LOCK = threading.Lock()
_LIMIT = 8


@dataclass(frozen=True)
class Reference:
    """One committed version.

    `version` is the Icechunk snapshot id, or the commit of a plain Zarr store. `store_id`, `n_snapshots` and `n_runs` pin
    a plain Zarr store, which has no history of its own: arrays only ever grow along these axes.
    """

    url: str
    kind: StoreKind
    version: str
    n_snapshots: int
    n_runs: int
    store_id: str = ""
    options: StoreOptions = field(default_factory=StoreOptions)

    def open(self) -> zarr.Group:
        """Open the root group read-only, once per process.

        Raises
        ------
        nwidth.errors.StoreError
            The store, or this version of it, is gone.
        """
        return self._opened().group

    @property
    def bytes_read(self) -> int:
        """Bytes that this process has fetched through this reference so far (compressed, as stored)."""
        return self._opened().count.total

    def array(self, path: str) -> zarr.Array[Any]:
        """The array at `path`, from a cache of handles."""
        return self._opened().array(path)

    def read_block(
        self, path: str, selection: Slices, out: NDArray[Any] | None = None, coming: Coming | None = None
    ) -> NDArray[Any]:
        """Read ``array[selection]``, into `out` where it is given (C-contiguous, of the selection's shape and the array's type).

        `coming` is what this thread will ask for next: it is fetched while the caller does something else, where that pays.

        Raises
        ------
        nwidth.errors.StoreError
            A chunk is missing, truncated or damaged; array and chunk are named.
        """
        array = self.array(path)
        bounds = _bounds(array, selection)
        slices = _slices(bounds)
        if out is not None and (out.shape != tuple(stop - start for start, stop in bounds) or out.dtype != array.dtype):
            raise StoreError(
                f"the buffer for {path} has shape {out.shape} and type {out.dtype}; it must fit the selection {bounds}"
            )
        if coming is not None:
            coming = replace(coming, selections=(_slices(_bounds(array, later)) for later in coming.selections))
        try:
            values = _read(array, slices, out, coming)
        except Exception as error:
            values = _second_try(array, path, self.url, slices, out, error)
        return _with_nan(array, values)

    def _opened(self) -> Opened:
        key = (os.getpid(), self)
        with _LOCK:
            opened = _OPENED.get(key) or self._open()
            _OPENED[key] = opened
            _OPENED.move_to_end(key)
            if len(_OPENED) > _LIMIT:
                _OPENED.popitem(last=False)
            return opened

    def _open(self) -> Opened:
        with store_failures(self.url, "read"):
            return open_icechunk(self) if self.kind == "icechunk" else open_zarr(self)


class Opened:
    """An open version in this process: its group, its array handles and its count of bytes."""

    def __init__(self, group: zarr.Group, count: ByteCount) -> None:
        self.group = group
        self.count = count
        self._arrays: dict[str, zarr.Array[Any]] = {}

    def array(self, path: str) -> zarr.Array[Any]:
        """One handle for all threads, by which whoever reads ahead knows what is asked for."""
        from nwidth.stores.columns import array_at

        known = self._arrays.get(path)
        return self._arrays.setdefault(path, array_at(self.group, path)) if known is None else known


def open_icechunk(reference: Reference) -> Opened:
    """Open an Icechunk snapshot."""
    import icechunk
    import zarr

    from nwidth.stores.objectstore import icechunk_storage, location, virtual_access
    from nwidth.stores.overlay import ByteCount, Pinned

    storage = icechunk_storage(location(reference.url), reference.options)
    repository = icechunk.Repository.open(storage, authorize_virtual_chunk_access=virtual_access(reference.options))
    session = repository.readonly_session(snapshot_id=reference.version)
    count = ByteCount()
    store = Pinned(session.store, count, reference.url)
    return Opened(zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False), count)


def keep_open(reference: Reference, documents: Mapping[str, bytes]) -> None:
    """Open a plain Zarr store from documents that were just read, so that its first use need not read them again."""
    with _LOCK:
        key = (os.getpid(), reference)
        if key not in _OPENED:
            _OPENED[key] = open_zarr(reference, documents)


def open_zarr(reference: Reference, documents: Mapping[str, bytes] | None = None) -> Opened:
    """Open a plain Zarr store as it was at a commit: the newest metadata, with the lengths of that commit."""
    import zarr

    from nwidth.stores.commit import read_documents, root_attributes
    from nwidth.stores.objectstore import chunk_store, location, objects
    from nwidth.stores.overlay import METADATA, ByteCount, Pinned

    place = location(reference.url)
    if documents is None:
        documents = read_documents(objects(place, reference.options), reference.url)
    if not documents or root_attributes(documents[METADATA], reference.url).get(STORE_ID_KEY) != reference.store_id:
        raise StoreError(
            f"version {reference.version} of {reference.url} is gone: the store was removed or made anew; open it again"
        )
    lengths = {SNAPSHOT: reference.n_snapshots, RUN: reference.n_runs}
    pinned = {key: truncate(document, lengths) for key, document in documents.items()}
    count = ByteCount()
    store = Pinned(
        chunk_store(place, reference.options, read_only=True),
        count,
        reference.url,
        pinned,
        Volatile(pinned, reference.n_snapshots),
    )
    return Opened(zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False), count)


def truncate(document: bytes, lengths: Mapping[str, int]) -> bytes:
    """An array's metadata document with its first axis as long as it was at a commit. Pure."""
    content = json.loads(document)
    names = content.get("dimension_names") or [None]
    if content.get("node_type") != "array" or names[0] not in lengths:
        return document
    content["shape"][0] = min(content["shape"][0], lengths[names[0]])
    return json.dumps(content).encode()


class Volatile:
    """Whether a chunk key is a shard that a later append replaces: it holds the last snapshots, and has room for more."""

    def __init__(self, documents: Mapping[str, bytes], n_snapshots: int) -> None:
        self._tails: dict[str, int] = {}
        for key, document in documents.items():
            content = json.loads(document)
            if content.get("node_type") == "array" and _is_sharded(content):
                rows = content["chunk_grid"]["configuration"]["chunk_shape"][0]
                if n_snapshots % rows:
                    self._tails[key.removesuffix("/zarr.json")] = n_snapshots // rows

    def __call__(self, key: str) -> bool:
        match = re.fullmatch(r"(.+)/c/(\d+)(/\d+)*", key)
        return match is not None and self._tails.get(match[1]) == int(match[2])


def _is_sharded(content: Mapping[str, Any]) -> bool:
    return any(codec.get("name") == "sharding_indexed" for codec in content.get("codecs", []))


def _bounds(array: zarr.Array[Any], selection: Slices) -> list[tuple[int, int]]:
    """First and last index along every axis (steps are not read: they would decode whole chunks for a part)."""
    padded = (*selection, *(slice(None) for _ in range(array.ndim - len(selection))))
    bounds = [part.indices(extent) for part, extent in zip(padded, array.shape, strict=True)]
    if any(step != 1 for _, _, step in bounds):
        raise StoreError(f"selection {selection} has steps; read it whole and take every n-th value afterwards")
    return [(start, max(start, stop)) for start, stop, _ in bounds]


def _slices(bounds: Sequence[tuple[int, int]]) -> Slices:
    return tuple(slice(start, stop) for start, stop in bounds)


def _read(array: zarr.Array[Any], slices: Slices, out: NDArray[Any] | None, coming: Coming | None = None) -> NDArray[Any]:
    if out is None:
        return np.asarray(array.get_basic_selection(slices))
    from zarr.core.buffer import default_buffer_prototype

    from nwidth.stores.direct import read_direct

    if read_direct(array, slices, out, coming):
        return out
    # The prototype's own buffer class: the abstract NDBuffer is accepted too, and silently leaves `out` as it was.
    array.get_basic_selection(slices, out=default_buffer_prototype().nd_buffer.from_ndarray_like(cast("Any", out)))
    return out


def _with_nan(array: zarr.Array[Any], values: NDArray[Any]) -> NDArray[Any]:
    """NaN where a store by reference has the fill value of its files; other stores hold NaN itself."""
    for number in cast("tuple[float, ...]", array.attrs.get("missing_value", ())):
        # In the array's own type: 1e20 as a float32 is another number than as a float64.
        values[values == values.dtype.type(number)] = np.nan
    return values


def _second_try(
    array: zarr.Array[Any], path: str, url: str, slices: Slices, out: NDArray[Any] | None, error: Exception
) -> NDArray[Any]:
    """After a failed read: read again where a shard was replaced under way, else find the chunk that fails, and name it."""
    from nwidth.stores.overlay import ReplacedError

    if isinstance(error, ReplacedError):
        return _read(array, slices, out)
    if isinstance(error, NwidthError):
        raise error
    for chunk, part in chunks_of(array, slices):
        try:
            _read(array, part, None)
        except NwidthError:
            raise
        except Exception as failure:
            name = "/".join(map(str, chunk))
            raise StoreError(
                f"chunk c/{name} of array {path} in {url} is truncated or damaged ({_first_line(failure)}); restore it"
            ) from failure
    with store_failures(url, "read"):
        raise error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def chunks_of(array: zarr.Array[Any], slices: Slices) -> list[tuple[tuple[int, ...], Slices]]:
    """The stored chunks (shards where there are shards) that a selection touches, each with its part of the selection. Pure."""
    block = array.shards or array.chunks
    ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(slices, block, strict=True)]
    return [
        (
            chunk,
            tuple(
                slice(max(part.start, index * size), min(part.stop, (index + 1) * size))
                for index, part, size in zip(chunk, slices, block, strict=True)
            ),
        )
        for chunk in product(*ranges)
    ]
