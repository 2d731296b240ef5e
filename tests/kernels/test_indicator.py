"""The error indicator: what it learns from pairs, what it says between and beyond them, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels import indicator
from nwidth_graphs.kernels.indicator import FEWEST_FOR_PROCESS, Calibration

Floats = NDArray[np.float64]


def pairs(count: int, seed: int = 0, scatter: float = 0.1) -> tuple[Floats, Floats]:
    """Residuals over three decades and errors around ``2 rho``, off by a log-normal factor."""
    random = np.random.default_rng(seed)
    rho = 10.0 ** random.uniform(-4, -1, count)
    return rho, 2 * rho * np.exp(scatter * random.standard_normal(count))


def test_a_known_law_is_found() -> None:
    """Pairs around e = 2 rho: the mean is within three standard errors of it, the spread within a quarter of the truth's."""
    calibration = Calibration.fit(*pairs(60, scatter=0.2))
    rho = np.logspace(-3.5, -1.5, 7)
    found = calibration.evaluate(rho)
    assert calibration.is_process
    np.testing.assert_allclose(np.log(found.mean), np.log(2 * rho), atol=3 * 0.2 / np.sqrt(10))
    np.testing.assert_allclose(np.log(found.upper / found.mean) / 2, 0.2, rtol=0.35)
    assert not found.extrapolated.any()
    assert calibration.correlation > 0.99


@pytest.mark.parametrize("count", [6, 40])
def test_the_upper_estimate_holds_for_new_pairs(count: int) -> None:
    """Of 2000 new pairs of the same law at least 90 % lie below eta: two standard deviations, less what few pairs do not know."""
    calibration = Calibration.fit(*pairs(count, seed=1, scatter=0.3))
    rho, e = pairs(2000, seed=2, scatter=0.3)
    assert np.mean(e <= calibration.evaluate(rho).upper) > 0.9


def test_a_bend_is_followed_by_the_process_alone() -> None:
    """Where errors level off at small residuals, a process follows within 10 %, and a line of few pairs says a wide spread."""
    rho = np.logspace(-4, 0, 40)
    e = np.hypot(2 * rho, 0.02)
    found = Calibration.fit(rho, e).evaluate(rho)
    np.testing.assert_allclose(found.mean, e, rtol=0.1)
    few = Calibration.fit(rho[::8], e[::8])
    assert not few.is_process
    assert np.all(few.evaluate(rho).upper >= e)


def test_beyond_the_calibration_the_estimate_rises_and_says_so() -> None:
    """At ten and a hundred times the largest residual the mean follows the line, the spread grows, and the answer is marked."""
    rho, e = pairs(40)
    calibration = Calibration.fit(rho, e)
    inside, far, farther = (calibration.evaluate(factor * rho.max()) for factor in (1.0, 10.0, 100.0))
    assert (bool(inside.extrapolated), bool(far.extrapolated)) == (False, True)
    assert far.mean == pytest.approx(20 * rho.max(), rel=0.5)
    assert inside.upper / inside.mean <= far.upper / far.mean <= farther.upper / farther.mean


def test_below_the_calibration_the_estimate_does_not_fall() -> None:
    """A residual of zero, or below all of training, has the estimate of the smallest one, and is marked; NaN stays NaN."""
    rho, e = pairs(40)
    calibration = Calibration.fit(rho, e)
    found = calibration.evaluate(np.array([0.0, rho.min() / 100, rho.min(), np.nan]))
    assert found.upper[0] == found.upper[1] == found.upper[2]
    assert found.extrapolated.tolist() == [True, True, False, True]
    assert np.isnan(found.upper[3])


@given(count=st.integers(3, 30), seed=st.integers(0, 99), scatter=st.sampled_from([0.0, 0.1, 1.0]))
@settings(max_examples=6)
def test_new_pairs_refit_as_if_they_had_been_there(count: int, seed: int, scatter: float) -> None:
    """Pairs in two parts, in any order, give the same arrays as all at once, bit for bit."""
    rho, e = pairs(count + 4, seed, scatter)
    whole = Calibration.fit(rho, e)
    shuffled = np.random.default_rng(seed).permutation(count + 4)
    parts = Calibration.fit(rho[shuffled[:count]], e[shuffled[:count]]).with_pairs(rho[shuffled[count:]], e[shuffled[count:]])
    for name in ("residuals", "errors", "line", "hyperparameters", "places"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


def test_stored_arrays_answer_alike() -> None:
    """A calibration is its arrays: one made of copies of them gives the same estimates, without a fit."""
    calibration = Calibration.fit(*pairs(30))
    again = Calibration(**{name: np.array(value) for name, value in vars(calibration).items() if not name.startswith("_")})
    for one, other in zip(calibration.evaluate(np.logspace(-5, 0, 9)), again.evaluate(np.logspace(-5, 0, 9)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_without_plasticity_are_left_out() -> None:
    """Pairs whose field is no larger than p_min do not count, however wrong their relative errors are."""
    rho, e = pairs(20)
    norms = np.ones(22)
    norms[20:] = 1e-12
    found = Calibration.fit(np.append(rho, [0.9, 0.8]), np.append(e, [1e9, 1e9]), norms=norms, smallest_norm=1e-3)
    np.testing.assert_array_equal(found.residuals, Calibration.fit(rho, e).residuals)


def test_errors_that_fall_with_the_residual_are_level() -> None:
    """A residual that says nothing gives a level line, never one that promises less error for a larger residual."""
    rho = np.logspace(-3, -1, FEWEST_FOR_PROCESS - 1)
    calibration = Calibration.fit(rho, 1e-3 / rho)
    assert calibration.line[1] == 0.0
    assert calibration.correlation < 0.0


def test_many_pairs_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many pairs the process takes a fixed number, the extremes among them, and all of them carry the line."""
    monkeypatch.setattr(indicator, "MOST_PAIRS", 20)
    rho, e = pairs(3000)
    calibration = Calibration.fit(rho, e)
    assert len(calibration.places) == 20
    assert calibration.places[[0, -1]].tolist() == [0, 2999]
    slope, level = np.polyfit(np.log(rho), np.log(e), 1)
    np.testing.assert_allclose(calibration.line[:2], [level, slope], rtol=1e-9)


def test_pairs_that_cannot_calibrate_are_refused() -> None:
    """Too few pairs, equal residuals, negative or infinite values, and arrays of two lengths are refused, with the way out."""
    with pytest.raises(ValueError, match=r"2 pairs .* takes 3 of different ones; run the reduced model on more training steps"):
        Calibration.fit(np.array([0.1, 0.2, 0.0]), np.array([0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match="different ones"):
        Calibration.fit(np.full(5, 0.1), np.ones(5))
    with pytest.raises(ValueError, match="negative or not finite"):
        Calibration.fit(np.array([0.1, 0.2, np.nan]), np.ones(3))
    with pytest.raises(ValueError, match="3 residuals were given with 2 errors"):
        Calibration.fit(np.ones(3), np.ones(2))
