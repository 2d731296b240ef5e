"""Finding out what lies at an address, and opening or creating it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nwidth.errors import ConfigError, LayoutError, StoreError
from nwidth.stores.failures import store_failures
from nwidth.stores.objectstore import Location, icechunk_storage, location
from nwidth.stores.options import StoreOptions, parse_options
from nwidth.stores.protocol import StoreKind

if TYPE_CHECKING:
    from nwidth.stores.base import BaseStore, Mode

# Files by which other things give themselves away, with what to say.
_FOREIGN = {".zgroup": "a Zarr v2 group", ".zarray": "a Zarr v2 array", ".zmetadata": "a Zarr v2 store"}


def open_existing(url: str, mode: Mode, options: Mapping[str, Any] | StoreOptions | None) -> BaseStore:
    """Open what is at `url`; see `nwidth.stores.open_store`."""
    kind = detect(url, options)
    if kind is None:
        raise StoreError(f"nothing is at {url}; check the path, or create the store with `nwidth ingest ... --into {url}`")
    return _open(url, kind, mode, parse_options(options))


def _open(url: str, kind: StoreKind, mode: Mode, options: StoreOptions) -> BaseStore:
    if kind == "icechunk":
        from nwidth.stores.icechunk_store import IcechunkStore

        return IcechunkStore(url, mode, options)
    from nwidth.stores.zarr_store import ZarrStore

    return ZarrStore(url, mode, options)


def create_new(url: str, kind: StoreKind | None, options: Mapping[str, Any] | StoreOptions | None) -> BaseStore:
    """Create an empty store at `url`; see `nwidth.stores.create_store`."""
    settings = parse_options(options)
    chosen = kind or ("zarr" if url.rstrip("/").endswith(".zarr") else "icechunk")
    if chosen not in ("zarr", "icechunk"):
        raise ConfigError(f"store kind {chosen!r} is unknown; choose 'icechunk' or 'zarr'")
    if detect(url, settings) is not None:
        raise StoreError(f"{url} exists already; open it with mode='a' to append, or choose another place")
    if chosen == "icechunk":
        from nwidth.stores.icechunk_store import create_icechunk

        create_icechunk(url, settings)
    else:
        from nwidth.stores.zarr_store import create_zarr

        create_zarr(url, settings)
    return _open(url, chosen, "a", settings)


def detect(url: str, options: Mapping[str, Any] | StoreOptions | None = None) -> StoreKind | None:
    """The kind of the store at `url`, or None where nothing is (`LayoutError` where something else is).

    Raises
    ------
    LayoutError
        A file, or a folder with other things in it.
    StoreError
        The place cannot be reached.
    """
    settings, place = parse_options(options), location(url)
    with store_failures(url, "open"):
        if place.path is not None:
            return _detect_local(place, settings)
        return _detect_remote(place, settings)


def _detect_local(place: Location, options: StoreOptions) -> StoreKind | None:
    path = place.path
    assert path is not None  # noqa: S101 (narrows the type: the caller tested it)
    try:
        names = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        if path.is_file():
            raise LayoutError(f"{place.url} is a file, not a snapshot store; bring it in with `nwidth ingest`") from error
        raise
    if "zarr.json" in names:
        return "zarr"
    if names and _is_icechunk(place, options):
        return "icechunk"
    if not names:
        return None
    found = next((words for name, words in _FOREIGN.items() if name in names), "a folder with other things in it")
    raise LayoutError(f"{place.url} is {found}, not a snapshot store; choose another place, or bring it in with `nwidth ingest`")


def _detect_remote(place: Location, options: StoreOptions) -> StoreKind | None:
    import obstore

    from nwidth.stores.objectstore import objects

    try:
        obstore.head(objects(place, options), "zarr.json")
    except FileNotFoundError:
        return "icechunk" if _is_icechunk(place, options) else None
    return "zarr"


def _is_icechunk(place: Location, options: StoreOptions) -> bool:
    import icechunk

    return bool(icechunk.Repository.exists(icechunk_storage(place, options)))
