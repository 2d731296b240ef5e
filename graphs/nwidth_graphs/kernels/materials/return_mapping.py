"""Backward Euler for von Mises laws: one scalar equation per point, whatever the hardening, solved for all points at once.

    trial stress          s_tr = 2 mu (dev eps - eps_p)                                            nothing flows
    yield                 J(s - X) > R(p),    X = 2/3 C alpha,    R(p) = R0 + H p + S (1 - exp(-b p))
    flow                  deps_p = dp n,      n = 3/2 (s - X) / J(s - X)
    hardening             dalpha = deps_p - D alpha dp      (Prager for D = 0, Armstrong-Frederick else)
    rate                  J(s - X) = R(p) + K (dp / dt)^(1/m)      (Norton; K = 0 is rate independent)

Over a step, ``h = 1 / (1 + D dp)`` and ``beta = s_tr - 2/3 C h alpha`` leave one unknown:

    F(dp) = J(beta) - dp (3 mu + C h) - R(p + dp) - K (dp / dt)^(1/m) = 0

and then ``n = 3/2 beta / J(beta)``, ``alpha = (alpha + dp n) h``. F decreases where ``J(X) <= C / D``, which backward Euler
keeps. With m = 30, dp spans hundreds of decades, so that the unknown is ``x = log dp``: Newton's method in a bracket.

References: J. C. Simo, T. J. R. Hughes, Computational Inelasticity (1998), ch. 2 and 3; J.-L. Chaboche, Int. J. Plasticity 5
(1989) 247-302, for the kinematic rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.properties import Property, common_range, require, value_at
from nwidth_graphs.kernels.materials.protocol import Response, State, zero_state
from nwidth_graphs.kernels.materials.tensors import CONTRACTION, DEVIATOR, IDENTITY, equivalent, stiffness

STATE_SHAPES = {"plastic_strain": (6,), "alpha": (6,), "p": ()}
"""Plastic strain and kinematic variable with tensor shear, accumulated plastic strain."""


class ReturnMapped:
    """What all laws whose step is `backward_euler` have in common; a dataclass adds its parameters and the step."""

    @property
    def size(self) -> int:
        return 6

    @property
    def state_shapes(self) -> Mapping[str, tuple[int, ...]]:
        return STATE_SHAPES

    @property
    def temperature_range(self) -> tuple[float, float]:
        return common_range(self)

    def initial_state(self, strain: Floats, temperature: Floats) -> State:
        """The virgin material."""
        return zero_state(STATE_SHAPES, strain.shape[:-1])


# Newton's method takes three to eight steps; halving the widest bracket (1e3 in log dp) down to rounding takes 64.
ITERATIONS = 80
CLOSE = 1e-14


@dataclass(frozen=True)
class IsotropicHardening:
    """``R(p) = R0 + H p + S (1 - exp(-b p))``: yield stress, linear and Voce hardening; ValueError where one is negative."""

    yield_stress: Property
    """R0, in stress."""
    linear: Property = 0.0
    """H, in stress."""
    saturation: Property = 0.0
    """S, in stress."""
    rate: Property = 0.0
    """b."""

    def __post_init__(self) -> None:
        for field in fields(self):
            require(f"the parameter {field.name} of isotropic hardening", getattr(self, field.name), above=0.0, equal=True)


@dataclass(frozen=True)
class KinematicHardening:
    """``X = 2/3 C alpha``, ``dalpha = deps_p - D alpha dp``. Raises ValueError where one is negative."""

    modulus: Property = 0.0
    """C, in stress."""
    recall: Property = 0.0
    """D; zero is Prager's linear rule."""

    def __post_init__(self) -> None:
        for field in fields(self):
            require(f"the parameter {field.name} of kinematic hardening", getattr(self, field.name), above=0.0, equal=True)


@dataclass(frozen=True)
class Constants:
    """Parameters at k points, each (k,)."""

    shear: Floats
    bulk: Floats
    yield_stress: Floats
    linear: Floats
    saturation: Floats
    rate: Floats
    modulus: Floats
    recall: Floats
    drag: Floats
    """K; zero where flow is rate independent."""
    exponent: Floats
    """m."""

    def of(self, points: NDArray[np.intp]) -> Constants:
        """The parameters of some of the points."""
        return Constants(*(getattr(self, field.name)[points] for field in fields(self)))

    def radius(self, p: Floats) -> Floats:
        """``R(p)``."""
        return np.asarray(self.yield_stress + self.linear * p - self.saturation * np.expm1(-self.rate * p))

    def radius_slope(self, p: Floats) -> Floats:
        """``R'(p)``."""
        return np.asarray(self.linear + self.saturation * self.rate * np.exp(-self.rate * p))

    def viscous(self, x: Floats, dt: Floats) -> Floats:
        """``K (dp / dt)^(1/m)`` at ``x = log dp``."""
        return np.asarray(self.drag * np.exp((x - np.log(dt)) / self.exponent))

    def back_stress(self, alpha: Floats) -> Floats:
        """``X = 2/3 C alpha``, (k, 6)."""
        return np.asarray((2 / 3 * self.modulus)[:, None] * alpha)


def constants_at(
    moduli: tuple[Floats, Floats],
    isotropic: IsotropicHardening,
    kinematic: KinematicHardening,
    viscosity: tuple[Property, Property],
    temperature: Floats,
) -> Constants:
    """Parameters of all points, flat; `viscosity` is (K, m)."""
    properties = [getattr(part, field.name) for part in (isotropic, kinematic) for field in fields(part)]
    values = [*moduli, *(value_at(value, temperature) for value in (*properties, *viscosity))]
    return Constants(*(np.broadcast_to(value, temperature.shape).reshape(-1) for value in values))


def backward_euler(mechanical: Floats, state: State, constants: Constants, dt: float | Floats) -> Response:
    """One step from mechanical strain (..., Q, 6) and old state; `constants` are flat over (..., Q).

    Raises
    ------
    ValueError
        The step is not positive.
    """
    shape = mechanical.shape[:-1]
    steps = np.broadcast_to(np.asarray(dt, np.float64), shape).reshape(-1)
    if steps.size and not steps.min() > 0:
        raise ValueError(
            f"a time step of {steps.min():g} was asked of a law that flows; expected a positive one: let time increase"
        )
    strain = mechanical.reshape(-1, 6)
    old = {name: np.asarray(state[name], np.float64).reshape(-1, *size) for name, size in STATE_SHAPES.items()}
    trial = 2 * constants.shear[:, None] * (strain @ DEVIATOR - old["plastic_strain"])
    increment, dp, h = np.zeros_like(trial), np.zeros(len(trial)), np.ones(len(trial))
    shear, left, unit = constants.shear.copy(), np.zeros_like(trial), np.zeros_like(trial)
    excess = equivalent(trial - constants.back_stress(old["alpha"])) - constants.radius(old["p"])
    active = np.flatnonzero((excess > 0) & np.isfinite(excess))
    if active.size:
        inputs = (trial[active], old["alpha"][active], old["p"][active], constants.of(active), steps[active])
        dp[active] = plastic_increment(*inputs)
        h[active], shear[active], left[active], unit[active] = _flow_and_tangent(*inputs, dp[active])
        increment[active] = 1.5 * dp[active, None] * unit[active]
    tangent = stiffness(shear, constants.bulk)
    tangent -= left[:, :, None] * unit[:, None, :]
    stress = trial - 2 * constants.shear[:, None] * increment + (constants.bulk * strain[:, :3].sum(axis=1))[:, None] * IDENTITY
    new = {
        "plastic_strain": old["plastic_strain"] + increment,
        "alpha": (old["alpha"] + increment) * h[:, None],
        "p": old["p"] + dp,
    }
    state_after = {name: values.reshape(*shape, *STATE_SHAPES[name]) for name, values in new.items()}
    return Response(stress.reshape(*shape, 6), tangent.reshape(*shape, 6, 6), state_after)


def plastic_increment(trial: Floats, alpha: Floats, p: Floats, constants: Constants, dt: Floats) -> Floats:
    """Solve ``F(dp) = 0`` at k points that yield, (k,): Newton's method for log dp, halving the bracket that it would leave."""
    low, x, high = _bracket(trial, alpha, p, constants, dt)
    # Newton's method from above does not overshoot: F is concave in log dp wherever one term rules.
    for _ in range(ITERATIONS):
        value, slope = _equation(x, trial, alpha, p, constants, dt)
        low, high = np.where(value > 0, x, low), np.where(value > 0, high, x)
        step = np.divide(-value, slope, out=np.full_like(value, np.inf), where=slope < 0)
        following = np.where((x + step >= low) & (x + step <= high), x + step, (low + high) / 2)
        done = np.abs(following - x) <= CLOSE * (1 + np.abs(x))
        x = following
        if done.all():
            break
    return np.asarray(np.exp(x))


def _bracket(trial: Floats, alpha: Floats, p: Floats, constants: Constants, dt: Floats) -> tuple[Floats, Floats, Floats]:
    """Bounds of log dp that hold for any state, and a start near the upper one."""
    back = equivalent(constants.back_stress(alpha))
    excess = equivalent(trial - constants.back_stress(alpha)) - constants.radius(p)
    steepest = 3 * constants.shear + constants.modulus + constants.recall * back + constants.radius_slope(p)
    # Neither the terms that grow linearly nor the viscous one can use up half of the excess below, nor all of it above.
    low = np.minimum(np.log(excess / 2 / steepest), _viscous_limit(excess / 2, constants, dt))
    start = np.minimum(np.log(excess / (3 * constants.shear)), _viscous_limit(excess, constants, dt))
    high = np.log((equivalent(trial) + back) / (3 * constants.shear))
    return low - 1, np.minimum(start, high), high + 1


def _viscous_limit(excess: Floats, constants: Constants, dt: Floats) -> Floats:
    """log dp at which the viscous stress alone is `excess`: ``log dt + m log(excess / K)``; infinite without viscosity."""
    ratio = np.divide(excess, constants.drag, out=np.ones_like(excess), where=constants.drag > 0)
    return np.where(constants.drag > 0, np.log(dt) + constants.exponent * np.log(ratio), np.inf)


def _equation(x: Floats, trial: Floats, alpha: Floats, p: Floats, constants: Constants, dt: Floats) -> tuple[Floats, Floats]:
    """F and dF/dx at ``x = log dp``."""
    dp = np.exp(x)
    h = 1 / (1 + constants.recall * dp)
    beta = trial - h[:, None] * constants.back_stress(alpha)
    size, viscous = equivalent(beta), constants.viscous(x, dt)
    value = size - dp * (3 * constants.shear + constants.modulus * h) - constants.radius(p + dp) - viscous
    return value, -dp * _hardening_slope(beta, size, alpha, p + dp, h, constants) - viscous / constants.exponent


def _hardening_slope(beta: Floats, size: Floats, alpha: Floats, p: Floats, h: Floats, constants: Constants) -> Floats:
    """``-dF/ddp`` without the viscous term: ``3 mu + C h^2 - C D h^2 (beta / J) : alpha + R'``."""
    along = (beta * alpha) @ CONTRACTION / size
    recall = constants.modulus * constants.recall * h**2
    return np.asarray(3 * constants.shear + constants.modulus * h**2 - recall * along + constants.radius_slope(p))


def _flow_and_tangent(
    trial: Floats, alpha: Floats, p: Floats, constants: Constants, dt: Floats, dp: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """h (k,), and the derivative of the new stress by the strain as ``stiffness(mu_t, K) - v u^T``: mu_t (k,), v and u (k, 6).

    With ``u = beta / J(beta)``, to which flow is parallel (n = 3/2 u), and ``ddp = g u . dstrain``:

        dbeta = (2 mu dev + 2/3 C D h^2 g alpha u^T) dstrain,    dJ = (3 mu + C D h^2 (u : alpha) g) u . dstrain
        dsigma = C dstrain - 2 mu (n ddp + dp dn),               dn = 3/2 (dbeta - u dJ) / J
    """
    h = 1 / (1 + constants.recall * dp)
    beta = trial - h[:, None] * constants.back_stress(alpha)
    size = equivalent(beta)
    unit = beta / size[:, None]
    slope = _hardening_slope(beta, size, alpha, p + dp, h, constants)
    # Both sides of ddp are multiplied by dp: the viscous term divides by it, and it may be zero to rounding.
    viscous = constants.drag * (dp / dt) ** (1 / constants.exponent) / constants.exponent
    g = 3 * constants.shear * dp / (dp * slope + viscous)
    recall = constants.modulus * constants.recall * h**2
    turn = 1.5 * dp / size
    along = 1.5 * g - turn * (3 * constants.shear + recall * ((unit * alpha) @ CONTRACTION) * g)
    left = along[:, None] * unit + (2 / 3 * turn * recall * g)[:, None] * alpha
    shear = constants.shear
    return h, shear * (1 - 2 * shear * turn), 2 * shear[:, None] * left, unit
