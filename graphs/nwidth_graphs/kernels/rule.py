"""A quadrature rule on few of the points of another one, and what it costs in accuracy: measured, on any integrands.

integral of f  =  sum over Q points of w_k f(x_k)   ~   sum over n points of omega_k f(x_k),    omega_k >= 0
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.nnls import Ended
from nwidth_graphs.kernels.partition import Indices

# Columns of integrands in single precision that are widened at once.
COLUMNS = 4096


@dataclass(frozen=True)
class Rule:
    """Points, their weights, and how they were found."""

    points: Indices
    """(n,) numbers of integration points, in the order in which they were chosen; imposed ones last."""
    weights: Floats
    """(n,) non-negative; zero at imposed points that no integral needs."""
    error: float
    """``||G omega - b|| / ||b||`` on the integrands that it was made of; 0 where all integrals are zero."""
    history: Floats
    """Relative residual after every step, in the norm of the method."""
    ended: Ended
    """Why the search ended; only "tolerance" is what was asked for."""
    volume: float
    """Sum of the full weights: what the weights would add up to if a constant were among the integrands."""
    unique: bool = True
    """False where a point was met that those in use could replace: other rules are as good, so compare errors and not weights."""
    condition: float = 1.0
    """Of the integrands at the points, each point scaled to norm one."""
    visits: int = 0
    """Of all integrands, chunk by chunk or at once."""

    @property
    def iterations(self) -> int:
        """Steps of the search."""
        return len(self.history)

    @property
    def stalled(self) -> bool:
        """Whether the residual had stopped to fall before the tolerance was met."""
        return self.ended == "stalled"

    @property
    def volume_ratio(self) -> float:
        """Sum of the weights over the volume; 1 where a constant is integrated exactly, NaN where the volume is zero."""
        return float(self.weights.sum()) / self.volume if self.volume else float("nan")


@dataclass(frozen=True)
class IntegrationError:
    """The error of a rule on integrands that it may never have seen."""

    integrals: Floats
    """(R,) with all points."""
    errors: Floats
    """(R,) rule minus integral."""

    @property
    def relative(self) -> float:
        """``||errors|| / ||integrals||``; NaN where all integrals are zero."""
        size = float(np.linalg.norm(self.integrals))
        return float(np.linalg.norm(self.errors)) / size if size else float("nan")

    @property
    def worst(self) -> float:
        """``max |errors| / max |integrals|``; NaN where all integrals are zero."""
        size = float(np.abs(self.integrals).max(initial=0.0))
        return float(np.abs(self.errors).max(initial=0.0)) / size if size else float("nan")


def integrals(G: Matrix, weights: Floats) -> Floats:
    """``b = G w`` (R,) in float64, whatever the precision of G (R, Q)."""
    total = np.zeros(G.shape[0])
    for start in range(0, G.shape[1], COLUMNS):
        total += G[:, start : start + COLUMNS].astype(np.float64) @ weights[start : start + COLUMNS]
    return total


def integration_error(G: Matrix, weights: Floats, points: Indices, reduced_weights: Floats) -> IntegrationError:
    """The error of a rule on integrands G (R, Q) with the full weights (Q,), held out or not.

    Raises
    ------
    ValueError
        The rule has a point that the integrands do not have.
    """
    if len(points) and not 0 <= points.min() <= points.max() < G.shape[1]:
        raise ValueError(f"the rule has point {points.max()} and the integrands have {G.shape[1]} points; give those of the rule")
    full = integrals(G, weights)
    return IntegrationError(full, G[:, points].astype(np.float64) @ reduced_weights - full)


def check_integrands(G: Matrix, weights: Floats) -> None:
    """Refuse what no rule can be made of.

    Raises
    ------
    ValueError
        There is no integrand or no point, the weights are not one for each point, or a value is not finite.
    """
    if G.ndim != 2 or 0 in G.shape or weights.shape != G.shape[1:]:
        found = f"integrands of shape {G.shape} and weights of shape {weights.shape} were given"
        raise ValueError(f"{found}; give at least one integrand (R, Q), at least one point, and a weight for each point (Q,)")
    if not np.isfinite(weights).all():
        raise ValueError("a quadrature weight is not finite; give the weights of the full rule")


def check_integrals(b: Floats) -> None:
    """Refuse integrals that say nothing.

    Raises
    ------
    ValueError
        One is not finite, or all are zero.
    """
    if not np.isfinite(b).all():
        row = int(np.flatnonzero(~np.isfinite(b))[0])
        raise ValueError(f"the integral of row {row} is not finite; look for NaN or overflow in that integrand")
    if not b.any():
        raise ValueError(
            "all integrals are zero, for which no points are exact; ask for the volume to be kept, or give other integrands"
        )
