"""A user's sparse matrix as inner product, cut along the panels of a field: entries within one panel, and entries between panels.

    rows of M, panel by panel ──entries within──> patch files (rows of the panel)      read by the task that reduces the panel
                              └─entries between─> Interface (few: a surface)           closed at the root of the tree

The matrix is read once, some rows at a time; it is never whole in a worker, never dense, and never factorized. Of its being
symmetric positive definite, what is cheap is checked here: finite entries, ``M = M^T``, a positive diagonal, and
``|M_ij| <= sqrt(M_ii M_jj)``. What that leaves is noticed in the Gram matrix (`nwidth.stages.refusals.refuse_indefinite`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth_graphs.inner import BlockProduct, Interface, SparseProduct
from nwidth_graphs.kernels.sparse import SparsePatch
from nwidth_graphs.layout import Panel

if TYPE_CHECKING:
    from nwidth.stores.protocol import StoreReference

# Entries of M and M^T, and of a 2 x 2 minor, agree to this share of sqrt(M_ii M_jj): assembling sums a few dozen rounded terms.
SYMMETRY = 1e-10

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@runtime_checkable
class MatrixRows(Protocol):
    """A square matrix that gives some of its rows."""

    @property
    def size(self) -> int:
        """Its number of rows."""
        ...

    def rows(self, start: int, stop: int) -> tuple[Integers, Integers, Floats]:
        """(pointers from zero, columns, values) of some rows."""
        ...


@dataclass(frozen=True)
class GivenMatrix:
    """A scipy matrix in compressed rows, in this process's memory."""

    matrix: Any

    @property
    def size(self) -> int:
        """Its number of rows."""
        return int(self.matrix.shape[0])

    def rows(self, start: int, stop: int) -> tuple[Integers, Integers, Floats]:
        """Some rows, as views where they can be."""
        pointers = self.matrix.indptr[start : stop + 1].astype(np.int64)
        part = slice(int(pointers[0]), int(pointers[-1]))
        return pointers - pointers[0], self.matrix.indices[part].astype(np.int64), self.matrix.data[part].astype(np.float64)


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix in compressed rows in a store: ``inner_products/<name>/{indptr, indices, data}``; read some rows at a time."""

    reference: StoreReference
    name: str

    def _read(self, array: str, start: int, stop: int) -> NDArray[Any]:
        return self.reference.read_block(f"inner_products/{self.name}/{array}", (slice(start, stop),))

    @property
    def size(self) -> int:
        """Its number of rows."""
        return int(self.reference.array(f"inner_products/{self.name}/indptr").shape[0]) - 1

    def rows(self, start: int, stop: int) -> tuple[Integers, Integers, Floats]:
        """Some rows."""
        pointers = self._read("indptr", start, stop + 1).astype(np.int64)
        first, last = int(pointers[0]), int(pointers[-1])
        columns = self._read("indices", first, last).astype(np.int64)
        return pointers - first, columns, self._read("data", first, last).astype(np.float64)


def compressed_rows(matrix: Any) -> Any:
    """A scipy sparse matrix in canonical compressed rows, float64: sorted, duplicates summed.

    Raises
    ------
    ConfigError
        It is not square, or not of real numbers.
    """
    from scipy.sparse import csr_array

    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigError(
            f"a sparse inner product has shape {matrix.shape}; give a square matrix, one row per place of the field"
        )
    if np.dtype(matrix.dtype).kind not in "fiu":
        raise ConfigError(f"a sparse inner product has dtype {matrix.dtype}; give real numbers")
    rows = csr_array(matrix, dtype=np.float64)
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    return rows


def add_inner_product(
    store: str | Path, name: str, values: Any, *, options: Mapping[str, Any] | None = None, source: str = ""
) -> None:
    """Put an inner product into a store, under a name that studies use.

    Parameters
    ----------
    store : path or URL
    name : a word without ``/``
    values : array or scipy.sparse matrix
        Diagonal weights over the space of a field (not its components), or a sparse symmetric positive definite matrix with a row
        per unknown, or per place: then components are not coupled.
    options : how the store is reached, as for `nwidth.open_store`
    source : where the numbers come from, in words

    Raises
    ------
    ConfigError
        The matrix is not square, or not of real numbers. What else a field asks of it is checked when it is used.
    StoreError
        The store has another inner product of this name, which is kept.
    """
    from scipy.sparse import issparse

    from nwidth.stores import open_store

    opened = open_store(store, "a", options=options)
    attributes = {"source": source} if source else {}
    if issparse(values):
        rows = compressed_rows(values)
        opened.write_inner_product(
            name, "sparse", {"indptr": rows.indptr, "indices": rows.indices, "data": rows.data}, attributes
        )
    else:
        opened.write_inner_product(name, "diagonal", {"weights": np.asarray(values, np.float64)}, attributes)


@dataclass(frozen=True)
class SparseFiles:
    """``product(panel)``: the entries within a panel, from its patch file."""

    folder: str
    components: int

    def __call__(self, panel: Panel) -> BlockProduct:
        with np.load(Path(self.folder) / f"{panel.index}.npz", allow_pickle=False) as patch:
            return SparseProduct(SparsePatch(patch["indptr"], patch["indices"], patch["data"], self.components))


def cut_sparse(name: str, matrix: MatrixRows, space: Sequence[int], panels: Sequence[Panel], folder: Path) -> dict[str, Any]:
    """Write one patch per panel under `folder`; the arguments of a `FieldSource` that stand for this inner product.

    Parameters
    ----------
    name : what errors call it
    space : the field's space dimensions, the component last where there is one
    panels : the boxes that `space` is cut into

    Raises
    ------
    ConfigError
        The matrix does not fit the field, or cannot be symmetric positive definite; the text names the entry.
    """
    components = _components(name, matrix.size, space)
    nodes = tuple(space) if components == 1 else tuple(space)[:-1]
    cut = _Cut(name, matrix, nodes, panels)
    folder.mkdir(parents=True, exist_ok=True)
    fullest = 0
    for panel in panels:
        patch = cut.panel(panel)
        np.savez(folder / f"{panel.index}.npz", indptr=patch.indptr, indices=patch.indices, data=patch.data)
        fullest = max(fullest, len(patch.data))
    return {
        "product": SparseFiles(str(folder), components),
        "interface": cut.interface(components),
        "mass_entries": max(1, fullest * components),
        "gram_only": True,
    }


def _components(name: str, size: int, space: Sequence[int]) -> int:
    """How often each row of the matrix stands for a place: once per component, or once where it couples components, too."""
    unknowns = int(np.prod(space))
    if size == unknowns:
        return 1
    if len(space) > 1 and size * space[-1] == unknowns:
        return int(space[-1])
    raise ConfigError(
        f"inner product {name!r} is a matrix of {size} rows, and the field's space {tuple(space)} has {unknowns} unknowns; give "
        "one row per unknown, or one per node"
    )


class _Cut:
    """A matrix on its way into panels: where each node lies, the diagonal, and the entries between panels so far."""

    def __init__(self, name: str, matrix: MatrixRows, nodes: tuple[int, ...], panels: Sequence[Panel]) -> None:
        self._name, self._matrix, self._panels, self._dims = name, matrix, panels, len(nodes)
        self._grid = np.arange(matrix.size).reshape(nodes)
        self._panel_of = np.empty(matrix.size, np.int32)
        self._local_of = np.empty(matrix.size, np.int64)
        for panel in panels:
            own = self._nodes(panel)
            self._panel_of[own], self._local_of[own] = panel.index, np.arange(len(own))
        self._diagonal = np.zeros(matrix.size)
        self._between: list[tuple[Integers, Integers, Floats]] = []

    def _nodes(self, panel: Panel) -> Integers:
        return self._grid[panel.selection[: self._dims]].ravel()

    def panel(self, panel: Panel) -> SparsePatch:
        """The entries within one panel; those that leave it are kept for `interface`."""
        from scipy.sparse import csr_array

        own = self._nodes(panel)
        parts = [self._entries(start, stop) for start, stop in _runs(own)]
        rows, columns, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        within = self._panel_of[columns] == panel.index
        self._between.append((rows[~within], columns[~within], values[~within]))
        rows, columns, values = rows[within], columns[within], values[within]
        on = rows == columns
        self._diagonal[rows[on]] = values[on]
        self._check_diagonal(own)
        local = csr_array((values, (self._local_of[rows], self._local_of[columns])), shape=(len(own), len(own)))
        self._check_symmetric(local, own)
        return SparsePatch(local.indptr, local.indices, local.data)

    def interface(self, components: int) -> Interface | None:
        """The entries between panels, over the nodes that they touch; None where there are none."""
        from scipy.sparse import csr_array

        rows, columns, values = (np.concatenate(part) for part in zip(*self._between, strict=True))
        if rows.size == 0:
            return None
        nodes = np.unique(np.concatenate([rows, columns]))
        nodes = nodes[np.lexsort((self._local_of[nodes], self._panel_of[nodes]))]
        place = np.empty(self._matrix.size, np.int64)
        place[nodes] = np.arange(len(nodes))
        coupling = csr_array((values, (place[rows], place[columns])), shape=(len(nodes), len(nodes)))
        self._check_symmetric(coupling, nodes)
        owner = self._panel_of[nodes]
        picked = {
            int(panel): (self._local_of[nodes[owner == panel]][:, None] * components + np.arange(components)).ravel()
            for panel in np.unique(owner)
        }
        return Interface(SparsePatch(coupling.indptr, coupling.indices, coupling.data, components), picked)

    def _entries(self, start: int, stop: int) -> tuple[Integers, Integers, Floats]:
        pointers, columns, values = self._matrix.rows(start, stop)
        if columns.size and (columns.min() < 0 or columns.max() >= self._matrix.size):
            raise ConfigError(f"inner product {self._name!r} has a column beyond its {self._matrix.size} rows; store it again")
        if not np.isfinite(values).all():
            raise ConfigError(f"inner product {self._name!r} holds NaN or infinity in rows {start} to {stop - 1}; mend it")
        return np.repeat(np.arange(start, stop), np.diff(pointers)), columns, values

    def _check_diagonal(self, own: Integers) -> None:
        bad = own[~(self._diagonal[own] > 0)]
        if bad.size:
            raise ConfigError(
                f"inner product {self._name!r} has {self._diagonal[bad[0]]:g} on its diagonal at row {bad[0]}, so it is not "
                "positive definite; add a mass term there, or give diagonal weights, which may be zero"
            )

    def _check_symmetric(self, matrix: Any, nodes: Integers) -> None:
        from scipy.sparse import diags_array

        scale = diags_array(1.0 / np.sqrt(self._diagonal[nodes]))
        scaled = (scale @ matrix @ scale).tocoo()
        difference = abs(scaled - scaled.T).tocoo()
        if difference.nnz and difference.data.max() > SYMMETRY:
            worst = int(np.argmax(difference.data))
            i, j = (int(nodes[index[worst]]) for index in (difference.row, difference.col))
            raise ConfigError(
                f"inner product {self._name!r} is not symmetric: entries ({i}, {j}) and ({j}, {i}) differ; symmetrize it"
            )
        large = np.abs(scaled.data) > 1 + SYMMETRY
        if large.any():
            i, j = (int(nodes[index[np.argmax(large)]]) for index in (scaled.row, scaled.col))
            raise ConfigError(
                f"inner product {self._name!r} is not positive definite: entry ({i}, {j}) is larger than the root of the product "
                "of its diagonal entries; check how it was assembled"
            )


def _runs(numbers: Integers) -> Iterator[tuple[int, int]]:
    """Ranges of consecutive numbers, (start, stop) each; `numbers` ascend."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    for part in np.split(numbers, breaks):
        yield int(part[0]), int(part[-1]) + 1
