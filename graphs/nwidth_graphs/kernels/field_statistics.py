"""Statistics of reduced fields over many draws, exact and in bounded memory: no draw's field is ever held whole.

    field of draw d at row i and time t   x_dti = mean_ki + sum_j Phi_kij q_dtj        k the cluster of draw d at time t

A block of rows of all modes is read once. On it the values of all draws at one time are a matrix (D, rows), small because the
block is cut into as few rows as `BLOCK_BYTES` allow; from it come mean, variance, quantiles over the draws, and the least, the
greatest and the weighted sum over the rows, draw by draw. So quantiles are those of the sample itself, and not of a sketch of it
(P-square, t-digest): coefficients of 10^4 draws are a few megabytes, and it is the fields that are large.

Source  what is estimated: T. Daniel et al. (2022), arXiv:2108.04012, section on uncertainty quantification; the blocking is ours
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BLOCK_BYTES = 16 * 2**20
"""Of the values of all draws on the rows that are looked at together."""


@dataclass(frozen=True)
class FieldStatistics:
    """Over D draws, on some rows, at T times."""

    mean: Floats
    """(T, rows)."""
    variance: Floats
    """(T, rows), unbiased: divided by D - 1; NaN of a single draw."""
    quantiles: Floats
    """(levels, T, rows): linear between order statistics."""


@dataclass(frozen=True)
class DrawSummaries:
    """Of every draw over the rows seen so far, (D, T) each; `merge_summaries` joins blocks of rows."""

    least: Floats
    greatest: Floats
    total: Floats
    """Weighted sum over the rows: an integral where the weights are those of a quadrature."""
    squares: Floats
    """Weighted sum of squares."""


def statistics_of_rows(
    modes: Sequence[Floats],
    means: Sequence[Floats | None],
    labels: NDArray[np.int64],
    coefficients: Floats,
    levels: Sequence[float],
    weights: Floats | None = None,
) -> tuple[FieldStatistics, DrawSummaries]:
    """Statistics of one field on a block of rows.

    Parameters
    ----------
    modes : K arrays (N_k, rows)
    means : K arrays (rows,), or None where the basis is not centred
    labels : (D, T), which of the K bases a draw has at a time
    coefficients : (D, T, N), N the largest of N_k; what stands beyond N_k is not used
    levels : quantiles that are wanted, in [0, 1]
    weights : (rows,) of the sums over rows, 1 by default
    """
    rows = modes[0].shape[1]
    draws, times = labels.shape
    weights = np.ones(rows) if weights is None else weights
    found = FieldStatistics(np.empty((times, rows)), np.empty((times, rows)), np.empty((len(levels), times, rows)))
    over_rows = empty_summaries(draws, times)
    step = max(1, BLOCK_BYTES // (8 * max(draws, 1)))
    for start in range(0, rows, step):
        part = slice(start, min(start + step, rows))
        for time in range(times):
            values = np.empty((draws, part.stop - start))
            for cluster, (phi, mean) in enumerate(zip(modes, means, strict=True)):
                there = np.flatnonzero(labels[:, time] == cluster)
                if len(there):
                    formed = coefficients[there, time, : len(phi)] @ phi[:, part]
                    values[there] = formed if mean is None else formed + mean[part]
            found.mean[time, part] = values.mean(axis=0)
            found.variance[time, part] = values.var(axis=0, ddof=1) if draws > 1 else np.nan
            _accumulate(over_rows, time, values, weights[part])
            if len(levels):  # last: it reorders the values
                found.quantiles[:, time, part] = np.quantile(values, levels, axis=0, overwrite_input=True)
    return found, over_rows


def empty_summaries(draws: int, times: int) -> DrawSummaries:
    """Of no rows at all."""
    shape = (draws, times)
    return DrawSummaries(np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape), np.zeros(shape))


def merge_summaries(parts: Sequence[DrawSummaries]) -> DrawSummaries:
    """Blocks of rows joined, in the order given."""
    merged = parts[0]
    for part in parts[1:]:
        merged = replace(
            merged,
            least=np.minimum(merged.least, part.least),
            greatest=np.maximum(merged.greatest, part.greatest),
            total=merged.total + part.total,
            squares=merged.squares + part.squares,
        )
    return merged


def _accumulate(over_rows: DrawSummaries, time: int, values: Floats, weights: Floats) -> None:
    np.minimum(over_rows.least[:, time], values.min(axis=1), out=over_rows.least[:, time])
    np.maximum(over_rows.greatest[:, time], values.max(axis=1), out=over_rows.greatest[:, time])
    over_rows.total[:, time] += values @ weights
    over_rows.squares[:, time] += values**2 @ weights
