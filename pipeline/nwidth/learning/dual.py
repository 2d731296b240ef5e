"""A meta-model of a dual field: its coefficients from the values at the reduced points *as the reduced model gives them*.

    training   X (n, |I|)   values at the points, from reduced runs of the training loads
               Y (n, N_p)   coefficients of the same states, from the full-order runs
    online     p ~ Psi y(p_I)

Gappy reconstruction takes the values at their word; this learns what the reduced model gets wrong on its way to them, too, and so
corrects its bias. It pays where there is one: in mere reproduction, plain reconstruction is a thousand times better.

Cross-validation leaves whole simulations out, as states of one simulation tell of each other.

Source  F. Casenave, N. Akkari, F. Bordeu, C. Rey, D. Ryckelynck, Int. J. Numer. Methods Eng. 121 (2020) 32-53
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.errors import ConfigError, InputError, PlanError
from nwidth.learning.extra import scikit_learn
from nwidth.models.classifiers import scaling_of
from nwidth.models.dual_regressors import DualRegression, MaternProcess, SparseLinear

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

METHODS = ("lasso", "gaussian-process")
FOLDS = 4
"""At most; fewer where there are fewer simulations."""
PENALTIES = (0.01, 0.1, 1.0)
"""Of the Lasso, on standardised coefficients."""
LASSO_TOLERANCE, LASSO_ITERATIONS = 1e-6, 5_000
SMOOTHNESSES, LENGTHS, NOISES = (1.5, 2.5), (0.1, 1.0, 10.0), (1e-3, 1e-2)
"""Of the process, on standardised values; compared by cross-validation, not by likelihood."""
LARGEST_FACTOR = 2 << 30
"""Bytes of the process's Cholesky factor."""


@dataclass(frozen=True)
class FittedDual:
    """A regression, what was chosen for it, and how wrong it is where it has not been trained."""

    regression: DualRegression
    chosen: dict[str, float]
    """Hyperparameters with the least error in cross-validation."""
    held_out_error: float
    """``||Y - Y_held_out|| / ||Y||`` over all states, each predicted from folds without its simulation."""
    notes: tuple[str, ...] = ()


def fit_dual(values: Floats, coefficients: Floats, *, method: str = "lasso", simulations: Indices | None = None) -> FittedDual:
    """Fit dual coefficients (n, N_p) on values at the reduced points (n, |I|).

    Parameters
    ----------
    method : {"lasso", "gaussian-process"}
    simulations : (n,) array of int, optional
        What is left out together; every state by itself where it is not given.

    Raises
    ------
    ConfigError
        An unknown method, or scikit-learn is not installed.
    InputError
        Values that are not finite, arrays of different lengths, or a single simulation.
    PlanError
        The factor of the process would be larger than `LARGEST_FACTOR`.
    """
    if method not in METHODS:
        raise ConfigError(f"the dual regression is {method!r}, expected one of {', '.join(METHODS)}")
    groups = np.arange(len(values)) if simulations is None else np.asarray(simulations)
    _check(values, coefficients, groups)
    if method == "gaussian-process" and 8 * len(values) ** 2 > LARGEST_FACTOR:
        raise PlanError(
            f"a Gaussian process of {len(values)} states keeps {8 * len(values) ** 2 / 2**30:.1f} GiB, and at most "
            f'{LARGEST_FACTOR / 2**30:.0f} GiB are allowed; use the method "lasso", or fewer states'
        )
    scikit_learn()
    inputs, outputs = scaling_of(values), scaling_of(coefficients)
    X, Y = inputs(values), outputs(coefficients)
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        from sklearn.exceptions import ConvergenceWarning

        warnings.simplefilter("always", ConvergenceWarning)
        candidates = _lassos() if method == "lasso" else _processes()
        scored = [(_held_out(model, X, Y, groups), chosen, model) for chosen, model in candidates]
        missed, chosen, model = min(scored, key=lambda one: float(np.sum((Y - one[0]) ** 2)))
        model.fit(X, Y)
    missed_units = (Y - missed) * outputs.scale
    if method == "lasso":
        rows = np.asarray(model.coef_, np.float64).reshape(Y.shape[1], X.shape[1])
        regression: DualRegression = SparseLinear(inputs, outputs, rows, np.mean(missed_units**2, axis=0))
    else:
        weights = np.asarray(model.alpha_, np.float64).reshape(Y.shape)
        regression = MaternProcess(
            inputs, outputs, X, chosen["smoothness"], chosen["length"], chosen["noise"], weights, np.asarray(model.L_)
        )
    size = float(np.linalg.norm(coefficients))
    error = float(np.linalg.norm(missed_units)) / size if size > 0.0 else 0.0
    unfinished = sum(issubclass(one.category, ConvergenceWarning) for one in caught)
    notes = (f"{unfinished} fits of the Lasso ended before their tolerance",) if unfinished else ()
    return FittedDual(regression, chosen, error, notes)


def _check(values: Floats, coefficients: Floats, groups: Indices) -> None:
    if not len(values) == len(coefficients) == len(groups):
        raise InputError(
            f"{len(values)} states have values, {len(coefficients)} have coefficients and {len(groups)} a simulation; give "
            "each all three"
        )
    if not (np.isfinite(values).all() and np.isfinite(coefficients).all()):
        raise InputError("a training value or a coefficient is not finite; leave out the reduced runs that failed")
    if len(np.unique(groups)) < 2:
        raise InputError("a dual regression was asked for one simulation; take at least two, or plain gappy reconstruction")


def _lassos() -> list[tuple[dict[str, float], Any]]:
    from sklearn.linear_model import Lasso

    # Both sides are centred already.
    return [
        ({"alpha": alpha}, Lasso(alpha=alpha, tol=LASSO_TOLERANCE, max_iter=LASSO_ITERATIONS, fit_intercept=False))
        for alpha in PENALTIES
    ]


def _processes() -> list[tuple[dict[str, float], Any]]:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    return [
        (
            {"smoothness": nu, "length": length, "noise": noise},
            GaussianProcessRegressor(Matern(length, nu=nu) + WhiteKernel(noise), alpha=0.0, optimizer=None),
        )
        for nu, length, noise in itertools.product(SMOOTHNESSES, LENGTHS, NOISES)
    ]


def _held_out(model: Any, X: Floats, Y: Floats, groups: Indices) -> Floats:
    """(n, N_p): every state as predicted from the folds without its simulation."""
    from sklearn.model_selection import GroupKFold

    found = np.empty_like(Y)
    for train, test in GroupKFold(min(FOLDS, len(np.unique(groups)))).split(X, groups=groups):
        found[test] = model.fit(X[train], Y[train]).predict(X[test]).reshape(len(test), -1)
    return found
