"""Snapshots that are combinations of columns already reduced: what merging, appending and dropping have in common.

    s_j = X c_j + e_j        X (n, k): modes of models, new snapshots, a shift between means        C (k, m): known, small
                             e_j: what earlier truncations left out; only its norm is known, ||e_j|| <= rho_j

The POD of ``X C D`` (D the snapshot scaling) needs the factor R of X, one pass over k columns instead of m snapshots:

    (C D)^T = Q L^T,   R L = U diag(s) V^T,   Phi = X T,   T = L V_N / s_N,   ``W``-orthonormal

and the error of every snapshot follows from R as well, without cancellation: ``(I - P) X c = X (c - T a)``, so that

    ||(I - P) X c_j|| = || (I - U_N U_N^T) R c_j ||                       P the projection onto the new modes

A bound of the whole error adds what was left out before (`certified`):

    any remainder                    ||s_j - Phi q_j||   <= ||(I - P) X c_j|| + rho_j
    e_j orthogonal to X              ||s_j - Phi q_j||^2  = ||(I - P) X c_j||^2 + rho_j^2
    E D^2 C^T = 0 ("uncorrelated")   sum_j d_j^2 ||s_j - Phi q_j||^2  =  the same sum of both squares

The last holds for the truncated POD of any snapshots, whose right singular vectors are orthonormal: it is the step by which
the error bound of hierarchical approximate POD is proved (Himpe, Leibner and Rave 2018), and it is inherited by what is made
here, so that the squares of a chain of updates add up. With unit weights instead of ``C`` the stack forgets how much each
mode matters; that is not done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.reduction import TSQR
from nwidth_graphs.truncation import Truncation, truncate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Remainder:
    """What earlier truncations left out of the snapshots, E; see the module."""

    norms: Floats
    """rho (m,)."""
    total_square: float
    """``sum_j d_j^2 ||e_j||^2``, or a bound of it: where errors were certified jointly, less than the sum over `norms`."""
    orthogonal: bool = False
    """Whether every e_j is orthogonal to the columns X, and `norms` are its norm and not a bound."""
    uncorrelated: bool = False
    """Whether ``E D^2 C^T = 0``."""


@dataclass(frozen=True)
class Recombination:
    """The snapshots of one basis as combinations of columns."""

    coordinates: Floats
    """C (k, m)."""
    remainder: Remainder
    snapshot_norms: Floats
    """(m,): norms of the snapshots themselves, or what they are at least."""
    snapshot_scale: Floats
    """d (m,)."""


@dataclass(frozen=True)
class CertifiedErrors:
    """Errors of the snapshots of one basis."""

    squares: Floats
    """(m,): of ``||s_j - Phi q_j||``, or bounds of it."""
    total_square: float
    """``sum_j d_j^2 ||s_j - Phi q_j||^2``, or a bound of it."""
    truncated_square: float
    """``sum_j d_j^2 ||(I - P) X c_j||^2``: what this step alone left out."""


def condensed(coordinates: Floats, scale: Floats) -> Floats:
    """L (k, min(k, m)) with ``L L^T = C D^2 C^T``: the weights of the columns, and how they belong together."""
    return np.ascontiguousarray(np.linalg.qr((coordinates * scale).T, mode="r").T)


def truncate_combination(
    factors: Mapping[str, Floats],
    field_scaling: Mapping[str, float],
    combination: Recombination,
    *,
    rows: int,
    rtol: float | None,
    rank: int | None,
    beyond_floor: bool = False,
) -> Truncation:
    """Truncate the POD of ``X C D``; transform T (k, N) and coefficients ``T^T X^T W X`` (N, k) are those of the columns X.

    Parameters
    ----------
    factors : field -> R (k, k) of its unscaled columns
    field_scaling : field -> a_f
    rows : number of unknowns n
    rtol, rank : as in `truncation.truncate`; the tolerance is relative to ``||X C D||_F``
    """
    weights = condensed(combination.coordinates, combination.snapshot_scale)
    mixed = {name: factor @ weights for name, factor in factors.items()}
    cut = truncate(mixed, field_scaling, TSQR, rows=rows, rtol=rtol, rank=rank, beyond_floor=beyond_floor)
    transform = weights @ cut.transform
    joint = joint_factor(factors, field_scaling)
    predicted = (joint @ transform).T @ joint
    return replace(cut, transform=transform, coefficients=predicted, snapshot_scale=np.ones(len(joint)))


def joint_factor(factors: Mapping[str, Floats], field_scaling: Mapping[str, float]) -> Floats:
    """R of the stack ``[a_1 X_1; a_2 X_2; ...]``."""
    factor: Floats = TSQR.merge([TSQR.scale(factors[name], field_scaling[name]) for name in factors])
    return factor


def missed(factor: Floats, transform: Floats, joint: Floats, coordinates: Floats) -> Floats:
    """Squares (m,) of ``||(I - P) X c_j||`` over the rows of one factor (a field, or all of a basis jointly).

    The projection is that of the basis, hence of `joint`; with ``factor = joint`` its defect is the distance to the span.
    """
    amplitudes = np.linalg.lstsq(joint @ transform, joint @ coordinates, rcond=None)[0]
    return np.asarray(np.sum((factor @ (coordinates - transform @ amplitudes)) ** 2, axis=0))


def certified(missed_squares: Floats, combination: Recombination) -> CertifiedErrors:
    """Add what was left out before; see the module for the three cases."""
    remainder, scale = combination.remainder, combination.snapshot_scale
    exact = missed_squares + remainder.norms**2
    squares = exact if remainder.orthogonal else (np.sqrt(missed_squares) + remainder.norms) ** 2
    truncated = float(np.sum(scale**2 * missed_squares))
    added = truncated + remainder.total_square
    if not (remainder.uncorrelated or remainder.orthogonal):
        added += 2.0 * float(np.sqrt(truncated * remainder.total_square))
    return CertifiedErrors(squares, min(added, float(np.sum(scale**2 * squares))), truncated)


def lower_bound_of_norms(combined_norms: Floats, remainders: Floats) -> Floats:
    """What ``||X c + e||`` is at least, where only ``||X c||`` and a bound of ``||e||`` are known."""
    return np.maximum(combined_norms - remainders, 0.0)
