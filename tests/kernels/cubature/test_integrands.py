"""Integrands as work of strains and stresses give the products of the matrix that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth_graphs.kernels import integrands as module
from nwidth_graphs.kernels.integrands import Integrands, StoredIntegrands, WithConstant, WorkIntegrands, visiting
from nwidth_graphs.kernels.nnls import in_memory
from tests.asserts import backward_error

RANDOM = np.random.default_rng(0)
STRAINS, STRESS = RANDOM.standard_normal((50, 6, 4)), RANDOM.standard_normal((50, 6, 7))
MATRIX = np.array([[np.sum(STRAINS[k, :, i] * STRESS[k, :, j]) for k in range(50)] for i in range(4) for j in range(7)])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("constant", [None, 2.5])
@pytest.mark.parametrize("slice_bytes", [1, 2**24])
def test_work_is_the_matrix(dtype: type, constant: float | None, slice_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores, integrals, columns and norms are those of G with row i * states + j, in slices of any size, in both precisions."""
    monkeypatch.setattr(module, "SLICE_BYTES", slice_bytes)
    work: Integrands = WorkIntegrands(STRAINS.astype(dtype), STRESS.astype(dtype))
    stored: Integrands = StoredIntegrands(MATRIX)
    G = MATRIX
    if constant is not None:
        work, stored = WithConstant(work, constant), WithConstant(stored, constant)
        G = np.concatenate([MATRIX, np.full((1, 50), constant)])
    weights, residual, places = RANDOM.random(50), RANDOM.standard_normal(len(G)), np.array([3, 3, 0, 49])
    tolerance = backward_error((6 * 28, 50), dtype) * np.linalg.norm(G)
    for one in (work, stored):
        assert (one.rows, one.points) == G.shape
        np.testing.assert_allclose(one.scores(residual), residual @ G, atol=tolerance)
        np.testing.assert_allclose(one.integrals(weights), G @ weights, atol=tolerance)
        np.testing.assert_allclose(one.columns(places), G[:, places], atol=tolerance)
        assert one.columns(places[:0]).shape == (len(G), 0)
        np.testing.assert_allclose(one.norms(), np.linalg.norm(G, axis=0), atol=tolerance)


@pytest.mark.parametrize("normalised", [False, True])
def test_visits_are_those_of_the_matrix(normalised: bool) -> None:
    """A visit of work proposes the columns that a visit of the matrix does, without those that are taken."""
    residual = RANDOM.standard_normal(28)
    for pool in (1, 8):
        found = visiting(WorkIntegrands(STRAINS, STRESS), pool=pool, normalised=normalised)(residual, [1, 2])
        expected = in_memory(MATRIX, pool=pool, normalised=normalised)(residual, [1, 2])
        assert found.numbers.tolist() == expected.numbers.tolist()
        np.testing.assert_allclose(found.columns, expected.columns, rtol=1e-12)


def test_strains_and_stresses_of_other_points_are_refused() -> None:
    """Strains of 50 points and stresses of 49 do no work together."""
    with pytest.raises(ValueError, match=r"strains of shape \(50, 6, 4\) and stresses of shape \(49, 6, 7\)"):
        WorkIntegrands(STRAINS, STRESS[1:])
