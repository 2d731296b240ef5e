"""The discrete empirical cubature method: integrands become an orthonormal basis, and as many points as it has vectors suffice.

    A = G diag(sqrt w)  --SVD-->  U (Q, r) orthonormal, what the integrands span        b = U^T sqrt(w)
    the part of sqrt(w) outside of U, normalised, becomes one more column: the volume constraint

    until ||r|| <= tolerance ||b||, or r points:
        point k with the largest  U_k . r / ||U_k||  enters;  alpha = least squares on the chosen;  those with alpha <= 0 go back
    omega_k = alpha_k sqrt(w_k)

With tolerance zero the rule has r points and is exact for every combination of the integrands. Where points that go back keep
the residual from falling, all points become candidates; then non-negative least squares goes on, which cannot cycle.

Source     J. Hernandez, Comput. Methods Appl. Mech. Engrg. 369 (2020), "A multiscale method for periodic structures using domain
           decomposition and ECM-hyperreduction", and its published programs, whose logs the tests reproduce
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.cubature import check_points, rule_of
from nwidth_graphs.kernels.nnls import ActiveColumns, Ended, Pool, in_memory, search
from nwidth_graphs.kernels.partition import Indices
from nwidth_graphs.kernels.rule import Rule, check_integrands, integrals, integration_error

# A remainder of sqrt(w) below this is rounding of a constant that is among the integrands.
VOLUME_REMAINDER = 1e-10
# Steps without a smaller residual until all points become candidates.
PATIENCE = 10
# Residuals below are rounding: nothing is to be gained by one more point.
ROUNDING = 10 * float(np.finfo(np.float64).eps)


def discrete_ecm(
    G: Matrix,
    weights: Floats,
    tolerance: float = 0.0,
    *,
    rtol: float = 0.0,
    volume: bool = True,
    normalised: bool = True,
    candidates: Indices | None = None,
    smallest_norm: float = 0.0,
) -> Rule:
    """Points and weights for all that integrands G (R, Q) span, with at most as many points as they have rank.

    Parameters
    ----------
    weights : (Q,) array
        Of the full rule, none negative.
    tolerance : float
        On ``||U^T (alpha - sqrt w)|| / ||U^T sqrt w||``; the history is in this norm, `Rule.error` in that of the integrals
        (but in this one, too, where they cancel).
    rtol : float
        Singular values of the integrands are left out from where their tail is below this share; 0 keeps the numerical rank.
    volume : bool
        Integrate a constant, too.
    normalised : bool
        Choose by ``U_k . r / ||U_k||``, as published, or by ``U_k . r``, as the cubature of Kratos does.
    candidates : (c,) array, optional
        Points that are tried first; all others join when these do not do.
    smallest_norm : float
        Points whose ``||U_k||`` is below this share of the largest are not among the first candidates.

    Raises
    ------
    ValueError
        Shapes do not fit, a weight is negative, a value is not finite, all is zero, or a candidate does not exist.
    """
    check_integrands(G, weights)
    if weights.min() < 0.0:
        raise ValueError(f"weight {weights.min()} was given; the orthonormal form takes their roots: give weights of at least 0")
    if candidates is not None:
        check_points(candidates, G.shape[1])
    roots = np.sqrt(weights)
    U = orthonormal_integrands(G, roots, rtol=rtol, volume=volume)
    b = U.T @ roots
    if not np.linalg.norm(b) > ROUNDING * np.linalg.norm(roots):
        raise ValueError("all integrals are zero, for which no points are exact; keep the volume, or give other integrands")
    found = _greedy(U, b, tolerance, candidates, smallest_norm, normalised)
    rule = replace(found, weights=found.weights * roots[found.points], volume=float(weights.sum()))
    found_error = integration_error(G, weights, rule.points, rule.weights)
    # Where positive and negative parts cancel, nothing is relative to the integrals.
    cancel = np.linalg.norm(found_error.integrals) <= ROUNDING * np.linalg.norm(integrals(np.abs(G), weights))
    return rule if cancel else replace(rule, error=found_error.relative)


def orthonormal_integrands(G: Matrix, roots: Floats, *, rtol: float = 0.0, volume: bool = True) -> Floats:
    """U (Q, r): an orthonormal basis of the rows of ``G diag(sqrt w)``, with the remainder of sqrt(w) first where there is one.

    Raises
    ------
    ValueError
        A value is not finite, or all integrands are zero and no volume is kept.
    """
    A = np.asarray(G, np.float64).T * roots[:, None]
    if not np.isfinite(A).all():
        raise ValueError("an integrand is not finite; look for NaN or overflow in the stress states")
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    U = U[:, : _rank(s, A.shape, rtol)]
    remainder = roots - U @ (U.T @ roots)
    remainder -= U @ (U.T @ remainder)
    length = float(np.linalg.norm(remainder))
    if volume and length > VOLUME_REMAINDER * np.linalg.norm(roots):
        U = np.column_stack([remainder / length, U])
    if not U.shape[1]:
        raise ValueError("all integrands are zero, for which no points are exact; keep the volume, or give other integrands")
    return U


def _rank(s: Floats, shape: tuple[int, ...], rtol: float) -> int:
    numerical = int(np.sum(s > max(shape) * np.finfo(np.float64).eps * s[0]))
    tails = np.sqrt(np.cumsum(s[::-1] ** 2)[::-1])
    return min(numerical, int(np.sum(tails > rtol * tails[0])))


def _greedy(U: Floats, b: Floats, tolerance: float, candidates: Indices | None, smallest_norm: float, normalised: bool) -> Rule:
    """The loop of the head of this file."""
    norms, size, rank = np.linalg.norm(U, axis=1), float(np.linalg.norm(b)), U.shape[1]
    scale, stop = np.where((norms > 0.0) & normalised, norms, 1.0), max(tolerance, ROUNDING)
    allowed = norms > smallest_norm * norms.max()
    if candidates is not None:
        allowed &= np.isin(np.arange(len(U)), candidates)
    active, chosen, alpha = ActiveColumns(b), np.zeros(0, np.int64), np.zeros(0)
    history: list[float] = []
    best, idle, whole = 1.0, 0, False
    while (not history or history[-1] > stop) and len(chosen) < rank:
        scores = np.where(allowed, (U @ active.residual) / scale, -np.inf)
        scores[chosen] = -np.inf
        k = int(np.argmax(scores))
        if np.isfinite(scores[k]) and active.append(U[k]):
            chosen = np.append(chosen, k)
            alpha, chosen = _without_negative(active, chosen)
        error = float(np.linalg.norm(active.residual)) / size
        history.append(error)
        best, idle = (error, 0) if error < best else (best, idle + 1)
        if idle >= PATIENCE or not np.isfinite(scores[k]):
            if whole:
                return _finished(U, b, tolerance, chosen, history, normalised)
            allowed, idle, whole = norms > 0.0, 0, True
    ended: Ended = "tolerance" if history[-1] <= stop else "limit"
    return Rule(chosen, alpha, history[-1], np.array(history), ended, 0.0, True, active.condition(), len(history))


def _without_negative(active: ActiveColumns, chosen: Indices) -> tuple[Floats, Indices]:
    alpha = active.solution()
    while len(alpha) and alpha.min() <= 0.0:
        active.remove(np.flatnonzero(alpha <= 0.0))
        chosen = chosen[alpha > 0.0]
        alpha = active.solution()
    return alpha, chosen


def _finished(U: Floats, b: Floats, tolerance: float, chosen: Indices, history: list[float], normalised: bool) -> Rule:
    """The search where points that go back would be chosen again and again."""
    start = Pool(chosen, np.ascontiguousarray(U[chosen].T))
    price, goal = in_memory(U.T, normalised=normalised), max(tolerance, ROUNDING)
    fit = search(b, price, goal, normalised=normalised, worth=1.0, initial=start)
    rule = rule_of(fit, np.zeros(1))
    return replace(rule, history=np.concatenate([history, fit.history]), visits=len(history) + fit.visits)
