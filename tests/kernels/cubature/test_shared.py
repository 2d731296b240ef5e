"""Points that a dictionary of local models shares, each with its own weights."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.rule import integration_error
from nwidth_graphs.kernels.shared_cubature import shared_rules
from tests.kernels.cubature.cases import cube_integrands


def test_clusters_share_points() -> None:
    """Heating, plateau and cooling of the cube: every column of weights is within the tolerance, and few points are new.

    Beside independent rules the union is smaller; beside one rule for everything no cluster uses as many points.
    """
    G, weights = cube_integrands(7)
    states = G.reshape(7, 10, -1)
    systems = [np.ascontiguousarray(states[:, part].reshape(-1, G.shape[1])) for part in (slice(3, 7), slice(0, 4), slice(6, 10))]
    shared = shared_rules(systems, weights, 1e-4)
    alone = [nnomp(system, weights, 1e-4) for system in systems]
    assert shared.weights.shape == (len(shared.points), 3)
    assert (shared.weights >= 0.0).all()
    for system, column, error in zip(systems, shared.weights.T, shared.errors, strict=True):
        found = integration_error(system, weights, shared.points, column)
        assert found.relative == pytest.approx(error, rel=1e-6)
        assert found.relative <= 1.001e-4
    union = np.unique(np.concatenate([rule.points for rule in alone]))
    assert len(shared.points) < len(union)
    whole = nnomp(G, weights, 1e-4)
    assert all(len(rule.points) < len(whole.points) for rule in shared.rules)


def test_the_first_points_suffice_for_a_cluster_within() -> None:
    """A cluster whose integrands are combinations of the first one's adds no point."""
    G, weights = cube_integrands(5)
    mixed = np.random.default_rng(0).standard_normal((5, len(G))) @ G
    shared = shared_rules([G, mixed], weights, 1e-3)
    assert len(shared.points) == len(shared.rules[0].points)
    assert (shared.weights[:, 1] > 0.0).any()


def test_no_cluster_is_refused() -> None:
    """A dictionary needs a cluster."""
    with pytest.raises(ValueError, match="no cluster was given"):
        shared_rules([], np.ones(3), 1e-3)
