"""Zero snapshots, duplicates, few items, small clusters, one cluster, parallel snapshots; and options that contradict."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.errors import ConfigError, FieldError
from tests.atlas.bumps import bumps

SNAPSHOTS = bumps()


def test_zero_snapshots_lie_in_every_basis() -> None:
    """They have no error on any basis, represent nobody, and it is said how many they are."""
    holes = SNAPSHOTS.copy(deep=True)
    holes[::10] = 0.0
    atlas = nw.partition(holes, clusters=4, rank=3)
    assert not atlas.errors[:, ::10].any()
    assert not np.isin(atlas.medoids, np.arange(0, 120, 10)).any()
    assert any("12 of 120 snapshots are zero" in note for note in atlas.notes)


def test_duplicates() -> None:
    """Every snapshot twice: both of a pair are in one cluster, and no cluster is empty."""
    twice = np.repeat(SNAPSHOTS.values, 2, axis=0)
    atlas = nw.partition(twice, clusters=5, rank=3)
    np.testing.assert_array_equal(atlas.labels[::2], atlas.labels[1::2])
    assert (atlas.sizes > 0).all()


def test_parallel_snapshots_need_one_cluster() -> None:
    """All on one line: one mode is exact, a dictionary does not pay, and three clusters, if asked for, are made all the same."""
    line = np.linspace(1.0, 2.0, 30)[:, None] * np.sin(np.arange(50.0))
    auto = nw.partition(line, rank=2)
    assert (auto.count, auto.pays) == (1, False)
    asked = nw.partition(line, clusters=3, rank=2, minimum_size=1)
    assert asked.count == 3
    assert asked.ranks.tolist() == [1, 1, 1]
    assert asked.own_errors.max() < 1e-7


def test_one_cluster() -> None:
    """K = 1 is the normalised POD of everybody: no second cluster, no transition to lose by."""
    atlas = nw.partition(SNAPSHOTS, clusters=1, rank=4)
    assert atlas.count == 1
    assert set(atlas.second) == {-1}
    assert atlas.reason == "one cluster was asked for"
    assert atlas.assign(SNAPSHOTS[:3]).second.tolist() == [-1] * 3


def test_noise_does_not_pay() -> None:
    """Directions without any order: one cluster, with the sentence that says why."""
    noise = np.random.default_rng(0).standard_normal((60, 400))
    atlas = nw.partition(noise, rank=5)
    assert (atlas.count, atlas.pays) == (1, False)
    assert atlas.reason.startswith("one cluster: a dictionary does not pay, because at best, with ")


def test_bumps_pay() -> None:
    """A moving bump: the number of clusters is chosen by the gain on held-out simulations, and local bases are far better."""
    atlas = nw.partition(SNAPSHOTS, rank=3)
    assert atlas.pays
    assert atlas.count > 2
    assert atlas.own_errors.max() < atlas.global_errors.max() / 2
    best = atlas.gain.best()
    assert best is not None
    assert atlas.gain.expected_gain[best] > 1.5
    assert atlas.gain.held_out == "all 12 simulations, held out in 5 splits"
    assert len(atlas.gain.rows()) == atlas.gain.expected_gain.size


def test_small_clusters_join_their_neighbours() -> None:
    """Two crowds and five of their own: these are too few for a cluster, are absorbed, and it is said."""
    random = np.random.default_rng(3)
    lines = np.repeat(random.standard_normal((3, 80)), [40, 40, 5], axis=0)
    atlas = nw.partition(lines + 1e-3 * random.standard_normal(lines.shape), clusters=3, rank=3)
    assert atlas.count == 2
    assert atlas.sizes.min() >= 40
    assert any("joined their neighbours" in note for note in atlas.notes)


def test_few_items() -> None:
    """More clusters than items are refused; a handful of items is one cluster, in words."""
    with pytest.raises(ConfigError, match=r"atlas.clusters = 8, and there are 5 snapshots; ask for at most 5"):
        nw.partition(SNAPSHOTS[:5], clusters=8, rank=2)
    with pytest.raises(ConfigError, match=r"atlas.clusters = 8, and there are 4 simulations"):
        nw.partition(SNAPSHOTS[:40], clusters=8, of="simulations", rank=2)
    few = nw.partition(SNAPSHOTS[:1], rank=2)
    assert few.count == 1
    assert "too few" in few.reason


def test_nothing_to_part() -> None:
    """No snapshots at all, or none that is not zero: one sentence, as for any basis."""
    with pytest.raises(FieldError, match="it needs snapshots"):
        nw.partition(np.zeros((0, 5)), rank=2)
    with pytest.raises(FieldError, match="there is nothing to reduce"):
        nw.partition(np.zeros((4, 5)), rank=2)


def test_bad_values_are_named() -> None:
    """A NaN is refused as everywhere, before anything is parted."""
    broken = SNAPSHOTS.copy(deep=True)
    broken[7, 3] = np.nan
    with pytest.raises(FieldError, match="snapshot 7"):
        nw.partition(broken, clusters=3, rank=2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dissimilarity": "sines"}, "dissimilarity = 'sines': Input should be 'sine', 'euclidean'"),
        ({"dissimilarity": "chordal"}, 'compares simulations as subspaces; set atlas.of to "simulations"'),
        ({"dissimilarity": np.zeros((3, 3))}, "a matrix of shape (3, 3) was given for 120 snapshots"),
        ({"dissimilarity": np.full((120, 120), -1.0)}, "not finite, non-negative and symmetric"),
        ({"method": "k-means", "dissimilarity": "parameters", "clusters": 3}, 'method = "k-means" needs dissimilarity'),
        ({"method": "tree", "dissimilarity": "euclidean"}, 'method = "tree" needs dissimilarity = "sine"'),
        ({"of": "simulations", "time": "subspaces"}, 'time = "subspaces" needs a dissimilarity of subspaces'),
        (
            {"route": "hapod", "rank": None, "rtol": 1e-3},
            'an atlas needs a factor of all snapshots, which route = "hapod" does not keep',
        ),
        ({"clusters": 0}, "clusters"),
        ({"holdout": np.zeros(3, bool)}, "a mask of shape (3,) was given for 120 snapshots"),
        ({"holdout": np.zeros(120, bool)}, "no simulation is held out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_contradictions_are_refused(options: dict[str, Any], words: str) -> None:
    """One sentence each, before any read."""
    with pytest.raises(ConfigError) as refusal:
        nw.partition(SNAPSHOTS, **{"rank": 3, **options})
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_parameters_that_do_not_differ() -> None:
    """There is nothing to measure: refused with the way out."""
    with pytest.raises(ConfigError, match='no parameters that differ; use "sine"'):
        nw.partition(SNAPSHOTS.values, "parameters", 3, rank=2)
