"""Regression of a cluster's coordinates on parameters and time, and its error with each simulation left out once.

    residuals of the group G when it is left out  =  (A^-1)_GG^-1 (A^-1 b)_G

holds for a Gaussian process (A = K, b = y) with its hyperparameters kept, and for an interpolation with a polynomial part (A the
whole saddle-point matrix), so no fit is repeated.

Sources  S. Sundararajan, S. S. Keerthi, Neural Computation 13 (2001), for processes; G. E. Fasshauer, J. G. Zhang, Numer.
         Algorithms 45 (2007), after S. Rippa (1999), for interpolation; block form: D. Ginsbourger, C. Schärer, arXiv:2101.03108
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve
from threadpoolctl import threadpool_limits

from nwidth.errors import ConfigError, InputError, PlanError
from nwidth.learning.extra import scikit_learn
from nwidth.models.classifiers import scaling_of
from nwidth.models.regressors import GaussianProcess, RadialBasis, monomials, thin_plate

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

REGRESSIONS = ("gaussian-process", "rbf")
LARGEST_FACTORS = 2 << 30
"""Bytes of the Cholesky factors of a cluster's processes: they are stored, and held while predicting."""
SMALL = 500
"""Samples, up to which one thread is used."""
AMPLITUDES, LENGTHS, NOISES = (1e-2, 1e3), (3e-1, 1e2), (1e-8, 1e0)
"""Where hyperparameters are looked for, in standard deviations. Tens of simulations say nothing of lengths below a third of their
spread; wider bounds were seen to end in other maxima for another order of the inputs, and covariances near singular."""
UNEXPLAINED = 0.5
"""Share of the variance that is noise, beyond which it is said."""
FEWEST_SAMPLES = 5
"""A process with fewer observations has nothing to learn its lengths from."""


@dataclass(frozen=True)
class Fitted:
    """A regression and how wrong it is where it has not been trained."""

    regression: GaussianProcess | RadialBasis
    residuals: Floats | None
    """(n, N): coordinates minus their regression without the own simulation; None with a single simulation."""
    notes: tuple[str, ...] = ()


def fit_regression(
    X: Floats, q: Floats, simulations: Indices, *, method: str = "gaussian-process", seed: int = 0, restarts: int = 1
) -> Fitted:
    """Fit the coordinates q (n, N) on inputs X (n, d).

    Parameters
    ----------
    X : (n, d) array
        Parameters, and time where there is one.
    q : (n, N) array
    simulations : (n,) array of int
        What is left out together.
    method : {"gaussian-process", "rbf"}
        A process for each coordinate (anisotropic squared exponential and noise, likelihood maximised), or thin-plate splines.
    seed, restarts : int
        Of the maximisation.

    Raises
    ------
    ConfigError
        An unknown method, or scikit-learn is not installed.
    InputError
        Values that are not finite, or equal inputs for an interpolation.
    PlanError
        The factors of the processes would be larger than `LARGEST_FACTORS`.
    """
    if method not in REGRESSIONS:
        raise ConfigError(f"regression is {method!r}, expected one of {', '.join(REGRESSIONS)}")
    if not (np.isfinite(X).all() and np.isfinite(q).all()):
        raise InputError("a training input or a coordinate is not finite; mend the parameters, or drop the simulation")
    if method == "rbf":
        return _fit_radial_basis(X, q, simulations)
    if len(X) < FEWEST_SAMPLES:
        fitted = _fit_radial_basis(X, q, simulations)
        note = f"{len(X)} snapshots are too few for a Gaussian process, so their coordinates are interpolated"
        return Fitted(fitted.regression, fitted.residuals, (note,))
    return _fit_processes(X, q, simulations, seed, restarts)


def _fit_processes(X: Floats, q: Floats, simulations: Indices, seed: int, restarts: int) -> Fitted:
    size = 8 * q.shape[1] * len(X) ** 2
    if size > LARGEST_FACTORS:
        raise PlanError(
            f"Gaussian processes of {q.shape[1]} coordinates at {len(X)} snapshots keep {size / 2**30:.1f} GiB, and at most "
            f'{LARGEST_FACTORS / 2**30:.0f} GiB are allowed; use regression = "rbf", fewer modes, or smaller clusters'
        )
    scaling = scaling_of(X)
    inputs, means = scaling(X), q.mean(axis=0)
    scales = np.where((spread := q.std(axis=0)) > 0.0, spread, 1.0)
    y = (q - means) / scales
    # The many small factorizations of a likelihood are slower on several threads, and far slower on a busy machine.
    with threadpool_limits(1 if len(X) <= SMALL else None):
        kernels = [_process(inputs, y[:, mode], seed, restarts) for mode in range(q.shape[1])]
    regression = GaussianProcess(
        scaling=scaling,
        inputs=inputs,
        amplitudes=np.array([model.kernel_.k1.k1.constant_value for model in kernels]),
        lengths=np.array([np.broadcast_to(model.kernel_.k1.k2.length_scale, inputs.shape[1]) for model in kernels]),
        noises=np.array([model.kernel_.k2.noise_level for model in kernels]),
        weights=np.array([model.alpha_ for model in kernels]),
        factors=np.array([model.L_ for model in kernels]),
        means=means,
        scales=scales,
    )
    residuals = None
    if len(np.unique(simulations)) > 1:
        columns = [
            _left_out(cho_solve((model.L_, True), np.eye(len(X))), model.alpha_[:, None], simulations) for model in kernels
        ]
        residuals = np.hstack(columns) * scales
    noisy = int(np.count_nonzero(regression.noises > UNEXPLAINED * (regression.noises + regression.amplitudes)))
    notes = (f"the inputs explain less than half of {noisy} of {len(kernels)} coordinates",) if noisy else ()
    return Fitted(regression, residuals, notes)


def _process(inputs: Floats, y: Floats, seed: int, restarts: int) -> Any:
    """One of scikit-learn's processes, for standardised inputs (n, d) and values (n,)."""
    scikit_learn()
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    dimensions = inputs.shape[1]
    kernel = ConstantKernel(1.0, AMPLITUDES) * RBF(np.full(dimensions, 2.0), LENGTHS) + WhiteKernel(1e-4, NOISES)
    model = GaussianProcessRegressor(kernel, n_restarts_optimizer=restarts, random_state=seed, alpha=0.0)
    with warnings.catch_warnings():
        # Bounds are met where they should be: no noise in what a solver computes, infinite length of an input that does nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(inputs, y)


def _fit_radial_basis(X: Floats, q: Floats, simulations: Indices) -> Fitted:
    scaling = scaling_of(X)
    inputs = scaling(X)
    if len(np.unique(inputs, axis=0)) < len(inputs):
        raise InputError(
            'two training snapshots have the same inputs, and an interpolation cannot pass through both; use "gaussian-process", '
            "or name the parameter that tells them apart"
        )
    # A linear part needs points that span the space; without, a constant is all that is determined.
    linear = monomials(inputs, inputs.shape[1] + 1)
    P = linear if np.linalg.matrix_rank(linear) == linear.shape[1] else linear[:, :1]
    n, p = P.shape
    A = np.zeros((n + p, n + p))
    A[:n, :n], A[:n, n:], A[n:, :n] = thin_plate(inputs, inputs), P, P.T
    # The spline is conditionally positive definite of second order: with a constant alone it is not sure to be solvable, but for
    # the few points that such a case has it is; an inverse that fails is refused.
    try:
        inverse = np.linalg.inv(A)
    except np.linalg.LinAlgError:
        raise InputError('the training inputs do not determine an interpolation; use regression = "gaussian-process"') from None
    solution = inverse[:, :n] @ q
    residuals = _left_out(inverse, solution[:n], simulations) if len(np.unique(simulations)) > 1 else None
    variances = np.full(q.shape[1], np.nan) if residuals is None else (residuals**2).mean(axis=0)
    return Fitted(RadialBasis(scaling, inputs, solution[:n], solution[n:], variances), residuals)


def _left_out(inverse: Floats, weights: Floats, simulations: Indices) -> Floats:
    """Residuals (n, N) with every simulation left out once; see the module's formula. NaN where nothing would be left to fit."""
    residuals = np.full(weights.shape, np.nan)
    for simulation in np.unique(simulations):
        group = np.flatnonzero(simulations == simulation)
        try:
            residuals[group] = np.linalg.solve(inverse[np.ix_(group, group)], weights[group])
        except np.linalg.LinAlgError:
            # Without the group the polynomial part is not determined, so there is no fit to be wrong.
            continue
    return residuals
