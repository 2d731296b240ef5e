"""A mesh as VTK-style arrays: what a store keeps under ``mesh/``.

    points        (n_points, 3) float64         coordinates, in the unit `length_unit`
    connectivity  (sum of cell sizes,) int64    the point indices of all cells, one cell after the other
    offsets       (n_cells + 1,) int64          cell c owns connectivity[offsets[c]:offsets[c+1]]
    cell_types    (n_cells,) uint8              VTK cell type ids (5 triangle, 10 tetra, 12 hexahedron, 24 tetra10, ...)

Point order within a cell is VTK's. A point cloud has no cells.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import MeshError

# Two runs share a mesh when their points agree to this fraction of the bounding box: ascii output of one solver and
# binary (float32) output of the same solver differ by about 1e-7 of the coordinates.
POINT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Mesh:
    """Points and cells in VTK's conventions; see the module's table for shapes."""

    points: NDArray[np.float64]
    connectivity: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))
    cell_types: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    length_unit: str = ""

    def __post_init__(self) -> None:
        for name, dtype in (("points", np.float64), ("connectivity", np.int64), ("offsets", np.int64), ("cell_types", np.uint8)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=dtype))
        self._check()

    def _check(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise MeshError(f"mesh points have shape {self.points.shape}, expected (n_points, 3); pad plane meshes with z = 0")
        if not np.isfinite(self.points).all():
            raise MeshError(
                f"mesh point {int(np.argmin(np.isfinite(self.points).all(axis=1)))} is not finite; mend the mesh file"
            )
        if self.offsets.shape != (self.n_cells + 1,) or self.offsets[0] != 0 or self.offsets[-1] != self.connectivity.size:
            raise MeshError(f"mesh offsets do not fit: {self.n_cells} cells and {self.connectivity.size} connectivity entries")
        if self.connectivity.size and not 0 <= self.connectivity.min() <= self.connectivity.max() < self.n_points:
            raise MeshError(
                f"mesh connectivity names points outside 0..{self.n_points - 1}; the file mixes numberings or is truncated"
            )

    @property
    def n_points(self) -> int:
        return int(self.points.shape[0])

    @property
    def n_cells(self) -> int:
        return int(self.cell_types.shape[0])

    def key(self) -> str:
        """Content key of the topology (points are compared with a tolerance, see `difference`)."""
        digest = hashlib.blake2b(digest_size=16)
        for array in (np.array([self.n_points]), self.connectivity, self.offsets, self.cell_types):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def difference(self, other: Mesh) -> str | None:
        """Say in words how `other` differs from this mesh, or None where they are the same."""
        if self.n_points != other.n_points:
            return f"{other.n_points} points instead of {self.n_points}"
        if self.key() != other.key():
            return f"other cells ({other.n_cells} instead of {self.n_cells}, or another connectivity)"
        extent = float(np.ptp(self.points, axis=0).max()) if self.n_points else 0.0
        offset = np.abs(self.points - other.points).max(axis=1, initial=0.0) if self.n_points else np.zeros(0)
        worst = int(offset.argmax()) if offset.size else 0
        if offset.size and offset[worst] > POINT_TOLERANCE * max(extent, 1e-300):
            return f"point {worst} lies {offset[worst]:.3g} away"
        return None


def mesh_from_cells(points: Any, cells: list[tuple[int, Any]], length_unit: str = "") -> Mesh:
    """Build a mesh from blocks of equal cells: ``cells = [(vtk_type, (n_cells, n_nodes) int array), ...]``."""
    blocks = [(kind, np.asarray(block, np.int64)) for kind, block in cells]
    sizes = [np.full(len(block), block.shape[1], np.int64) for _, block in blocks]
    xyz = np.asarray(points, np.float64)
    padded = np.zeros((len(xyz), 3))
    padded[:, : xyz.shape[1]] = xyz
    return Mesh(
        points=padded,
        connectivity=np.concatenate([block.ravel() for _, block in blocks]) if blocks else np.empty(0, np.int64),
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(sizes))]) if blocks else np.zeros(1, np.int64),
        cell_types=np.concatenate([np.full(len(block), kind, np.uint8) for kind, block in blocks])
        if blocks
        else np.empty(0, np.uint8),
        length_unit=length_unit,
    )
