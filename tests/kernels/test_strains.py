"""Strain operators at integration points: patch tests on all cells, any subset of points, a solver's own strains, bad meshes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from nwidth.mesh import Mesh, mesh_from_cells
from nwidth.readers.calculix_dat import index_dat, read_times
from nwidth_graphs.kernels import strains as module
from nwidth_graphs.kernels.shape_functions import cell_types_with_points, quadrature
from nwidth_graphs.kernels.strains import (
    all_points,
    conduction_operator,
    gradient_operator,
    point_groups,
    point_weights,
    rules_by_count,
    strain_operator,
    used_nodes,
    values_at,
    voigt_order,
)
from tests import cube
from tests.oracles.mass import MASS_CELLS, small_mesh, vtk_reference_points

PLANE = (5, 9, 22, 23, 28)
GRADIENT = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
"""du_i / dx_j."""
STRAIN = np.array([1.0, 5.0, 9.0, 6.0, 14.0, 10.0])


def one_cell(kind: int, seed: int = 1) -> Mesh:
    """A cell of edge length 2 whose nodes are moved at random."""
    generator = np.random.default_rng(seed)
    nodes = 2 * vtk_reference_points(kind)
    moved = nodes + 0.1 * generator.uniform(-1, 1, nodes.shape)
    if kind in PLANE:
        moved[:, 2] = 0.0
    # Six digits, which a solver reads exactly.
    return mesh_from_cells(np.round(moved, 6), [(kind, [range(len(nodes))])])


def mixed_mesh() -> Mesh:
    """Cells of five types, each with nodes of its own, in mixed order."""
    kinds = (24, 12, 13, 10, 26, 12)
    meshes = [one_cell(kind, seed) for seed, kind in enumerate(kinds)]
    starts = np.cumsum([0, *(mesh.n_points for mesh in meshes)])
    points = np.concatenate([mesh.points + np.array([3.0 * place, 0, 0]) for place, mesh in enumerate(meshes)])
    blocks = [(kind, [np.arange(a, b)]) for kind, a, b in zip(kinds, starts[:-1], starts[1:], strict=True)]
    return mesh_from_cells(points, blocks)


@pytest.mark.parametrize("kind", [kind for kind in cell_types_with_points() if kind in MASS_CELLS])
def test_linear_fields_have_their_strain(kind: int) -> None:
    """Patch test: on distorted and curved cells, a linear displacement has its strain, and weights sum to the measure."""
    mesh = small_mesh(kind, 0)
    groups = point_groups(mesh, *all_points(mesh))
    gradient, strain = GRADIENT.copy(), STRAIN.copy()
    if kind in PLANE:  # plane strain: nothing changes along z
        gradient[:, 2] = 0.0
        strain = np.array([1.0, 5.0, 0.0, 6.0, 8.0, 7.0])
    displacement = mesh.points @ gradient.T
    found = strain_operator(groups, displacement[:, :, None])[..., 0]
    np.testing.assert_allclose(found, np.tile(strain, (len(found), 1)), atol=1e-12)
    # The volume of a curved tetrahedron is a cubic's integral, and its four points are exact for quadratics.
    assert point_weights(groups).sum() == pytest.approx(1.0, rel=1e-4 if kind == 24 else 1e-13)
    scalar = mesh.points[:, :2] @ [2.0, -3.0]
    np.testing.assert_allclose(
        gradient_operator(groups, scalar[:, None])[..., 0], np.tile([2.0, -3.0, 0.0], (len(found), 1)), atol=1e-12
    )


def test_a_rotation_has_no_strain() -> None:
    """The skew part of a gradient does not reach the strain, on a mesh of mixed cells."""
    mesh = mixed_mesh()
    groups = point_groups(mesh, *all_points(mesh))
    rotation = np.array([[0.0, -3.0, 2.0], [3.0, 0.0, -1.0], [-2.0, 1.0, 0.0]])
    assert np.abs(strain_operator(groups, (mesh.points @ rotation.T)[:, :, None])).max() < 1e-12


def test_any_subset_is_the_same_rows() -> None:
    """Points in any order, in chunks, from the rows of used nodes only, or in small visits: the same strains, bit by bit."""
    mesh = mixed_mesh()
    cell, local = all_points(mesh)
    modes = np.random.default_rng(0).standard_normal((mesh.n_points, 3, 4))
    whole = strain_operator(point_groups(mesh, cell, local), modes)
    assert len(cell) == 4 + 8 + 2 + 1 + 9 + 8
    chosen = np.random.default_rng(1).permutation(len(cell))[:11]
    groups = point_groups(mesh, cell[chosen], local[chosen])
    np.testing.assert_array_equal(strain_operator(groups, modes), whole[chosen])
    nodes, compact = used_nodes(groups)
    assert len(nodes) < mesh.n_points
    np.testing.assert_array_equal(strain_operator(compact, modes[nodes]), whole[chosen])
    chunks = [slice(start, start + 5) for start in range(0, len(cell), 5)]
    np.testing.assert_array_equal(
        np.concatenate([strain_operator(point_groups(mesh, cell[chunk], local[chunk]), modes) for chunk in chunks]), whole
    )


def test_visits_are_small_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for a few points per visit, strains, gradients and values are the same bits."""
    mesh = mixed_mesh()
    groups = point_groups(mesh, *all_points(mesh))
    modes = np.random.default_rng(0).standard_normal((mesh.n_points, 3, 2))
    before = [strain_operator(groups, modes), gradient_operator(groups, modes[:, 0]), values_at(groups, modes)]
    monkeypatch.setattr(module, "VISIT_BYTES", 1000)
    after = [strain_operator(groups, modes), gradient_operator(groups, modes[:, 0]), values_at(groups, modes)]
    for first, second in zip(before, after, strict=True):
        np.testing.assert_array_equal(first, second)


def test_conduction_takes_gradient_and_value() -> None:
    """The operator of heat conduction is the gradient and, fourth, the value of every mode."""
    mesh = small_mesh(12, 1)
    groups = point_groups(mesh, *all_points(mesh))
    modes = np.stack([mesh.points[:, 0], mesh.points[:, 1] + 2.0], axis=1)
    operator = conduction_operator(groups, modes)
    places = values_at(groups, mesh.points)
    np.testing.assert_allclose(
        operator[:, :, 0], np.column_stack([np.tile([1.0, 0, 0], (len(places), 1)), places[:, 0]]), atol=1e-13
    )
    np.testing.assert_allclose(operator[:, 3, 1], places[:, 1] + 2.0, atol=1e-13)


def test_the_cube_has_the_same_operators() -> None:
    """Points, weights and strains of the cube's snapshots are those of its own solver, which orders points otherwise."""
    run, grid = cube.reference_run(), cube.CubeGrid()
    cell, local = all_points(run.mesh)
    groups = point_groups(run.mesh, cell, local)
    order = 8 * cell + np.array([0, 1, 3, 2, 4, 5, 7, 6])[local]
    np.testing.assert_allclose(values_at(groups, run.mesh.points), run.points[order], atol=1e-15)
    np.testing.assert_allclose(point_weights(groups), run.weights, rtol=1e-12)
    expected = grid.mode_strains(run.u.T)[order]
    found = strain_operator(groups, run.u.T.reshape(-1, 3, 11))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14 * np.abs(expected).max())


def test_rules_are_known_by_their_number_of_points() -> None:
    """A C3D20R mesh is known by its 8 points per cell; a type with two numbers of points is refused."""
    mesh = mesh_from_cells(np.zeros((40, 3)), [(25, np.arange(40).reshape(2, 20))])
    assert len(rules_by_count(mesh.cell_types, np.repeat([0, 1], 8))[25].weights) == 8
    with pytest.raises(ValueError, match="VTK type 25 have 8 or 27 integration points; expected one rule"):
        rules_by_count(mesh.cell_types, np.repeat([0, 1], [8, 27]))


def test_components_come_in_any_order() -> None:
    """Names of several solvers are brought to 11, 22, 33, 12, 23, 13; what is no symmetric tensor is refused."""
    assert voigt_order(("sxx", "syy", "szz", "sxy", "sxz", "syz")).tolist() == [0, 1, 2, 3, 5, 4]
    assert voigt_order(("SXX", "SYY", "SZZ", "SXY", "SYZ", "SZX")).tolist() == [0, 1, 2, 3, 4, 5]
    assert voigt_order(("eps33", "eps22", "eps11", "eps23", "eps13", "eps12")).tolist() == [2, 1, 0, 5, 3, 4]
    with pytest.raises(ValueError, match="components a, b are not a symmetric tensor's"):
        voigt_order(("a", "b"))


# --- bad meshes ---------------------------------------------------------------------------------------------------------------


def test_inverted_and_flat_cells_are_named() -> None:
    """A mirrored cell and a flat one are refused by their index, and so is a surface that is not in a plane z = const."""
    mesh = mixed_mesh()
    cell, local = all_points(mesh)
    connectivity = mesh.connectivity.copy()
    brick = slice(mesh.offsets[1], mesh.offsets[2])
    connectivity[brick] = np.roll(connectivity[brick], 4)
    with pytest.raises(ValueError, match=r"cell 1 is flat or folded, or its nodes run against VTK's order"):
        point_groups(Mesh(mesh.points, connectivity, mesh.offsets, mesh.cell_types), cell, local)
    points = mesh.points.copy()
    points[connectivity[brick], 2] = 0.0
    with pytest.raises(ValueError, match="cell 1 is flat"):
        point_groups(Mesh(points, mesh.connectivity, mesh.offsets, mesh.cell_types), cell, local)
    points = vtk_reference_points(9)
    points[2, 2] = 0.5
    warped = mesh_from_cells(points, [(9, [range(4)])])
    with pytest.raises(ValueError, match="cell 0 is not in a plane z = const"):
        point_groups(warped, *all_points(warped))


def test_points_that_do_not_exist_are_named() -> None:
    """A cell outside of the mesh, a local number outside of the rule, and modes of one component are refused."""
    mesh = one_cell(12)
    with pytest.raises(ValueError, match="points lie in cells 0 to 3, the mesh has cells 0 to 0"):
        point_groups(mesh, np.array([0, 3]), np.array([0, 0]))
    with pytest.raises(ValueError, match=r"cell 0 \(VTK type 12\) has no integration point 8; its rule has 8"):
        point_groups(mesh, np.array([0]), np.array([8]))
    groups = point_groups(mesh, *all_points(mesh))
    with pytest.raises(ValueError, match=r"displacement modes have the shape \(8, 1, 2\)"):
        strain_operator(groups, np.zeros((8, 1, 2)))


# --- CalculiX -----------------------------------------------------------------------------------------------------------------

ELEMENTS = [
    ("C3D4", 10, 1),
    ("C3D10", 24, 4),
    ("C3D8", 12, 8),
    ("C3D20", 25, 27),
    ("C3D20R", 25, 8),
    ("C3D6", 13, 2),
    ("C3D15", 26, 9),
]


def write_deck(path: Path, element: str, mesh: Mesh, displacement: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> None:
    """One element with all but one displacement prescribed, and its integration points and strains printed."""
    numbers = [str(node + 1) for node in range(mesh.n_points)]
    lines = ["*NODE,NSET=NALL", *(f"{n},{x:.6f},{y:.6f},{z:.6f}" for n, (x, y, z) in zip(numbers, mesh.points, strict=True))]
    rows = [["1", *numbers][start : start + 16] for start in range(0, len(numbers) + 1, 16)]
    lines += [f"*ELEMENT,TYPE={element},ELSET=EALL", ",\n".join(",".join(row) for row in rows)]
    lines += [
        "*MATERIAL,NAME=M",
        "*ELASTIC",
        "1000.,0.3",
        "*SOLID SECTION,ELSET=EALL,MATERIAL=M",
        "*STEP",
        "*STATIC",
        "*BOUNDARY",
    ]
    prescribed = [f"{n},{k + 1},{k + 1},{displacement[int(n) - 1, k]:.8f}" for n in numbers for k in range(3)]
    lines += prescribed[:-1]  # the solver wants an unknown
    lines += ["*NODE PRINT,NSET=NALL", "U", "*EL PRINT,ELSET=EALL", "COORD,E", "*END STEP"]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(("element", "kind", "count"), ELEMENTS)
def test_points_and_strains_are_those_of_calculix(element: str, kind: int, count: int, tmp_path: Path) -> None:
    """CalculiX prints its integration points where, and in the order in which, ours are, and its strain at each is ours.

    C3D8R is not among them: on a distorted cell it prints the mean strain of its volume, and C3D8I has displacements inside.
    """
    solver = shutil.which("ccx")
    if solver is None:
        pytest.skip("CalculiX (ccx) is not installed")
    mesh = one_cell(kind)
    displacement = np.round(0.01 * np.random.default_rng(2).standard_normal(mesh.points.shape), 8)
    write_deck(tmp_path / "cell.inp", element, mesh, displacement)
    done = subprocess.run([solver, "cell"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "Job finished" in done.stdout, done.stdout[-1000:]
    dat = tmp_path / "cell.dat"
    tables = index_dat(dat)
    printed = {table.name: rows[:, 2:] for table, rows in next(read_times(dat, tables))}
    nodal = dat.read_text("utf-8").split("displacements")[1].splitlines()[2 : 2 + mesh.n_points]
    displacement = np.array([[float(word) for word in line.split()[1:]] for line in nodal])
    rules = {kind: quadrature(kind, count)}
    groups = point_groups(mesh, *all_points(mesh, rules), rules)
    # Seven digits are printed: of places up to 2, and of strains up to 0.03 from displacements of 0.03 over lengths of one.
    np.testing.assert_allclose(values_at(groups, mesh.points), printed["COORD"], rtol=0, atol=1e-6)
    names = next(table.components for table in tables if table.name == "E")
    engineering = printed["E"][:, voigt_order(names)] * [1, 1, 1, 2, 2, 2]
    np.testing.assert_allclose(strain_operator(groups, displacement[:, :, None])[..., 0], engineering, rtol=0, atol=4e-8)
