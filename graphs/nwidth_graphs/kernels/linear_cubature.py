"""Cubature by a linear program: the least sum of weights among all rules within a tolerance.

    min  sum omega     over  omega >= 0,  |G omega - b| <= tolerance ||b|| / sqrt(R)  in every row  (or <= tolerance |b_i|)

A vertex of that polytope has at most as many points as rows. The sum of weights says nothing about sparsity beyond that, so a
rule with many points is refused, and a greedy method is the way out. It needs all of G at once: for systems of a modest size.

Source     M. Yano, A. Patera, Comput. Methods Appl. Mech. Engrg. 344 (2019), empirical quadrature; solver HiGHS, through SciPy
"""

from __future__ import annotations

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.nnls import Ended
from nwidth_graphs.kernels.rule import Rule, check_integrals, check_integrands, integrals, integration_error

# Weights below this share of their sum are the solver's own tolerance.
NEGLIGIBLE = 1e-7
# A rule on more than this share of the points is no reduction.
MOST = 0.15


class RejectedRuleError(ArithmeticError):
    """The program has no solution, or one that is of no use; the sentence says which."""


def linear_cubature(
    G: Matrix,
    weights: Floats,
    tolerance: float,
    *,
    componentwise: bool = False,
    volume: bool = False,
    most: float = MOST,
) -> Rule:
    """A rule for integrands G (R, Q) with the least sum of weights.

    Parameters
    ----------
    tolerance : float
        Relative to ``||b||``, shared by the rows; relative to every ``|b_i|`` where `componentwise`.
    volume : bool
        The weights must add up to those of the full rule, exactly; then the program only looks for a vertex.
    most : float
        The largest share of the points that a rule may have.

    Raises
    ------
    RejectedRuleError
        No non-negative rule is within the tolerance, the solver gave up, or too many points have a weight.
    ValueError
        Shapes do not fit, an integral is not finite, or all integrals are zero.
    """
    check_integrands(G, weights)
    rows = np.asarray(G, np.float64)
    b = integrals(rows, weights)
    check_integrals(b)
    slack = tolerance * (np.abs(b) if componentwise else np.full(len(b), np.linalg.norm(b) / np.sqrt(len(b))))
    values = _solved(rows, b, slack, float(weights.sum()) if volume else None, tolerance)
    points = np.flatnonzero(values > NEGLIGIBLE * values.sum())
    if len(points) > most * len(values):
        share = f"{len(points)} of {len(values)} points, {len(points) / len(values):.0%}"
        raise RejectedRuleError(f"the linear program keeps {share}, and at most {most:.0%} are a reduction; use nnomp")
    error = integration_error(rows, weights, points, values[points]).relative
    ended: Ended = "tolerance" if error <= tolerance or componentwise else "optimum"
    return Rule(points, values[points], error, np.array([error]), ended, float(weights.sum()), visits=1)


def _solved(G: Floats, b: Floats, slack: Floats, volume: float | None, tolerance: float) -> Floats:
    """The solver sees every row scaled to its largest entry, so that its own tolerance is relative."""
    from scipy.optimize import linprog

    scale = np.abs(G).max(axis=1)
    scale[scale == 0.0] = 1.0
    A, target, room = G / scale[:, None], b / scale, slack / scale
    equal = {} if volume is None else {"A_eq": np.ones((1, G.shape[1])), "b_eq": [volume]}
    found = linprog(
        np.ones(G.shape[1]),
        A_ub=np.concatenate([A, -A]),
        b_ub=np.concatenate([target + room, room - target]),
        bounds=(0.0, None),
        method="highs",
        **equal,
    )
    if found.status == 2:
        raise RejectedRuleError(f"no non-negative rule is within the tolerance {tolerance:g}; ask for a larger one, or use nnomp")
    if found.status != 0:
        raise RejectedRuleError(f"the linear program was not solved ({found.message.strip()}); use nnomp")
    return np.asarray(found.x)
