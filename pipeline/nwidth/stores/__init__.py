"""Snapshot stores: a Zarr v3 group tree, as an Icechunk repository or as plain Zarr, on a disk or an object store.

Reading order: `protocol` (what a store is), `schema` (what it holds), `base` (how a run is appended), `commit` (why plain
Zarr does not tear), `reference` (what workers read through). Heavy libraries are imported inside the calls.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from nwidth.stores.options import StoreOptions
from nwidth.stores.protocol import StoreKind

if TYPE_CHECKING:
    import xarray

    from nwidth.stores.base import BaseStore
    from nwidth.stores.inspection import CheckReport
    from nwidth.stores.protocol import SnapshotStore

Url = str | os.PathLike[str]
Options = Mapping[str, Any] | StoreOptions | None

__all__ = ["open_store", "create_store", "open_or_create_store", "open_snapshots", "describe", "check", "StoreOptions"]


def open_store(url: Url, mode: Literal["r", "a"] = "r", options: Options = None) -> BaseStore:
    """Open a store that exists; its kind is recognised.

    Parameters
    ----------
    url
        A path, ``file://...`` or ``s3://bucket/path``.
    mode
        ``"r"`` to read, ``"a"`` to append.
    options
        Keys of `StoreOptions`.

    Raises
    ------
    nwidth.errors.StoreError
        Nothing is there, or it cannot be reached.
    nwidth.errors.LayoutError
        What is there is not ours, or was written by a newer nwidth.
    """
    from nwidth.stores.opening import open_existing

    return open_existing(os.fspath(url), mode, options)


def create_store(url: Url, kind: StoreKind | None = None, options: Options = None) -> BaseStore:
    """Create an empty store and open it to append; `kind` None means Icechunk unless the address ends in ``.zarr``.

    Raises
    ------
    nwidth.errors.StoreError
        Something is there already, or there is no permission.
    """
    from nwidth.stores.opening import create_new

    return create_new(os.fspath(url), kind, options)


def open_or_create_store(url: Url, kind: StoreKind | None = None, options: Options = None) -> BaseStore:
    """Open a store to append, and create it first where nothing is there (errors as `open_store` and `create_store`)."""
    from nwidth.stores.opening import detect

    text = os.fspath(url)
    return create_store(text, kind, options) if detect(text, options) is None else open_store(text, "a", options)


def open_snapshots(url: Url, options: Options = None) -> xarray.Dataset:
    """Open all committed snapshots as a lazy dataset whose Dask blocks are whole shards.

    Dimensions are ``(snapshot, <space>[, component])``; ``simulation``, ``time`` and the parameters are coordinates of
    ``snapshot``, and ``attrs["version"]`` names the version that was opened: later appends do not change the dataset.
    """
    from nwidth.stores.view import open_dataset

    return open_dataset(open_store(url, "r", options))


def describe(store: SnapshotStore) -> dict[str, Any]:
    """What ``nwidth inspect`` tells: version, runs, fields with layout and bytes, mesh, inner products, parameter ranges."""
    from nwidth.stores.inspection import describe_store

    return describe_store(store)


def check(store: SnapshotStore, full: bool = False) -> CheckReport:
    """Whether all chunks of all committed snapshots are there; `full` also decodes them and looks for infinite values."""
    from nwidth.stores.inspection import check_store

    return check_store(store, full)
