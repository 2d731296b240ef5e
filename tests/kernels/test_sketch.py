"""Sketching a block, against dense products; numbers that no chunking changes; and what an image tells of the snapshots."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth.inner_products import mass_cells
from nwidth_graphs.kernels.gram import gram_floor
from nwidth_graphs.kernels.mass import COLUMNS, ElementPatch
from nwidth_graphs.kernels.panels import PANEL_ROWS
from nwidth_graphs.kernels.sketch import (
    DRAWN_ROWS,
    WINDOW_COLUMNS,
    enlarged,
    gaussian,
    mass_power_step,
    merge_sketch_sums,
    next_sample,
    nystrom_spectrum,
    orthonormal_test,
    power_step,
    sampled_svd,
)
from tests.asserts import assert_orthonormal, backward_error
from tests.kernels.conftest import Namespace
from tests.oracles.mass import skfem_mass, small_mesh
from tests.oracles.pod import matrix_with_spectrum

Floats = NDArray[np.float64]


# --- random numbers -------------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**63 - 1), rows=st.integers(1, 2 * DRAWN_ROWS), columns=st.integers(1, 3))
@settings(max_examples=10)
def test_a_number_depends_on_its_own_place_alone(seed: int, rows: int, columns: int) -> None:
    """Fewer rows, fewer columns, or columns drawn later are parts of the same matrix, to the bit."""
    whole = gaussian(seed, 2 * DRAWN_ROWS + 3, 4)
    np.testing.assert_array_equal(gaussian(seed, rows, columns), whole[:rows, :columns])
    np.testing.assert_array_equal(gaussian(seed, rows, 4 - columns, first_column=columns), whole[:rows, columns:])


def test_the_numbers_are_independent_and_normal() -> None:
    """Means, covariances of columns and of blocks, and fourth moments are those of N(0, 1) to five standard deviations."""
    drawn = np.concatenate([gaussian(7, 2 * DRAWN_ROWS, 20), gaussian(8, 2 * DRAWN_ROWS, 20)], axis=1)
    drawn = np.concatenate([drawn[:DRAWN_ROWS], drawn[DRAWN_ROWS:]], axis=1)
    error = 5 / np.sqrt(DRAWN_ROWS)
    assert np.abs(drawn.mean(axis=0)).max() < error
    covariance = drawn.T @ drawn / DRAWN_ROWS
    assert np.abs(covariance - np.diag(np.diagonal(covariance))).max() < error  # of 80 columns: no two are the same stream
    assert np.abs(np.diagonal(covariance) - 1).max() < np.sqrt(2) * error
    assert np.abs((drawn**4).mean(axis=0) - 3).max() < np.sqrt(96) * error


def test_a_sample_grows_and_keeps_what_it_has() -> None:
    """The larger test matrix is orthonormal, begins with the smaller, and fits to the last direction that there is."""
    small = orthonormal_test(3, 50, 20)
    large = enlarged(small, 3, 30, first_column=20)
    np.testing.assert_array_equal(large[:, :20], small)
    assert_orthonormal(large)


# --- one visit ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshots", [6, WINDOW_COLUMNS + 9])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_visit_is_two_dense_products(xp: Namespace, snapshots: int, weighted: bool, centre: bool, dtype: str) -> None:
    """Samples, image and squared norms are those of the whole matrix, over several panels and windows, in float64."""
    rows = PANEL_ROWS + 70
    stored = (matrix_with_spectrum(rows, snapshots, 0.8 ** np.arange(6), 0) + 0.01).astype(dtype)
    weights = np.linspace(0.0, 2.0, rows) if weighted else np.ones(rows)
    X = stored.astype(np.float64)
    X = X - X.mean(axis=1, keepdims=True) if centre else X
    test = orthonormal_test(0, snapshots, 4)
    scale = xp.array(np.sqrt(weights)) if weighted else None
    samples, sums = power_step(xp.array(stored), xp.array(test), centre=centre, row_scale=scale, keep=True)
    atol = backward_error(X.shape) * float(np.linalg.norm(stored.astype(np.float64)))
    np.testing.assert_allclose(xp.numpy(samples), (X @ test).T, rtol=0, atol=atol)
    np.testing.assert_allclose(xp.numpy(sums.image).T, X.T @ (weights[:, None] * (X @ test)), rtol=0, atol=2 * atol)
    np.testing.assert_allclose(xp.numpy(sums.squares), weights @ X**2, rtol=0, atol=2 * atol)
    unkept, same = power_step(xp.array(stored), xp.array(test), centre=centre, row_scale=scale)
    assert unkept is None
    np.testing.assert_array_equal(xp.numpy(same.image), xp.numpy(sums.image))


def test_blocks_add_up(xp: Namespace) -> None:
    """``[X1; X2]^T [X1; X2] Om`` is a sum: what licenses the tree."""
    X, test = matrix_with_spectrum(90, 7, 0.5 ** np.arange(7), 1), orthonormal_test(0, 7, 3)
    parts = [power_step(xp.array(part), xp.array(test))[1] for part in np.split(X, [20, 55])]
    merged = merge_sketch_sums(parts)
    np.testing.assert_allclose(xp.numpy(merged.image).T, X.T @ (X @ test), rtol=0, atol=backward_error(X.shape))
    np.testing.assert_allclose(xp.numpy(merged.squares), np.sum(X**2, axis=0), rtol=0, atol=backward_error(X.shape))


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("snapshots", [5, COLUMNS + 7])
def test_a_visit_in_the_mass_of_a_patch(components: int, centre: bool, snapshots: int) -> None:
    """The same with a consistent mass matrix, against its dense form."""
    mesh = small_mesh(10, 2)
    M = np.kron(skfem_mass(mesh).toarray(), np.eye(components))
    stored = matrix_with_spectrum(len(M), snapshots, 0.8 ** np.arange(5), 3).astype(np.float32) + np.float32(0.5)
    X = stored.astype(np.float64)
    X = X - X.mean(axis=1, keepdims=True) if centre else X
    test, patch = orthonormal_test(0, snapshots, 4), ElementPatch(mesh.points, mass_cells(mesh), components)
    samples, sums = mass_power_step(stored, test, patch, centre=centre, keep=True)
    atol = backward_error(X.shape) * float(np.linalg.norm(stored)) * max(1.0, float(np.linalg.norm(M, 2)))
    np.testing.assert_allclose(np.asarray(samples), (X @ test).T, rtol=0, atol=atol)
    np.testing.assert_allclose(sums.image.T, X.T @ M @ X @ test, rtol=0, atol=atol * np.linalg.norm(stored))
    np.testing.assert_allclose(sums.squares, np.einsum("ij,ij->j", X, M @ X), rtol=0, atol=atol * np.linalg.norm(stored))


# --- what an image tells --------------------------------------------------------------------------------------------------------


def image_of(S: Floats, test: Floats) -> Floats:
    return S.T @ (S @ test)


@given(seed=st.integers(0, 99), size=st.integers(1, 30), drop=st.floats(0.1, 0.9))
@settings(max_examples=40)
def test_the_image_measures_the_error_of_the_sample(seed: int, size: int, drop: float) -> None:
    """trace C - trace of its Nystrom approximation is the squared projection error on the samples, to rounding."""
    S = matrix_with_spectrum(80, 30, drop ** np.arange(30), seed)
    test = orthonormal_test(seed, 30, size)
    values, vectors = nystrom_spectrum(test, image_of(S, test))
    Q = np.linalg.qr(S @ test)[0]
    energy = np.sum(S**2)
    # Z (Om^T Z)^-1 Om^T projects obliquely: the rounding of C enters by its square, once for each direction.
    oblique = np.linalg.norm(image_of(S, test) @ np.linalg.pinv(test.T @ image_of(S, test), rcond=1e-14), 2)
    noise = size * backward_error(S.shape) * oblique**2 * energy
    assume(noise < 1e-6 * energy)
    assert abs(energy - np.sum(values**2) - np.sum((S - Q @ (Q.T @ S)) ** 2)) <= noise
    # The values are those of the projected snapshots; those whose squares are rounding are not compared.
    projected = np.linalg.svd(Q.T @ S, compute_uv=False)
    np.testing.assert_allclose(values**2, projected[: len(values)] ** 2, rtol=0, atol=noise)
    assert_orthonormal(vectors)


def test_the_range_of_the_test_matrix_is_all_that_counts() -> None:
    """Columns of very different sizes, mixed, tell the same as an orthonormal basis of their span."""
    S, test = matrix_with_spectrum(80, 30, 0.7 ** np.arange(30), 1), orthonormal_test(1, 30, 6)
    mixed = test @ np.random.default_rng(0).standard_normal((6, 6)) * 10.0 ** np.arange(6)
    plain, other = nystrom_spectrum(test, image_of(S, test)), nystrom_spectrum(mixed, image_of(S, mixed))
    np.testing.assert_allclose(other[0], plain[0], rtol=1e-9)


def test_rank_deficient_and_zero_snapshots() -> None:
    """Directions that the snapshots do not have come out as rounding, at most at the floor, or not at all; never as NaN."""
    S, test = matrix_with_spectrum(80, 30, [3.0, 2.0, 1.0], 1), orthonormal_test(1, 30, 10)
    values, vectors = nystrom_spectrum(test, image_of(S, test))
    np.testing.assert_allclose(values[:3], [3.0, 2.0, 1.0], rtol=1e-12)
    assert np.all(values[3:] < gram_floor(3.0))
    assert_orthonormal(vectors)
    values, vectors = nystrom_spectrum(test, np.zeros((30, 10)))
    assert (values.shape, vectors.shape) == ((0,), (30, 0))


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("repeated", [False, True])
def test_the_svd_of_the_projection(graded: bool, repeated: bool) -> None:
    """From overlap and products alone: values, right vectors and a rotation to orthonormal modes; dependent samples fall out."""
    S = matrix_with_spectrum(200, 30, 0.6 ** np.arange(30), 2)
    right = np.linalg.svd(S)[2].T[:, :12] if graded else orthonormal_test(0, 30, 12)
    Y = S @ right
    Y = np.concatenate([Y, Y[:, :4], np.zeros((200, 1))], axis=1) if repeated else Y
    found = sampled_svd(Y.T @ Y, Y.T @ S)
    exact = np.linalg.svd(np.linalg.qr(S @ right)[0].T @ S, compute_uv=False)
    # An overlap squares the condition of samples of unit norm; Ritz vectors have condition 1, however graded they are.
    condition = 1.0 if graded else float(np.linalg.cond(Y[:, :12])) ** 2
    tolerance = backward_error(S.shape) * condition
    assert tolerance < 1e-3
    assert len(found.singular_values) == 12
    np.testing.assert_allclose(found.singular_values, exact, rtol=0, atol=tolerance * exact[0])
    modes = Y @ found.rotation
    assert_orthonormal(modes, tolerance=tolerance)
    np.testing.assert_allclose(modes.T @ S, found.singular_values[:, None] * found.right.T, rtol=0, atol=tolerance * exact[0])


def test_ritz_samples_keep_small_directions() -> None:
    """Values of 1e-12 s_1, of samples as small, are right to five digits: an overlap that is not graded would know 1e-8."""
    s = 10.0 ** -np.arange(0.0, 13.0)
    S = matrix_with_spectrum(200, 13, s, 3)
    Y = S @ np.linalg.svd(S)[2].T
    values = sampled_svd(Y.T @ Y, Y.T @ S).singular_values
    exact = np.linalg.svd(S, compute_uv=False)
    np.testing.assert_allclose(values, exact, rtol=0, atol=backward_error(S.shape) * exact[0] * 10)


@pytest.mark.parametrize("decay", [0.8, 0.9])
def test_the_next_sample_follows_the_line(decay: float) -> None:
    """A geometric decay is continued: the next size reaches the tolerance, with the tenth that is added and no more."""
    needed = int(np.ceil(np.log(1e-3) / np.log(decay)))
    size = next_sample(decay ** np.arange(21.0), 1e-3, 200)
    assert needed <= size <= 20 + 1.1 * (needed - 20) + 1


def test_the_next_sample_stays_within_bounds() -> None:
    """No decay at all, an error that rounding made flat, or hardly any room: it grows, at least by one, and never beyond."""
    flat = np.ones(11)
    assert next_sample(flat, 1e-3, 1000) == 10 + 250
    assert next_sample(flat, 1e-3, 30) == 20
    assert next_sample(flat, 1e-3, 11) == 11
    assert next_sample(0.1 ** np.arange(11.0), 0.99e-10, 1000) == 10 + 50
