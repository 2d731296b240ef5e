"""Rules on elements: rows that are compressed as they come, ECSW, linear programs, reduced integration domains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels.ecsw import ecsw, element_rows
from nwidth_graphs.kernels.integration_domain import incidence, integration_domain
from nwidth_graphs.kernels.linear_cubature import RejectedRuleError, linear_cubature
from nwidth_graphs.kernels.row_compression import compress_rows, merge_compressed
from nwidth_graphs.kernels.rule import integration_error
from tests import cube
from tests.asserts import backward_error
from tests.kernels.cubature.cases import cube_integrands, gauss, lagrange, mixtures

Floats = NDArray[np.float64]


def cube_elements(modes: int) -> Floats:
    """Work of modes against the stresses of the ten states, by element: the weighted integrands of its 8 points, added up."""
    G, weights = cube_integrands(modes)
    return np.asarray((G * weights).reshape(len(G), 216, 8).sum(axis=2))


@settings(max_examples=30, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    columns=st.integers(1, 25),
    rtol=st.sampled_from([0.0, 1e-6, 1e-2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_compressed_rows_measure_as_all_rows_do(cuts: list[int], columns: int, rtol: float, seed: int) -> None:
    """For any x, ||C x|| is below the norm over all rows, and within what was dropped of it; rows are at most columns."""
    random = np.random.default_rng(seed)
    G = random.standard_normal((sum(cuts), columns)) * 10.0 ** -random.uniform(0, 8, columns)
    blocks = np.split(G, np.cumsum(cuts)[:-1])
    found = compress_rows(blocks, rtol=rtol)
    x = random.standard_normal((columns, 5))
    norms, kept = np.linalg.norm(G @ x, axis=0), np.linalg.norm(found.rows @ x, axis=0)
    rounding = 10 * backward_error(G.shape) * np.linalg.norm(G) * np.linalg.norm(x, axis=0)
    assert (kept <= norms + rounding).all()
    assert (norms <= np.hypot(kept, found.dropped * np.linalg.norm(x, axis=0)) + rounding).all()
    assert found.dropped <= rtol * np.sqrt(len(cuts) * 2) * np.linalg.norm(G) + rounding.max()
    assert len(found.rows) <= min(G.shape)
    assert found.seen == len(G)
    assert found.squares == pytest.approx(float(np.sum(G**2)))


def test_compressions_merge_in_any_tree() -> None:
    """Three parts merged left first or right first have the same C^T C."""
    G, _ = mixtures(90, 40, 0, rank=12)
    a, b, c = (compress_rows([part]) for part in np.split(G, 3))
    left = merge_compressed([merge_compressed([a, b]), c])
    right = merge_compressed([a, merge_compressed([b, c])])
    for one in (left, right):
        np.testing.assert_allclose(one.rows.T @ one.rows, G.T @ G, atol=backward_error(G.shape) * np.linalg.norm(G) ** 2)
        assert len(one.rows) == 12


@pytest.mark.parametrize("normalised", [False, True])
def test_elements_of_the_cube(normalised: bool) -> None:
    """The cube's 216 elements to 1e-2 and 1e-4: the tolerance is met on the rows themselves, by a part of the elements."""
    G = cube_elements(5)
    for tolerance, most in ((1e-2, 30), (1e-4, 50)):
        found = ecsw(np.split(G, 10), tolerance, normalised=normalised)
        assert len(found.rule.points) <= most
        missed = np.linalg.norm(G[:, found.rule.points] @ found.rule.weights - G.sum(axis=1)) / np.linalg.norm(G.sum(axis=1))
        assert missed == pytest.approx(found.rule.error, rel=1e-6)
        assert (1 - 1e-6) * missed <= found.bound <= (1 + 1e-6) * tolerance


def test_dropped_rows_stay_below_the_bound() -> None:
    """Where the compression drops a hundredth of the rows, the bound still holds for all of them."""
    G = cube_elements(5)
    found = ecsw(np.split(G, 10), 1e-3, rtol=1e-2)
    missed = np.linalg.norm(G[:, found.rule.points] @ found.rule.weights - G.sum(axis=1)) / np.linalg.norm(G.sum(axis=1))
    assert len(found.rows.rows) < len(compress_rows([G]).rows) / 2
    assert found.rule.error < missed <= found.bound


def test_element_rows_are_works() -> None:
    """Rows made of element modes and element forces are those of strains and stresses: the same virtual work."""
    run, grid = cube.reference_run(), cube.CubeGrid(6)
    modes = np.random.default_rng(0).standard_normal((run.u.shape[1], 3))
    forces = np.einsum("gij,segi->ejs", grid.strain, run.sigma[1:].reshape(10, 216, 8, 6)) * grid.weight
    rows = element_rows(modes[grid.dofs], forces)
    assert rows.shape == (30, 216)
    expected = np.array([modes.T @ grid.forces(sigma) for sigma in run.sigma[1:]]).T
    np.testing.assert_allclose(rows.sum(axis=1).reshape(3, 10), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_bad_days_of_elements() -> None:
    """No rows, rows of zeros, rows that do not fit, forces that do not fit: one sentence each."""
    with pytest.raises(ValueError, match="no block of rows"):
        ecsw([], 1e-2)
    with pytest.raises(ValueError, match="all rows are zero"):
        ecsw([np.zeros((3, 4))], 1e-2)
    with pytest.raises(ValueError, match=r"rows with \[3, 4\] columns"):
        ecsw([np.ones((3, 4)), np.ones((2, 3))], 1e-2)
    with pytest.raises(ValueError, match="not finite"):
        ecsw([np.full((3, 4), np.nan)], 1e-2)
    with pytest.raises(ValueError, match=r"modes of shape \(2, 3, 1\)"):
        element_rows(np.ones((2, 3, 1)), np.ones((3, 3, 1)))


def test_a_linear_program_finds_few_points() -> None:
    """Polynomials of degree five with the volume: at most a point per row, exact to the solver's tolerance."""
    x, weights = gauss(100, 4)
    rule = linear_cubature(lagrange(6, x), weights, 1e-6, volume=True)
    assert len(rule.points) <= 7
    assert rule.volume_ratio == pytest.approx(1.0, abs=1e-6)
    assert rule.error <= 2e-6
    assert (rule.weights > 0.0).all()


def test_a_linear_program_on_the_cube() -> None:
    """Five modes of the cube to 1e-3 in every row and in the norm, with at most as many points as rows."""
    G, weights = cube_integrands(5)
    rule = linear_cubature(G, weights, 1e-3)
    assert rule.ended == "tolerance"
    assert len(rule.points) <= 50
    each = linear_cubature(G, weights, 1e-2, componentwise=True)
    found = integration_error(G, weights, each.points, each.weights)
    assert (np.abs(found.errors) <= 1.001e-2 * np.abs(found.integrals)).all()


def test_a_program_without_a_useful_rule_says_why() -> None:
    """Too many points, and no rule at all, are told apart; what cannot be integrated is refused as everywhere."""
    G = np.eye(10)
    with pytest.raises(RejectedRuleError, match="keeps 10 of 10 points, 100%, and at most 15% are a reduction"):
        linear_cubature(G, np.ones(10), 1e-3)
    with pytest.raises(RejectedRuleError, match="no non-negative rule is within the tolerance"):
        linear_cubature(np.array([[1.0, 1.0]]), np.array([-1.0, 0.5]), 1e-3)
    with pytest.raises(ValueError, match="all integrals are zero"):
        linear_cubature(np.array([[1.0, -1.0]]), np.ones(2), 1e-3)


def test_the_domain_of_one_node_grows_by_layers() -> None:
    """About the middle node of the cube: 8, 64 and all 216 elements, and as many free nodes as have all their elements there."""
    grid = cube.CubeGrid(6)
    belongs = incidence(grid.hexahedra, 343)
    middle = np.array([3 + 7 * 3 + 49 * 3])
    for layers, elements, free in ((0, 8, 1), (1, 64, 27), (2, 216, 343)):
        domain = integration_domain(belongs, middle, layers=layers)
        assert (len(domain.elements), len(domain.free_nodes)) == (elements, free)
    assert len(integration_domain(belongs, middle, layers=1).nodes) == 125


def test_the_domain_holds_selected_elements_and_mixed_cells() -> None:
    """A strip of cells of two kinds: an element without nodes, and one beside it by a layer; corners are free where alone."""
    belongs = incidence([np.array([0, 1, 2]), np.array([1, 2, 3, 4]), np.array([4, 5])], 6)
    nothing = np.zeros(0, np.int64)
    domain = integration_domain(belongs, nothing, elements=np.array([2]), layers=0)
    assert (domain.elements.tolist(), domain.nodes.tolist(), domain.free_nodes.tolist()) == ([2], [4, 5], [5])
    assert integration_domain(belongs, nothing, elements=np.array([2]), layers=1).elements.tolist() == [1, 2]
    with pytest.raises(ValueError, match="select at least one"):
        integration_domain(belongs, nothing)
    with pytest.raises(ValueError, match="node 6 was selected"):
        integration_domain(belongs, np.array([6]))
    with pytest.raises(ValueError, match="a cell names node 5"):
        incidence([np.array([0, 5])], 5)
