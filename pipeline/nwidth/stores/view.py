"""Committed snapshots as an xarray dataset, lazy and backed by Dask.

xarray cuts a sharded array into its inner chunks, which makes a hundred tasks where one belongs, so the blocks are set
here: whole shards, the unit that is fetched together. Blocks are read through a `Reference`, so a damaged chunk is named and
the dataset stays at its version whatever is appended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import StoreError
from nwidth.stores.failures import store_failures
from nwidth.stores.origin import STORE_ATTRIBUTE, Origin, remember
from nwidth.stores.reference import Reference

if TYPE_CHECKING:
    import xarray

    from nwidth.stores.protocol import SnapshotStore


@dataclass(frozen=True)
class StoredArray:
    """One field at one version, as Dask reads it: shape, type and slices; picklable, and small in a task."""

    reference: Reference
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, selection: tuple[slice, ...]) -> NDArray[Any]:
        return self.reference.read_block(self.path, selection)


def open_dataset(store: SnapshotStore) -> xarray.Dataset:
    """All committed snapshots of `store`; see `nwidth.stores.open_snapshots`."""
    import xarray

    reference = cast("Reference", store.reference())
    with store_failures(store.url, "read"):
        if "fields" not in reference.open():
            raise StoreError(f"{store.url} has no snapshots yet; bring some in with `nwidth ingest`")
        lazy = xarray.open_dataset(
            cast("Any", reference.open().store),
            engine="zarr",
            group="fields",
            consolidated=False,
            chunks=None,
            decode_timedelta=False,
        )
        fields = {
            str(name): _blocks(reference, str(name), variable) for name, variable in lazy.variables.items() if _is_field(variable)
        }
        dataset = lazy.drop_vars(list(fields)).load().assign(fields)
    coordinates = [name for name, variable in lazy.variables.items() if not _is_field(variable)]
    dataset = dataset.set_coords(coordinates)
    for variable in dataset.variables.values():
        variable.attrs = {key: value for key, value in variable.attrs.items() if not str(key).startswith("nwidth_")}
    dataset.attrs = {"Conventions": "CF-1.11", "store": store.url, "version": reference.version}
    return dataset


def _is_field(variable: xarray.Variable) -> bool:
    return variable.attrs.get("nwidth_role") == "field"


def _blocks(reference: Reference, name: str, variable: xarray.Variable) -> xarray.Variable:
    import dask.array as da
    import xarray
    from dask.base import tokenize

    array = reference.array(f"fields/{name}")
    stored = StoredArray(reference, f"fields/{name}", array.shape, array.dtype)
    label = f"read-{name}-{reference.version[-12:]}"
    blocks = da.from_array(
        cast("Any", stored),
        chunks=array.shards or array.chunks,
        name=f"{label}-{tokenize(stored)}",
        meta=np.empty((0,) * array.ndim, array.dtype),
        inline_array=True,
        fancy=False,
    )
    remember(blocks.name, Origin(reference, name))
    attributes = {"location": variable.attrs["nwidth_location"], STORE_ATTRIBUTE: reference.url}
    return xarray.Variable(variable.dims, blocks, variable.attrs | attributes)
