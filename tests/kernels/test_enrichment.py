"""Enrichment: the decision after a step, and a basis that takes in a state and keeps its modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.kernels.enrichment import Action, decide, enriched, padded, transformed

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


def inner_product(n: int, seed: int) -> Floats:
    """A symmetric positive definite matrix of condition about 100."""
    Q = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))[0]
    return np.asarray(Q * np.logspace(-1, 1, n) @ Q.T)


def orthonormal(n: int, count: int, M: Floats, seed: int) -> Floats:
    """Modes (n, count) that are orthonormal in M."""
    X = np.random.default_rng(seed).standard_normal((n, count))
    return np.asarray(np.linalg.solve(np.linalg.cholesky(X.T @ M @ X), X.T).T)


@given(seed=st.integers(0, 999), tilt=st.sampled_from([1e-9, 1e-4, 1.0]))
@settings(max_examples=20)
def test_a_new_state_is_held_and_old_modes_stay(seed: int, tilt: float) -> None:
    """The state is in the new span, modes are orthonormal however near to the old span it lies, old ones are the same bits."""
    M = inner_product(40, seed)
    Phi = orthonormal(40, 5, M, seed + 1)
    random = np.random.default_rng(seed + 2)
    u = Phi @ random.standard_normal(5) + tilt * random.standard_normal(40)
    found = enriched(Phi, u, lambda x: M @ x)
    assert found.added
    np.testing.assert_array_equal(found.modes[:, :5], Phi)
    # The projections leave some eps |u| in the old span; the new mode divides it by what was missed of u.
    defect = np.abs(found.modes.T @ M @ found.modes - np.eye(6))
    assert defect.max() <= 200 * 40 * EPS
    norm = np.sqrt(u @ M @ u)
    left = u - found.modes @ found.coordinates
    assert np.sqrt(left @ M @ left) <= 200 * 40 * EPS * norm
    missed = u - Phi @ (Phi.T @ (M @ u))
    assert found.missed == pytest.approx(np.sqrt(missed @ M @ missed) / norm, rel=1e-4)


def test_a_state_that_is_held_adds_nothing() -> None:
    """A state of the span, and one of zeros, leave the basis alone; the tolerance is a share of the state's own norm."""
    Phi = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 4)))[0]
    assert not enriched(Phi, Phi @ np.ones(4)).added
    assert not enriched(Phi, np.zeros(30)).added
    outside = np.linalg.qr(np.column_stack([Phi, np.ones(30)]))[0][:, 4]
    tilted = 1e3 * (Phi @ np.ones(4) + 0.02 * outside)
    assert not enriched(Phi, tilted, rtol=0.02).added  # missed 0.02 / |(1, 1, 1, 1, 0.02)| = 0.01
    assert enriched(Phi, tilted, rtol=0.005).added


def test_states_that_cannot_enrich_are_refused() -> None:
    """A NaN and a wrong size are refused."""
    Phi = np.eye(3)[:, :1]
    with pytest.raises(ValueError, match="not finite"):
        enriched(Phi, np.array([1.0, np.nan, 0.0]))
    with pytest.raises(ValueError, match=r"shape \(2,\) cannot enrich modes of shape \(3, 1\)"):
        enriched(Phi, np.ones(2))


def test_coordinates_follow_the_basis() -> None:
    """In a nested basis coordinates get zeros; in any other one they are those of the nearest state, the same by both ways."""
    M = inner_product(30, 1)
    Phi = orthonormal(30, 4, M, 2)
    new = enriched(Phi, np.ones(30), lambda x: M @ x).modes
    q = np.random.default_rng(3).standard_normal((4, 7))
    np.testing.assert_allclose(transformed(q, Phi, new, lambda x: M @ x), padded(q, 5), atol=1e-12)
    other = orthonormal(30, 6, M, 4)
    nearest = transformed(q[:, 0], Phi, other, lambda x: M @ x)
    gradient = other.T @ M @ (Phi @ q[:, 0] - other @ nearest)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("change", "action", "reason"),
    [
        ({}, Action.ENRICH, "5.00e-02 > 1.00e-02"),
        ({"indicator": 0.01}, Action.ACCEPT, "<= 1.00e-02"),
        ({"indicator": np.nan}, Action.ENRICH, "nan"),
        ({"updates": 3}, Action.STOP, "all 3 updates are made"),
        ({"retried": True}, Action.STOP, "after this step was enriched"),
        ({"norm": 1e-5, "smallest_norm": 1e-3}, Action.ACCEPT, "where nothing is estimated"),
    ],
)
def test_every_step_has_its_decision(change: dict[str, Any], action: Action, reason: str) -> None:
    """Accept within the tolerance and where nothing is estimated; enrich while updates are left; then stop, and say why."""
    asked: dict[str, Any] = {"indicator": 0.05, "tolerance": 0.01, "updates": 0, "most_updates": 3, **change}
    indicator = asked.pop("indicator")
    found = decide(4, 0.02, indicator, extrapolated=True, **asked)
    assert (found.step, found.action, found.residual, found.extrapolated) == (4, action, 0.02, True)
    assert found.updates == asked["updates"]
    assert reason in found.reason
