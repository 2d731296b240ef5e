"""Statistics of reduced fields against the fields themselves, formed whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nwidth_graphs.kernels import field_statistics
from nwidth_graphs.kernels.field_statistics import merge_summaries, statistics_of_rows

LEVELS = (0.05, 0.5, 0.95)


def two_clusters(draws: int = 41, times: int = 3, rows: int = 57) -> tuple[Any, Any, Any, Any]:
    """Modes and means of two clusters, labels and coefficients that are shared out at random, and the fields (D, T, rows)."""
    rng = np.random.default_rng(7)
    modes = [rng.normal(size=(4, rows)), rng.normal(size=(6, rows))]
    means = [None, rng.normal(size=rows)]
    labels = rng.integers(0, 2, (draws, times))
    q, fields = rng.normal(size=(draws, times, 6)), np.empty((draws, times, rows))
    for label, (phi, mean) in enumerate(zip(modes, means, strict=True)):
        there = labels == label
        fields[there] = q[there][:, : len(phi)] @ phi + (0.0 if mean is None else mean)
    return modes, means, (labels, q), fields


@pytest.mark.parametrize("block_bytes", [8, 41 * 8 * 10, 2**20], ids=["one row at a time", "ten rows", "all rows"])
def test_statistics_are_those_of_the_whole_fields(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    """Mean, variance and quantiles equal NumPy's on the fields of all draws, however few rows are looked at together."""
    monkeypatch.setattr(field_statistics, "BLOCK_BYTES", block_bytes)
    modes, means, drawn, fields = two_clusters()
    found, _ = statistics_of_rows(modes, means, drawn[0], drawn[1], LEVELS)
    np.testing.assert_allclose(found.mean, fields.mean(axis=0), atol=1e-13)
    np.testing.assert_allclose(found.variance, fields.var(axis=0, ddof=1), rtol=1e-11)
    np.testing.assert_allclose(found.quantiles, np.quantile(fields, LEVELS, axis=0), atol=1e-12)


def test_summaries_of_blocks_of_rows_join() -> None:
    """Least, greatest and weighted sums of two halves of the rows are those of all rows."""
    modes, means, drawn, fields = two_clusters()
    weights = np.random.default_rng(1).random(57)
    halves = [
        statistics_of_rows(
            [phi[:, part] for phi in modes],
            [None if m is None else m[part] for m in means],
            drawn[0],
            drawn[1],
            (),
            weights[part],
        )[1]
        for part in (slice(0, 30), slice(30, 57))
    ]
    joined = merge_summaries(halves)
    np.testing.assert_allclose(joined.least, fields.min(axis=2), atol=1e-12)
    np.testing.assert_allclose(joined.greatest, fields.max(axis=2), atol=1e-12)
    np.testing.assert_allclose(joined.total, fields @ weights, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(joined.squares, fields**2 @ weights, rtol=1e-11)


def test_one_draw_has_no_variance() -> None:
    """The spread of a single draw is NaN, and not zero; its quantiles are itself."""
    modes, means = [np.ones((1, 5))], [None]
    found, _ = statistics_of_rows(modes, means, np.zeros((1, 2), np.int64), np.full((1, 2, 1), 3.0), LEVELS)
    assert np.isnan(found.variance).all()
    assert (found.quantiles == 3.0).all()
    assert (found.mean == 3.0).all()


def test_a_cluster_that_nobody_drew_adds_nothing() -> None:
    """A dictionary may have bases that no draw chose."""
    modes, means, drawn, fields = two_clusters()
    found, _ = statistics_of_rows([*modes, np.full((2, 57), np.nan)], [*means, None], drawn[0], drawn[1], LEVELS)
    np.testing.assert_allclose(found.mean, fields.mean(axis=0), atol=1e-13)
