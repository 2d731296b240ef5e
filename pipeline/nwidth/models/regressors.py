"""Regressions of reduced coordinates as arrays that answer: a Gaussian process per mode, or one radial-basis interpolation.

    predict(X (n, d)) -> (mean (n, N), variance (n, N))         of N coordinates

They are fitted in `nwidth.learning.regression`; predicting takes NumPy and SciPy, and no scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from nwidth.models.classifiers import Scaling

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianProcess:
    """One process for each of N coordinates, standardised: ``k(x, y) = a exp(-sum_i ((x_i - y_i) / l_i)^2 / 2) + noise [x = y]``.

        mean(x) = k(x, X) K^-1 y           variance(x) = a + noise - | L^-1 k(X, x) |^2          K = L L^T

    The variance is that of a new observation: it contains the noise, which is what the inputs do not explain.

    Source  C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1
    """

    scaling: Scaling
    """Of the inputs."""
    inputs: Floats
    """X (n, d), standardised."""
    amplitudes: Floats
    """a (N,)."""
    lengths: Floats
    """l (N, d), in standard deviations of the inputs."""
    noises: Floats
    """(N,)."""
    weights: Floats
    """K^-1 y (N, n)."""
    factors: Floats
    """L (N, n, n), lower triangular."""
    means: Floats
    """(N,): of the coordinates."""
    scales: Floats
    """(N,): standard deviations of the coordinates."""

    def predict(self, X: Floats) -> tuple[Floats, Floats]:
        """Mean and variance (q, N) at inputs X (q, d), in the units of the coordinates."""
        x = self.scaling(X)
        mean, variance = (np.empty((len(x), len(self.amplitudes))) for _ in range(2))
        for mode, (amplitude, noise) in enumerate(zip(self.amplitudes, self.noises, strict=True)):
            k = gaussian_kernel(x, self.inputs, amplitude, self.lengths[mode])
            mean[:, mode] = k @ self.weights[mode]
            known = scipy.linalg.solve_triangular(self.factors[mode], k.T, lower=True, check_finite=False)
            variance[:, mode] = amplitude + noise - (known**2).sum(axis=0)
        # Rounding can take a variance below zero where the data leave nothing open.
        return self.means + mean * self.scales, np.maximum(variance, 0.0) * self.scales**2


def gaussian_kernel(x: Floats, y: Floats, amplitude: float, lengths: Floats) -> Floats:
    """``a exp(-|(x - y) / l|^2 / 2)``, (len(x), len(y))."""
    return np.asarray(amplitude * np.exp(-0.5 * scipy.spatial.distance.cdist(x / lengths, y / lengths, "sqeuclidean")))


@dataclass(frozen=True)
class RadialBasis:
    """Thin-plate splines with a linear (or constant) part: ``f(x) = phi(|x - X|) w + [1, x] p``, ``phi(r) = r^2 log r``.

    An interpolation has no variance of its own: it gives the mean square of its leave-one-simulation-out residuals, everywhere.

    Source  G. E. Fasshauer, Meshfree Approximation Methods with MATLAB (2007), chapters 6 to 8
    """

    scaling: Scaling
    inputs: Floats
    """X (n, d), standardised."""
    weights: Floats
    """w (n, N)."""
    polynomial: Floats
    """p (1 + d, N), or (1, N) where there are too few points for a linear part."""
    variances: Floats
    """(N,): of the residuals that leave a simulation out; NaN where there is one simulation only."""

    def predict(self, X: Floats) -> tuple[Floats, Floats]:
        """Mean and variance (q, N) at inputs X (q, d)."""
        x = self.scaling(X)
        mean = thin_plate(x, self.inputs) @ self.weights + monomials(x, len(self.polynomial)) @ self.polynomial
        return mean, np.broadcast_to(self.variances, mean.shape)


def thin_plate(x: Floats, y: Floats) -> Floats:
    """``r^2 log r`` of the distances, (len(x), len(y)); 0 at r = 0."""
    squares = scipy.spatial.distance.cdist(x, y, "sqeuclidean")
    return np.asarray(0.5 * scipy.special.xlogy(squares, squares))


def monomials(x: Floats, count: int) -> Floats:
    """``[1, x]`` (q, 1 + d), or its first `count` columns."""
    return np.hstack([np.ones((len(x), 1)), x])[:, :count]
