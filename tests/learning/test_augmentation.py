"""New inputs stay inside of their class, come from a seed, and a check can reject them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nwidth.learning.augmentation import augment
from nwidth.models.classifiers import scaling_of


@pytest.fixture
def classes() -> tuple[Any, Any]:
    """Three clouds in the plane, two of which touch."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 20)
    return rng.standard_normal((60, 2)) * 0.5 + np.array([[0.0, 0.0], [1.5, 0.0], [6.0, 6.0]])[labels], labels


def test_new_inputs_are_convex_combinations_inside_their_class(classes: tuple[Any, Any]) -> None:
    """Weights are convex, all parents have the label, and each is nearer to the seed than any input of another class."""
    X, labels = classes
    new = augment(X, labels, 200, seed=2)
    assert len(new.features) == 200
    assert (new.weights >= 0).all()
    np.testing.assert_allclose(new.weights.sum(axis=1), 1.0)
    np.testing.assert_allclose(new.features, np.einsum("ck,ckd->cd", new.weights, X[new.parents]))
    assert (labels[new.parents] == new.labels[:, None]).all()
    z = scaling_of(X)(X)
    for parents in new.parents:
        nearest_other = np.linalg.norm(z[labels != labels[parents[0]]] - z[parents[0]], axis=1).min()
        assert (np.linalg.norm(z[parents] - z[parents[0]], axis=1) < nearest_other).all()


def test_a_seed_repeats_them(classes: tuple[Any, Any]) -> None:
    """The same seed gives the same inputs, another seed others."""
    X, labels = classes
    again = [augment(X, labels, 30, seed=seed).features for seed in (5, 5, 6)]
    assert np.array_equal(again[0], again[1])
    assert not np.array_equal(again[0], again[2])


def test_what_the_nearest_medoid_labels_otherwise_is_dropped(classes: tuple[Any, Any]) -> None:
    """Combinations whose nearest medoid is another's are dropped and counted; those that are left have its label."""
    X, labels = classes
    medoids = np.array([[0.0, 0.0], [1.5, 0.0], [6.0, 6.0]])

    def nearest(parents: Any, weights: Any) -> Any:
        mixed = np.einsum("ck,ckd->cd", weights, X[parents])
        return np.argmin(np.linalg.norm(mixed[:, None] - medoids, axis=2), axis=1)

    kept = augment(X, labels, 300, seed=0, check=nearest)
    assert kept.rejected > 0
    assert kept.rejected + len(kept.features) == 300
    assert np.array_equal(nearest(kept.parents, kept.weights), kept.labels)


def test_classes_of_one_member_give_nothing() -> None:
    """Where no class has two members there is nothing to combine, and nothing is invented."""
    new = augment(np.arange(3.0)[:, None], np.arange(3), 10)
    assert new.features.shape == (0, 1)
    assert new.labels.size == 0
