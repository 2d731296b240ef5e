"""The two small factors of a block, Gram matrix and R, on every array library and on every branch of the algorithm."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels import qr
from nwidth_graphs.kernels.gram import gram, gram_floor, grow_gram, merge_grams, whole_gram
from nwidth_graphs.kernels.panels import PANEL_ROWS
from nwidth_graphs.kernels.qr import merge_r, qr_floor, r_factor
from nwidth_graphs.kernels.svd import rank_above_floor, rank_for_tolerance, spectrum_of_gram, spectrum_of_r, tail_norms
from tests.asserts import assert_spectrum_close, backward_error
from tests.kernels.conftest import Namespace
from tests.oracles.pod import matrix_with_spectrum, smallest_rank

DECADES = 10.0 ** (-np.arange(8.0))
BLOCKS: dict[str, NDArray[Any]] = {
    "tall: sketch": matrix_with_spectrum(400, 8, DECADES, 0),
    "few rows per column: Householder": matrix_with_spectrum(40, 8, DECADES, 1),
    "several panels": matrix_with_spectrum(2 * PANEL_ROWS + 17, 6, DECADES[:6], 2),
    "rank-deficient": matrix_with_spectrum(300, 8, [1.0, 0.5, 0.25], 3),
    "duplicate columns": np.repeat(matrix_with_spectrum(300, 4, [3.0, 2.0, 1.0, 0.5], 4), 2, axis=1),
    "zero": np.zeros((200, 5)),
    "zero column": matrix_with_spectrum(200, 5, np.ones(5), 5) * [1, 1, 0, 1, 1],
    "wide": matrix_with_spectrum(3, 9, [3.0, 2.0, 1.0], 6),
    "one row": np.ones((1, 4)),
    "one column": np.arange(100.0)[:, None],
    "float32": matrix_with_spectrum(400, 8, DECADES[:4].repeat(2), 7).astype(np.float32),
    "Fortran order": np.asfortranarray(matrix_with_spectrum(400, 8, DECADES, 8)),
    "large numbers": 1e140 * matrix_with_spectrum(200, 5, np.ones(5), 9),
    "small numbers": 1e-140 * matrix_with_spectrum(200, 5, np.ones(5), 10),
}


@pytest.fixture(params=BLOCKS, ids=str)
def block(request: pytest.FixtureRequest) -> NDArray[Any]:
    return BLOCKS[request.param]


def exact_spectrum(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """LAPACK's, padded with zeros to the number of columns."""
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    return np.pad(values, (0, matrix.shape[1] - len(values)))


def test_gram_is_the_product(xp: Namespace, block: NDArray[Any]) -> None:
    """``C = X^T X`` to ``n eps`` of the columns' norms, in float64 and symmetric."""
    found = xp.numpy(gram(xp.array(block)))
    wide = block.astype(np.float64)
    norms = np.linalg.norm(wide, axis=0)
    assert found.dtype == np.float64
    assert np.array_equal(found, found.T)
    assert np.all(np.abs(found - wide.T @ wide) <= len(block) * np.finfo(float).eps * np.outer(norms, norms))


def test_a_gram_matrix_grows_block_by_block(xp: Namespace, block: NDArray[Any]) -> None:
    """Blocks that are added one after the other give the matrix of all of them, whole in both triangles."""
    cut = len(block) // 3
    total = grow_gram(grow_gram(None, xp.array(block[:cut])), xp.array(block[cut:]))
    found, wide = xp.numpy(whole_gram(total)), block.astype(np.float64)
    norms = np.linalg.norm(wide, axis=0)
    assert np.array_equal(found, found.T)
    assert np.all(np.abs(found - wide.T @ wide) <= len(block) * np.finfo(float).eps * np.outer(norms, norms))


@pytest.mark.parametrize("columns", [1, 255, 600])
@pytest.mark.parametrize("upper", [0.0, np.nan, None], ids=["zero", "nan", "whole"])
def test_the_lower_triangle_is_what_is_meant(columns: int, upper: float | None) -> None:
    """Whatever stands in the upper triangle is overwritten, tile by tile, and a matrix that is whole stays what it is."""
    half = np.tril(np.random.default_rng(1).standard_normal((columns, columns)))
    whole = half + np.tril(half, -1).T
    given = np.asfortranarray(whole if upper is None else half + np.triu(np.full_like(half, upper), 1))
    np.testing.assert_array_equal(whole_gram(given), whole)


def test_r_has_the_singular_values_of_the_block(xp: Namespace, block: NDArray[Any]) -> None:
    """R is (m, m), upper triangular, not negative on its diagonal, and backward stable: every branch, every library."""
    factor = xp.numpy(r_factor(xp.array(block)))
    assert factor.shape == (block.shape[1],) * 2
    assert np.array_equal(factor, np.triu(factor))
    assert np.all(np.diag(factor) >= 0)
    assert_spectrum_close(np.linalg.svd(factor, compute_uv=False), exact_spectrum(block), block.shape)
    wide = block.astype(np.float64)
    error = np.abs(factor.T @ factor - wide.T @ wide).max()
    assert error <= backward_error(block.shape) * np.linalg.norm(wide, 2) ** 2


def test_factors_of_weighted_centred_blocks(xp: Namespace) -> None:
    """Both factors act on ``sqrt(W) (X - mean)``; a weight of zero removes its row."""
    matrix, weights = BLOCKS["tall: sketch"] + 5.0, np.linspace(0.0, 2.0, 400)
    prepared = np.sqrt(weights)[:, None] * (matrix - matrix.mean(axis=1, keepdims=True))
    scale = xp.array(np.sqrt(weights))
    product = xp.numpy(gram(xp.array(matrix), centre=True, row_scale=scale))
    factor = xp.numpy(r_factor(xp.array(matrix), centre=True, row_scale=scale))
    # The subtraction of the mean rounds at the size of the data, not of the fluctuation.
    tolerance = backward_error(matrix.shape) * np.linalg.norm(matrix, 2)
    np.testing.assert_allclose(product, prepared.T @ prepared, rtol=0, atol=tolerance * np.linalg.norm(prepared, 2))
    np.testing.assert_allclose(np.linalg.svd(factor)[1], np.linalg.svd(prepared)[1], rtol=0, atol=tolerance)


def test_merges_are_factors_of_the_stack(xp: Namespace) -> None:
    """Factors of row blocks, merged in any grouping, are the factor of all rows."""
    matrix = matrix_with_spectrum(500, 7, DECADES[:7], 11)
    parts = [xp.array(part) for part in np.split(matrix, [3, 90, 300])]
    grams = [gram(part) for part in parts]
    np.testing.assert_allclose(xp.numpy(merge_grams(grams)), matrix.T @ matrix, rtol=0, atol=backward_error(matrix.shape))
    factors = [r_factor(part) for part in parts]
    flat = xp.numpy(merge_r(factors))
    nested = xp.numpy(merge_r([merge_r(factors[:2]), merge_r(factors[2:])]))
    for merged in (flat, nested):
        assert_spectrum_close(np.linalg.svd(merged)[1], DECADES[:7], matrix.shape)
        np.testing.assert_allclose(merged.T @ merged, matrix.T @ matrix, rtol=0, atol=backward_error(matrix.shape))


# --- branches of the sketch -------------------------------------------------------------------------------------------------


def hidden_from_the_sketch(rows: int, columns: int) -> NDArray[np.float64]:
    """Rows that the fixed signs and folds of the sketch add up to zero: the last column lives on one cancelling pair."""
    height = qr.SKETCH_FACTOR * columns
    signs = np.random.default_rng(qr._SEED).choice([-1.0, 1.0], size=rows)
    matrix = matrix_with_spectrum(rows, columns, np.ones(columns), 12)
    matrix[:, -1] = 0.0
    matrix[0, -1], matrix[height, -1] = signs[0], -signs[height]
    return matrix


def test_a_fooled_sketch_falls_back_to_householder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the sketch misses a direction altogether, that is measured, and R is as accurate as ever."""
    matrix = hidden_from_the_sketch(300, 6)
    calls: list[int] = []
    householder = qr.householder_r

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return householder(*arguments)

    monkeypatch.setattr(qr, "householder_r", counted)
    with np.errstate(over="ignore", invalid="ignore"):
        factor = r_factor(matrix)
    assert calls, "the sketch was not fooled: the test does not test"
    assert_spectrum_close(np.linalg.svd(factor)[1], exact_spectrum(matrix), matrix.shape)


@pytest.mark.parametrize("name", ["tall: sketch", "several panels", "rank-deficient", "float32", "zero column"])
def test_a_sound_sketch_is_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordinary tall blocks, rank-deficient ones among them, never pay for Householder."""
    monkeypatch.setattr(qr, "householder_r", lambda *_: pytest.fail("the slow branch was taken"))
    r_factor(BLOCKS[name])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values_show_on_the_diagonal(value: float) -> None:
    """A column with a NaN or an infinity makes both factors not finite, whatever the branch."""
    for rows in (40, 400):
        matrix = matrix_with_spectrum(rows, 8, DECADES, 0)
        matrix[rows // 2, 3] = value
        with np.errstate(invalid="ignore"):
            assert not np.isfinite(np.diagonal(gram(matrix))).all()
            assert not np.isfinite((r_factor(matrix) ** 2).sum(axis=0)).all()


def test_no_rows_is_refused() -> None:
    """A block without rows has no factor, and says so."""
    with pytest.raises(ValueError, match="without rows"):
        r_factor(np.empty((0, 3)))


# --- spectrum ---------------------------------------------------------------------------------------------------------------


def test_spectrum_from_either_factor(xp: Namespace) -> None:
    """Gram matrix and R give the same ``s`` and ``V`` with the same signs; V is orthonormal and ``|S v_i| = s_i``."""
    values = 0.5 ** np.arange(6.0)
    matrix = matrix_with_spectrum(300, 6, values, 13)
    block = xp.array(matrix)
    by_gram, by_r = spectrum_of_gram(gram(block)), spectrum_of_r(r_factor(block))
    for s, V in (by_gram, by_r):
        s, V = xp.numpy(s), xp.numpy(V)
        assert_spectrum_close(s, values, matrix.shape)
        np.testing.assert_allclose(V.T @ V, np.eye(6), atol=backward_error((6, 6)))
        np.testing.assert_allclose(np.linalg.norm(matrix @ V, axis=0), s, atol=backward_error(matrix.shape))
        assert np.all(V[np.abs(V).argmax(axis=0), np.arange(6)] > 0)
    # Gaps are 1/64 of s_1 at the least, and in the Gram matrix 1/4096 of its norm: that is what angles lose.
    np.testing.assert_allclose(xp.numpy(by_gram[1]), xp.numpy(by_r[1]), rtol=0, atol=4096 * backward_error(matrix.shape))


def test_tails_and_ranks(xp: Namespace) -> None:
    """Tails are summed from the smallest value; the rank is the smallest that reaches the tolerance, a tie included."""
    s = np.array([3.0, 2.0, 1e-3, 1e-9, 0.0])
    tails = xp.numpy(tail_norms(xp.array(s)))
    np.testing.assert_allclose(tails, [np.sqrt((s[k:] ** 2).sum()) for k in range(6)], rtol=1e-15)
    assert tails[3] == pytest.approx(1e-9, rel=1e-15)
    for rtol in (0.9, 0.5, 1e-2, 1e-4, 1e-9, 1e-12):
        assert rank_for_tolerance(xp.array(s), rtol) == smallest_rank(s, rtol)
    assert rank_for_tolerance(xp.array(np.array([4.0, 3.0])), 0.6) == 1
    assert rank_for_tolerance(xp.array(np.zeros(3)), 0.5) == 0
    assert rank_above_floor(xp.array(s), 1e-3) == 2


def test_floors() -> None:
    """Floors are proportional to s_1, and what is not in the data stays below them on either route."""
    assert gram_floor(2.0) == pytest.approx(6.0 * 2.0**-26)
    assert qr_floor(2.0, 16) == pytest.approx(128.0 * 2.0**-52)
    assert qr_floor(1.0, 4096) == pytest.approx(128.0 * 2.0**-52)
    for columns, values in ((200, np.ones(5)), (60, 1.0 / (1.0 + np.arange(5)))):
        matrix = matrix_with_spectrum(1000, columns, values, 14)
        s = spectrum_of_gram(gram(matrix))[0]
        assert rank_above_floor(s, gram_floor(s[0])) == 5
        s = spectrum_of_r(r_factor(matrix))[0]
        assert rank_above_floor(s, qr_floor(s[0], columns)) == 5
