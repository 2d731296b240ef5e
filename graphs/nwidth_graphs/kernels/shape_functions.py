"""Integration points of finite-element cells: where a solver evaluates stress, in the order in which it prints.

    quadrature(12)       8 points of a trilinear hexahedron          quadrature(12, 1)     its reduced rule
    quadrature(25, 8)    the reduced rule of C3D20R                  quadrature(24)        4 points of a quadratic tetrahedron

A rule belongs to a cell type (VTK id) and a number of points. Where the rule is one of CalculiX (C3D4, C3D6, C3D8, C3D8R, C3D10,
C3D15, C3D20, C3D20R), places *and order* are those of its ``.dat``: Gauss points of boxes with the first direction fastest, of
wedges with the triangle faster than the axis. Coordinates run from 0 to 1 (VTK's parametric coordinates), not from -1 to 1.

On a distorted cell, C3D8R prints the mean strain of its volume and not the one at its point, and C3D8I has displacements
inside of the cell: strains of nodal displacement are not theirs there.

These rules are the lowest that keep a stiffness matrix of full rank; the rules of `elements` integrate mass exactly and have more
points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.special import roots_legendre

from nwidth_graphs.kernels.elements import Floats, shape_functions, supported_cell_types


@dataclass(frozen=True)
class Quadrature:
    """Integration points of one reference element."""

    points: Floats
    """(q, d): reference coordinates."""
    weights: Floats
    """(q,): their sum is the measure of the reference element."""


@dataclass(frozen=True)
class ShapeTable:
    """Shape functions at the integration points of one cell type."""

    shape: Floats
    """(q, a)."""
    gradient: Floats
    """(q, a, d): derivatives in reference coordinates."""
    weights: Floats
    """(q,)."""


def _box(dim: int, per_side: int) -> Quadrature:
    x, w = roots_legendre(per_side)
    # `product` runs through the last direction first, the solvers through the first one.
    points = np.array([place[::-1] for place in product((x + 1) / 2, repeat=dim)])
    return Quadrature(points, np.array([np.prod(factors) for factors in product(w / 2, repeat=dim)]))


def _triangle(count: int) -> Quadrature:
    if count == 1:
        return Quadrature(np.full((1, 2), 1 / 3), np.array([1 / 2]))
    return Quadrature(np.array([[1.0, 1.0], [4.0, 1.0], [1.0, 4.0]]) / 6, np.full(3, 1 / 6))


def _tetrahedron(count: int) -> Quadrature:
    if count == 1:
        return Quadrature(np.full((1, 3), 1 / 4), np.array([1 / 6]))
    # The four points of degree 2: (5 - sqrt 5) / 20 three times, and the rest.
    near = (5 - np.sqrt(5.0)) / 20
    points = np.full((4, 3), near)
    points[[1, 2, 3], [0, 1, 2]] = 1 - 3 * near
    return Quadrature(points, np.full(4, 1 / 24))


def _wedge(triangle: int, line: int) -> Quadrature:
    base, axis = _triangle(triangle), _box(1, line)
    points = np.array([(*place, *height) for height in axis.points for place in base.points])
    return Quadrature(points, np.outer(axis.weights, base.weights).ravel())


_Rules = dict[int, Callable[[], Quadrature]]
_TRIANGLE: _Rules = {1: lambda: _triangle(1), 3: lambda: _triangle(3)}
_SQUARE: _Rules = {1: lambda: _box(2, 1), 4: lambda: _box(2, 2), 9: lambda: _box(2, 3)}
_TETRAHEDRON: _Rules = {1: lambda: _tetrahedron(1), 4: lambda: _tetrahedron(4)}
_CUBE: _Rules = {1: lambda: _box(3, 1), 8: lambda: _box(3, 2), 27: lambda: _box(3, 3)}
_WEDGE: _Rules = {2: lambda: _wedge(1, 2), 6: lambda: _wedge(3, 2), 9: lambda: _wedge(3, 3)}

# VTK id -> (number of points by default, rules by number of points)
_TABLE: dict[int, tuple[int, _Rules]] = {
    5: (1, _TRIANGLE),
    22: (3, _TRIANGLE),
    9: (4, _SQUARE),
    23: (9, _SQUARE),
    28: (9, _SQUARE),
    10: (1, _TETRAHEDRON),
    24: (4, _TETRAHEDRON),
    12: (8, _CUBE),
    25: (27, _CUBE),
    29: (27, _CUBE),
    13: (2, _WEDGE),
    26: (9, _WEDGE),
}


def cell_types_with_points() -> tuple[int, ...]:
    """VTK ids of the cells that have a rule."""
    return tuple(sorted(_TABLE))


@cache
def quadrature(cell_type: int, count: int | None = None) -> Quadrature:
    """The rule of `count` points of a VTK cell type, of its fully integrated element by default.

    Raises
    ------
    ValueError
        There is no rule for this cell type, or none with this number of points.
    """
    if cell_type not in _TABLE:
        names = ", ".join(f"{kind} ({supported_cell_types()[kind]})" for kind in cell_types_with_points())
        raise ValueError(f"cells of VTK type {cell_type} have no integration points here; use {names}, or give your own rule")
    default, rules = _TABLE[cell_type]
    chosen = default if count is None else count
    if chosen not in rules:
        raise ValueError(
            f"there is no rule of {chosen} points for cells of VTK type {cell_type} ({supported_cell_types()[cell_type]}); "
            f"rules have {', '.join(map(str, rules))} points: choose one of them, or give a rule of your own"
        )
    return rules[chosen]()


def shape_table(cell_type: int, rule: Quadrature) -> ShapeTable:
    """Shape functions and their derivatives at the points of a rule."""
    shape, gradient = shape_functions(cell_type, rule.points)
    return ShapeTable(shape, gradient, rule.weights)
