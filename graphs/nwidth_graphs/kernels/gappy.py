"""Gappy POD: coefficients of snapshots from the values that were observed, by least squares in diagonal weights.

    minimise over a_j   sum_{i observed in j} w_i (x_ij - phi_i . a_j)^2           phi_i: row i of the modes, (r,)

    A_j a_j = b_j,   A_j = Phi^T D_j W Phi = G   - sum_{i missing in j} w_i phi_i phi_i^T
                     b_j = Phi^T D_j W x_j = B_j - sum_{i missing in j} w_i phi_i x_ij

G and B are those of the filled snapshots, so only missing entries are visited one by one, whatever they were filled with. The
change of the filling from x to ``phi . a`` needs no visit either: ``sum w (phi a - x)^2 = a^T M a - 2 a^T c + d``.

Source: Everson and Sirovich 1995, "Karhunen-Loeve procedure for gappy data".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.panels import PANEL_ROWS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
# Directions of A_j that the observed values determine to fewer digits than this are left out of a_j.
CONDITION = 1e-10


@dataclass(frozen=True)
class GapSums:
    """What the missing entries of some rows add up to, for each of g snapshots; sums of blocks are sums of fields."""

    overlap: Floats
    """M (g, r, r): ``sum w phi phi^T``."""
    coefficients: Floats
    """c (g, r): ``sum w phi x``."""
    squares: Floats
    """d (g,): ``sum w x^2``."""

    def __add__(self, other: GapSums) -> GapSums:
        return GapSums(self.overlap + other.overlap, self.coefficients + other.coefficients, self.squares + other.squares)

    def scaled(self, factor: float) -> GapSums:
        """Times a number."""
        return GapSums(self.overlap * factor, self.coefficients * factor, self.squares * factor)


def hidden_entries(rows: NDArray[np.int64], snapshots: Sequence[int], share: float, seed: int, columns: int) -> Bools:
    """(rows, columns): about `share` of the entries in some snapshots, the same whatever rows are asked for together.

    A number is drawn for each entry from its own place, by the mixing function of SplitMix64 (Steele, Lea and Flood 2014).
    """
    hidden = np.zeros((len(rows), columns), bool)
    for snapshot in snapshots:
        place = rows.astype(np.uint64) * np.uint64(columns) + np.uint64(snapshot)
        hidden[:, snapshot] = _mixed(place + _mixed(np.array([seed], np.uint64))) < np.uint64(share * 2.0**64)
    return hidden


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return mixed


def fill_in_place(values: NDArray[np.floating], gaps: Bools, columns: Floats | None, coefficients: Floats | None) -> None:
    """Put ``columns @ coefficients`` where there are gaps, or the mean of a row's observed values where there are no columns yet.

    Parameters
    ----------
    values, gaps : (rows, m)
    columns : (rows, k), coefficients : (k, m)
    """
    for start in range(0, len(values), PANEL_ROWS):
        part = start + np.flatnonzero(gaps[start : start + PANEL_ROWS].any(axis=1))
        if part.size == 0:
            continue
        rows, missing = values[part].astype(np.float64), gaps[part]
        if columns is None or coefficients is None:
            observed = np.where(missing, 0.0, rows).sum(axis=1) / np.maximum(1, (~missing).sum(axis=1))
            estimate = np.broadcast_to(observed[:, None], rows.shape)
        else:
            estimate = columns[part] @ coefficients
        values[part] = np.where(missing, estimate, rows)


def gap_sums(
    modes: Floats,
    values: NDArray[np.floating],
    mean: Floats | None,
    gaps: Bools,
    snapshots: Sequence[int],
    weights: Floats | None,
) -> GapSums:
    """The sums over the gaps of some rows.

    Parameters
    ----------
    modes : (r, rows), values : (rows, m) as filled, gaps : (rows, m)
    mean : (rows,), subtracted from the values, or None
    snapshots : the g snapshots that have gaps
    weights : (rows,) or None
    """
    rank = len(modes)
    overlap, inner, squares = np.zeros((len(snapshots), rank, rank)), np.zeros((len(snapshots), rank)), np.zeros(len(snapshots))
    for place, snapshot in enumerate(snapshots):
        missing = np.flatnonzero(gaps[:, snapshot])
        phi, x = modes[:, missing], values[missing, snapshot].astype(np.float64)
        x = x if mean is None else x - mean[missing]
        weighted = phi if weights is None else phi * weights[missing]
        overlap[place], inner[place] = weighted @ phi.T, weighted @ x
        squares[place] = x @ x if weights is None else (x * weights[missing]) @ x
    return GapSums(overlap, inner, squares)


def observed_coefficients(overlap: Floats, coefficients: Floats, gaps: GapSums) -> Floats:
    """a (r, g) of the snapshots with gaps, from G (r, r), their columns of B (r, g), and the sums over the gaps."""
    normal, right = overlap - gaps.overlap, coefficients.T - gaps.coefficients
    found: Floats = np.einsum("gij,gj->ig", np.linalg.pinv(normal, rcond=CONDITION, hermitian=True), right)
    return found


def filling_change(coefficients: Floats, gaps: GapSums) -> float:
    """Relative change of all gaps from what they were filled with to ``phi . a``, in the weights of the sums."""
    quadratic = np.einsum("ig,gij,jg->", coefficients, gaps.overlap, coefficients)
    change = quadratic - 2.0 * np.einsum("ig,gi->", coefficients, gaps.coefficients) + gaps.squares.sum()
    return float(np.sqrt(max(change, 0.0) / max(quadratic, np.finfo(float).tiny)))
