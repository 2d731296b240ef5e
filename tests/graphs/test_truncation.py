"""The truncation rule, what it says limited the rank, and when the Gram floor bites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth_graphs.kernels.gram import gram
from nwidth_graphs.kernels.qr import r_factor
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.truncation import Truncation, truncate, unit_field_scaling
from tests.oracles.pod import matrix_with_spectrum, smallest_rank

ROWS, LEAVES = 200, {"gram": gram, "tsqr": r_factor}


def cut(values: Any, reduction: Reduction = TSQR, *, rows: int = ROWS, **options: Any) -> Truncation:
    matrix = matrix_with_spectrum(rows, len(values), np.asarray(values, float)[: min(rows, len(values))], 0)
    options = {"rtol": None, "rank": None} | options
    return truncate({"u": LEAVES[reduction.name](matrix)}, {"u": 1.0}, reduction, rows=rows, **options)


@given(st.lists(st.integers(-8, 0), min_size=1, max_size=12), st.floats(1e-6, 0.9))
def test_the_rank_is_the_smallest_that_reaches_the_tolerance(exponents: list[int], rtol: float) -> None:
    """N = min { k : sqrt(sum_{i>k} s_i^2) <= rtol sqrt(sum s_i^2) }, at least one mode, and the expected error is that tail."""
    s = np.sort(2.0 ** np.array(exponents))[::-1]
    found = cut(s, rtol=rtol)
    if abs(np.linalg.norm(s[found.rank :]) / np.linalg.norm(s) - rtol) > 1e-12:  # no tie that rounding decides
        assert found.rank == max(1, smallest_rank(s, rtol))
    assert found.expected_error == pytest.approx(np.linalg.norm(s[found.rank :]) / np.linalg.norm(s), abs=1e-13)
    assert found.limited_by in ("rtol", "spectrum")


@pytest.mark.parametrize(
    ("options", "rank", "limited_by", "wanted"),
    [
        ({"rtol": 0.3}, 2, "rtol", 2),
        ({"rank": 3}, 3, "rank", None),
        ({"rtol": 1e-3, "rank": 3}, 3, "rank", 5),
        ({"rtol": 0.3, "rank": 3}, 2, "rtol", 2),
        ({"rank": 40}, 5, "spectrum", None),
        ({"rtol": 0.999}, 1, "rtol", 1),
    ],
)
def test_what_limited_the_rank(options: dict[str, Any], rank: int, limited_by: str, wanted: int | None) -> None:
    """Tolerance, rank, both, or the data themselves decide, and the record says which."""
    found = cut([1.0, 0.5, 0.25, 0.125, 0.0625], **options)
    assert (found.rank, found.limited_by, found.rank_for_rtol) == (rank, limited_by, wanted)
    assert found.transform.shape == (5, rank)
    assert found.coefficients.shape == (rank, 5)
    assert not found.floor_bites


def test_more_snapshots_than_unknowns() -> None:
    """Singular values beyond min(n, m) do not exist: none is reported, and none asked for is granted."""
    for reduction in (GRAM, TSQR):
        found = cut([3.0, 2.0, 1.0, 0.0, 0.0], reduction, rows=3, rank=5)
        assert len(found.singular_values) == found.rank == 3
        assert found.limited_by == "spectrum"


def test_the_gram_floor_bites() -> None:
    """Modes below the floor are withheld and said to be, unless asked for; TSQR gives them."""
    s = [1.0, 1e-3, 1e-9, 1e-10]
    assert (cut(s, GRAM, rank=4).rank, cut(s, GRAM, rank=4).floor_bites) == (2, True)
    assert (cut(s, TSQR, rank=4).rank, cut(s, TSQR, rank=4).floor_bites) == (4, False)
    assert cut(s, GRAM, rank=2).floor_bites is False
    assert cut(s, GRAM, rank=3, beyond_floor=True).rank == 3


def test_a_rank_that_rounding_leaves_open_bites() -> None:
    """A tail made of values below the Gram floor cannot decide between ranks at 2e-7; TSQR can, and 1e-3 is no question."""
    s = np.append(1.0, np.full(120, 2e-8))
    close = cut(s, GRAM, rtol=2.1e-7)
    assert not close.resolved
    assert close.floor_bites
    assert cut(s, TSQR, rtol=2.1e-7).resolved
    assert cut(0.5 ** np.arange(20), GRAM, rtol=1e-3).resolved


def test_snapshot_scaling_enters_on_the_right() -> None:
    """Unit scaling gives T = diag(d) V / s and coefficients of the unscaled snapshots; a zero snapshot keeps its place."""
    matrix = matrix_with_spectrum(50, 4, [4.0, 3.0, 2.0, 1.0], 1) * [1e3, 1.0, 1e-3, 0.0]
    found = truncate({"u": r_factor(matrix)}, {"u": 1.0}, TSQR, rows=50, rtol=None, rank=3, snapshot_scaling="unit")
    norms = np.linalg.norm(matrix, axis=0)
    np.testing.assert_allclose(found.snapshot_scale[:3], 1 / norms[:3], rtol=1e-12)
    assert found.snapshot_scale[3] == 1.0
    modes = matrix @ found.transform
    np.testing.assert_allclose(modes.T @ modes, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(modes @ found.coefficients, matrix, rtol=0, atol=1e-12 * norms.max())


def test_a_zero_field_keeps_its_scaling_finite() -> None:
    """Fields are scaled to one norm; one that is zero has none, and is left alone."""
    factors = {"u": np.diag([3.0, 4.0]), "v": np.zeros((2, 2))}
    assert unit_field_scaling(factors, TSQR) == {"u": pytest.approx(0.2), "v": 1.0}
