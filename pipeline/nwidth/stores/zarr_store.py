"""A snapshot store as plain Zarr v3, in a folder or on an object store. How a commit is atomic: `commit.py`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.errors import StoreError
from nwidth.stores.base import BaseStore, Mode
from nwidth.stores.commit import JOURNAL, Documents, fetch, publish, read_documents, recover, root_attributes
from nwidth.stores.failures import store_failures
from nwidth.stores.locks import Heartbeat, file_lock, object_lease
from nwidth.stores.objectstore import chunk_store, location, objects
from nwidth.stores.options import StoreOptions
from nwidth.stores.overlay import METADATA, Overlay
from nwidth.stores.protocol import SCHEMA_VERSION, StoreKind
from nwidth.stores.reference import Reference, keep_open
from nwidth.stores.schema import COMMIT_KEY, CONTENT, CONTENT_KEY, NODES_KEY, RUN, SCHEMA_KEY, SNAPSHOT, STORE_ID_KEY, check_root

if TYPE_CHECKING:
    import zarr
    from obstore.store import ObjectStore


def create_zarr(url: str, options: StoreOptions) -> None:
    """Write the root document of an empty store (`StoreError` where something is there already)."""
    import json

    import obstore
    from obstore.exceptions import AlreadyExistsError

    attributes = {SCHEMA_KEY: SCHEMA_VERSION, CONTENT_KEY: CONTENT, NODES_KEY: [], STORE_ID_KEY: uuid.uuid4().hex, COMMIT_KEY: 0}
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    with store_failures(url, "create"):
        try:
            obstore.put(objects(location(url), options, create=True), METADATA, json.dumps(document).encode(), mode="create")
        except AlreadyExistsError as error:
            raise StoreError(f"{url} exists already; open it with mode='a' to append, or choose another place") from error


class ZarrStore(BaseStore):
    """Plain Zarr v3."""

    kind: StoreKind = "zarr"

    def __init__(self, url: str, mode: Mode, options: StoreOptions) -> None:
        self._place = location(url)
        self._last: tuple[bytes, Reference] | None = None
        super().__init__(url, mode, options)

    def reference(self) -> Reference:
        """The newest committed version."""
        with store_failures(self.url, "read"):
            root, journal = fetch(self._objects(), METADATA), fetch(self._objects(), JOURNAL)
            if self._last is not None and journal is None and root == self._last[0]:
                return self._last[1]  # the root document changes with every commit
            documents = read_documents(self._objects(), self.url)
            reference = self._pin(documents)
            keep_open(reference, documents)
        self._last = (documents[METADATA], reference)
        return reference

    def _pin(self, documents: Documents) -> Reference:
        attributes = self._attributes(documents)
        store_id, commit = str(attributes.get(STORE_ID_KEY, "")), attributes.get(COMMIT_KEY, 0)
        return Reference(
            url=self.url,
            kind="zarr",
            version=f"{store_id[:12]}-{commit}",
            n_snapshots=axis_length(documents, "fields/time", SNAPSHOT),
            n_runs=axis_length(documents, "runs/start", RUN),
            store_id=store_id,
            options=self.options,
        )

    def _objects(self) -> ObjectStore:
        return objects(self._place, self.options)

    def _attributes(self, documents: Documents) -> dict[str, Any]:
        if METADATA not in documents:
            raise StoreError(f"nothing is at {self.url} any longer; create the store again")
        attributes = root_attributes(documents[METADATA], self.url)
        check_root(attributes, self.url)
        return attributes

    def _lock(self) -> AbstractContextManager[Heartbeat]:
        if self._place.path is not None:
            return file_lock(self._place.path, self.url, self.options.lock_wait_seconds)
        return object_lease(self._objects(), self.url, self.options.lock_wait_seconds)

    @contextmanager
    def _transaction(self) -> Iterator[ZarrTransaction]:
        with self._lock() as heartbeat:
            recover(self._objects(), self.url)
            committed = read_documents(self._objects(), self.url)
            self._attributes(committed)
            sweep_uncommitted(self._objects(), committed)
            if self._place.path is not None:
                sweep(self._place.path, committed)
            yield ZarrTransaction(self, committed, heartbeat)


class ZarrTransaction:
    """Chunks go to the store at once, metadata at the commit."""

    def __init__(self, store: ZarrStore, committed: Documents, heartbeat: Heartbeat) -> None:
        import zarr

        self._store = store
        self._committed = committed
        self._beat = heartbeat
        chunks = chunk_store(store._place, store.options, read_only=False)
        self._overlay = Overlay(chunks, dict(committed))
        self._group = zarr.open_group(self._overlay, mode="r+", zarr_format=3, use_consolidated=False)

    @property
    def group(self) -> zarr.Group:
        """The root group, writable."""
        return self._group

    def heartbeat(self) -> None:
        """Keep the lease on an object store alive."""
        self._beat()

    def commit(self, message: str, metadata: Mapping[str, str]) -> None:
        """Publish all changed metadata documents at once (plain Zarr has no history: `message` and `metadata` are not kept)."""
        self._group.attrs[COMMIT_KEY] = int(str(self._group.attrs[COMMIT_KEY])) + 1
        changed = {key: text for key, text in self._overlay.documents.items() if self._committed.get(key) != text}
        self._beat()
        publish(self._store._objects(), changed)


def axis_length(documents: Documents, path: str, dim: str) -> int:
    """Length of an array's first axis (0 where there is no array yet)."""
    import json

    document = documents.get(f"{path}/{METADATA}")
    content = json.loads(document) if document is not None else {}
    return int(content["shape"][0]) if content.get("dimension_names") == [dim] else 0


def sweep_uncommitted(objects: ObjectStore, documents: Documents) -> None:
    """Remove the chunks of arrays that were never committed, which an interrupted first append left.

    They have no metadata document (a commit that got as far as its journal was completed before); whatever has one stays.
    """
    import obstore

    for parent in ("mesh", "fields", "runs", "inner_products"):
        for child in obstore.list_with_delimiter(objects, prefix=parent)["common_prefixes"]:
            if f"{child}/{METADATA}" not in documents and fetch(objects, f"{child}/{METADATA}") is None:
                for batch in obstore.list(objects, prefix=child):
                    obstore.delete(objects, [entry["path"] for entry in batch])


def sweep(root: Path, documents: Documents) -> None:
    """Remove what an interrupted append left: chunks that hold no committed snapshot, and ``*.partial`` files beside the last.

    Chunks that an array shares between old and new snapshots stay; the next append writes over what is new in them.
    """
    import json
    import shutil

    for key, document in documents.items():
        content = json.loads(document)
        folder = root / key.removesuffix(METADATA) / "c"
        if (content.get("dimension_names") or [None])[0] not in (SNAPSHOT, RUN) or not folder.is_dir():
            continue
        rows, length = content["chunk_grid"]["configuration"]["chunk_shape"][0], content["shape"][0]
        for entry in list(folder.iterdir()):
            row = re.match(r"\d+", entry.name)
            if row is None or int(row[0]) * rows < length - rows:
                continue  # whole shards of committed snapshots: never touched again
            if int(row[0]) * rows >= length:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            elif entry.is_dir():
                for partial in entry.rglob("*.partial"):
                    partial.unlink()
            elif entry.name.endswith(".partial"):
                entry.unlink()
