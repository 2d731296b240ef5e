"""Blocks of the integrands that a cubature rule has to integrate, formed where they are needed and never stored.

    G_k,(i,j) = eps(phi_i)(x_k) : sigma_j(x_k)          points k of a panel, modes i, stress states j

A worker reads the stress of its points, and the displacement modes at the nodes of their cells, of which it forms strains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.mechanics.meshes import LocalPoints, local_points
from nwidth.stages.scratch import ReadScratch
from nwidth_graphs.cubature import PointBlock
from nwidth_graphs.kernels.integrands import WorkIntegrands
from nwidth_graphs.kernels.shape_functions import Quadrature
from nwidth_graphs.kernels.strains import point_weights, strain_operator
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading

if TYPE_CHECKING:
    from nwidth.stores.protocol import StoreReference

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class StoreMesh:
    """Opens the mesh of a store; travels to the workers."""

    reference: StoreReference

    def __call__(self) -> Any:
        group: Any = self.reference.open()
        return group["mesh"]


@dataclass(frozen=True)
class Strains:
    """Strain of displacement modes at integration points, formed from the mesh and the modes on disk."""

    mesh: StoreMesh
    modes: str
    """Folder of the displacement's modes."""
    rules: Mapping[int, Quadrature]

    def points(self, points: slice | Indices) -> LocalPoints:
        """Shape functions of some points."""
        return local_points(self.mesh, points, dict(self.rules))

    def __call__(self, local: LocalPoints) -> Floats:
        """(points, 6, N)."""
        return strain_operator(local.groups, self.at_nodes(local.nodes))

    def at_nodes(self, nodes: Indices) -> Floats:
        """Modes at some nodes, (u, components, N)."""
        import zarr

        stored: Any = zarr.open_array(str(Path(self.modes) / "modes"), mode="r")
        low, high = int(nodes.min()), int(nodes.max()) + 1
        values = stored[:, low:high][:, nodes - low] if high - low <= 2 * len(nodes) else stored.oindex[:, nodes]
        return np.moveaxis(np.asarray(values, np.float64), 0, 2)


@dataclass(frozen=True)
class MoreStates:
    """``read(panel)``: stress states of the store, and behind them further ones that lie in a folder."""

    stored: Callable[[Panel], Reading]
    folder: str
    """Holds ``modes``, (states, points, 6)."""

    def __call__(self, panel: Panel) -> Reading:
        reading, more = self.stored(panel), ReadScratch(str(Path(self.folder) / "modes"))(panel)
        return Reading(np.concatenate([np.asarray(reading.values), np.asarray(more.values)], axis=1), reading.bytes_read)


@dataclass(frozen=True)
class WorkReader:
    """``read(panel)``: strains and stress states of the points of a panel; travels to the workers."""

    strains: Strains
    stress: Callable[[Panel], Reading]
    """Reads stress states of a panel, (points * 6, states), components as the store has them."""
    order: Indices
    """(6,) that brings the components to 11, 22, 33, 12, 23, 13."""

    def __call__(self, panel: Panel) -> PointBlock:
        points = panel.selection[0]
        reading = self.stress(Panel(panel.index, (points, slice(0, 6))))
        sigma = np.asarray(reading.values).reshape(panel.rows, 6, -1)[:, self.order]
        local = self.strains.points(points)
        return PointBlock(WorkIntegrands(self.strains(local), sigma), point_weights(local.groups), reading.bytes_read)
