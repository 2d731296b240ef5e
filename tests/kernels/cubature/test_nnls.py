"""Non-negative least squares: against SciPy and the conditions of a minimum, early ends, dependent columns, bad days."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels.nnls import ActiveColumns, Pool, best_of_stretches, in_memory, search
from tests.asserts import backward_error
from tests.kernels.cubature.cases import mixtures

Floats = NDArray[np.float64]
EPS = float(np.finfo(float).eps)


def problem(rows: int, columns: int, rank: int, seed: int) -> tuple[Floats, Floats]:
    """A matrix of some rank, and a target of which a part lies outside of the cone of its columns."""
    random = np.random.default_rng(seed)
    G = random.standard_normal((rows, min(rank, rows))) @ random.standard_normal((min(rank, rows), columns))
    return G, G @ random.uniform(0.0, 1.0, columns) + random.standard_normal(rows)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 30),
    rank=st.integers(1, 12),
    pool=st.sampled_from([1, 4, 30]),
    worth=st.sampled_from([0.0, 0.3, 1.0]),
    normalised=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_minimum_is_that_of_scipy(
    rows: int, columns: int, rank: int, pool: int, worth: float, normalised: bool, seed: int
) -> None:
    """With tolerance zero every pool and score ends at SciPy's residual, and at the conditions of a minimum over x >= 0."""
    G, b = problem(rows, columns, rank, seed)
    found = search(b, in_memory(G, pool=pool, normalised=normalised), 0.0, normalised=normalised, worth=worth)
    _, residual = scipy.optimize.nnls(G, b)
    # A score below the noise is taken for zero; the residual then is that of a target so much beside b.
    noise = 100 * columns * backward_error(G.shape) * np.linalg.norm(b) * max(found.condition, 1.0)
    assert found.ended in ("optimum", "tolerance", "stalled")
    assert np.linalg.norm(found.residual) == pytest.approx(residual, abs=noise)
    assert (found.values > 0.0).all()
    assert len(set(found.numbers.tolist())) == len(found.numbers) <= min(rows, rank)
    np.testing.assert_allclose(b - G[:, found.numbers] @ found.values, found.residual, atol=noise)
    assert (found.residual @ G).max() <= noise * np.linalg.norm(G, axis=0).max()


@pytest.mark.parametrize("pool", [1, 20])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_it_ends_at_the_tolerance_and_not_later(tolerance: float, pool: int) -> None:
    """The last residual is the first one below the tolerance, as recomputed, and residuals never rise."""
    G, weights = mixtures(60, 2000, 0)
    b = G @ weights
    found = search(b, in_memory(G, pool=pool), tolerance)
    assert found.ended == "tolerance"
    assert np.linalg.norm(b - G[:, found.numbers] @ found.values) <= 1.001 * tolerance * np.linalg.norm(b)
    assert (found.history[:-1] > tolerance).all()
    assert (np.diff(found.history) <= 1e-14).all()
    assert found.error == found.history[-1]


def test_a_pool_saves_visits_and_costs_few_points() -> None:
    """A pool of the best of 200 stretches visits the columns at most a quarter as often, for at most a tenth more points."""
    G, weights = mixtures(200, 20_000, 1, rank=80, decay=0.9)
    classic, pooled = (search(G @ weights, in_memory(G, pool=pool), 1e-6) for pool in (1, 200))
    assert pooled.visits <= classic.visits / 4
    assert len(pooled.numbers) <= 1.1 * len(classic.numbers)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(2, 20), steps=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_the_factorization_follows_its_columns(rows: int, steps: int, seed: int) -> None:
    """After any columns have come and gone, solution, residual and condition are those of the columns that are there."""
    random = np.random.default_rng(seed)
    G, b = random.standard_normal((rows, 60)), random.standard_normal(rows)
    active = ActiveColumns(b)
    there: list[int] = []
    for k in range(steps):
        if there and random.random() < 0.4:
            out = random.permutation(len(there))[: random.integers(1, len(there) + 1)]
            active.remove(out)
            there = [column for place, column in enumerate(there) if place not in set(out.tolist())]
        elif len(there) < rows:
            assert active.append(G[:, k])
            there.append(k)
    A = G[:, there]
    expected = np.linalg.lstsq(A, b)[0]
    tolerance = 100 * backward_error(A.shape) * np.linalg.cond(A) ** 2 if there else EPS
    np.testing.assert_allclose(active.solution(), expected, atol=tolerance * max(np.linalg.norm(b), 1.0))
    np.testing.assert_allclose(active.residual, b - A @ expected, atol=tolerance * max(np.linalg.norm(b), 1.0))
    assert active.condition() == pytest.approx(np.linalg.cond(A / np.linalg.norm(A, axis=0)) if there else 1.0, rel=tolerance)


def test_a_dependent_column_is_refused_and_told() -> None:
    """A copy of a column never enters, and the answer says that another would have done as well."""
    G = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    first = Pool(np.array([0, 1]), G[:, :2])
    found = search(np.array([2.0, 3.0]), in_memory(G), 0.0, initial=first)
    assert sorted(found.numbers.tolist()) == [0, 2]
    assert not found.unique
    assert search(np.array([2.0, 3.0]), in_memory(G[:, [0, 2]]), 0.0).unique


def test_a_target_that_no_column_meets_is_an_optimum_with_nothing() -> None:
    """Where all scores are negative nothing is chosen, and the whole target is left."""
    found = search(np.array([-1.0, -1.0]), in_memory(np.eye(2)), 1e-6)
    assert (found.ended, len(found.numbers), found.visits) == ("optimum", 0, 1)
    np.testing.assert_array_equal(found.residual, [-1.0, -1.0])


def test_a_zero_target_needs_nothing() -> None:
    """Zero is met by no columns, at once."""
    found = search(np.zeros(3), in_memory(np.eye(3)), 1e-6)
    assert (found.ended, found.error, found.visits, found.condition) == ("tolerance", 0.0, 0, 1.0)


def test_limits_are_kept_and_named() -> None:
    """At most so many columns, at most so many steps, and the reason is there to read."""
    G, weights = mixtures(60, 2000, 0)
    b = G @ weights
    for found in (search(b, in_memory(G), 1e-12, max_columns=5), search(b, in_memory(G), 1e-12, max_steps=5)):
        assert found.ended == "limit"
        assert len(found.numbers) <= 5


def test_single_precision_visits_end() -> None:
    """Scores in single precision that are noise in double do not keep a search alive, and the residual is double's."""
    G, weights = mixtures(40, 3000, 2)
    b = G.astype(np.float32).astype(float) @ weights
    found = search(b, in_memory(G.astype(np.float32), pool=50), 0.0)
    assert found.ended in ("optimum", "stalled")
    assert found.error < 1e-6


def test_stretches_cover_all_columns() -> None:
    """The best positive score of every stretch, the lowest number at a tie, no stretch without a positive score."""
    scores = np.array([1.0, 3.0, 3.0, -1.0, -2.0, 0.0, 7.0])
    assert best_of_stretches(scores, 1).tolist() == [6]
    assert best_of_stretches(scores, 3).tolist() == [1, 6]
    assert best_of_stretches(scores, 100).tolist() == [0, 1, 2, 6]
    assert best_of_stretches(np.zeros(0), 4).tolist() == []
