"""What the reduced Newton method is given and gives back: points with their law, settings, the history of all draws.

`PointSet` is the door for any physics: at a point, the generalised strain is linear in the coordinates, and a `Law` makes
flux and tangent of it:

    e_k = E_k q + L_k g(t)       E (Q, s, N) modes at the points, L (Q, s, G) lifts with prescribed coordinates g
    internal force               sum_k w_k E_k^T flux(e_k)
    tangent                      sum_k w_k E_k^T (d flux / d e) E_k

Several sets, each with a law of its own, make a body of several materials, or a volume and a surface.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.protocol import Law

FLUX = "flux"
"""The name of stress (or heat flux) among the dual values."""

Reason = Literal["converged", "not converged", "not finite", "singular", "inputs", "temperature"]
REASONS: tuple[Reason, ...] = ("converged", "not converged", "not finite", "singular", "inputs", "temperature")
_WORDS: dict[Reason, str] = {
    "converged": "",
    "not converged": "Newton's method did not converge: follow smaller time steps, or look at the draw's parameters",
    "not finite": "the residual is not finite: the draw leaves what the law is defined for",
    "singular": "the tangent is singular: the law has lost its stiffness, or two modes are dependent at these points",
    "inputs": "a load, temperature or prescribed value is not finite: mend the inputs of this draw",
    "temperature": "a temperature lies outside of the law's range: extend the law's curves, or leave the draw out",
}


@dataclass(frozen=True)
class PointSet:
    """Integration points that share a law.

    Raises ValueError where shapes do not fit together, a value is not finite, or a weight is negative.
    """

    operator: Floats
    """(Q, s, N): generalised strain of the modes, with s the law's size (`strains.strain_operator` in mechanics)."""
    weights: Floats
    """(Q,): of a cubature rule, or all quadrature weights; points with weight 0 are evaluated and take no part in equilibrium."""
    law: Law
    lift: Floats | None = None
    """(Q, s, G): generalised strain of fields whose coordinates are prescribed."""

    def __post_init__(self) -> None:
        operator, weights = np.asarray(self.operator, np.float64), np.asarray(self.weights, np.float64)
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "weights", weights)
        if operator.ndim != 3 or operator.shape[1] != self.law.size or weights.shape != operator.shape[:1]:
            raise ValueError(
                f"points have an operator of shape {operator.shape} and weights {weights.shape}; "
                f"give (Q, {self.law.size}, N) and (Q,) for a law of size {self.law.size}"
            )
        if self.lift is not None and self.lift.shape[:2] != operator.shape[:2]:
            raise ValueError(f"the lift has the shape {self.lift.shape}; give ({operator.shape[0]}, {operator.shape[1]}, G)")
        if not (np.isfinite(operator).all() and np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("the operator or the weights of the points are not finite, or a weight is negative; mend the rule")

    @property
    def count(self) -> int:
        """Q."""
        return len(self.weights)

    @property
    def rank(self) -> int:
        """N."""
        return int(self.operator.shape[2])

    @cached_property
    def rows(self) -> Floats:
        """``E`` as a matrix (Q s, N)."""
        return np.ascontiguousarray(self.operator).reshape(-1, self.rank)

    @cached_property
    def weighted_rows(self) -> Floats:
        """``w E`` as a matrix (Q s, N)."""
        return np.asarray(np.repeat(self.weights, self.law.size)[:, None] * self.rows)

    def strain(self, q: Floats, prescribed: Floats) -> Floats:
        """Generalised strain (D, Q, s) of coordinates (D, N) and prescribed ones (D, G)."""
        strain = (q @ self.rows.T).reshape(len(q), *self.operator.shape[:2])
        return strain if self.lift is None else strain + np.einsum("qsg,dg->dqs", self.lift, prescribed)


@dataclass(frozen=True)
class NewtonSettings:
    """When a step is accepted, and when it is given up. Raises ValueError for a setting out of range."""

    tolerance: float = 1e-8
    """Of ``||g_ext - g_int|| / ||g_ext||``."""
    absolute_tolerance: float = 1e-8
    """Of ``||g_int||`` where the external force is zero; in units of force."""
    iterations: int = 50
    """Updates of one step at most."""
    halvings: int = 4
    """How often a step may be cut in two where it does not converge: 2^halvings parts at most."""

    def __post_init__(self) -> None:
        if not (self.tolerance > 0 and self.absolute_tolerance > 0 and self.iterations >= 1 and self.halvings >= 0):
            raise ValueError(f"{self} was found; expected positive tolerances, iterations >= 1 and halvings >= 0")


@dataclass(frozen=True)
class Failure:
    """Where and why a draw was given up; the others went on."""

    draw: int
    step: int
    """The time index that was not reached."""
    time: float
    reason: Reason
    residual: float
    """Of the last attempt, relative to the external force where there is one."""

    def __str__(self) -> str:
        return f"draw {self.draw} ended before t = {self.time:g}: {_WORDS[self.reason]} (residual {self.residual:.1e})"


@dataclass(frozen=True)
class ReducedHistory:
    """All draws over all times; a draw that failed is NaN from the time on that it did not reach."""

    times: Floats
    """(T,)."""
    q: Floats
    """(D, T, N) reduced coordinates."""
    duals: tuple[Mapping[str, Floats], ...]
    """For each point set, name -> (D, T, Q, ...): `FLUX` and the law's internal variables. The flux of the first time is zero."""
    iterations: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    """(D, T) Newton updates, of all parts of a step."""
    halvings: np.ndarray[tuple[int, ...], np.dtype[np.int64]]
    """(D, T) how often a step was cut in two."""
    residuals: Floats
    """(D, T) at the end of each step."""
    stable: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """(D, T) whether the symmetric part of the tangent was positive definite where the step ended."""
    failures: tuple[Failure, ...]

    @property
    def finished(self) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """(D,) draws that reached the end."""
        done = np.ones(len(self.q), bool)
        done[[failure.draw for failure in self.failures]] = False
        return done


def history_bytes(sets: Sequence[PointSet], draws: int, times: int, keep: Sequence[str] | None = None) -> int:
    """Bytes of a `ReducedHistory`: what to divide the memory of a worker by, before draws are put into one batch."""
    per_time = sets[0].rank + 4
    for part in sets:
        shapes = {FLUX: (part.law.size,), **part.law.state_shapes}
        per_time += part.count * sum(int(np.prod(shape)) for name, shape in shapes.items() if keep is None or name in keep)
    return 8 * draws * times * per_time
