"""Probabilities that mean what they say: Platt's logistic calibration of decisions that were made out of fold.

    p_k = 1 / (1 + exp(a_k f_k + b_k)),  a_k, b_k by maximum likelihood of the targets
    (n_k + 1) / (n_k + 2) for members of class k and 1 / (m - n_k + 2) for the others

as scikit-learn's `CalibratedClassifierCV(method="sigmoid", ensemble=False)`, from decisions that cross-validation makes anyway.

Source  J. Platt, Probabilistic outputs for support vector machines (1999); H.-T. Lin, C.-J. Lin, R. Weng (2007) for the numerics
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from nwidth.models.classifiers import Calibration

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FEWEST = 10
"""Experiments that every class must have: fewer do not determine the two numbers of its curve."""


def fit_calibration(decision: Floats, members: NDArray[np.bool_]) -> Calibration:
    """Fit to decisions (m, c), or (m, 1) for two classes, and memberships of the same shape."""
    curves = [_platt(decision[:, column], members[:, column]) for column in range(decision.shape[1])]
    return Calibration(*(np.array(values) for values in zip(*curves, strict=True)))


def _platt(f: Floats, member: NDArray[np.bool_]) -> tuple[float, float]:
    inside = int(member.sum())
    outside = len(member) - inside
    target = np.where(member, (inside + 1.0) / (inside + 2.0), 1.0 / (outside + 2.0))
    # Decisions of separable data may be large; the curve is fitted in units of their size.
    size = max(float(np.abs(f).max(initial=0.0)), 1e-300)
    x = f / size

    def loss(ab: Floats) -> tuple[float, Floats]:
        z = ab[0] * x + ab[1]
        # -(t ln p + (1 - t) ln(1 - p)) with p = 1 / (1 + e^z), without overflow.
        value = np.logaddexp(0.0, z) - (1.0 - target) * z
        slope = expit(z) - (1.0 - target)
        return float(value.sum()), np.array([slope @ x, slope.sum()])

    start = np.array([0.0, np.log((outside + 1.0) / (inside + 1.0))])
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-8 * len(f)})
    return float(found.x[0] / size), float(found.x[1])
