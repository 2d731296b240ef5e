"""Atomic commits on plain Zarr: a redo journal over the metadata documents.

    1  chunks are written; they lie beyond the shapes on disk           crash: nothing visible, the next append overwrites them
    2  the journal, one object with all new ``zarr.json`` documents     <- the commit: an atomic rename or put
    3  each ``zarr.json`` is replaced                                   crash: readers use the journal, a writer completes it
    4  the journal is removed

A reader takes all documents as they were between two equal looks at the journal and at the root document, which changes with
every commit (a sequence lock), so it never mixes two commits. Programs that know nothing of the journal see each array
alone go from one commit to the next during step 3.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from nwidth.errors import LayoutError, StoreError
from nwidth.stores.overlay import METADATA, is_metadata
from nwidth.stores.schema import NODES_KEY

if TYPE_CHECKING:
    from obstore.store import ObjectStore

JOURNAL = "nwidth-journal.json"
JOURNAL_VERSION = 1
# A commit's step 3 takes milliseconds on a disk and about a second on an object store.
READ_SECONDS = 30.0
# A document is about a kilobyte; a store's list of nodes grows with its fields. Anything near this size is not ours.
DOCUMENT_LIMIT = 64 << 20
FETCHES = 8

Documents = dict[str, bytes]


def read_documents(objects: ObjectStore, url: str) -> Documents:
    """All metadata documents of the newest commit, the journal's where a commit is under way; empty where there is no store.

    Raises
    ------
    LayoutError
        A document is missing, or not JSON.
    StoreError
        Commits follow each other so fast that no consistent view was met for `READ_SECONDS`.
    """
    deadline = time.monotonic() + READ_SECONDS
    while time.monotonic() < deadline:
        root, journal = fetch(objects, METADATA), fetch(objects, JOURNAL)
        if root is None:
            return {}
        planned = parse_journal(journal, url) if journal is not None else {}
        newest = planned.get(METADATA, root)
        keys = [f"{node}/{METADATA}" for node in node_paths(newest, url)]
        found = planned | fetch_all(objects, [key for key in keys if key not in planned])
        if fetch(objects, JOURNAL) == journal and fetch(objects, METADATA) == root:
            missing = [key for key in keys if key not in found]
            if missing:
                raise LayoutError(f"{missing[0]} is missing from {url}; the store is damaged: restore it from a copy")
            return {METADATA: newest} | {key: found[key] for key in keys}
        time.sleep(0.01)
    raise StoreError(f"{url} changed all the time for {READ_SECONDS:.0f} seconds; try again when the other writer is done")


def publish(objects: ObjectStore, documents: Mapping[str, bytes]) -> None:
    """Commit `documents`: from the moment that the journal is there, readers see all of them."""
    import obstore

    text = {key: document.decode() for key, document in documents.items()}
    obstore.put(objects, JOURNAL, json.dumps({"nwidth_journal": JOURNAL_VERSION, "documents": text}).encode())
    _redo(objects, documents)


def recover(objects: ObjectStore, url: str) -> bool:
    """Complete a commit whose writer died after the journal was written; whether there was one. Only a writer may call it."""
    journal = fetch(objects, JOURNAL)
    if journal is None:
        return False
    _redo(objects, parse_journal(journal, url))
    return True


def _redo(objects: ObjectStore, documents: Mapping[str, bytes]) -> None:
    import obstore

    for key in sorted(documents, key=lambda key: (key != METADATA, key)):  # the root first: it is what readers compare
        obstore.put(objects, key, documents[key])
    obstore.delete(objects, JOURNAL)


def fetch(objects: ObjectStore, key: str) -> bytes | None:
    """One small object, or None (`LayoutError` where it is far too large to be metadata)."""
    import obstore

    try:
        response = obstore.get(objects, key)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if response.meta["size"] > DOCUMENT_LIMIT:
        raise LayoutError(
            f"{key} has {response.meta['size']} bytes, and a metadata document has a few thousand; the store is damaged"
        )
    return bytes(response.bytes())


def fetch_all(objects: ObjectStore, keys: Sequence[str]) -> Documents:
    """Those of `keys` that are there, fetched side by side: an object store answers one request after 20 ms, and ten too."""
    with ThreadPoolExecutor(FETCHES) as threads:
        found = threads.map(lambda key: fetch(objects, key), keys)
        return {key: document for key, document in zip(keys, found, strict=True) if document is not None}


def parse_journal(journal: bytes, url: str) -> Documents:
    """The documents of a journal. It may come from a stranger: keys that could leave the store are refused (`LayoutError`)."""
    try:
        content = json.loads(journal)
        version, documents = content["nwidth_journal"], content["documents"]
        encoded = {str(key): str(text).encode() for key, text in documents.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(
            f"{JOURNAL} in {url} is not a journal of nwidth; the store is damaged: restore it from a copy"
        ) from error
    if version != JOURNAL_VERSION:
        raise LayoutError(
            f"{JOURNAL} in {url} has version {version}, expected {JOURNAL_VERSION}; update nwidth to open the store"
        )
    for key in encoded:
        if not is_metadata(key) or ".." in key.split("/") or re.match(r"[/\\]", key):
            raise LayoutError(f"{JOURNAL} in {url} names {key!r}, which is no metadata document of the store; do not open it")
    return encoded


def node_paths(root: bytes, url: str) -> list[str]:
    """The nodes that a root document lists (none in a foreign store, which the schema check then refuses)."""
    paths = [str(path) for path in root_attributes(root, url).get(NODES_KEY, [])]
    for path in paths:
        if path.startswith("/") or ".." in path.split("/"):
            raise LayoutError(f"{url} lists the node {path!r} outside of itself; do not open it")
    return paths


def root_attributes(root: bytes, url: str) -> dict[str, Any]:
    """Attributes of a root document (`LayoutError` where it is not one)."""
    try:
        document = json.loads(root)
    except ValueError as error:
        raise LayoutError(f"{METADATA} in {url} is not JSON; the store is damaged or foreign") from error
    if not isinstance(document, dict) or document.get("node_type") != "group" or document.get("zarr_format") != 3:
        raise LayoutError(f"{url} is not a Zarr v3 group, so not a snapshot store; convert it with `nwidth ingest`")
    attributes = document.get("attributes") or {}
    return dict(attributes)
