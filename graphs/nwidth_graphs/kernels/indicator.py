"""Error indicator: the relative error of a dual field, estimated from the residual that its reconstruction leaves.

    calibration   pairs (rho, e) of training runs,  e = || ptilde - p || / || p ||  where || p || > p_min
    model         log e = a + b log rho + g(log rho) + noise,     b >= 0,  g a Gaussian process (Matern 5/2)
    indicator     eta = exp(mean + 2 std)                          one evaluation costs the number of pairs, squared, and no mesh

The straight line is fitted first and the process takes what it leaves, so that beyond the calibrated residuals the estimate goes
on along the line, and its spread grows. A process without the line would fall back to the mean of the training errors: to a small
error, just where the residual is larger than ever seen. With few pairs there is the line alone. Below the smallest calibrated
residual the estimate stays what it is there: a residual is blind to errors inside range(B), so a smaller one promises nothing
that was never seen.

    K = s^2 k(x, x') + noise I       mean = a + b x + k K^-1 y       var = s^2 + noise - |L^-1 k|^2 + var(a + b x)

Amplitude, length and noise maximise the marginal likelihood of the line's residuals, from fixed starts: equal pairs give equal
bits.

Sources  Rasmussen, Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1, sections 2.7 and 5.4.1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, solve_triangular
from scipy.optimize import minimize

from nwidth_graphs.kernels.interpolation import Floats, Indices, Matrix

FEWEST_PAIRS = 3
"""A line and its spread take three."""
FEWEST_FOR_PROCESS = 8
"""Three hyperparameters and a line from fewer pairs would be guessed."""
MOST_PAIRS = 128
"""Pairs that a process is fitted to; of more, as many are taken evenly along the residuals."""
SPREADS = 2.0
"""Standard deviations above the mean: 97.7 % of the errors lie below, if they scatter as the model says."""
# In standard deviations of what the line leaves, and in the range of log rho.
AMPLITUDES, LENGTHS, NOISES = (1e-3, 1e2), (5e-2, 1e1), (1e-3, 1e1)
STARTS = ((1.0, 0.3, 0.3), (0.3, 1.0, 1.0), (1.0, 1.0, 0.1))
# Errors of exactly zero have no logarithm: rounding is the least that is believed.
SMALLEST = float(np.finfo(np.float64).eps)


class Estimate(NamedTuple):
    """What residuals say of the errors, element by element."""

    mean: Floats
    """``exp`` of the mean logarithm: half of the errors lie below."""
    upper: Floats
    """eta."""
    extrapolated: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    """Whether the residual lies outside of the calibrated ones."""


@dataclass(frozen=True)
class Calibration:
    """Pairs and what was fitted to them, as plain arrays."""

    residuals: Floats
    """rho (k,), positive, ascending."""
    errors: Floats
    """e (k,), positive."""
    line: Floats
    """(3,): a, b, and the standard deviation of what the line leaves."""
    hyperparameters: Floats
    """(3,): s, the length in log rho, and the noise's standard deviation; of a line alone, zeros and what it leaves."""
    places: Indices
    """(j,): of the pairs that the process is made of; empty for a line alone."""

    @classmethod
    def fit(cls, residuals: Matrix, errors: Matrix, *, norms: Matrix | None = None, smallest_norm: float = 0.0) -> Calibration:
        """Fit pairs of residuals and true relative errors, arrays of one shape.

        Parameters
        ----------
        norms : of the true fields; pairs with a norm of at most `smallest_norm` (p_min) are left out: they have no relative error
        smallest_norm : p_min

        Raises
        ------
        ValueError
            A pair is negative or not finite, or fewer than three pairs are left, or all residuals are equal.
        """
        rho, e = _pairs(residuals, errors, norms, smallest_norm)
        x, y = np.log(rho), np.log(np.maximum(e, SMALLEST))
        line = _line(x, y)
        places = np.empty(0, np.int64)
        hyperparameters = np.array([0.0, 0.0, line[2]])
        if len(x) >= FEWEST_FOR_PROCESS and line[2] > 0.0:
            places = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_PAIRS)).round().astype(np.int64))
            left = y[places] - line[0] - line[1] * x[places]
            hyperparameters = _likeliest(x[places], left, float(line[2]))
        return cls(rho, e, line, hyperparameters, places)

    def with_pairs(self, residuals: Matrix, errors: Matrix) -> Calibration:
        """The calibration of all pairs, the old ones and some new ones."""
        rho, e = (np.concatenate([old, np.ravel(new)]) for old, new in ((self.residuals, residuals), (self.errors, errors)))
        return type(self).fit(rho, e)

    @property
    def is_process(self) -> bool:
        """Whether there were pairs enough for more than a line."""
        return len(self.places) > 0

    def evaluate(self, residuals: Matrix | float) -> Estimate:
        """Estimate the errors at residuals of any shape.

        A residual that is NaN has a NaN for an estimate; it is never accepted.
        """
        rho = np.asarray(residuals, np.float64)
        lowest, highest = self.residuals[0], self.residuals[-1]
        # Where it is NaN the estimate is, too, whatever stands in for it meanwhile.
        x = np.log(np.maximum(np.where(np.isnan(rho), lowest, rho), lowest)).ravel()
        mean, variance = self._log_error(x)
        mean[np.isnan(rho).ravel()] = np.nan
        spread = SPREADS * np.sqrt(variance)
        outside = ~((rho >= lowest) & (rho <= highest))
        return Estimate(np.exp(mean).reshape(rho.shape), np.exp(mean + spread).reshape(rho.shape), outside)

    @property
    def correlation(self) -> float:
        """Of ``log rho`` and ``log e`` over all pairs: near 1 where the residual says something of the error."""
        x, y = np.log(self.residuals), np.log(np.maximum(self.errors, SMALLEST))
        return float(np.corrcoef(x, y)[0, 1]) if y.std() > 0.0 else 0.0

    @cached_property
    def _process(self) -> tuple[Floats, Floats, Floats]:
        """log rho of its pairs, L (j, j), and ``K^-1 y`` (j,)."""
        a, b, _ = self.line
        inputs = np.log(self.residuals[self.places])
        y = np.log(np.maximum(self.errors[self.places], SMALLEST)) - a - b * inputs
        L = np.linalg.cholesky(_covariance(inputs, *self.hyperparameters))
        return inputs, L, np.asarray(cho_solve((L, True), y))

    def _log_error(self, x: Floats) -> tuple[Floats, Floats]:
        a, b, spread = self.line
        trained = np.log(self.residuals)
        away = x - trained.mean()
        mean = a + b * x
        line_variance = spread**2 * (1.0 / len(trained) + away**2 / np.sum((trained - trained.mean()) ** 2))
        amplitude, length, noise = self.hyperparameters
        if not self.is_process:
            return mean, line_variance + noise**2
        inputs, L, weights = self._process
        k = amplitude**2 * matern(x, inputs, length)
        mean = mean + k @ weights
        known = np.sum(solve_triangular(L, k.T, lower=True) ** 2, axis=0)
        return mean, np.maximum(amplitude**2 - known, 0.0) + noise**2 + line_variance


def matern(x: Floats, y: Floats, length: float) -> Floats:
    """Matern 5/2 in one dimension, ``(1 + d + d^2 / 3) exp(-d)``, ``d = sqrt(5) |x - y| / length``: (len(x), len(y))."""
    d = math.sqrt(5.0) * np.abs(x[:, None] - y) / length
    return np.asarray((1.0 + d + d**2 / 3.0) * np.exp(-d))


def _pairs(residuals: Matrix, errors: Matrix, norms: Matrix | None, smallest_norm: float) -> tuple[Floats, Floats]:
    """The pairs that count, by ascending residual."""
    rho, e = (np.asarray(values, np.float64).ravel() for values in (residuals, errors))
    if rho.shape != e.shape:
        raise ValueError(f"{len(rho)} residuals were given with {len(e)} errors; give one error for each residual")
    if norms is not None:
        large = np.asarray(norms, np.float64).ravel() > smallest_norm
        rho, e = rho[large], e[large]
    if not (np.isfinite(rho).all() and np.isfinite(e).all() and (rho >= 0.0).all() and (e >= 0.0).all()):
        raise ValueError("a residual or an error is negative or not finite; leave out the runs that diverged")
    rho, e = rho[rho > 0.0], e[rho > 0.0]
    if len(rho) < FEWEST_PAIRS or not rho.max() > rho.min():
        raise ValueError(
            f"{len(rho)} pairs with a positive residual cannot calibrate an indicator, which takes {FEWEST_PAIRS} of different "
            "ones; run the reduced model on more training steps or with fewer modes, and take a mask with more points than modes"
        )
    order = np.lexsort((e, rho))
    return rho[order], e[order]


def _line(x: Floats, y: Floats) -> Floats:
    """a, b >= 0 and the standard deviation left: ordinary least squares, level where the data fall."""
    away = x - x.mean()
    b = max(float(away @ y / (away @ away)), 0.0)
    a = float(y.mean() - b * x.mean())
    left = y - a - b * x
    return np.array([a, b, math.sqrt(float(left @ left) / (len(x) - 2))])


def _likeliest(x: Floats, y: Floats, scale: float) -> Floats:
    """s, length and noise that maximise the likelihood of y at x, from the best of a few starts."""
    width = float(x.max() - x.min())
    units = np.array([scale, width, scale])
    bounds = [tuple(np.log(limits)) for limits in (AMPLITUDES, LENGTHS, NOISES)]

    def cost(logs: Floats) -> float:
        return _negative_log_likelihood(np.exp(logs) * units, x, y)

    found = [minimize(cost, np.log(start), method="L-BFGS-B", bounds=bounds) for start in STARTS]
    return np.asarray(np.exp(min(found, key=lambda one: float(one.fun)).x) * units)


def _negative_log_likelihood(hyperparameters: Floats, x: Floats, y: Floats) -> float:
    """``y^T K^-1 y / 2 + log det L``, up to a constant."""
    try:
        L = np.linalg.cholesky(_covariance(x, *hyperparameters))
    except LinAlgError:
        return math.inf
    half = solve_triangular(L, y, lower=True)
    return float(0.5 * half @ half + np.log(np.diagonal(L)).sum())


def _covariance(x: Floats, amplitude: float, length: float, noise: float) -> Floats:
    return np.asarray(amplitude**2 * matern(x, x, length) + noise**2 * np.eye(len(x)))
