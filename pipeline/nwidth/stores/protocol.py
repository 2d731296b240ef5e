"""The store interface: what ingestion writes through, and what reductions read through.

    SnapshotStore   lives in the driver: schema, append, mesh, inner products
    StoreReference  travels to workers: opens one committed version, read-only, and counts the bytes it reads

Both implementations (`zarr_store.py`, `icechunk_store.py`) pass the contract suite `tests/contracts/store_contract.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh
from nwidth.readers.protocol import IntegrationPoints, Location, Run

if TYPE_CHECKING:
    import zarr

SCHEMA_VERSION = 1
StoreKind = Literal["icechunk", "zarr"]


@dataclass(frozen=True)
class FieldInfo:
    """One stored field: a Zarr array ``fields/<name>`` of shape (snapshots, *space, [components])."""

    name: str
    location: Location
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codec: str
    components: tuple[str, ...] = ()
    units: str = ""

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class RunEntry:
    """One ingested run in the store's own ledger."""

    simulation: str
    source_key: str
    start: int
    stop: int
    files: tuple[str, ...] = ()
    reader: str = ""


@dataclass(frozen=True)
class StoreSchema:
    """Everything a plan needs to know of a store, without reading a field."""

    url: str
    kind: StoreKind
    version: str
    n_snapshots: int
    fields: Mapping[str, FieldInfo]
    runs: tuple[RunEntry, ...]
    parameters: tuple[str, ...]
    inner_products: Mapping[str, str]
    """Name -> kind: ``diagonal`` (an array over space dims) or ``sparse`` (a matrix in compressed rows)."""
    has_mesh: bool


@dataclass(frozen=True)
class Coming:
    """What a thread will ask for next of the same array, each into a buffer of its own."""

    selections: Iterable[tuple[slice, ...]]
    """Found as they are asked for, by whoever fetches them; once."""
    chunks: int
    """Chunks that may be held for it meanwhile."""


class StoreReference(Protocol):
    """A picklable pointer to one committed version of a store."""

    def open(self) -> zarr.Group:
        """Open the root group read-only; chunks read through it are added to `bytes_read`."""
        ...

    def array(self, path: str) -> zarr.Array[Any]:
        """The array at `path`, from a cache of handles."""
        ...

    def read_block(
        self,
        path: str,
        selection: tuple[slice, ...],
        out: NDArray[Any] | None = None,
        coming: Coming | None = None,
    ) -> NDArray[Any]:
        """Read ``array[selection]``, into `out` where given; a missing or damaged chunk is a `StoreError` that names it.

        `coming` is what this thread will ask for next.
        """
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes that this process has fetched through this reference so far (compressed, as stored)."""
        ...


class RunWriter(Protocol):
    """Writes the snapshots of one run; nothing is visible to readers before the block ends without an exception."""

    def write(self, first: int, batch: Mapping[str, NDArray[Any]]) -> None:
        """Write snapshots ``first, first + 1, ...`` of this run: field name -> (k, *shape) values."""
        ...


class SnapshotStore(Protocol):
    """One snapshot store, opened for reading (``"r"``) or appending (``"a"``)."""

    url: str
    kind: StoreKind

    def schema(self) -> StoreSchema: ...

    def reference(self) -> StoreReference: ...

    def append(
        self,
        run: Run,
        *,
        simulation: str,
        source_key: str,
        parameters: Mapping[str, float | str] | None = None,
        files: tuple[str, ...] = (),
        reader: str = "",
    ) -> AbstractContextManager[RunWriter]:
        """Begin one run: checks fields, mesh and duplicates *before* anything is written, commits on leaving the block.

        Raises
        ------
        nwidth.errors.DuplicateRunError
            `source_key` is in the store already.
        nwidth.errors.MeshError, nwidth.errors.FieldError
            The run's mesh or fields differ from those of the store.
        """
        ...

    def mesh(self) -> Mesh | None: ...

    def integration_points(self) -> IntegrationPoints | None: ...

    def write_inner_product(
        self, name: str, kind: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
    ) -> None: ...

    def read_inner_product(self, name: str) -> tuple[str, dict[str, NDArray[Any]], dict[str, Any]]:
        """(kind, arrays, attributes) of ``inner_products/<name>``."""
        ...
