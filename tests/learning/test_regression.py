"""Regressions: equal to scikit-learn's and SciPy's to rounding, and their left-out residuals equal to fits that leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nwidth.errors import ConfigError, InputError, PlanError
from nwidth.learning import regression as making
from nwidth.learning.regression import fit_regression
from nwidth.models.regressors import GaussianProcess, RadialBasis
from tests.shared_data import shared_data

sklearn = pytest.importorskip("sklearn", reason="training takes scikit-learn")


def drawn(simulations: int = 9, times: int = 5) -> tuple[Any, Any, Any]:
    """Inputs (two parameters and time), three coordinates of very different size, and simulations."""
    rng = np.random.default_rng(2)
    P = np.repeat(rng.uniform([0.0, 900.0], [1.0, 1200.0], (simulations, 2)), times, axis=0)
    t = np.tile(np.linspace(0.0, 60.0, times), simulations)
    X = np.column_stack([P, t])
    u, v = P[:, 0], (P[:, 1] - 1000) / 100
    q = np.column_stack([1e3 * (1 + u) * np.sin(t / 30), v * u + t / 60, 1e-4 * np.cos(v) * t])
    return X, q, np.repeat(np.arange(simulations), times)


@pytest.fixture(scope="module")
def process() -> tuple[Any, Any, Any, Any]:
    """A fitted process with its data."""
    X, q, simulations = drawn()
    return X, q, simulations, fit_regression(X, q, simulations)


def theirs(fitted: GaussianProcess, mode: int, rows: Any, y: Any) -> Any:
    """Scikit-learn's process with the hyperparameters that were found, conditioned on some rows."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    kernel = ConstantKernel(fitted.amplitudes[mode]) * RBF(fitted.lengths[mode]) + WhiteKernel(fitted.noises[mode])
    return GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(fitted.inputs[rows], y)


def test_the_process_predicts_what_scikit_learn_predicts(process: tuple[Any, Any, Any, Any]) -> None:
    """Means and standard deviations at new inputs are scikit-learn's."""
    X, q, _, fitted = process
    g = fitted.regression
    assert isinstance(g, GaussianProcess)
    asked = X + np.array([0.03, 7.0, 1.0])
    mean, variance = g.predict(asked)
    everyone = np.arange(len(X))
    for mode in range(3):
        model = theirs(g, mode, everyone, (q[:, mode] - g.means[mode]) / g.scales[mode])
        m, s = model.predict(g.scaling(asked), return_std=True)
        condition = np.linalg.cond(g.factors[mode]) ** 2
        rounding = 100 * np.finfo(float).eps * condition
        np.testing.assert_allclose(mean[:, mode], g.means[mode] + m * g.scales[mode], rtol=0, atol=rounding * g.scales[mode])
        np.testing.assert_allclose(variance[:, mode], (s * g.scales[mode]) ** 2, rtol=0, atol=rounding * g.scales[mode] ** 2)


def test_left_out_residuals_are_those_of_fits_that_leave_out(process: tuple[Any, Any, Any, Any]) -> None:
    """The closed form gives, for every simulation, what scikit-learn misses when it is conditioned on the others."""
    _, q, simulations, fitted = process
    g = fitted.regression
    for mode in range(3):
        y = (q[:, mode] - g.means[mode]) / g.scales[mode]
        condition = np.linalg.cond(g.factors[mode]) ** 2
        for simulation in range(9):
            out = simulations == simulation
            missed = y[out] - theirs(g, mode, ~out, y[~out]).predict(g.inputs[out])
            np.testing.assert_allclose(
                fitted.residuals[out, mode] / g.scales[mode], missed, rtol=0, atol=100 * np.finfo(float).eps * condition
            )


def test_the_process_learns(process: tuple[Any, Any, Any, Any]) -> None:
    """Left-out errors of a smooth function of three inputs, nine simulations, are a few per cent of each coordinate."""
    _, q, _, fitted = process
    assert (np.sqrt((fitted.residuals**2).mean(axis=0)) < 0.1 * q.std(axis=0)).all()
    assert fitted.notes == ()


def test_noise_is_said() -> None:
    """Coordinates that the inputs do not explain are counted in a sentence, and their variance is that of the noise."""
    X, _, simulations = drawn()
    q = np.random.default_rng(0).standard_normal((len(X), 1))
    fitted = fit_regression(X, q, simulations)
    assert fitted.notes == ("the inputs explain less than half of 1 of 1 coordinates",)
    _, variance = fitted.regression.predict(X[:5])
    # 45 samples: the variance of the noise is known to sqrt(2 / 45) = 21 %.
    np.testing.assert_allclose(variance, 1.0, rtol=3 * 0.21)


def test_splines_are_those_of_scipy_and_so_are_their_left_out_residuals() -> None:
    """Values at new inputs, and residuals of every simulation, are those of SciPy's thin-plate interpolators."""
    from scipy.interpolate import RBFInterpolator

    X, q, simulations = drawn()
    fitted = fit_regression(X, q, simulations, method="rbf")
    r, residuals = fitted.regression, fitted.residuals
    assert isinstance(r, RadialBasis)
    assert residuals is not None
    asked = X[:-1] * 0.5 + X[1:] * 0.5
    mean, variance = r.predict(asked)
    np.testing.assert_allclose(mean, RBFInterpolator(r.inputs, q)(r.scaling(asked)), rtol=1e-8, atol=1e-10 * np.abs(q).max())
    np.testing.assert_allclose(r.predict(X)[0], q, rtol=1e-8, atol=1e-10 * np.abs(q).max())
    for simulation in range(9):
        out = simulations == simulation
        missed = q[out] - RBFInterpolator(r.inputs[~out], q[~out])(r.inputs[out])
        np.testing.assert_allclose(residuals[out], missed, rtol=1e-6, atol=1e-10 * np.abs(q).max())
    np.testing.assert_allclose(variance, np.broadcast_to((residuals**2).mean(axis=0), variance.shape))


def test_splines_give_the_published_prediction_of_ezyrb() -> None:
    """POD with thin-plate splines of four pressure snapshots gives the field that EZyRB stores as its expected prediction."""
    folder = shared_data("ezyrb-flow") / "tests" / "test_datasets"
    snapshots, expected = np.load(folder / "p_snapshots.npy"), np.load(folder / "p_predsol.npy").ravel()
    snapshots = snapshots if snapshots.shape[1] == 4 else snapshots.T
    U, s, Vt = np.linalg.svd(snapshots, full_matrices=False)
    parameters = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    fitted = fit_regression(parameters, (s[:, None] * Vt).T, np.arange(4), method="rbf")
    field = U @ fitted.regression.predict(np.array([[-0.293344, -0.23120537]]))[0][0]
    assert np.linalg.norm(field - expected) <= 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("simulations", [1, 2])
def test_few_samples_are_interpolated(simulations: int) -> None:
    """One snapshot gives a constant, two a line or a constant; without a second simulation no error is claimed."""
    X, q = np.array([[0.0], [2.0]])[:simulations], np.array([[3.0], [5.0]])[:simulations]
    fitted = fit_regression(X, q, np.arange(simulations))
    np.testing.assert_allclose(fitted.regression.predict(X)[0], q)
    assert "too few for a Gaussian process" in fitted.notes[0]
    assert (fitted.residuals is None) == (simulations == 1)


def test_what_cannot_be_fitted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown methods, values that are not finite, equal inputs for splines, and factors beyond memory are refused in words."""
    X, q, simulations = drawn()
    with pytest.raises(ConfigError, match="gaussian-process, rbf"):
        fit_regression(X, q, simulations, method="linear")
    with pytest.raises(InputError, match="not finite"):
        fit_regression(X, q * np.nan, simulations)
    with pytest.raises(InputError, match="same inputs"):
        fit_regression(X[[0, 0, 1]], q[:3], simulations[:3], method="rbf")
    monkeypatch.setattr(making, "LARGEST_FACTORS", 8 * 3 * 45**2 - 1)
    with pytest.raises(PlanError, match='regression = "rbf"'):
        fit_regression(X, q, simulations)
