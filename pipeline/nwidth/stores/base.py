"""What both kinds of store share: everything but how a transaction begins, commits and is read back.

append:  lock -> recover -> refuse -> lengthen -> write snapshots -> commit
                            ^ nothing was written before here      ^ nothing is visible before here
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, FieldError, StoreError
from nwidth.mesh import Mesh
from nwidth.readers.protocol import IntegrationPoints, Run
from nwidth.stores.arrays import (
    Parameters,
    append_coordinates,
    check_weights,
    create_arrays,
    field_layouts,
    lengthen_fields,
    parameter_kinds,
    run_parameters,
    write_inner_product_arrays,
)
from nwidth.stores.catalog import (
    Catalog,
    check_same_fields,
    check_same_mesh,
    check_same_parameters,
    read_catalog,
    read_integration_points,
    read_mesh,
)
from nwidth.stores.failures import store_failures
from nwidth.stores.ledger import append_entry, check_new, read_ledger
from nwidth.stores.options import StoreOptions
from nwidth.stores.protocol import RunEntry, RunWriter, StoreKind, StoreSchema
from nwidth.stores.reference import Reference
from nwidth.stores.schema import KIND_KEY, check_root, check_run, field_dimensions
from nwidth.stores.writer import BufferedRunWriter, WriterSettings

if TYPE_CHECKING:
    import zarr

Mode = Literal["r", "a"]


class Transaction(Protocol):
    """Changes under way: made through `group`, visible to readers after `commit` and not before."""

    @property
    def group(self) -> zarr.Group: ...

    def heartbeat(self) -> None:
        """Tell other writers that this one is alive."""
        ...

    def commit(self, message: str, metadata: Mapping[str, str]) -> None: ...


class BaseStore(ABC):
    """The `SnapshotStore` of both kinds."""

    kind: StoreKind

    def __init__(self, url: str, mode: Mode, options: StoreOptions) -> None:
        if mode not in ("r", "a"):
            raise ConfigError(f"mode {mode!r} is unknown; open a store with 'r' to read or 'a' to append")
        self.url = url
        self.mode = mode
        self.options = options
        check_root(self.reference().open().attrs.asdict(), url)

    @abstractmethod
    def reference(self) -> Reference:
        """The newest committed version."""

    @abstractmethod
    def _transaction(self) -> AbstractContextManager[Transaction]:
        """Become the one writer, and begin changes; leaving the block without a commit drops them."""

    def schema(self) -> StoreSchema:
        """Everything a plan needs to know of the newest version; reads no field."""
        reference = self.reference()
        with store_failures(self.url, "read"):
            root = reference.open()
            catalog, runs = read_catalog(root), _ledger(root)
        return StoreSchema(
            url=self.url,
            kind=self.kind,
            version=reference.version,
            n_snapshots=catalog.n_snapshots,
            fields=catalog.fields,
            runs=runs,
            parameters=tuple(catalog.parameters),
            inner_products=catalog.inner_products,
            has_mesh=catalog.has_mesh,
        )

    def mesh(self) -> Mesh | None:
        """The mesh of all runs, or None."""
        with store_failures(self.url, "read"):
            return read_mesh(self.reference().open())

    def integration_points(self) -> IntegrationPoints | None:
        """The integration points of all runs, or None."""
        with store_failures(self.url, "read"):
            return read_integration_points(self.reference().open())

    @contextmanager
    def append(
        self,
        run: Run,
        *,
        simulation: str,
        source_key: str,
        parameters: Mapping[str, float | str] | None = None,
        files: tuple[str, ...] = (),
        reader: str = "",
    ) -> Iterator[RunWriter]:
        """Begin one run: checks fields, mesh and duplicates *before* anything is written, commits on leaving the block.

        Raises
        ------
        nwidth.errors.DuplicateRunError
            `source_key` or `simulation` is in the store already.
        nwidth.errors.MeshError, nwidth.errors.FieldError
            The run's mesh, fields or parameters differ from those of the store, or it was not written whole.
        nwidth.errors.StoreError
            Another writer is at work, there is no room or no permission, or the store is open for reading only.
        """
        self._require_append()
        check_run(run, parameters or {})
        check_weights(run)
        columns = run_parameters(run, parameters or {})
        count = run.times.size
        with ExitStack() as stack:
            with self._failures():
                transaction = stack.enter_context(self._transaction())
                root = transaction.group
                runs, catalog = _ledger(root), read_catalog(root)
                check_new(runs, simulation, source_key, self.url)
                self._admit(root, run, columns, catalog)
                start = catalog.n_snapshots
                arrays = lengthen_fields(root, tuple(run.fields), count)
            writer = BufferedRunWriter(arrays, start, self._guard(transaction, count, run.gaps))
            yield writer  # outside of our error handling: what fails in the caller's block is the caller's
            with self._failures():
                writer.finish()
                append_coordinates(root, run, simulation, columns)
                append_entry(root, RunEntry(simulation, source_key, start, start + count, files, reader))
                transaction.commit(
                    f"append {simulation}", {"simulation": simulation, "source_key": source_key, "code": code_version()}
                )

    def _failures(self) -> AbstractContextManager[None]:
        return store_failures(self.url, "append to")

    def _guard(self, transaction: Transaction, count: int, gaps: bool) -> WriterSettings:
        return WriterSettings(count, self.options.memory_budget, transaction.heartbeat, self._failures, gaps)

    def _admit(self, root: zarr.Group, run: Run, parameters: Parameters, catalog: Catalog) -> None:
        """Refuse a run that does not fit; create the arrays where it is the first."""
        named = field_dimensions(run.fields)
        if not catalog.fields:
            create_arrays(
                root, run, parameters, field_layouts(run.fields, run.times.size, self.options), named, self.options.codec
            )
            return
        check_same_mesh(root, run, catalog)
        check_same_fields(catalog, run, named)
        check_same_parameters(catalog, parameter_kinds(parameters))
        self._check_same_weights(root, run, catalog)

    def _check_same_weights(self, root: zarr.Group, run: Run, catalog: Catalog) -> None:
        for name, weights in run.weights.items():
            if name in catalog.inner_products:
                kind, arrays, _ = _read_inner_product(root, name)
                if kind != "diagonal" or not _same({"weights": weights}, arrays):
                    raise FieldError(f"weights {name!r} differ from those in {self.url}; ingest the run into a store of its own")

    def write_inner_product(
        self, name: str, kind: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
    ) -> None:
        """Commit ``inner_products/<name>``; writing the same arrays again does nothing.

        Raises
        ------
        nwidth.errors.StoreError
            The store has another inner product of this name: results may rest on it, so it is not replaced.
        """
        self._require_append()
        if not name or "/" in name or name.startswith((".", "__")):
            raise ConfigError(f"{name!r} cannot name an inner product; choose a word without '/'")
        with store_failures(self.url, "write to"), self._transaction() as transaction:
            root = transaction.group
            if name in read_catalog(root).inner_products:
                stored_kind, stored, _ = _read_inner_product(root, name)
                if stored_kind == kind and _same(arrays, stored):
                    return
                raise StoreError(f"{self.url} has another inner product {name!r}, which is kept; choose a new name for this one")
            write_inner_product_arrays(root, name, kind, arrays, attributes)
            transaction.commit(f"inner product {name}", {"inner_product": name, "code": code_version()})

    def read_inner_product(self, name: str) -> tuple[str, dict[str, NDArray[Any]], dict[str, Any]]:
        """(kind, arrays, attributes) of ``inner_products/<name>`` (`StoreError` where there is none)."""
        with store_failures(self.url, "read"):
            root = self.reference().open()
            known = read_catalog(root).inner_products
            if name not in known:
                raise StoreError(f"{self.url} has no inner product {name!r}; it has {', '.join(sorted(known)) or 'none'}")
            return _read_inner_product(root, name)

    def _require_append(self) -> None:
        if self.mode != "a":
            raise StoreError(f"{self.url} is open for reading only; open it with mode='a' to append")


def _ledger(root: zarr.Group) -> tuple[RunEntry, ...]:
    from nwidth.stores.columns import nodes

    return read_ledger(root) if "runs/source_key" in nodes(root) else ()


def _read_inner_product(root: zarr.Group, name: str) -> tuple[str, dict[str, NDArray[Any]], dict[str, Any]]:
    from nwidth.stores.columns import array_at, nodes

    prefix = f"inner_products/{name}"
    attributes: dict[str, Any] = dict(root[prefix].attrs.asdict())
    paths = [path for path in nodes(root) if path.startswith(f"{prefix}/")]
    arrays = {path.removeprefix(f"{prefix}/"): np.asarray(array_at(root, path)[...]) for path in paths}
    return str(attributes.pop(KIND_KEY)), arrays, attributes


def _same(given: Mapping[str, NDArray[Any]], stored: Mapping[str, NDArray[Any]]) -> bool:
    """The same arrays up to the last digits (weights summed in another order are the same weights)."""
    if set(given) != set(stored):
        return False
    pairs = [(np.asarray(given[name]), stored[name]) for name in given]
    return all(ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-12, atol=0.0) for ours, theirs in pairs)


def code_version() -> str:
    """The version of nwidth that writes."""
    from importlib.metadata import version

    return version("nwidth")
