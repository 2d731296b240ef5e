"""Inputs unlike all of training are known by their distance, and inputs like them are not turned away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nwidth.errors import ConfigError, InputError
from nwidth.learning.novelty import fit_novelty
from nwidth.models.inputs import Parameters


@pytest.fixture
def training() -> tuple[Any, list[str]]:
    """Two hundred inputs and their names."""
    return drawn(200, 0), [f"run-{number}" for number in range(200)]


def drawn(count: int, seed: int) -> Any:
    """Two correlated inputs in units of very different size, and a third that never changes."""
    rng = np.random.default_rng(seed)
    a = rng.standard_normal(count)
    return np.column_stack([a, 1e6 * (a + 0.1 * rng.standard_normal(count)), np.full(count, 5.0)])


@pytest.mark.parametrize("method", ["neighbour", "mahalanobis"])
def test_new_inputs_of_the_same_law_pass_and_far_ones_do_not(training: tuple[Any, Any], method: str) -> None:
    """About one in a hundred of the same law is turned away, all that are far, and all that change what never changed."""
    Z, names = training
    known, distances = fit_novelty(Z, names, method=method)
    assert (distances > known.limit).mean() <= 0.01
    turned_away = []
    for seed in range(1, 21):
        other, _ = fit_novelty(drawn(200, seed), names, method=method)
        turned_away.append((other.distances(drawn(1000, 100 + seed)) > other.limit).mean())
    # The second or third largest of 200: 1 to 1.5 % of new ones lie beyond on average; one set scatters by about as much.
    assert np.mean(turned_away) < 0.015 + 3 * 0.012 / np.sqrt(20)
    assert known.reason(np.array([8.0, 8e6, 5.0]))
    assert known.reason(np.array([0.0, 3e6, 5.0]))  # each by itself usual, together not
    assert "same in all training" in str(known.reason(np.array([0.0, 0.0, 5.1])))
    assert known.reason(Z[3]) is None


def test_mahalanobis_distance_is_its_formula(training: tuple[Any, Any]) -> None:
    """The distance is the quadratic form with the inverse covariance."""
    Z, names = training
    known, _ = fit_novelty(Z, names, method="mahalanobis")
    x = np.array([0.5, 1.5e6, 5.0])
    step = (x - Z.mean(axis=0))[:2]
    expected = np.sqrt(step @ np.linalg.inv(np.cov(Z[:, :2].T)) @ step)
    assert known.distances(x[None])[0] == pytest.approx(expected, rel=1e-9)


def test_the_reason_names_the_nearest_simulation(training: tuple[Any, Any]) -> None:
    """The sentence says how far, from which simulation, and how near training inputs are to each other."""
    Z, names = training
    known, _ = fit_novelty(Z, names)
    x = Z[Z[:, 0].argmax()] + [10.0, 1e7, 0.0]
    nearest = int(np.argmin(np.linalg.norm((Z - x)[:, :2] / Z[:, :2].std(axis=0), axis=1)))
    assert f"nearest training input, run-{nearest};" in str(known.reason(x))


def test_one_simulation_knows_no_limit() -> None:
    """With one simulation nothing is known of distances: only a change of what never changed is new."""
    known, _ = fit_novelty(np.array([[1.0, 2.0]]), ["alone"])
    assert known.reason(np.array([1.0, 2.0])) is None
    assert known.reason(np.array([1.0, 2.5]))
    nothing, _ = fit_novelty(np.empty((1, 0)), ["alone"])
    assert nothing.reason(np.empty(0)) is None


def test_bad_inputs_are_refused_by_name(training: tuple[Any, Any]) -> None:
    """NaN, a missing and an unknown parameter, text and arrays are refused in one sentence; so are bad settings."""
    ask = Parameters(("speed", "heat"))
    assert ask({"heat": 2, "speed": 1}).tolist() == [1.0, 2.0]
    with pytest.raises(InputError, match="'heat' is nan"):
        ask({"speed": 1.0, "heat": np.nan})
    with pytest.raises(InputError, match="trained with speed, heat"):
        ask({"speed": 1.0})
    with pytest.raises(InputError, match="trained with speed, heat"):
        ask({"speed": 1.0, "heat": 1.0, "colour": 3.0})
    with pytest.raises(InputError, match="not made of numbers"):
        ask({"speed": 1.0, "heat": "hot"})
    with pytest.raises(InputError, match="one input at a time"):
        ask({"speed": [1.0, 2.0], "heat": [1.0, 2.0]})
    with pytest.raises(ConfigError, match="neighbour"):
        fit_novelty(*training, method="isolation")
    with pytest.raises(ConfigError, match="quantile"):
        fit_novelty(*training, quantile=1.5)
    with pytest.raises(ConfigError, match="more than"):
        fit_novelty(training[0][:3], training[1][:3], method="mahalanobis")
