"""A snapshot store as an Icechunk repository: the default for stores that grow.

One commit per run, with the simulation, the source key and the code version as metadata; ``main`` is the only branch.
Icechunk detects conflicting commits on object stores. It does not on a plain file system, so there a lock file admits one
writer at a time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from nwidth.errors import StoreError
from nwidth.stores.base import BaseStore, Mode
from nwidth.stores.failures import store_failures
from nwidth.stores.locks import Heartbeat, file_lock
from nwidth.stores.objectstore import icechunk_storage, location, virtual_access
from nwidth.stores.options import StoreOptions
from nwidth.stores.protocol import SCHEMA_VERSION, StoreKind
from nwidth.stores.reference import Reference
from nwidth.stores.schema import CONTENT, CONTENT_KEY, NODES_KEY, SCHEMA_KEY, STORE_ID_KEY

if TYPE_CHECKING:
    import icechunk
    import zarr

BRANCH = "main"


def create_icechunk(url: str, options: StoreOptions) -> None:
    """Make a repository with the empty root group as its first commit (`StoreError` where something is there already)."""
    import icechunk
    import zarr

    attributes = {SCHEMA_KEY: SCHEMA_VERSION, CONTENT_KEY: CONTENT, NODES_KEY: [], STORE_ID_KEY: uuid.uuid4().hex}
    with store_failures(url, "create"):
        storage = icechunk_storage(location(url), options)
        if icechunk.Repository.exists(storage):
            raise StoreError(f"{url} exists already; open it with mode='a' to append, or choose another place")
        session = icechunk.Repository.create(storage).writable_session(BRANCH)
        zarr.create_group(session.store, attributes=attributes)
        session.commit("empty snapshot store")


class IcechunkStore(BaseStore):
    """An Icechunk repository."""

    kind: StoreKind = "icechunk"

    def __init__(self, url: str, mode: Mode, options: StoreOptions) -> None:
        import icechunk

        self._place = location(url)
        with store_failures(url, "open"):
            self._repository = icechunk.Repository.open(
                icechunk_storage(self._place, options), authorize_virtual_chunk_access=virtual_access(options)
            )
        super().__init__(url, mode, options)

    def reference(self) -> Reference:
        """The newest committed version."""
        with store_failures(self.url, "read"):
            version = self._repository.lookup_branch(BRANCH)
        # Icechunk pins a version itself: lengths are not needed, and leaving them out saves a read.
        return Reference(self.url, "icechunk", version, n_snapshots=-1, n_runs=-1, options=self.options)

    def _lock(self) -> AbstractContextManager[Heartbeat]:
        if self._place.path is None:
            return nullcontext(lambda: None)
        return file_lock(self._place.path, self.url, self.options.lock_wait_seconds)

    @contextmanager
    def _transaction(self) -> Iterator[IcechunkTransaction]:
        with self._lock() as heartbeat:
            yield IcechunkTransaction(self.url, self._repository.writable_session(BRANCH), heartbeat)


class IcechunkTransaction:
    """A writable session: dropped without a commit, it leaves nothing that is visible."""

    def __init__(self, url: str, session: icechunk.Session, heartbeat: Heartbeat) -> None:
        import zarr

        self._url = url
        self._session = session
        self._beat = heartbeat
        self._group = zarr.open_group(session.store, mode="r+", zarr_format=3, use_consolidated=False)

    @property
    def group(self) -> zarr.Group:
        """The root group, writable."""
        return self._group

    def heartbeat(self) -> None:
        """Keep the lock alive (a file lock needs nothing)."""
        self._beat()

    def commit(self, message: str, metadata: Mapping[str, str]) -> None:
        """Commit; refuse where another writer committed first, whose run then stands (`StoreError`)."""
        import icechunk

        try:
            self._session.commit(message, metadata=dict(metadata))
        except icechunk.ConflictError as error:
            raise StoreError(
                f"another writer committed to {self._url} meanwhile, and its run stands; append this run again"
            ) from error
