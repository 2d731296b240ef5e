"""From the sums of samples to a truncated basis: all of it on r x r and r x m matrices, at no read of the data.

    samples Y (n, r), never seen here:   G = Y^T W Y,  B = Y^T W S  ──SVD of Pi_Y S──> s, T (r, N), coefficients (N, m), errors

With d the snapshot scaling (``S diag(d)`` is what is decomposed) the modes are ``Phi = Y T`` and the coefficients of the
*unscaled* snapshots ``A = Phi^T W S``. What the span of Y misses of each snapshot is known exactly, by one of

    Pythagoras   ||s||^2 - ||Pi_Y s||^2
    residual     ||e||^2 - ||Pi_Y e||^2,   e = s - Y q       where the first would cancel, see `kernels.lift`

and the directions of Y beyond N add their squared coefficients to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.gram import gram_floor
from nwidth_graphs.kernels.lift import LiftSums
from nwidth_graphs.kernels.sketch import sampled_svd
from nwidth_graphs.kernels.svd import rank_above_floor
from nwidth_graphs.truncation import Truncation

Floats = NDArray[np.float64]

# Where a tolerance is asked for, the first sample holds this share of what there is to find, and at least this many directions: a
# first read that falls short costs another one, columns cost little beside reading.
FIRST_SHARE = 0.05
FEWEST_FIRST = 32


def largest_sample(directions: int, rank: int | None, oversampling: int) -> int:
    """Most columns of a test matrix: the rank asked for and some beyond, at most all directions ``min(n, m)``. Pure."""
    return directions if rank is None else min(directions, rank + oversampling)


def first_sample(directions: int, rank: int | None, rtol: float | None, oversampling: int) -> int:
    """Columns of the first test matrix: all that a rank asks for, or a first try at a tolerance. Pure."""
    most = largest_sample(directions, rank, oversampling)
    return most if rtol is None else min(most, max(FEWEST_FIRST, math.ceil(FIRST_SHARE * directions)))


@dataclass(frozen=True)
class SampledBasis:
    """A truncated basis from samples."""

    truncation: Truncation
    """`transform` is T (r, N), from samples to modes; `singular_values` are those found; its `rank_for_rtol` is None where the
    whole sample misses the tolerance."""
    squares: Floats
    """(m,): squared projection errors of the unscaled snapshots."""
    missed_energy: float
    """``sum_j d_j^2 ||s_j - Pi_Y s_j||^2``: what no direction of the sample holds."""


def cut_sample(
    sums: LiftSums,
    predicted: Floats | None,
    norms: Floats,
    scale: Floats,
    *,
    rtol: float | None,
    rank: int | None,
    beyond_floor: bool = False,
) -> SampledBasis:
    """Truncate the span of some samples.

    Parameters
    ----------
    sums : G (r, r), B (r, m), and the squares of ``e_j`` where the residual was formed
    predicted : q (r, m), of which it was formed
    norms, scale : norms of the snapshots and d, (m,)
    rtol, rank, beyond_floor : as in `nwidth_graphs.truncation.truncate`
    """
    found = sampled_svd(sums.overlap, sums.coefficients * scale)
    values = found.singular_values
    coefficients = values[:, None] * found.right.T / scale
    outside = _outside(sums, predicted, found.rotation, coefficients, norms)
    missed, energy = float(np.sum(scale**2 * outside)), float(np.sum((scale * norms) ** 2))
    # Summed from the smallest upwards, so that a small tail is not drowned by the leading values.
    tails = np.sqrt(np.cumsum(np.concatenate([[missed], values[::-1] ** 2]))[::-1] / energy)
    floor = gram_floor(float(values[0]))
    wanted = None if rtol is None or tails[-1] > rtol else max(1, int(np.argmax(tails <= rtol)))
    asked = min(limit for limit in (wanted, rank, len(values)) if limit is not None)
    trusted = len(values) if beyond_floor else max(1, rank_above_floor(values, floor))
    chosen = min(asked, trusted)
    return SampledBasis(
        truncation=Truncation(
            singular_values=values,
            floor=floor,
            rank=chosen,
            rank_for_rtol=wanted,
            limited_by=_limit(chosen, asked, wanted, rank),
            expected_error=float(tails[chosen]),
            transform=found.rotation[:, :chosen],
            coefficients=coefficients[:chosen],
            snapshot_scale=scale,
        ),
        squares=outside + np.sum(coefficients[chosen:] ** 2, axis=0),
        missed_energy=missed,
    )


def _outside(sums: LiftSums, predicted: Floats | None, rotation: Floats, coefficients: Floats, norms: Floats) -> Floats:
    """``||s_j - Pi_Y s_j||^2`` (m,); see the module."""
    if sums.residual_squares is None or predicted is None:
        squares = norms**2 - np.sum(coefficients**2, axis=0)
    else:
        inside = rotation.T @ (sums.coefficients - sums.overlap @ predicted)
        squares = sums.residual_squares - np.sum(inside**2, axis=0)
    return np.maximum(squares, 0.0)


def _limit(chosen: int, asked: int, wanted: int | None, rank: int | None) -> Literal["rtol", "rank", "floor", "spectrum"]:
    if chosen < asked:
        return "floor"
    if chosen == wanted:
        return "rtol"
    return "rank" if chosen == rank else "spectrum"
