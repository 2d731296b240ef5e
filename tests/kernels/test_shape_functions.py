"""Integration rules of cells: what they integrate exactly, in which order their points come, and what is refused."""

from __future__ import annotations

from itertools import product
from math import factorial

import numpy as np
import pytest

from nwidth_graphs.kernels.elements import shape_functions
from nwidth_graphs.kernels.shape_functions import cell_types_with_points, quadrature, shape_table
from tests.oracles.mass import vtk_reference_points

EPS = np.finfo(float).eps
DIMENSION = {5: 2, 9: 2, 22: 2, 23: 2, 28: 2}

# Cell type, number of points, highest exactly integrated degree: in total for simplices, in each direction for boxes.
RULES = [
    *((kind, count, degree) for kind in (5, 22) for count, degree in ((1, 1), (3, 2))),
    *((kind, count, degree) for kind in (9, 23, 28) for count, degree in ((1, 1), (4, 3), (9, 5))),
    *((kind, count, degree) for kind in (10, 24) for count, degree in ((1, 1), (4, 2))),
    *((kind, count, degree) for kind in (12, 25, 29) for count, degree in ((1, 1), (8, 3), (27, 5))),
]


@pytest.mark.parametrize(("kind", "count", "degree"), RULES)
def test_rules_are_exact_to_their_degree(kind: int, count: int, degree: int) -> None:
    """Every monomial up to the degree is integrated exactly over the reference cell, and one of the next degree is not."""
    rule, dim = quadrature(kind, count), DIMENSION.get(kind, 3)
    simplex = kind in (5, 22, 10, 24)
    assert rule.points.shape == (count, dim)
    for powers in product(range(degree + 1), repeat=dim):
        if not simplex or sum(powers) <= degree:
            found = rule.weights @ np.prod(rule.points ** np.array(powers), axis=1)
            assert found == pytest.approx(exact_integral(powers, simplex), rel=100 * EPS), powers
    beyond = rule.weights @ rule.points[:, 0] ** (degree + 1)
    assert abs(beyond / exact_integral((degree + 1, *[0] * (dim - 1)), simplex) - 1) > 1e-4


def exact_integral(powers: tuple[int, ...], simplex: bool) -> float:
    """Of a monomial over the unit simplex (Dirichlet's formula), or over the unit box."""
    if simplex:
        return float(np.prod([factorial(power) for power in powers])) / factorial(len(powers) + sum(powers))
    return 1.0 / float(np.prod([power + 1 for power in powers]))


@pytest.mark.parametrize(("count", "in_plane", "along"), [(2, 1, 3), (6, 2, 3), (9, 2, 5)])
def test_wedge_rules_are_products(count: int, in_plane: int, along: int) -> None:
    """A wedge's rule integrates products of polynomials of triangle and axis, each to the degree of its own rule."""
    for kind in (13, 26):
        rule = quadrature(kind, count)
        for i, j, k in product(range(in_plane + 1), range(in_plane + 1), range(along + 1)):
            if i + j <= in_plane:
                found = rule.weights @ np.prod(rule.points ** np.array([i, j, k]), axis=1)
                assert found == pytest.approx(exact_integral((i, j), True) / (k + 1), rel=100 * EPS)


@pytest.mark.parametrize("kind", cell_types_with_points())
def test_shape_functions_are_one_at_their_own_node(kind: int) -> None:
    """At VTK's own reference nodes the table of shape functions is the identity, and default points lie inside of the cell."""
    nodes = vtk_reference_points(kind)[:, : DIMENSION.get(kind, 3)]
    shape, gradient = shape_functions(kind, nodes)
    np.testing.assert_allclose(shape, np.eye(len(nodes)), atol=1e-13)
    np.testing.assert_allclose(gradient.sum(axis=1), 0.0, atol=1e-12)
    table = shape_table(kind, quadrature(kind))
    places = table.shape @ nodes
    assert ((places > 0) & (places < 1)).all()
    np.testing.assert_allclose(places, quadrature(kind).points, atol=1e-14)


def test_points_come_in_the_order_of_the_solver() -> None:
    """A box's first direction is the fastest, a wedge's triangle comes before its axis, a tetrahedron starts at its origin."""
    low, high = (1 - 1 / np.sqrt(3)) / 2, (1 + 1 / np.sqrt(3)) / 2
    np.testing.assert_allclose(quadrature(12).points[:3], [[low, low, low], [high, low, low], [low, high, low]])
    assert (np.diff(quadrature(26).points[:, 2].reshape(3, 3), axis=1) == 0).all()
    np.testing.assert_allclose(quadrature(24).points.sum(axis=1), [3 * 0.1381966, *[0.5854102 + 2 * 0.1381966] * 3], atol=1e-7)


def test_unknown_cells_and_counts_are_refused() -> None:
    """A cell type or number of points without a rule is named, with those that there are."""
    with pytest.raises(ValueError, match=r"cells of VTK type 14 have no integration points here; use 5 \(triangle\), "):
        quadrature(14)
    with pytest.raises(ValueError, match=r"no rule of 5 points .* type 12 \(hexahedron\); rules have 1, 8, 27 points"):
        quadrature(12, 5)
