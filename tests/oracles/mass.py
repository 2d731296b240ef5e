"""Consistent mass matrices from scikit-fem's shape functions and VTK's own reference points: independent of both of our tables.

``M_ij = integral of N_i N_j`` over isoparametric cells, ``x = sum_i N_i(X) x_i``. scikit-fem numbers the nodes of a cell in its
own way; its nodes and VTK's are matched by their places in the reference cell, which both libraries tell.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from nwidth.mesh import Mesh, mesh_from_cells

Floats = NDArray[np.float64]

MASS_CELLS = {
    5: "ElementTriP1",
    9: "ElementQuad1",
    10: "ElementTetP1",
    12: "ElementHex1",
    13: "ElementWedge1",
    22: "ElementTriP2",
    23: "ElementQuadS2",
    24: "ElementTetP2",
    25: "ElementHexS2",
    28: "ElementQuad2",
    29: "ElementHex2",
}
"""VTK cell type -> scikit-fem element with the same nodes."""

LINEAR_CELL = {22: 5, 23: 9, 28: 9, 24: 10, 25: 12, 29: 12}
"""VTK cell type of second order -> the cell of its corners."""

SPLITS = {
    5: [[0, 1, 2], [0, 2, 3]],
    9: [[0, 1, 2, 3]],
    12: [[0, 1, 2, 3, 4, 5, 6, 7]],
    13: [[0, 1, 2, 4, 5, 6], [0, 2, 3, 4, 6, 7]],
}
"""How a square (triangles) or a cube (wedges) is cut into cells, by its own corners."""

# Exact for the highest degree that occurs. Squares and cubes: N N (4 in each direction) times the determinant of a triquadratic
# map (5); simplices: N N (4 in total) times the determinant of a quadratic map (3).
QUADRATURE_ORDER = {"RefTri": 8, "RefTet": 8, "RefQuad": 10, "RefHex": 10}


def skfem_mass(mesh: Mesh) -> sp.csr_array:
    """Consistent mass matrix ``(n_points, n_points)`` of unit density, in the point order of `mesh`.

    Cells may be mixed, and surfaces may be curved in space (then the rule is not exact, only very fine).

    Raises
    ------
    KeyError
        A cell type is not in `MASS_CELLS`.
    """
    total = sp.csr_array((mesh.n_points, mesh.n_points))
    for kind in np.unique(mesh.cell_types):
        N, gradient, weights = _reference_cell(int(kind))
        starts = mesh.offsets[:-1][mesh.cell_types == kind]
        cells = mesh.connectivity[starts[:, None] + np.arange(N.shape[1])]
        J = np.einsum("gnd,ena->egad", gradient, mesh.points[cells])  # (cells, points, 3, dimension)
        # The root of the Gram determinant is the measure of plane and curved cells alike, whatever their orientation.
        measure = np.sqrt(np.linalg.det(np.swapaxes(J, 2, 3) @ J)) * weights
        local = np.einsum("gi,eg,gj->eij", N, measure, N, optimize=True)
        rows, columns = np.broadcast_arrays(cells[:, :, None], cells[:, None, :])
        total += sp.coo_array((local.ravel(), (rows.ravel(), columns.ravel())), shape=total.shape).tocsr()
    return total


def small_mesh(vtk_type: int, seed: int) -> Mesh:
    """The unit square or cube in 2 cells each way (simplices: each split), inner nodes moved at random.

    Second-order cells get curved inner edges and faces. The seed also shuffles the numbering of the points.
    """
    generator = np.random.default_rng(seed)
    corners = _split_grid(LINEAR_CELL.get(vtk_type, vtk_type))
    places = np.einsum("gn,ena->ega", _linear_map(vtk_type), corners)
    flat = np.round(places.reshape(-1, places.shape[2]), 9)
    points, numbers = np.unique(flat, axis=0, return_inverse=True)
    inner = ((points > 0) & (points < 1)).all(axis=1)
    # A tenth of the least distance between nodes leaves every Jacobian positive.
    points[inner] += 0.025 * generator.uniform(-1, 1, (int(inner.sum()), points.shape[1]))
    order = generator.permutation(len(points))
    shuffled = np.empty_like(points)
    shuffled[order] = points
    return mesh_from_cells(shuffled, [(vtk_type, order[numbers].reshape(places.shape[:2]))])


@cache
def _reference_cell(vtk_type: int) -> tuple[Floats, Floats, Floats]:
    """Shape functions (points, nodes), gradients (points, nodes, dimension) in VTK's node order, and quadrature weights."""
    import skfem

    element = getattr(skfem, MASS_CELLS[vtk_type])()
    X, weights = _quadrature(element.refdom)
    values = [element.lbasis(X, i) for i in range(len(element.doflocs))]
    order = _match(np.asarray(element.doflocs, np.float64), vtk_reference_points(vtk_type)[:, : len(X)])
    N = np.array([np.broadcast_to(value, X.shape[1:]) for value, _ in values])[order].T
    gradient = np.array([np.broadcast_to(slope, X.shape) for _, slope in values])[order]
    return N, np.transpose(gradient, (2, 0, 1)), weights


def _quadrature(domain: Any) -> tuple[Floats, Floats]:
    from skfem.quadrature import get_quadrature
    from skfem.refdom import RefLine, RefTri

    if domain.__name__ != "RefWedge":
        X, weights = get_quadrature(domain, QUADRATURE_ORDER[domain.__name__])
        return np.asarray(X), np.asarray(weights)
    # scikit-fem's own rule for wedges has weights of sum 1/4 where the reference wedge has volume 1/2: take the product rule.
    (T, triangle), (L, line) = get_quadrature(RefTri, 8), get_quadrature(RefLine, 8)
    X = np.vstack([np.repeat(T, len(line), axis=1), np.tile(L, len(triangle))])
    return X, np.outer(triangle, line).ravel()


def vtk_reference_points(vtk_type: int) -> Floats:
    """Places of a cell's nodes in VTK's reference cell, ``(nodes, 3)``."""
    from vtkmodules.vtkCommonDataModel import vtkGenericCell

    return np.reshape(vtkGenericCell.InstantiateCell(vtk_type).GetParametricCoords(), (-1, 3)).astype(np.float64)


def _match(ours: Floats, wanted: Floats) -> NDArray[np.int64]:
    distance = np.abs(ours[:, None] - wanted[None]).max(axis=2)
    order = distance.argmin(axis=0)
    assert distance.min(axis=0).max() < 1e-12
    assert len(set(order)) == len(ours)
    return order


def _linear_map(vtk_type: int) -> Floats:
    """(nodes, corners): the corner cell's shape functions at the nodes of the cell itself."""
    import skfem

    corner_type = LINEAR_CELL.get(vtk_type, vtk_type)
    element = getattr(skfem, MASS_CELLS[corner_type])()
    dimension = element.doflocs.shape[1]
    X = vtk_reference_points(vtk_type)[:, :dimension].T
    order = _match(np.asarray(element.doflocs, np.float64), vtk_reference_points(corner_type)[:, :dimension])
    return np.array([np.broadcast_to(element.lbasis(X, i)[0], X.shape[1:]) for i in range(len(order))])[order].T


def _split_grid(corner_type: int) -> Floats:
    """Corners (cells, nodes, dimension) of the unit square or cube in halves: squares, cubes, or their splits, in VTK's order."""
    dimension = 2 if corner_type in (5, 9) else 3
    unit = vtk_reference_points(9 if dimension == 2 else 12)[:, :dimension]
    pieces = _kuhn(unit) if corner_type == 10 else SPLITS[corner_type]
    origins = np.stack(np.meshgrid(*[[0.0, 0.5]] * dimension, indexing="ij"), axis=-1).reshape(-1, dimension)
    return np.concatenate([origin + unit[pieces] / 2 for origin in origins])


def _kuhn(unit: Floats) -> list[list[int]]:
    """Six tetrahedra around the diagonal of the cube, one for each order of the axes; neighbouring cubes fit."""
    index = {tuple(corner): number for number, corner in enumerate(unit.astype(int).tolist())}
    tetrahedra = []
    for axes in permutations(range(3)):
        path = np.cumsum([np.zeros(3, int), *np.eye(3, dtype=int)[list(axes)]], axis=0)
        cell = [index[tuple(corner)] for corner in path.tolist()]
        odd = np.linalg.det(np.eye(3)[list(axes)]) < 0
        tetrahedra.append([cell[0], cell[2], cell[1], cell[3]] if odd else cell)
    return tetrahedra
