"""Regressions of dual coefficients on dual values at reduced points, as arrays that answer: NumPy and SciPy, no scikit-learn.

    predict(values (q, |I|)) -> (mean (q, N_p), variance (q, N_p))

They are fitted in `nwidth.learning.dual`. Inputs and outputs are standardised: ``x~ = (x - mean) / scale``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from nwidth.models.classifiers import Scaling

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SparseLinear:
    """``y~ = C x~``: a linear map of which most entries are zero.

    It has no variance of its own: it gives the mean square of its cross-validated errors, everywhere.
    """

    inputs: Scaling
    outputs: Scaling
    coefficients: Floats
    """C (N_p, |I|)."""
    variances: Floats
    """(N_p,): mean squares of held-out errors, in the units of the coefficients."""

    def predict(self, values: Floats) -> tuple[Floats, Floats]:
        """Mean and variance (q, N_p) at values (q, |I|)."""
        mean = self.outputs.mean + (self.inputs(values) @ self.coefficients.T) * self.outputs.scale
        return mean, np.broadcast_to(self.variances, mean.shape)


@dataclass(frozen=True)
class MaternProcess:
    """One Gaussian process for all coefficients: Matern of smoothness 3/2 or 5/2, and noise.

        y~(x) = k(x~, X) K^-1 Y        variance = 1 + noise - |L^-1 k|^2        K = k(X, X) + noise I = L L^T

    Source  C. E. Rasmussen, C. K. I. Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1 and equation 4.17
    """

    inputs: Scaling
    outputs: Scaling
    places: Floats
    """X (n, |I|), standardised."""
    smoothness: float
    """nu: 1.5 or 2.5."""
    length: float
    """In standard deviations of the inputs."""
    noise: float
    weights: Floats
    """K^-1 Y (n, N_p)."""
    factor: Floats
    """L (n, n), lower triangular."""

    def predict(self, values: Floats) -> tuple[Floats, Floats]:
        """Mean and variance (q, N_p) at values (q, |I|)."""
        k = matern_kernel(self.inputs(values), self.places, self.length, self.smoothness)
        known = np.sum(scipy.linalg.solve_triangular(self.factor, k.T, lower=True, check_finite=False) ** 2, axis=0)
        # Rounding can take a variance below zero where the data leave nothing open.
        variance = np.maximum(1.0 + self.noise - known, 0.0)
        return self.outputs.mean + (k @ self.weights) * self.outputs.scale, variance[:, None] * self.outputs.scale**2


DualRegression = SparseLinear | MaternProcess


def matern_kernel(x: Floats, y: Floats, length: float, smoothness: float) -> Floats:
    """``(1 + d) exp(-d)``, ``d = sqrt(3) |x - y| / l``, or ``(1 + d + d^2 / 3) exp(-d)``, ``d = sqrt(5) |x - y| / l``."""
    d = math.sqrt(2 * smoothness) * scipy.spatial.distance.cdist(x, y) / length
    return np.asarray((1.0 + d + (d**2 / 3.0 if smoothness == 2.5 else 0.0)) * np.exp(-d))
