"""Some cells of a mesh on disk, without the rest: what a worker needs to form strains at its own integration points.

    integration points k0..k1 ──point_cell──> cells ──offsets, connectivity──> nodes ──> coordinates, modes at these nodes only

Arrays lie under ``mesh/`` of a store or a model. A selection is read chunk by chunk, each chunk once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh
from nwidth_graphs.kernels.shape_functions import Quadrature
from nwidth_graphs.kernels.strains import PointGroup, point_groups, rules_by_count

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class LocalPoints:
    """Integration points with their cells cut out of a mesh."""

    groups: tuple[PointGroup, ...]
    """Shape functions and gradients; nodes are counted in `nodes`."""
    nodes: Indices
    """(u,) numbers of the nodes in the whole mesh, ascending."""
    coordinates: Floats
    """(u, 3)."""


def rules_of(cell_types: NDArray[np.uint8], cell: Indices) -> dict[int, Quadrature]:
    """Integration rule of every cell type, by the number of points that its cells have in the store."""
    return rules_by_count(cell_types, cell)


def local_points(open_group: Callable[[], Any], points: slice | Indices, rules: dict[int, Quadrature]) -> LocalPoints:
    """The integration points `points` of a mesh, with the cells that hold them.

    Parameters
    ----------
    open_group : callable
        Opens the Zarr group ``mesh``, where it is called.
    points : numbers of integration points, or a range of them
    rules : of all cell types that occur, see `rules_of`
    """
    mesh = open_group()
    cell = _selected(mesh["point_cell"], points).astype(np.int64)
    local = _selected(mesh["point_local"], points).astype(np.int64)
    cells, position = np.unique(cell, return_inverse=True)
    starts, stops = _selected(mesh["offsets"], cells), _selected(mesh["offsets"], cells + 1)
    sizes = (stops - starts).astype(np.int64)
    corners = np.repeat(starts - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes) + np.arange(sizes.sum())
    connectivity = _selected(mesh["connectivity"], corners)
    nodes, renumbered = np.unique(connectivity, return_inverse=True)
    coordinates = _selected(mesh["points"], nodes).astype(np.float64)
    part = Mesh(
        points=coordinates,
        connectivity=renumbered.reshape(-1),
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        cell_types=_selected(mesh["cell_types"], cells),
    )
    return LocalPoints(point_groups(part, position, local, rules), nodes.astype(np.int64), coordinates)


def _selected(array: Any, places: slice | Indices) -> Any:
    """Some entries along the first dimension; ascending runs of neighbours are read as one range."""
    if isinstance(places, slice):
        return np.asarray(array[places])
    if len(places) == 0:
        return np.empty((0, *array.shape[1:]), array.dtype)
    low, high = int(places.min()), int(places.max()) + 1
    if high - low <= 2 * len(places):
        return np.asarray(array[low:high])[places - low]
    wanted, back = np.unique(places, return_inverse=True)
    return np.asarray(array.oindex[wanted])[back]
