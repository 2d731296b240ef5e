"""A sparse matrix as inner product, cut over many panels: the POD is the one that the dense matrix gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import ConfigError, PlanError
from nwidth.sparse_products import GivenMatrix, StoredMatrix, compressed_rows, cut_sparse
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.kernels.lift import projection_errors
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource, Reading, as_rows
from nwidth_graphs.truncation import truncate
from tests.asserts import assert_orthonormal, assert_spectrum_close, backward_error
from tests.graphs.problems import compute
from tests.oracles.pod import dense_pod
from tests.runs.studies import add_run, study_of

SPACES = [((60,), (7,)), ((60,), (60,)), ((12, 5), (4, 2)), ((6, 5, 2), (2, 3, 2))]


def grid_h1(nodes: int, seed: int = 0) -> sp.csr_array:
    """Stiffness plus mass of a random graph of springs: symmetric, positive definite, numbered at random."""
    generator = np.random.default_rng(seed)
    first, second = generator.integers(0, nodes, (2, 4 * nodes))
    springs = sp.coo_array((generator.random(4 * nodes), (first, second)), shape=(nodes, nodes))
    springs = (springs + springs.T).tocsr()
    springs.setdiag(0.0)
    springs.eliminate_zeros()
    return compressed_rows(sp.diags_array(springs.sum(axis=1) + 0.1 + generator.random(nodes)) - springs)


def dense_of(matrix: Any, components: int) -> NDArray[np.float64]:
    return np.kron(matrix.toarray(), np.eye(components))


def source_on(
    field: NDArray[np.float64], matrix: Any, box: tuple[int, ...], folder: Path, *, centre: bool = False
) -> FieldSource:
    cut = panels(field.shape[1:], box)

    def read(panel: Panel) -> Reading:
        return Reading(as_rows(field[(slice(None), *panel.selection)]))

    product = cut_sparse("h1", GivenMatrix(matrix), field.shape[1:], cut, folder)
    return FieldSource("u", cut, len(field), 8, read=read, centre=centre, **product)


@pytest.mark.parametrize(("space", "box"), SPACES, ids=str)
@pytest.mark.parametrize("per_node", [False, True])
def test_any_cut_gives_the_pod_of_the_dense_matrix(
    space: tuple[int, ...], box: tuple[int, ...], per_node: bool, tmp_path: Path
) -> None:
    """Spectrum, modes and certificate are the dense ones, in boxes of a grid, too, and with one row per node or per unknown."""
    components = space[-1] if per_node and len(space) == 3 else 1
    matrix = grid_h1(int(np.prod(space)) // components)
    generator = np.random.default_rng(1)
    scales = 10.0 ** -np.linspace(0, 2, 6)
    field = scales.reshape(-1, *[1] * len(space)) * generator.standard_normal((6, *space))
    rows = as_rows(field)
    M = dense_of(matrix, components)
    centred = rows - rows.mean(axis=1, keepdims=True)
    exact = dense_pod(centred, M, rank=3)
    source = source_on(field, matrix, box, tmp_path, centre=True)
    assert (source.interface is None) == (len(source.panels) == 1)
    factor = compute(factor_graph([source], GRAM, "aa"))[factor_root("u", GRAM)].factor
    cut = truncate({"u": factor}, {"u": 1.0}, GRAM, rows=len(rows), rtol=None, rank=3)
    assert_spectrum_close(cut.singular_values[:3], exact.singular_values[:3], rows.shape)
    modes = np.full((3, *space), np.nan)

    def write(panel: Panel, values: NDArray[np.float64], _: Any) -> None:
        modes[(slice(None), *panel.selection)] = values.reshape(3, *panel.shape)

    for predicted in (cut.coefficients, None):
        sums = compute(lift_graph([Lift(source, cut.transform, predicted, write)], "aa"))[lift_root("u")].sums
        phi = modes.reshape(3, -1)
        assert_orthonormal(phi.T, M, tolerance=1e-10)
        np.testing.assert_allclose(sums.overlap, phi @ M @ phi.T, atol=backward_error(M.shape))
        norms = np.sqrt(np.einsum("ij,ij->j", centred, M @ centred))
        squares, _ = projection_errors(sums, cut.coefficients, norms)
        atol = backward_error(M.shape) * norms.max() ** 2
        np.testing.assert_allclose(squares, (exact.snapshot_errors * norms) ** 2, rtol=1e-6, atol=atol)


@pytest.mark.parametrize("seed", [0, 1])
def test_patches_and_interface_add_up_to_the_matrix(seed: int, tmp_path: Path) -> None:
    """Summed over panels and the interface, the patches are the matrix, entry by entry."""
    matrix = grid_h1(60, seed)
    cut = panels((12, 5), (4, 2))
    product = cut_sparse("h1", GivenMatrix(matrix), (12, 5), cut, tmp_path)
    grid = np.arange(60).reshape(12, 5)
    total = np.zeros((60, 60))
    for panel in cut:
        nodes = grid[panel.selection].ravel()
        total[np.ix_(nodes, nodes)] += product["product"](panel).patch.matrix.toarray()
    interface = product["interface"]
    nodes = np.concatenate([grid[cut[index].selection].ravel()[rows] for index, rows in sorted(interface.rows.items())])
    total[np.ix_(nodes, nodes)] += interface.patch.matrix.toarray()
    np.testing.assert_array_equal(total, matrix.toarray())


def spoiled(change: Any) -> Any:
    dense = grid_h1(20).toarray()
    change(dense)
    return compressed_rows(sp.csr_array(dense))


def _set(place: tuple[int, int], value: float) -> Any:
    def change(dense: NDArray[np.float64]) -> None:
        dense[place] = value

    return change


def _couple(dense: NDArray[np.float64]) -> None:
    dense[3, 14] = dense[14, 3] = 1e3


@pytest.mark.parametrize("box", [(20,), (6,)], ids=["one panel", "four panels"])
@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (lambda: grid_h1(19), "a matrix of 19 rows, and the field's space .* has 20 unknowns; give one row per unknown"),
        (lambda: spoiled(_set((3, 14), 0.5)), r"not symmetric: entries \((3, 14\) and \(14, 3|14, 3\) and \(3, 14)\) differ"),
        (lambda: spoiled(_set((3, 3), -1.0)), "has -1 on its diagonal at row 3"),
        (lambda: spoiled(_set((3, 3), 0.0)), "has 0 on its diagonal at row 3"),
        (lambda: spoiled(_couple), r"not positive definite: entry \((3, 14|14, 3)\) is larger"),
        (lambda: spoiled(_set((3, 3), np.nan)), "holds NaN or infinity"),
    ],
    ids=["size", "asymmetric", "negative", "zero", "minor", "nan"],
)
def test_what_cannot_be_an_inner_product_is_refused(matrix: Any, words: str, box: tuple[int, ...], tmp_path: Path) -> None:
    """A wrong size, an asymmetric entry, a diagonal or a minor that is not positive: named, wherever the panels are cut."""
    with pytest.raises(ConfigError, match=words):
        cut_sparse("h1", GivenMatrix(matrix()), (20,), panels((20,), box), tmp_path)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [(sp.csr_array(np.ones((3, 4))), r"shape \(3, 4\)"), (sp.csr_array(np.eye(3, dtype=complex)), "dtype complex128")],
)
def test_what_is_no_real_square_matrix_is_refused(matrix: Any, words: str) -> None:
    """Shape and type are checked before anything else."""
    with pytest.raises(ConfigError, match=words):
        compressed_rows(matrix)


def test_duplicates_are_summed_and_the_users_matrix_is_left_alone() -> None:
    """Entries that were assembled twice count twice; the matrix that was given stays as it was."""
    given = sp.csr_array((np.ones(3), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    np.testing.assert_array_equal(compressed_rows(given).toarray(), np.diag([2.0, 1.0]))
    assert given.nnz == 3


def unit_square(cells: int) -> tuple[Any, Any]:
    """(mass, stiffness) of linear triangles on a unit square, by scikit-fem."""
    skfem = pytest.importorskip("skfem")
    from skfem.models.poisson import laplace, mass

    mesh = skfem.MeshTri.init_tensor(np.linspace(0, 1, cells + 1), np.linspace(0, 1, cells + 1))
    basis = skfem.Basis(mesh, skfem.ElementTriP1())
    return mass.assemble(basis), laplace.assemble(basis)


def decaying(n: int, count: int, decades: float) -> NDArray[np.float64]:
    return 10.0 ** -np.linspace(0, decades, count)[:, None] * np.random.default_rng(3).standard_normal((count, n))


def test_the_h1_product_of_a_finite_element_mesh() -> None:
    """Mass plus stiffness: in memory and on Dask, cut in many blocks, the POD is that of the dense matrix."""
    M, K = unit_square(15)
    matrix, fields = M + K, decaying(256, 10, 3.0)
    exact = dense_pod(fields.T, matrix.toarray(), rank=6)
    import dask.array as da

    for snapshots in (fields, da.from_array(fields, chunks=(4, 40))):
        basis = nw.pod(snapshots, rank=6, inner_product=matrix)
        assert basis.spectrum.route == "gram"
        assert "not factorized" in basis.spectrum.reason
        assert basis.inner_products == {"field": "sparse"}
        assert_spectrum_close(basis.singular_values.values, exact.singular_values[:6], fields.T.shape)
        assert_orthonormal(basis.modes.values.T, matrix.toarray(), tolerance=1e-10)
        np.testing.assert_allclose(basis.certificate.relative_errors, exact.snapshot_errors, atol=1e-7)


@pytest.mark.parametrize("centre", [False, True])
def test_an_ill_conditioned_matrix_is_met_to_1e_10(centre: bool) -> None:
    """With a condition number above 1e6 and a spectrum down to the Gram floor, the certificate and the dense product agree."""
    spread = sp.diags_array(10.0 ** np.random.default_rng(0).uniform(-2, 2, 300))
    matrix = compressed_rows(spread @ grid_h1(300) @ spread)
    assert np.linalg.cond(matrix.toarray()) > 1e6
    basis = nw.pod(decaying(300, 12, 7.0), rank=11, inner_product=matrix, centre=centre, beyond_floor=True)
    assert basis.certificate.orthogonality_defect <= 1e-10
    phi = basis.modes.values
    # A dense product rounds, too: by eps times the sum of the moduli of its terms.
    rounding = 100 * np.finfo(float).eps * float((np.abs(phi) @ abs(matrix) @ np.abs(phi).T).max())
    assert np.abs(phi @ matrix @ phi.T - np.eye(len(phi))).max() <= 1e-10 + rounding


def test_constants_have_no_length_in_a_stiffness_matrix() -> None:
    """A semidefinite matrix measures fluctuations alone: a constant snapshot has norm zero and does not trouble the others."""
    _, K = unit_square(8)
    fields = decaying(81, 5, 1.0)
    fields[2] = 7.0
    basis = nw.pod(fields, rank=4, inner_product=K)
    assert basis.certificate.orthogonality_defect <= 1e-10
    assert basis.certificate.frobenius_error < 1e-7
    # Rounding of K times 7, relative to the others.
    assert basis.certificate.snapshot_norms[2] < 1e-6 * basis.certificate.snapshot_norms[0]


def test_an_indefinite_matrix_is_noticed() -> None:
    """One whose diagonal and minors look fine is told by the negative square that it gives to a combination of snapshots."""
    dense = np.full((40, 40), -0.2) + 1.2 * np.eye(40)
    assert np.linalg.eigvalsh(dense)[0] < 0
    with pytest.raises(ConfigError, match="not positive definite: a combination of the snapshots has the square -"):
        nw.pod(np.eye(40)[:30], rank=3, inner_product=sp.csr_array(dense))


@pytest.mark.parametrize("route", ["tsqr", "hapod", "wide", "sketch"])
def test_routes_that_need_a_factor_are_refused(route: Any) -> None:
    """The sentence names the routes that do."""
    with pytest.raises(PlanError, match='set route = "auto" or "gram"'):
        nw.pod(decaying(60, 5, 1.0), rank=3, inner_product=grid_h1(60), route=route)


def test_masked_unknowns_are_taken_out_of_the_matrix() -> None:
    """With P the valid unknowns, modes are orthonormal in P^T M P."""
    matrix, fields = grid_h1(60), decaying(60, 8, 1.0)
    fields[:, ::7] = np.nan
    inside = ~np.isnan(fields[0])
    basis = nw.pod(fields, rank=4, inner_product=matrix)
    assert_orthonormal(basis.modes.values[:, inside].T, matrix.toarray()[np.ix_(inside, inside)], tolerance=1e-10)
    assert basis.certificate.masked_unknowns == {"field": (~inside).sum()}


def test_a_matrix_in_a_store_has_a_name(tmp_path: Path) -> None:
    """Stored, read some rows at a time and used by a study and by nw.pod, it gives the basis of the matrix itself."""
    matrix = grid_h1(200)
    fields = decaying(600, 8, 2.0).reshape(8, 200, 3)
    store = tmp_path / "s.zarr"
    add_run(store, "a", {"u": fields})
    nw.add_inner_product(store, "h1", matrix, source="a test")
    nw.add_inner_product(store, "h1", matrix)
    assert nw.open_store(store).schema().inner_products == {"h1": "sparse"}
    stored = StoredMatrix(nw.open_store(store).reference(), "h1")
    for start, stop in ((0, 200), (37, 38), (150, 200)):
        for ours, theirs in zip(stored.rows(start, stop), GivenMatrix(matrix).rows(start, stop), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    expected = nw.pod(xr.DataArray(fields, dims=("snapshot", "node", "component")), rank=4, inner_product=matrix)
    by_name = nw.pod(nw.open_snapshots(store)["u"], rank=4, inner_product="h1")
    study = study_of(tmp_path, store, reduce={"rank": 4, "inner_product": "h1"}, workers={"count": 1})
    assert "not factorized" in nw.plan(study).reason
    by_study = nw.open_model(nw.run(study).model).basis
    for found in (by_name, by_study):
        phi = found.modes.values.reshape(4, -1)
        np.testing.assert_allclose(found.singular_values, expected.singular_values, rtol=1e-12)
        assert_orthonormal(phi.T, dense_of(matrix, 3), tolerance=1e-10)
    assert by_study.inner_products == {"u": "h1"}
