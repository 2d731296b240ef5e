"""The visible faces of a mesh, and how they look from one side: what a picture needs, without VTK.

    faces      polygons of 2-D cells, and those faces of 3-D cells that belong to one cell only
    View       an orthographic camera: right, up and towards-the-eye axes, and the picture's frame

Quadratic cells are drawn by their corners.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh

# Corner nodes of the faces of VTK cells, by type id; a quadratic cell has the corners of its linear one, and they come first.
_TETRA = ((0, 1, 3), (1, 2, 3), (2, 0, 3), (0, 2, 1))
_HEXAHEDRON = ((0, 4, 7, 3), (1, 2, 6, 5), (0, 1, 5, 4), (3, 7, 6, 2), (0, 3, 2, 1), (4, 5, 6, 7))
_VOXEL = ((0, 2, 6, 4), (1, 5, 7, 3), (0, 4, 5, 1), (2, 3, 7, 6), (0, 1, 3, 2), (4, 6, 7, 5))
_WEDGE = ((0, 1, 2), (3, 5, 4), (0, 3, 4, 1), (1, 4, 5, 2), (2, 5, 3, 0))
_PYRAMID = ((0, 3, 2, 1), (0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4))
_TRIANGLE, _QUAD, _PIXEL = ((0, 1, 2),), ((0, 1, 2, 3),), ((0, 1, 3, 2),)
FACES: dict[int, tuple[tuple[int, ...], ...]] = {
    5: _TRIANGLE, 22: _TRIANGLE, 34: _TRIANGLE, 8: _PIXEL, 9: _QUAD, 23: _QUAD, 28: _QUAD,
    10: _TETRA, 24: _TETRA, 11: _VOXEL, 12: _HEXAHEDRON, 25: _HEXAHEDRON, 29: _HEXAHEDRON,
    13: _WEDGE, 26: _WEDGE, 14: _PYRAMID, 27: _PYRAMID,
}  # fmt: skip
LINES = {3, 4, 21}
# Relative to the longest side: a plane mesh written in float32 is flat to about 1e-7.
FLAT = 1e-6


@dataclass(frozen=True)
class Faces:
    """Polygons of up to four corners and the cell that each belongs to."""

    corners: NDArray[np.int64]
    """(n_faces, 4); a triangle repeats its last corner."""
    cell: NDArray[np.int64]
    """(n_faces,)."""


def visible_faces(mesh: Mesh) -> Faces:
    """Faces that can be seen: every 2-D cell, and the boundary of the 3-D ones. Cells of unknown types are left out."""
    blocks = [_faces_of(mesh, kind) for kind in np.unique(mesh.cell_types)]
    if not blocks:
        return Faces(np.empty((0, 4), np.int64), np.empty(0, np.int64))
    corners, cell = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    # Two cells name the corners of their common face in other orders, and pad a triangle with different ones.
    key = np.where((np.arange(4) == 3) & (corners == corners[:, 2:3]), -1, corners)
    _, first, copies = np.unique(np.sort(key, axis=1), axis=0, return_index=True, return_counts=True)
    alone = np.sort(first[copies == 1])
    return Faces(corners[alone], cell[alone])


def _faces_of(mesh: Mesh, kind: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Faces of all cells of one VTK type, triangles padded to four corners."""
    cells = np.flatnonzero(mesh.cell_types == kind)
    starts = mesh.offsets[cells]
    blocks = [mesh.connectivity[starts[:, None] + np.array([*face, face[-1]][:4])] for face in FACES.get(int(kind), ())]
    if not blocks:
        return np.empty((0, 4), np.int64), np.empty(0, np.int64)
    return np.concatenate(blocks), np.tile(cells, len(blocks))


def dimension(mesh: Mesh) -> int:
    """0 for a cloud, 1 for lines, 2 for a plane mesh, 3 for a surface or volume in space."""
    kinds = {int(kind) for kind in np.unique(mesh.cell_types)}
    if not kinds & set(FACES):
        return 1 if kinds & LINES else 0
    sides = np.ptp(mesh.points, axis=0)
    return 2 if sides.min() <= FLAT * sides.max() else 3


@dataclass(frozen=True)
class View:
    """An orthographic camera and the frame of its picture."""

    right: NDArray[np.float64]
    up: NDArray[np.float64]
    towards_eye: NDArray[np.float64]
    centre: NDArray[np.float64]
    half_width: float
    half_height: float

    def project(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points (n, 3) -> picture coordinates (n, 2) and height towards the eye (n,)."""
        relative = points - self.centre
        return np.stack([relative @ self.right, relative @ self.up], axis=1), relative @ self.towards_eye

    def pixels(self, longest: int) -> tuple[int, int]:
        """Size of a picture of this frame: `longest` pixels on its longer side, at least a quarter of it on the other."""
        scale = longest / max(self.half_width, self.half_height)
        return max(round(scale * self.half_width), longest // 4), max(round(scale * self.half_height), longest // 4)


def best_view(points: NDArray[np.float64]) -> View:
    """Face-on for a plane mesh; otherwise from a corner, turned so that the broadest side is seen."""
    sides = np.ptp(points, axis=0)
    longest = max(float(sides.max()), 1e-300)
    thin = int(np.argmin(sides))
    if sides[thin] <= FLAT * longest:
        towards, up = np.eye(3)[thin], np.eye(3)[1 if thin == 2 else 2]
        # Face-on with x to the right: seen from below y for a mesh in the x-z plane.
        towards = -towards if thin == 1 else towards
    else:
        towards = np.array([0.55, -0.75, 0.5])
        towards[thin] *= 1.0 + 0.8 * (1 - sides[thin] / longest)
        up = np.array([0.0, 0.0, 1.0])
    towards = towards / np.linalg.norm(towards)
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    up = np.cross(towards, right)
    flat = np.stack([points @ right, points @ up], axis=1)
    low, high = flat.min(axis=0), flat.max(axis=0)
    depth = points @ towards
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-12 * longest) * 1.03
    centre = right * middle[0] + up * middle[1] + towards * (depth.min() + depth.max()) / 2
    return View(right, up, towards, centre, float(half[0]), float(half[1]))
