"""Element-form mass matrices: elements against scikit-fem and VTK, and the operations of a patch against dense products."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth.inner_products import mass_cells
from nwidth.mesh import Mesh
from nwidth_graphs.inner import MassProduct
from nwidth_graphs.kernels.elements import quadrature_weights, reference_element, supported_cell_types
from nwidth_graphs.kernels.gram import whole_gram
from nwidth_graphs.kernels.lift import projection_errors
from nwidth_graphs.kernels.mass import COLUMNS, ElementPatch
from tests.asserts import assert_spectrum_close, backward_error
from tests.oracles.mass import MASS_CELLS, skfem_mass, small_mesh, vtk_reference_points
from tests.oracles.pod import dense_pod, matrix_with_spectrum

EPS = np.finfo(float).eps
MEASURES = {"line": 1.0, "triangle": 0.5, "quad": 1.0, "tetra": 1 / 6, "hexahedron": 1.0, "wedge": 0.5}


def patch_of(mesh: Mesh, components: int = 1) -> ElementPatch:
    return ElementPatch(mesh.points, mass_cells(mesh), components)


@pytest.mark.parametrize("cell_type", sorted(supported_cell_types()))
def test_shape_functions_are_nodal(cell_type: int) -> None:
    """Shape functions sum to one and their gradients to zero at every Gauss point; the rule integrates the volume."""
    element = reference_element(cell_type)
    rounding = 100 * element.shape.shape[1] * EPS
    np.testing.assert_allclose(element.shape.sum(axis=1), 1.0, atol=rounding)
    np.testing.assert_allclose(element.gradient.sum(axis=1), 0.0, atol=rounding)
    assert element.weights.sum() == pytest.approx(MEASURES[element.name.rstrip("0123456789")], rel=rounding)


@pytest.mark.parametrize("cell_type", sorted(supported_cell_types()))
def test_nodes_stand_where_vtk_has_them(cell_type: int) -> None:
    """Interpolating VTK's own reference nodes gives the Gauss points back: same nodes, same order."""
    element = reference_element(cell_type)
    nodes = vtk_reference_points(cell_type)[:, : element.gradient.shape[2]]
    places = element.shape @ nodes
    jacobian = np.einsum("qad,ax->qxd", element.gradient, nodes)
    np.testing.assert_allclose(jacobian, np.broadcast_to(np.eye(nodes.shape[1]), jacobian.shape), atol=1e-13)
    assert np.all((places > 0) & (places < 1))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cell_type", sorted(MASS_CELLS))
def test_mass_is_the_consistent_mass(cell_type: int, seed: int) -> None:
    """On distorted cells, the assembled patch is scikit-fem's consistent mass matrix to rounding."""
    mesh = small_mesh(cell_type, seed)
    expected = skfem_mass(mesh)
    found = patch_of(mesh).matrix
    # Entries are sums of some hundred products of numbers of order one, times the measure of a cell.
    assert abs(found - expected).max() <= 1000 * EPS * abs(expected).max()


@pytest.mark.parametrize("cell_type", [9, 10, 25])
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("centre", [False, True])
def test_patch_operations_are_dense_products(cell_type: int, components: int, centre: bool) -> None:
    """Gram, R and lift of a patch are those of the dense mass matrix, over more columns than one visit takes."""
    mesh = small_mesh(cell_type, 2)
    M = np.kron(skfem_mass(mesh).toarray(), np.eye(components))
    rows, columns = len(M), COLUMNS + 7
    matrix = matrix_with_spectrum(rows, columns, 0.8 ** np.arange(min(rows, columns)), 3).astype(np.float32) + np.float32(0.5)
    X = matrix.astype(np.float64)
    X = X - X.mean(axis=1, keepdims=True) if centre else X
    product = MassProduct(patch_of(mesh, components))
    C = X.T @ M @ X
    scale, norms = np.linalg.norm(C, 2), np.sqrt(np.diag(C))
    np.testing.assert_allclose(product.gram(matrix, centre=centre), C, rtol=0, atol=backward_error(M.shape) * scale)
    twice = whole_gram(product.grow_gram(product.grow_gram(None, matrix, centre=centre), matrix, centre=centre))
    np.testing.assert_allclose(twice, 2.0 * C, rtol=0, atol=2.0 * backward_error(M.shape) * scale)
    pod = dense_pod(X, M, rank=4)
    R = product.r_factor(matrix, centre=centre)
    assert_spectrum_close(np.linalg.svd(R)[1], pod.singular_values, X.shape)
    T = np.linalg.lstsq(X, pod.modes)[0]
    for predicted in (pod.coefficients, None):
        modes, sums = product.lift(matrix, T, predicted, centre=centre)
        np.testing.assert_allclose(modes, (X @ T).T, rtol=0, atol=backward_error(M.shape) * np.linalg.norm(T, 2) * scale)
        squares, _ = projection_errors(sums, pod.coefficients, norms)
        atol = backward_error(M.shape) * scale * max(1.0, np.linalg.norm(T, 2) ** 2 * scale)
        np.testing.assert_allclose(squares, (pod.snapshot_errors * norms) ** 2, rtol=0, atol=atol)


def test_the_block_is_not_changed() -> None:
    """Gram, R and lift leave a writable block as it was."""
    mesh = small_mesh(12, 0)
    product = MassProduct(patch_of(mesh))
    matrix = matrix_with_spectrum(mesh.n_points, 5, np.ones(5), 4)
    before = matrix.copy()
    product.gram(matrix, centre=True)
    product.r_factor(matrix, centre=True)
    product.lift(matrix, np.eye(5)[:, :2], np.eye(5)[:2], centre=True)
    assert np.array_equal(matrix, before)


def test_a_node_without_cells_still_shows_its_nan() -> None:
    """R of a patch is not finite where any row of the block is not, also a row that no element of the patch touches."""
    mesh = small_mesh(5, 0)
    lonely = ElementPatch(np.vstack([mesh.points, [[9.0, 9.0, 0.0]]]), mass_cells(mesh))
    matrix = matrix_with_spectrum(mesh.n_points + 1, 3, np.ones(3), 5)
    assert np.isfinite(MassProduct(lonely).r_factor(matrix, centre=False)).all()
    matrix[-1, 1] = np.nan
    assert not np.isfinite(MassProduct(lonely).r_factor(matrix, centre=False)).all()


def test_a_cell_turned_inside_out_counts_positive() -> None:
    """Swapping the two ends of a hexahedron mirrors it as a whole; its volume stays positive."""
    nodes = vtk_reference_points(12)
    cells = np.array([[0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 0, 1, 2, 3]])
    weights = quadrature_weights(nodes, cells, 12)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-13)
