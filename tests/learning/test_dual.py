"""The meta-model of a dual field: it corrects a bias, answers without scikit-learn, and leaves whole simulations out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError, PlanError
from nwidth.learning import dual
from nwidth.learning.dual import METHODS, fit_dual
from nwidth.models.classifiers import scaling_of
from nwidth.models.dual_regressors import matern_kernel
from nwidth_graphs.kernels.gappy_reconstruction import field_values, masked_basis, relative_errors
from tests.kernels.reduced_cube import TESTED, trained, truth, values_at_points

Floats = NDArray[np.float64]


def states(count: int = 60, points: int = 20, modes: int = 3, bias: float = 1.2) -> tuple[Floats, Floats, Floats]:
    """Values at points (n, |I|) that a reduced model gets wrong by a factor, the true coefficients (n, N_p), and B."""
    random = np.random.default_rng(0)
    B = random.standard_normal((points, modes))
    t = random.permutation(np.linspace(0.0, 3.0, count))
    Y = np.column_stack([3.0 * np.cos(t), np.sin(2 * t), 0.3 * np.cos(3 * t)])[:, :modes]
    return bias * Y @ B.T + 1e-3 * random.standard_normal((count, points)), Y, B


@pytest.mark.parametrize("method", METHODS)
def test_a_bias_is_corrected(method: str) -> None:
    """Values that are all 20 % too large: gappy reconstruction keeps that error, a regression has a quarter of it."""
    X, Y, B = states()
    fitted = fit_dual(X[:40], Y[:40], method=method)
    gappy = masked_basis(B, np.arange(len(B))).reconstruct(X[40:].T).coefficients
    assert np.linalg.norm(gappy.T - Y[40:]) == pytest.approx(0.2 * np.linalg.norm(Y[40:]), rel=0.02)
    mean, variance = fitted.regression.predict(X[40:])
    error = np.linalg.norm(mean - Y[40:]) / np.linalg.norm(Y[40:])
    assert error < 0.05
    assert fitted.held_out_error < 0.1
    assert variance.shape == mean.shape
    assert np.all(variance > 0.0)


def test_arrays_answer_as_scikit_learn_does() -> None:
    """Stored coefficients, factors and weights give scikit-learn's own predictions and variances, to rounding."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel
    from sklearn.linear_model import Lasso

    X, Y, _ = states()
    inputs, outputs = scaling_of(X), scaling_of(Y)
    fitted = fit_dual(X, Y)
    lasso = Lasso(alpha=fitted.chosen["alpha"], tol=dual.LASSO_TOLERANCE, max_iter=dual.LASSO_ITERATIONS, fit_intercept=False)
    with warnings.catch_warnings():
        # Twenty values of three degrees of freedom: what ends early ends at the same iterate, and is said in the notes.
        warnings.simplefilter("ignore", ConvergenceWarning)
        lasso.fit(inputs(X), outputs(Y))
    assert "ended before their tolerance" in fitted.notes[0]
    expected = outputs.mean + outputs.scale * lasso.predict(inputs(X))
    np.testing.assert_allclose(fitted.regression.predict(X)[0], expected, rtol=0, atol=1e-12)
    found = fit_dual(X, Y, method="gaussian-process")
    kernel = Matern(found.chosen["length"], nu=found.chosen["smoothness"]) + WhiteKernel(found.chosen["noise"])
    process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(inputs(X), outputs(Y))
    new = X[::5] + 0.1
    mean, deviation = process.predict(inputs(new), return_std=True)
    ours, variance = found.regression.predict(new)
    np.testing.assert_allclose(ours, outputs.mean + outputs.scale * mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.sqrt(variance), outputs.scale * deviation, rtol=1e-6)


@pytest.mark.parametrize("smoothness", [1.5, 2.5])
def test_the_kernel_is_scikit_learns(smoothness: float) -> None:
    """The closed forms of Matern 3/2 and 5/2 agree with the library's."""
    from sklearn.gaussian_process.kernels import Matern

    x, y = (np.random.default_rng(seed).standard_normal((7, 3)) for seed in (0, 1))
    np.testing.assert_allclose(matern_kernel(x, y, 0.7, smoothness), Matern(0.7, nu=smoothness)(x, y), rtol=1e-12)


def test_whole_simulations_are_left_out() -> None:
    """States that come in equal pairs look predictable one by one, and are not where their simulation is left out."""
    random = np.random.default_rng(1)
    X, Y = (np.repeat(random.standard_normal((20, size)), 2, axis=0) for size in (5, 2))
    simulations = np.repeat(np.arange(20), 2)
    alone = fit_dual(X, Y, method="gaussian-process")
    together = fit_dual(X, Y, method="gaussian-process", simulations=simulations)
    assert alone.held_out_error < 0.8
    assert together.held_out_error > 0.95


def test_what_cannot_be_learnt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown methods, NaN, arrays of different lengths, a single simulation, and factors that are too large."""
    X, Y, _ = states(10)
    with pytest.raises(ConfigError, match="expected one of lasso, gaussian-process"):
        fit_dual(X, Y, method="ridge")
    with pytest.raises(InputError, match="leave out the reduced runs that failed"):
        fit_dual(np.where(X[0, 0] == X, np.nan, X), Y)
    with pytest.raises(InputError, match="10 states have values, 9 have coefficients"):
        fit_dual(X, Y[:9])
    with pytest.raises(InputError, match="one simulation"):
        fit_dual(X, Y, simulations=np.zeros(10, np.int64))
    monkeypatch.setattr(dual, "LARGEST_FACTOR", 100)
    with pytest.raises(PlanError, match='use the method "lasso"'):
        fit_dual(X, Y, method="gaussian-process")


@pytest.mark.slow
def test_the_bias_of_a_reduced_cube_is_corrected() -> None:
    """A model of the amplitude 380 run at 400, 430 and 480: trained on these, the process errs below 5e-2 on p at 415 and 455.

    Plain reconstruction errs above 5e-2 there, since the reduced model itself does.
    """
    model, amplitudes = trained(), (380.0, 400.0, 430.0, 480.0)
    X = np.concatenate([values_at_points(model, truth(amplitude))[0][TESTED] for amplitude in amplitudes])
    fields = np.concatenate([truth(amplitude).p[TESTED] for amplitude in amplitudes]).T
    Psi, s, _ = np.linalg.svd(fields, full_matrices=False)
    Psi = Psi[:, : int(np.sum(s > 1e-3 * s[0]))]
    fitted = fit_dual(X, fields.T @ Psi, method="gaussian-process", simulations=np.repeat(np.arange(4), 8))
    for amplitude in (415.0, 455.0):
        values, run = values_at_points(model, truth(amplitude))[0][TESTED], truth(amplitude).p[TESTED].T
        plain = relative_errors(field_values(model.dual, model.masked.reconstruct(values.T).coefficients), run)
        learnt = relative_errors(field_values(Psi, fitted.regression.predict(values)[0].T), run)
        assert plain.max() > 5e-2
        assert learnt.max() < 5e-2
