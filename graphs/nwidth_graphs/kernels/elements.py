"""Reference elements and their consistent mass: the element form ``M = P^T W P`` of a mesh's own inner product.

    M = sum over elements e of  P_e^T M_e P_e,      M_e[a, b] = sum_q w_eq N_qa N_qb  = int_e N_a N_b

`P_e` picks the nodes of element e, `N (q, a)` holds the shape functions at the Gauss points of the reference element, and
`w_eq` are the Gauss weights times the Jacobian determinant. Node numbering is VTK's.

Shape functions are not written out one by one: an element is its node coordinates and its monomials, and
``N = monomials(x) V^-1`` with V the monomials at the nodes.

Exactness: the Gauss rules integrate ``N_a N_b det J`` exactly, for straight and for curved cells. Only surfaces and lines that
are curved in space, whose measure is a square root, are integrated approximately.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ReferenceElement:
    """Shape functions and Gauss rule of one VTK cell type."""

    name: str
    shape: Floats
    """(q, a): N_a at Gauss point q."""
    gradient: Floats
    """(q, a, d): derivative of N_a in reference direction d."""
    weights: Floats
    """(q,): Gauss weights on the reference element."""


@dataclass(frozen=True)
class _Recipe:
    name: str
    nodes: str
    """Reference coordinates of the nodes in VTK order, in units of one half: ``"000 200 020"`` is (0,0,0) (1,0,0) (0,1,0)."""
    monomials: Callable[[int], list[tuple[int, ...]]]
    rule: Callable[[int], tuple[Floats, Floats]]
    degree: int


def _full(degree: int) -> Callable[[int], list[tuple[int, ...]]]:
    """All monomials of total degree at most `degree` (triangles, tetrahedra)."""
    return lambda dim: [powers for powers in product(range(degree + 1), repeat=dim) if sum(powers) <= degree]


def _tensor(degree: int) -> Callable[[int], list[tuple[int, ...]]]:
    """All monomials of degree at most `degree` in each direction (quadrilaterals, hexahedra)."""
    return lambda dim: list(product(range(degree + 1), repeat=dim))


def _serendipity(dim: int) -> list[tuple[int, ...]]:
    """Monomials of superlinear degree at most 2: the 8-node quadrilateral and the 20-node hexahedron."""
    return [p for p in product(range(3), repeat=dim) if sum(power for power in p if power > 1) <= 2]


def _wedge(degree: int) -> Callable[[int], list[tuple[int, ...]]]:
    """Triangle times segment; the quadratic wedge with 15 nodes is its serendipity form."""
    if degree == 1:
        return lambda _: [(i, j, k) for i, j in _full(1)(2) for k in range(2)]
    powers: list[tuple[int, ...]] = [(i, j, k) for i, j in _full(2)(2) for k in range(2)]
    powers += [(i, j, 2) for i, j in _full(1)(2)]
    return lambda _: powers


def _gauss_box(dim: int, points: int) -> tuple[Floats, Floats]:
    """Tensor Gauss-Legendre rule on (0, 1)^dim, exact to degree ``2 points - 1`` in each direction."""
    x, w = scipy.special.roots_legendre(points)
    grid = np.array(list(product((x + 1) / 2, repeat=dim)))
    return grid, np.array([np.prod(pair) for pair in product(w / 2, repeat=dim)])


def _gauss_simplex(dim: int, points: int) -> tuple[Floats, Floats]:
    """Conical product rule on the unit simplex, exact to total degree ``2 points - 1``."""
    coordinates, weights = np.zeros((1, 0)), np.ones(1)
    for axis in range(dim):
        x, w = scipy.special.roots_jacobi(points, axis, 0)
        x, w = (x + 1) / 2, w / 2 ** (axis + 1)
        # A simplex of one more dimension is a cone over the one at hand, whose section shrinks like 1 - x.
        shrunk = np.repeat(coordinates, points, axis=0) * np.tile(1 - x, len(weights))[:, None]
        coordinates = np.column_stack([np.tile(x, len(weights)), shrunk])
        weights = np.repeat(weights, points) * np.tile(w, len(weights))
    return coordinates, weights


def _gauss_wedge(points: int) -> tuple[Floats, Floats]:
    (plane, plane_weights), (line, line_weights) = _gauss_simplex(2, points), _gauss_box(1, points)
    grid = np.array([(*p, *z) for p in plane for z in line])
    return grid, np.array([a * b for a in plane_weights for b in line_weights])


_QUAD4 = "00 20 22 02"
_QUAD8 = f"{_QUAD4} 10 21 12 01"
_HEX8 = "000 200 220 020 002 202 222 022"
_HEX20 = f"{_HEX8} 100 210 120 010 102 212 122 012 001 201 221 021"
_HEX27 = f"{_HEX20} 011 211 101 121 110 112 111"
_WEDGE6 = "000 200 020 002 202 022"
_WEDGE15 = f"{_WEDGE6} 100 110 010 102 112 012 001 201 021"
_TET4 = "000 200 020 002"

# VTK id -> recipe. Degree of the rule: 2p for the product of two shape functions, plus that of det J.
_RECIPES: dict[int, _Recipe] = {
    3: _Recipe("line", "0 2", _full(1), lambda _: _gauss_box(1, 2), 1),
    5: _Recipe("triangle", "00 20 02", _full(1), lambda _: _gauss_simplex(2, 2), 1),
    9: _Recipe("quad", _QUAD4, _tensor(1), lambda _: _gauss_box(2, 2), 1),
    10: _Recipe("tetra", _TET4, _full(1), lambda _: _gauss_simplex(3, 2), 1),
    12: _Recipe("hexahedron", _HEX8, _tensor(1), lambda _: _gauss_box(3, 3), 1),
    13: _Recipe("wedge", _WEDGE6, _wedge(1), lambda _: _gauss_wedge(3), 1),
    22: _Recipe("triangle6", "00 20 02 10 11 01", _full(2), lambda _: _gauss_simplex(2, 4), 2),
    23: _Recipe("quad8", _QUAD8, _serendipity, lambda _: _gauss_box(2, 4), 2),
    24: _Recipe("tetra10", f"{_TET4} 100 110 010 001 101 011", _full(2), lambda _: _gauss_simplex(3, 4), 2),
    25: _Recipe("hexahedron20", _HEX20, _serendipity, lambda _: _gauss_box(3, 5), 2),
    26: _Recipe("wedge15", _WEDGE15, _wedge(2), lambda _: _gauss_wedge(5), 2),
    28: _Recipe("quad9", f"{_QUAD8} 11", _tensor(2), lambda _: _gauss_box(2, 4), 2),
    29: _Recipe("hexahedron27", _HEX27, _tensor(2), lambda _: _gauss_box(3, 5), 2),
}


def supported_cell_types() -> dict[int, str]:
    """VTK id -> name of the cell types that have a mass matrix."""
    return {kind: recipe.name for kind, recipe in _RECIPES.items()}


@cache
def reference_element(cell_type: int) -> ReferenceElement:
    """The shape functions and Gauss rule of a VTK cell type; raises KeyError for one that is not in the table."""
    points, weights = _RECIPES[cell_type].rule(0)
    shape, gradient = shape_functions(cell_type, points)
    return ReferenceElement(_RECIPES[cell_type].name, shape, gradient, weights)


def shape_functions(cell_type: int, points: Floats) -> tuple[Floats, Floats]:
    """``N_a`` (q, a) and its derivatives (q, a, d) at points (q, d) of the reference element, whose sides run from 0 to 1.

    Raises KeyError for a cell type that is not in the table.
    """
    powers, to_nodal = _nodal_basis(cell_type)
    derivatives = [_monomial_derivative(points, powers, axis) @ to_nodal for axis in range(powers.shape[1])]
    return _monomials(points, powers) @ to_nodal, np.stack(derivatives, axis=-1)


@cache
def _nodal_basis(cell_type: int) -> tuple[NDArray[np.int64], Floats]:
    """Powers of the monomials (monomials, d), and ``V^-1`` (monomials, a) that makes shape functions of them."""
    recipe = _RECIPES[cell_type]
    nodes = np.array([[int(digit) / 2 for digit in node] for node in recipe.nodes.split()])
    powers = np.array(recipe.monomials(nodes.shape[1]))
    return powers, np.linalg.inv(_monomials(nodes, powers))


def _monomials(points: Floats, powers: NDArray[np.int64]) -> Floats:
    """(points, monomials): product over directions of ``x_d ** power_d``."""
    values: Floats = np.prod(points[:, None, :] ** powers[None, :, :], axis=-1)
    return values


def _monomial_derivative(points: Floats, powers: NDArray[np.int64], axis: int) -> Floats:
    lowered = powers.copy()
    lowered[:, axis] = np.maximum(powers[:, axis] - 1, 0)
    return powers[:, axis] * _monomials(points, lowered)


def quadrature_weights(points: Floats, cells: NDArray[np.int64], cell_type: int) -> Floats:
    """``w_eq = w_q det J_e(x_q)``: (elements, q), in (length unit)^d.

    `points` is (n, 3); surfaces use the length of the normal, lines that of the tangent. A weight that is not positive means a
    degenerate or folded cell; the caller names it. Cells that are inverted as a whole (all weights negative) are turned around.
    """
    element = reference_element(cell_type)
    jacobian = np.einsum("qad,eax->eqxd", element.gradient, points[cells])
    if jacobian.shape[-1] == 3:
        measure = np.linalg.det(jacobian)
        measure = np.where((measure < 0).all(axis=1, keepdims=True), -measure, measure)
    else:
        measure = _measure_in_space(jacobian[..., 0] if jacobian.shape[-1] == 1 else np.cross(jacobian[..., 0], jacobian[..., 1]))
    weights: Floats = measure * element.weights
    return weights


def _measure_in_space(direction: Floats) -> Floats:
    """Lengths of normals or tangents (e, q, 3), negative where one points against the longest of its cell: the cell is folded."""
    length = np.linalg.norm(direction, axis=-1)
    longest = np.take_along_axis(direction, length.argmax(axis=1)[:, None, None], axis=1)
    return np.where((direction * longest).sum(axis=-1) < 0, -length, length)


def element_masses(weights: Floats, cell_type: int) -> Floats:
    """``M_e = N^T diag(w_e) N``: (elements, a, a)."""
    shape = reference_element(cell_type).shape
    masses: Floats = np.einsum("eq,qa,qb->eab", weights, shape, shape, optimize=True)
    return masses
