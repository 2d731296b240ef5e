"""Fields for graph tests, made of a matrix (n, m) and a way to cut its rows: in memory, or as a Dask array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
from dask.local import get_sync
from numpy.typing import NDArray

from nwidth_graphs.inner import BlockProduct, DiagonalProduct
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import FieldSource, Reading
from nwidth_graphs.trees import TaskGraph


def row_panels(cuts: Sequence[int]) -> tuple[Panel, ...]:
    """Panels over one space dimension, of the given lengths."""
    stops = np.cumsum(cuts)
    return tuple(Panel(i, (slice(int(stop - size), int(stop)),)) for i, (stop, size) in enumerate(zip(stops, cuts, strict=True)))


@dataclass(frozen=True)
class Rows:
    """``read(panel)`` of a matrix (n, m) in memory, with its bytes counted."""

    matrix: NDArray[Any]

    def __call__(self, panel: Panel) -> Reading:
        block = self.matrix[panel.selection[0]]
        return Reading(block, block.nbytes)


@dataclass(frozen=True)
class Weights:
    """``product(panel)`` of diagonal weights (n,)."""

    weights: NDArray[np.float64]

    def __call__(self, panel: Panel) -> BlockProduct:
        return DiagonalProduct(np.sqrt(self.weights[panel.selection[0]]))


def refuse_to_read(*_: Any, **__: Any) -> Any:
    """A store that must not be touched."""
    raise AssertionError("something was read while the graph was built")


def source_of(matrix: NDArray[Any], cuts: Sequence[int], *, name: str = "u", lazy: bool = False, **options: Any) -> FieldSource:
    """A field of snapshots ``matrix[:, j]``; `lazy` gives it as a Dask array (m, n), chunked by panels."""
    blocks: dict[str, Any] = {"read": Rows(matrix)}
    if lazy:
        blocks = {"array": da.from_array(np.ascontiguousarray(matrix.T), chunks=((matrix.shape[1],), tuple(cuts)))}
    return FieldSource(name, row_panels(cuts), matrix.shape[1], matrix.dtype.itemsize, **blocks, **options)


def compute(graph: TaskGraph, scheduler: Callable[..., Any] | None = None, **options: Any) -> Mapping[str, Any]:
    """Root name -> value, on the synchronous scheduler by default."""
    get = scheduler or get_sync
    values = get(graph.graph, list(graph.roots.values()), **options)
    return dict(zip(graph.roots, values, strict=True))
