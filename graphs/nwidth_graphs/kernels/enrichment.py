"""Enriching a reduced model while it runs: what to do after a step, and how a basis takes in one new state without losing its old
modes.

    step l ──> rho_l ──> eta_l ──decide──> accept     eta_l <= tol
                                           enrich     one full-order step from t_{l-1}, then this step again
                                           stop       no update left: go on, and say so with the result

    nested enrichment    h = (I - Phi Phi^T M)^2 u,   Phi <- [Phi, h / |h|_M]     if |h|_M > rtol |u|_M
    coordinates          q <- [q, 0],   or Phi_new^T M Phi_old q where the new basis is not nested

Old modes stay bit for bit what they were, so all that was computed with them stays valid: only rows and columns are added. The
tolerance is relative to the state and not to what is left of it. Twice is enough: the second projection takes what rounding left
of the first.

Sources  twice is enough: Giraud, Langou, Rozloznik, van den Eshof, Numer. Math. 101 (2005)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nwidth_graphs.kernels.interpolation import Floats, Matrix

Product = Callable[[Floats], Floats]
"""``M x`` for x (n,) or (n, k)."""


class Action(StrEnum):
    """What to do after a step."""

    ACCEPT = "accept"
    ENRICH = "enrich"
    STOP = "stop"


@dataclass(frozen=True)
class Decision:
    """One line of the log: every step has one, accepted or not."""

    step: int
    action: Action
    residual: float
    """rho."""
    indicator: float
    """eta: upper estimate of the relative error."""
    updates: int
    """Enrichments before this step."""
    extrapolated: bool
    """Whether rho lies outside of the calibrated ones."""
    reason: str


def decide(
    step: int,
    residual: float,
    indicator: float,
    *,
    tolerance: float,
    updates: int,
    most_updates: int,
    extrapolated: bool = False,
    norm: float = math.inf,
    smallest_norm: float = 0.0,
    retried: bool = False,
) -> Decision:
    """Accept a step, ask for one full-order step, or stop enriching.

    Parameters
    ----------
    step : l, residual : rho_l, indicator : eta_l
    tolerance : largest eta that is accepted
    updates, most_updates : enrichments so far, and how many there may be
    norm, smallest_norm : of the dual field at the points; below the smallest the indicator is not calibrated, and the step is
    accepted retried : whether this very step was enriched already: a state that is in the basis and still misses will not be
    mended by itself

    A NaN is never accepted.
    """

    def say(action: Action, reason: str) -> Decision:
        return Decision(step, action, residual, indicator, updates, extrapolated, reason)

    if norm < smallest_norm:
        return say(
            Action.ACCEPT, f"the dual field has the norm {norm:.1e}, below {smallest_norm:.1e}, where nothing is estimated"
        )
    if indicator <= tolerance:
        return say(Action.ACCEPT, f"estimated error {indicator:.2e} <= {tolerance:.2e}")
    exceeded = f"estimated error {indicator:.2e} > {tolerance:.2e}"
    if retried:
        return say(Action.STOP, f"{exceeded} after this step was enriched")
    if updates >= most_updates:
        return say(Action.STOP, f"{exceeded}, and all {most_updates} updates are made")
    return say(Action.ENRICH, exceeded)


@dataclass(frozen=True)
class Enriched:
    """A basis with at most one mode more."""

    modes: Floats
    """(n, N) or (n, N + 1); the first N are the old ones, bit for bit."""
    added: bool
    missed: float
    """``|h|_M / |u|_M``: what the old basis missed of the state."""
    coordinates: Floats
    """q of the state in the new basis."""


def enriched(modes: Matrix, state: Matrix, product: Product | None = None, *, rtol: float = 1e-10) -> Enriched:
    """Append what a state (n,) adds to a basis (n, N) that is orthonormal in M.

    Parameters
    ----------
    product : M as a function; the identity by default
    rtol : share of the state's norm below which nothing is added

    Raises
    ------
    ValueError
        The state holds values that are not finite, or its size is not that of the modes.
    """
    Phi, u = np.asarray(modes, np.float64), np.asarray(state, np.float64)
    if u.shape != Phi.shape[:1]:
        raise ValueError(f"a state of shape {u.shape} cannot enrich modes of shape {Phi.shape}; give one value for each row")
    if not np.isfinite(u).all():
        raise ValueError("the state holds values that are not finite; look at the full-order step that made it")
    apply = product or _identity
    q, left = np.zeros(Phi.shape[1]), u
    for _ in range(2):
        along = Phi.T @ apply(left)
        q, left = q + along, left - Phi @ along
    norm, rest = _norm(u, apply), _norm(left, apply)
    missed = rest / norm if norm > 0.0 else 0.0
    if missed <= rtol:
        return Enriched(Phi, False, missed, q)
    return Enriched(np.column_stack([Phi, left / rest]), True, missed, np.append(q, rest))


def padded(q: Matrix, modes: int) -> Floats:
    """Coordinates (N, ...) in a nested basis of `modes` modes: the same, and zeros below."""
    return np.concatenate([q, np.zeros((modes - len(q), *q.shape[1:]))])


def transformed(q: Matrix, old: Matrix, new: Matrix, product: Product | None = None) -> Floats:
    """``Phi_new^T M Phi_old q``, (N_new, ...): coordinates of the nearest state in another basis. See also `transitions`."""
    apply = product or _identity
    return np.asarray((new.T @ apply(np.asarray(old, np.float64))) @ q)


def _identity(x: Floats) -> Floats:
    return x


def _norm(x: Floats, apply: Product) -> float:
    return math.sqrt(max(float(x @ apply(x)), 0.0))
