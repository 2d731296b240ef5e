"""Which store an xarray object was opened from, so that a reduction of it can go back to the store.

An untouched field is known by the name of its Dask array, which no operation keeps: it is read by the leaves themselves, into
their own buffers. A field that was sliced or computed with still carries the store's URL in its attributes, which is enough
to find its mesh and its weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.stores.options import StoreOptions
    from nwidth.stores.reference import Reference

STORE_ATTRIBUTE = "store"

_ORIGINS: dict[str, Origin] = {}


@dataclass(frozen=True)
class Origin:
    """One field of one version of a store."""

    reference: Reference
    field: str


def remember(dask_name: str, origin: Origin) -> None:
    """Note where the Dask array of that name comes from."""
    _ORIGINS[dask_name] = origin


def origin_of(array: xr.DataArray) -> Origin | None:
    """Where an untouched field comes from; None for one that was sliced, computed with, or made elsewhere."""
    return _ORIGINS.get(getattr(array.data, "name", ""))


def store_of(array: xr.DataArray) -> tuple[str, StoreOptions | None] | None:
    """URL and options of the store that an array comes from, if only in part."""
    origin = origin_of(array)
    if origin is not None:
        return origin.reference.url, origin.reference.options
    url = array.attrs.get(STORE_ATTRIBUTE)
    if url is None:
        return None
    known = (origin.reference.options for origin in _ORIGINS.values() if origin.reference.url == url)
    return str(url), next(known, None)
