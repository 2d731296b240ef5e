"""Looking at a store: what it holds in numbers, and whether all of it is there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from nwidth.errors import StoreError
from nwidth.stores.catalog import parameter_type
from nwidth.stores.columns import nodes, read_column
from nwidth.stores.failures import store_failures
from nwidth.stores.reference import Reference, chunks_of
from nwidth.stores.schema import ROLE_KEY

if TYPE_CHECKING:
    import zarr

    from nwidth.stores.protocol import FieldInfo, SnapshotStore


@dataclass(frozen=True)
class CheckReport:
    """What `check` found; the store is whole where `problems` is empty."""

    version: str
    chunks: int
    bytes_read: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.problems


def describe_store(store: SnapshotStore) -> dict[str, Any]:
    """Everything that ``nwidth inspect`` tells, as plain values; see `nwidth.stores.describe`."""
    schema, reference = store.schema(), cast("Reference", store.reference())
    with store_failures(store.url, "read"):
        root = reference.open()
        mesh = store.mesh()
        return {
            "url": store.url,
            "kind": store.kind,
            "version": schema.version,
            "snapshots": schema.n_snapshots,
            "runs": [asdict(run) for run in schema.runs],
            "fields": {name: _field(root, info) for name, info in schema.fields.items()},
            "mesh": {"points": mesh.n_points, "cells": mesh.n_cells, "length_unit": mesh.length_unit} if mesh else None,
            "inner_products": dict(schema.inner_products),
            "parameters": {name: _range(root, name) for name in schema.parameters},
            "times": _range(root, "time") if schema.n_snapshots else None,
        }


def _field(root: zarr.Group, info: FieldInfo) -> dict[str, Any]:
    stored = stored_bytes(root, f"fields/{info.name}")
    return {
        "location": info.location,
        "dims": info.dims,
        "shape": info.shape,
        "dtype": info.dtype.name,
        "components": info.components,
        "units": info.units,
        "chunks": info.chunks,
        "shards": info.shards,
        "codec": info.codec,
        "logical_bytes": info.nbytes,
        "stored_bytes": stored,
    }


def stored_bytes(root: zarr.Group, path: str) -> int:
    """Bytes of all chunks of an array as they are stored."""
    from zarr.core.sync import sync

    metadata = sync(root.store.getsize(f"{path}/zarr.json"))  # `nbytes_stored` counts it too
    return int(cast("zarr.Array[Any]", root[path]).nbytes_stored()) - metadata


def _range(root: zarr.Group, name: str) -> dict[str, Any]:
    values = read_column(root, f"fields/{name}")
    if parameter_type(cast("zarr.Array[Any]", root[f"fields/{name}"])) == "text":
        return {"values": sorted({str(value) for value in values.tolist()})}
    return {"min": float(values.min()), "max": float(values.max())} if values.size else {}


def check_store(store: SnapshotStore, full: bool = False) -> CheckReport:
    """Look for missing chunks, and with `full` for damaged ones and values that none should hold; see `nwidth.stores.check`."""
    reference = cast("Reference", store.reference())
    with store_failures(store.url, "read"):
        root = reference.open()
        before = reference.bytes_read
        problems: list[str] = []
        count = 0
        for path in nodes(root):
            if hasattr(root[path], "shape"):
                array = reference.array(path)
                problems += [*_missing(array, path, store.url), *(_damaged(reference, array, path) if full else [])]
                count += len(_grid(array))
    return CheckReport(reference.version, count, reference.bytes_read - before, tuple(dict.fromkeys(problems)))


def _grid(array: zarr.Array[Any]) -> list[tuple[int, ...]]:
    block = array.shards or array.chunks
    return list(product(*(range(-(-extent // size)) for extent, size in zip(array.shape, block, strict=True))))


def _missing(array: zarr.Array[Any], path: str, url: str) -> list[str]:
    from zarr.core.sync import sync

    from nwidth.stores.overlay import missing_chunk

    keys = [f"{path}/{array.metadata.encode_chunk_key(chunk)}" for chunk in _grid(array)]
    return [missing_chunk(key, url) for key in keys if not sync(array.store.exists(key))]


def _damaged(reference: Reference, array: zarr.Array[Any], path: str) -> list[str]:
    problems = []
    for chunk, part in chunks_of(array, tuple(slice(0, extent) for extent in array.shape)):
        try:
            values = reference.read_block(path, part)
        except StoreError as error:
            problems.append(str(error))
            continue
        # NaN in a field is a mask or a gap, which only a reduction, with all snapshots of a place at hand, can judge.
        is_field = array.attrs.get(ROLE_KEY) == "field"
        if values.dtype.kind in "fc" and (np.isinf(values) if is_field else ~np.isfinite(values)).any():
            what = "infinite values" if is_field else "NaN or infinite values"
            problems.append(f"chunk c/{'/'.join(map(str, chunk))} of array {path} holds {what}; ingest the run again")
    return problems
