"""A mesh's own inner product through the whole POD: cut over many panels it is the one that the dense mass matrix gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth.errors import MeshError
from nwidth.inner_products import cut_mass, mass_cells
from nwidth.mesh import Mesh, mesh_from_cells
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.kernels.lift import projection_errors
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.source import FieldSource, Reading, as_rows
from nwidth_graphs.truncation import truncate
from tests.asserts import assert_orthonormal, assert_spectrum_close, backward_error
from tests.graphs.problems import compute
from tests.oracles.mass import MASS_CELLS, skfem_mass, small_mesh
from tests.oracles.pod import dense_pod

REDUCTIONS = pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)


def field_on(mesh: Mesh, components: int, snapshots: int = 6) -> NDArray[np.float64]:
    """(snapshots, nodes[, components]): smooth and rough parts, amplitudes over two decades."""
    generator = np.random.default_rng(mesh.n_points)
    waves = [np.sin((k + 1) * mesh.points @ np.array([1.0, 2.0, 3.0])) for k in range(snapshots)]
    smooth = np.stack([np.outer(wave, np.arange(1, components + 1)) for wave in waves])
    values = smooth * 10.0 ** -np.linspace(0, 2, snapshots)[:, None, None] + 0.01 * generator.standard_normal(smooth.shape)
    return values[..., 0] if components == 1 else values


def source_on(mesh: Mesh, field: NDArray[np.float64], step: int, folder: Path, *, centre: bool = False) -> FieldSource:
    """The field cut into panels of `step` nodes, with the mesh's mass."""
    cut = panels(field.shape[1:], (step, *field.shape[2:]))
    mass = cut_mass(mesh, cut, field.shape[2] if field.ndim == 3 else 1, folder)

    def read(panel: Panel) -> Reading:
        return Reading(as_rows(field[(slice(None), *panel.selection)]))

    return FieldSource("u", cut, len(field), 8, read=read, centre=centre, **mass.arguments)


@REDUCTIONS
@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("cell_type", [5, 10, 25])
@pytest.mark.parametrize("step", [4, 10_000])
def test_any_cut_gives_the_pod_of_the_dense_mass(
    cell_type: int, components: int, step: int, reduction: Reduction, tmp_path: Path
) -> None:
    """Spectrum, modes and certificate are the dense ones, though nodes are numbered at random and most cells straddle panels."""
    mesh = small_mesh(cell_type, 1)
    field = field_on(mesh, components)
    matrix = as_rows(field)
    M = np.kron(skfem_mass(mesh).toarray(), np.eye(components))
    centred = matrix - matrix.mean(axis=1, keepdims=True)
    exact = dense_pod(centred, M, rank=3)
    source = source_on(mesh, field, step, tmp_path, centre=True)
    assert (source.interface is None) == (step >= mesh.n_points)
    factor = compute(factor_graph([source], reduction, "aa"))[factor_root("u", reduction)].factor
    cut = truncate({"u": factor}, {"u": 1.0}, reduction, rows=len(matrix), rtol=None, rank=3)
    assert_spectrum_close(cut.singular_values[:3], exact.singular_values[:3], matrix.shape)
    modes, means = np.full((3, len(matrix)), np.nan), np.full(len(matrix), np.nan)

    def write(panel: Panel, rows: NDArray[np.float64], mean: NDArray[np.float64] | None) -> None:
        places = slice(panel.selection[0].start * components, panel.selection[0].stop * components)
        modes[:, places], means[places] = rows, mean

    for predicted in (cut.coefficients, None):
        sums = compute(lift_graph([Lift(source, cut.transform, predicted, write)], "aa"))[lift_root("u")].sums
        assert_orthonormal(modes.T, M, tolerance=1e-10)
        np.testing.assert_allclose(means, matrix.mean(axis=1), atol=1e-15)
        np.testing.assert_allclose(sums.overlap, modes @ M @ modes.T, atol=backward_error(M.shape))
        norms = np.sqrt(np.einsum("ij,ij->j", centred, M @ centred))
        squares, _ = projection_errors(sums, cut.coefficients, norms)
        atol = backward_error(M.shape) * norms.max()
        np.testing.assert_allclose(squares, (exact.snapshot_errors * norms) ** 2, rtol=1e-6, atol=atol * norms.max())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("cell_type", sorted(MASS_CELLS))
def test_patches_and_interface_add_up_to_the_mass(cell_type: int, seed: int, tmp_path: Path) -> None:
    """Summed over panels and the interface, the patches are the consistent mass matrix: no cell is lost or counted twice."""
    mesh = small_mesh(cell_type, seed)
    cut = panels((mesh.n_points,), (7,))
    mass = cut_mass(mesh, cut, 1, tmp_path)
    total = np.zeros((mesh.n_points,) * 2)
    for panel in cut:
        nodes = np.arange(mesh.n_points)[panel.selection[0]]
        total[np.ix_(nodes, nodes)] += mass.product(panel).patch.matrix.toarray()  # type: ignore[attr-defined]
    interface = mass.interface
    assert interface is not None
    nodes = np.concatenate([cut[index].selection[0].start + rows for index, rows in sorted(interface.rows.items())])
    total[np.ix_(nodes, nodes)] += interface.patch.matrix.toarray()
    expected = skfem_mass(mesh).toarray()
    assert np.abs(total - expected).max() <= 1000 * np.finfo(float).eps * expected.max()


@REDUCTIONS
def test_a_nan_at_a_node_between_panels_is_found(reduction: Reduction, tmp_path: Path) -> None:
    """A node all of whose cells straddle panels belongs to no patch; its NaN is named all the same."""
    mesh = mesh_from_cells(np.arange(4.0)[:, None], [(3, [[0, 1], [1, 2], [2, 3]])])
    field = np.ones((3, 4))
    field[1, 2] = np.nan
    found = compute(factor_graph([source_on(mesh, field, 1, tmp_path)], reduction, "aa"))[factor_root("u", reduction)]
    assert [(bad.place, bad.snapshot) for bad in found.bad] == [((2,), 1)]


def test_only_cells_of_the_highest_dimension_carry_mass() -> None:
    """Points, lines and faces that a mesh carries beside its volume cells are not counted twice."""
    cube = small_mesh(12, 0)
    corners = cube.connectivity[:4]
    mixed = mesh_from_cells(
        cube.points,
        [(1, corners[:1, None]), (3, corners[None, :2]), (9, corners[None, :]), (12, cube.connectivity.reshape(-1, 8))],
    )
    assert list(mass_cells(mixed)) == [12]
    assert np.array_equal(mass_cells(mixed)[12], cube.connectivity.reshape(-1, 8))


TRIANGLE = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
FLAT = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], float)


@pytest.mark.parametrize(
    ("mesh", "words"),
    [
        (Mesh(FLAT), "the mesh has no cells"),
        (mesh_from_cells(FLAT, [(1, [[0], [1]])]), "the mesh has no cells"),
        (mesh_from_cells(FLAT, [(14, [[0, 1, 2, 3, 0]])]), r"VTK type 14 have no mass matrix .*hexahedron.*store weights"),
        (mesh_from_cells(TRIANGLE, [(5, [[0, 1, 2], [0, 1, 3]])]), "cell 1 is inverted or has no volume"),
        (mesh_from_cells(FLAT, [(10, [[0, 1, 2, 3]])]), "cell 0 is inverted or has no volume"),
        # A bow tie: the determinant changes its sign within the cell.
        (mesh_from_cells(FLAT, [(9, [[0, 1, 2, 3]])]), "cell 0 is inverted or has no volume"),
    ],
    ids=["point cloud", "points only", "pyramid", "triangle without area", "flat tetrahedron", "bow tie"],
)
def test_meshes_without_a_mass_are_refused(mesh: Mesh, words: str) -> None:
    """No cells, an unknown cell type, a cell without volume, a cell turned over itself: each is named with the way out."""
    with pytest.raises(MeshError, match=words):
        mass_cells(mesh)
