"""Draws: the same whatever the batches, with the distributions that were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from nwidth.errors import ConfigError
from nwidth.uncertainty.distributions import Choice, Constant, LogNormal, Normal, Uniform, distribution
from nwidth.uncertainty.draws import draws_of, unit_cube


@pytest.mark.parametrize("dimensions", [1, 3, 4, 5, 9])
def test_a_draw_does_not_depend_on_its_batch(dimensions: int) -> None:
    """Draws 0..99 in one batch, and in batches of uneven size, out of order, are the same bits."""
    whole = unit_cube(5, dimensions, 0, 100)
    for start, stop in ((93, 100), (0, 1), (1, 40), (40, 93)):
        assert (unit_cube(5, dimensions, start, stop) == whole[start:stop]).all()


def test_seeds_and_dimensions_are_independent() -> None:
    """Another seed gives other draws, and no two dimensions or neighbours are correlated beyond chance."""
    u = unit_cube(1, 5, 0, 20_000)
    assert not np.isin(unit_cube(2, 5, 0, 100), u).any()
    limit = 5.0 / np.sqrt(len(u))  # five standard errors of a correlation
    assert np.abs(np.corrcoef(u.T) - np.eye(5)).max() < limit
    assert abs(np.corrcoef(u[1:, 0], u[:-1, 0])[0, 1]) < limit


@pytest.mark.parametrize(
    ("made", "reference"),
    [
        (Uniform(2.0, 5.0), stats.uniform(2.0, 3.0)),
        (Normal(1.0, 0.5), stats.norm(1.0, 0.5)),
        (Normal(1.0, 0.5, low=0.2, high=1.4), stats.truncnorm(-1.6, 0.8, 1.0, 0.5)),
        (LogNormal(3.0, 0.4), stats.lognorm(0.4, scale=3.0)),
    ],
    ids=["uniform", "normal", "cut normal", "log-normal"],
)
def test_quantiles_are_those_of_the_distribution(made: Any, reference: Any) -> None:
    """The quantile functions agree with SciPy's."""
    u = np.linspace(0.001, 0.999, 99)
    np.testing.assert_allclose(made.quantile(u), reference.ppf(u), rtol=1e-10)


def test_draws_are_named_and_ordered_by_name() -> None:
    """The order in which inputs are written in a study does not change their draws."""
    one = draws_of({"speed": Uniform(0, 1), "amplitude": Constant(3.0)}, 4)(10, 20)
    other = draws_of({"amplitude": Constant(3.0), "speed": Uniform(0, 1)}, 4)(10, 20)
    assert list(one) == ["amplitude", "speed"]
    assert (one["speed"] == other["speed"]).all()
    assert (one["amplitude"] == 3.0).all()


def test_the_least_number_of_the_generator_is_no_infinity() -> None:
    """Zero, which the generator may give, is moved into the open interval."""
    assert np.isfinite(Normal(0.0, 1.0).quantile(np.array([2.0**-54]))).all()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"distribution": "gauss"}, "known: uniform, normal, log-normal, choice, constant"),
        ({}, "distribution = None"),
        ({"distribution": "uniform", "low": 1.0}, "needs low, high"),
        ({"distribution": "uniform", "low": 2.0, "high": 1.0}, "low must be smaller"),
        ({"distribution": "normal", "mean": 0.0, "std": 0.0}, "must be positive"),
        ({"distribution": "normal", "mean": 0.0, "std": 1.0, "low": 50.0}, "lies nothing"),
        ({"distribution": "uniform", "low": 0.0, "hi": 1.0}, "has no 'hi'"),
        ({"distribution": "uniform", "low": float("nan"), "high": 1.0}, "expected a finite number"),
        ({"distribution": "log-normal", "median": -1.0, "sigma": 1.0}, "both must be positive"),
    ],
)
def test_bad_distributions_are_refused_by_name(table: dict[str, Any], words: str) -> None:
    """What is wrong with a distribution is said, with the name of the input."""
    with pytest.raises(ConfigError, match=words) as refused:
        distribution("speed", table)
    assert "uncertainty.parameters.speed" in str(refused.value)


def test_a_choice_takes_its_values_alike() -> None:
    """Each of three values comes in a third of the draws, within five standard errors; a table makes the same."""
    drawn = Choice((1.0, 2.0, 5.0)).quantile(unit_cube(0, 1, 0, 9000)[:, 0])
    counts = [int((drawn == value).sum()) for value in (1.0, 2.0, 5.0)]
    assert sum(counts) == 9000
    assert np.abs(np.array(counts) - 3000).max() < 5 * np.sqrt(9000 * 2 / 9)
    assert distribution("x", {"distribution": "choice", "values": [1, 2, 5]}) == Choice((1.0, 2.0, 5.0))
    for values in ([], ["a"], 3):
        with pytest.raises(ConfigError, match=r"uncertainty\.parameters\.x"):
            distribution("x", {"distribution": "choice", "values": values})


def test_nothing_uncertain_is_refused() -> None:
    """A Monte Carlo run without an uncertain input has nothing to do."""
    with pytest.raises(ConfigError, match="at least one"):
        draws_of({}, 0)
