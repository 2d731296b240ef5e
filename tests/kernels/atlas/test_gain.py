"""Gain and efficiency criterion: the published data set, the formulas, and the cases where a dictionary does not pay."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.gain import (
    Candidate,
    Criterion,
    choose,
    criterion,
    gain_map,
    mean_labels,
    neighbour_accuracy,
    oracle_labels,
    own_errors,
    quantile_gain,
)
from nwidth_graphs.kernels.kmedoids import k_medoids
from nwidth_graphs.kernels.local_bases import local_basis, relative_errors, simulation_errors
from tests.kernels.atlas.romnet import side_by_side, simulations, vectors

Floats = NDArray[np.float64]

ROMNET = {
    2: (0.09547, 1.788, 1.788, 0.777),
    3: (0.07747, 2.204, 2.253, 0.657),
    5: (0.06123, 2.788, 2.823, 0.591),
    7: (0.05895, 2.896, 2.896, 0.577),
    9: (0.05871, 2.908, 2.931, 0.559),
    12: (0.05596, 3.051, 3.083, 0.549),
    18: (0.05391, 3.166, 3.211, 0.509),
}


def errors_on(bases: list[Floats]) -> Floats:
    """(K, 2, 200): of the test simulations with 2 and with 5 modes."""
    columns, times = side_by_side(simulations().test)
    return simulation_errors(relative_errors(columns, bases, [2, 5]), np.linalg.norm(columns, axis=0), times)


def test_thermomechanical_simulations() -> None:
    """V6: 0.9-quantiles, gains by nearest medoid and by oracle, and break-even accuracies for 2 to 18 clusters, as published."""
    train, test = simulations().train, simulations().test
    X, Y = vectors(train), vectors(test)
    D = sine(X)
    whole = errors_on([local_basis(side_by_side(train)[0], rank=5, normalise=False).modes])[0]
    summary = [np.median(whole[0]), np.quantile(whole[0], 0.9), whole[0].mean(), whole[0].max()]
    assert np.round(summary, 6).tolist() == [0.072273, 0.170719, 0.088678, 0.292088]
    for count, (q90, by_medoid, by_oracle, break_even) in ROMNET.items():
        found = k_medoids(D, count, method="pam", start="build")
        bases = [side_by_side(train[found.partition.members(k)])[0] for k in range(count)]
        errors = errors_on([local_basis(members, rank=5, normalise=False).modes for members in bases])
        labels = np.argmin(sine_between(Y, X[:, found.medoids]), axis=1)
        local, best = own_errors(errors, labels), own_errors(errors, oracle_labels(errors))
        assert round(float(np.quantile(local[0], 0.9)), 5) == q90
        assert round(float(quantile_gain(whole, local)[0]), 3) == by_medoid
        assert round(float(quantile_gain(whole, best)[0]), 3) == by_oracle
        assert round(float(criterion(whole, errors, labels).break_even[0]), 3) == break_even
        assert 0.95 <= quantile_gain(whole, local)[1] <= 1.055  # with five modes there is nothing to gain
        by_mean = own_errors(errors, mean_labels(sine_between(Y, X), found.partition.labels))
        assert 0.9 * by_medoid <= quantile_gain(whole, by_mean)[0] <= 1.05 * by_oracle


def test_the_criterion_is_its_formulas() -> None:
    """Own and wrong errors by loops; at the break-even accuracy the expected gain is 1, at accuracy 1 it is the greatest."""
    random = np.random.default_rng(0)
    errors, labels = random.uniform(0.1, 1.0, (4, 3, 30)), random.integers(0, 4, 30)
    errors[labels, :, np.arange(30)] *= 0.1
    whole = random.uniform(0.2, 0.4, (3, 30))
    found = criterion(whole, errors, labels)
    for r in range(3):
        own = [errors[labels[i], r, i] for i in range(30)]
        wrong = [np.mean([errors[k, r, i] for k in range(4) if k != labels[i]]) for i in range(30)]
        assert (found.own[r], found.wrong[r]) == (pytest.approx(np.mean(own)), pytest.approx(np.mean(wrong)))
        assert found.expected_gain(float(found.break_even[r]))[r] == pytest.approx(1.0)
        assert found.greatest_gain[r] == pytest.approx(whole[r].mean() / np.mean(own))
    worst = criterion(whole, errors, labels, statistic=lambda values: float(np.max(values)))
    assert worst.global_error.tolist() == whole.max(axis=1).tolist()


def test_the_ends_of_the_criterion() -> None:
    """One cluster, exact bases, wrong labels that still help, right ones that do not: numbers with a meaning and no warning."""
    ones = np.ones((1, 5))
    alone = criterion(ones, 0.5 * np.ones((1, 1, 5)), np.zeros(5, np.int64))
    assert (alone.wrong.tolist(), alone.break_even.tolist(), alone.greatest_gain.tolist()) == ([0.5], [0.0], [2.0])
    cases = Criterion(np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.1, 0.6, 0.0, 0.6]), np.array([0.3, 0.9, 0.9, 0.6]))
    assert cases.break_even.tolist() == pytest.approx([0.0, 4 / 3, 4 / 9, np.inf])
    assert cases.greatest_gain.tolist() == pytest.approx([5.0, 5 / 6, np.inf, 5 / 6])
    assert quantile_gain(0 * ones, 0 * ones).tolist() == [1.0]


def test_labels() -> None:
    """The oracle takes the smallest error per number of modes, mean labels skip labels nobody has, and both choose errors."""
    errors = np.array([[[0.1, 0.9], [0.3, 0.3]], [[0.2, 0.2], [0.3, 0.1]]])
    assert oracle_labels(errors).tolist() == [[0, 1], [0, 1]]
    assert own_errors(errors, np.array([1, 1])).tolist() == [[0.2, 0.2], [0.3, 0.1]]
    assert own_errors(errors, np.array([[0, 1], [1, 0]])).tolist() == [[0.1, 0.2], [0.3, 0.3]]
    D = np.array([[0.0, 1.0, 0.6], [3.0, 3.0, 0.1]])
    assert mean_labels(D, np.array([0, 0, 2])).tolist() == [0, 2]


def test_accuracy_of_the_nearest_neighbour() -> None:
    """Two tight pairs and a stray point that sits with the wrong ones: four of five."""
    at = np.array([0.0, 0.1, 5.0, 5.1, 4.8])
    D = np.abs(at[:, None] - at)
    assert neighbour_accuracy(D, np.array([0, 0, 1, 1, 0])) == pytest.approx(4 / 5)
    assert neighbour_accuracy(D[:1, :1], np.array([0])) == 1.0


def test_the_choice_under_a_budget() -> None:
    """The largest expected gain under limits of modes and cluster sizes; fewer clusters at a tie; nothing where nothing pays."""

    def candidate(count: int, smallest: int, own: list[float]) -> Candidate:
        return Candidate(count, smallest, 0.9, Criterion(np.array([1.0, 0.5]), np.array(own), np.array([1.0, 0.5])))

    candidates = [candidate(2, 50, [0.8, 0.3]), candidate(4, 20, [0.4, 0.05]), candidate(8, 3, [0.1, 0.01])]
    expected = [[1 / (0.9 * 0.8 + 0.1), 0.5 / (0.9 * 0.3 + 0.05)], [1 / 0.46, 0.5 / 0.095], [1 / 0.19, 0.5 / 0.059]]
    np.testing.assert_allclose(gain_map(candidates), expected, rtol=1e-14)
    assert choose(candidates, [2, 5]) == (1, 1)
    assert choose(candidates, [2, 5], smallest=1) == (2, 1)
    assert choose(candidates, [2, 5], most_modes=2) == (1, 0)
    assert choose([candidates[1], candidate(3, 20, [0.4, 0.05])], [2, 5]) == (1, 1)
    assert choose([candidate(2, 50, [1.0, 0.6])], [2, 5]) is None
    assert choose(candidates, [2, 5], smallest=1000) is None
    assert choose([], [2, 5]) is None
