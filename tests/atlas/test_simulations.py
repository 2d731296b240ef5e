"""Whole simulations as items, and what is never divided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import nwidth as nw
from nwidth.config import DissimilarityName
from nwidth.errors import ConfigError
from nwidth.stages.atlas.items import SnapshotTable, items_of
from nwidth.stages.atlas.splits import splits_of
from tests.atlas.bumps import bumps

SNAPSHOTS = bumps()
NAMES = [name for name in DissimilarityName.__args__ if name not in ("sine", "euclidean", "parameters")]  # type: ignore[attr-defined]


def test_space_time_vectors() -> None:
    """The sine of two simulations is that of their stacked snapshots, and all times of one have its label."""
    atlas = nw.partition(SNAPSHOTS, clusters=3, of="simulations", rank=4)
    stacked = SNAPSHOTS.values.reshape(12, -1)
    unit = stacked / np.linalg.norm(stacked, axis=1, keepdims=True)
    expected = np.sqrt(np.maximum(1 - (unit @ unit.T) ** 2, 0))[atlas.medoids]
    np.testing.assert_allclose(atlas.dissimilarities, expected, atol=1e-7)
    np.testing.assert_array_equal(atlas.labels, np.repeat(atlas.item_labels, 10))
    assert atlas.items == tuple(np.unique(SNAPSHOTS["simulation"]))
    assert (atlas.of, atlas.reading) == ("simulations", "space-time")


def test_a_chosen_time_stands_for_a_simulation() -> None:
    """With a time, the sines are those of the snapshots at it; new fields of a simulation are assigned by theirs."""
    clock = float(SNAPSHOTS["time"].values[4])
    atlas = nw.partition(SNAPSHOTS, clusters=3, of="simulations", time=clock, rank=4)
    at = SNAPSHOTS.values[4::10]
    unit = at / np.linalg.norm(at, axis=1, keepdims=True)
    cosines = unit[atlas.medoids] @ unit.T
    np.testing.assert_allclose(atlas.dissimilarities, np.sqrt(np.maximum(1.0 - cosines**2, 0.0)), atol=1e-7)
    assert (atlas.medoid_snapshots % 10 == 4).all()
    for simulation in (0, 5):
        whole = SNAPSHOTS[10 * simulation : 10 * simulation + 10]
        assert int(atlas.assign(whole).labels[0]) == atlas.item_labels[simulation]
        assert int(atlas.assign(whole[4:5]).labels[0]) == atlas.item_labels[simulation]
    with pytest.raises(ConfigError, match="no snapshot at that time, the nearest is at"):
        nw.partition(SNAPSHOTS, clusters=3, of="simulations", time=clock + 1e3, rank=4)


def test_the_last_snapshot_stands_for_a_simulation() -> None:
    """With time = "last", the sines are those of the last snapshots."""
    atlas = nw.partition(SNAPSHOTS, clusters=3, of="simulations", time="last", rank=4)
    last = SNAPSHOTS.values[9::10]
    unit = last / np.linalg.norm(last, axis=1, keepdims=True)
    expected = np.sqrt(np.maximum(1 - (unit @ unit.T) ** 2, 0))[atlas.medoids]
    np.testing.assert_allclose(atlas.dissimilarities, expected, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_every_dissimilarity_of_subspaces_tells_two_families(name: Any) -> None:
    """Simulations near one of two subspaces, of two or three dimensions each: all measures part them as they were made."""
    random = np.random.default_rng(5)
    frames = [np.linalg.qr(random.standard_normal((60, 3)))[0] for _ in range(2)]
    family, values = np.arange(12) % 2, []
    for number in range(12):
        span = frames[family[number]][:, : 2 + number % 3 // 2] + 0.02 * random.standard_normal((60, 2 + number % 3 // 2))
        values.append(random.standard_normal((6, span.shape[1])) @ span.T)
    names = np.repeat([f"s{number}" for number in range(12)], 6)
    array = xr.DataArray(np.concatenate(values), dims=("snapshot", "x"), coords={"simulation": ("snapshot", names)})
    atlas = nw.partition(array, name, 2, of="simulations", time="subspaces", rank=3)
    np.testing.assert_array_equal(atlas.item_labels, family if atlas.item_labels[0] == 0 else 1 - family)
    assert atlas.pays


def test_parameters_part_simulations_into_intervals() -> None:
    """Of one parameter, clusters by parameters are intervals of it."""
    atlas = nw.partition(SNAPSHOTS, "parameters", 3, of="simulations", rank=3)
    assert np.count_nonzero(np.diff(atlas.item_labels)) == atlas.count - 1


def test_a_simulation_is_assigned_as_a_whole() -> None:
    """All times of a simulation of the training set get its own label, in one answer."""
    atlas = nw.partition(SNAPSHOTS, clusters=3, of="simulations", rank=8)
    for number in (0, 5, 11):
        found = atlas.assign(SNAPSHOTS[10 * number : 10 * number + 10])
        assert found.labels.tolist() == [atlas.item_labels[number]]
        close = np.abs(found.dissimilarities[:, 0] - atlas.dissimilarities[:, number])
        assert (close <= found.uncertainty[:, 0] + 1e-6).all()
    with pytest.raises(ConfigError, match="have 10 times, and 3 fields were given"):
        atlas.assign(SNAPSHOTS[:3])


def test_simulations_of_different_lengths() -> None:
    """They have no common space-time vector, which is said; their last snapshots still compare."""
    shorter = SNAPSHOTS[:-3]
    with pytest.raises(
        ConfigError, match=r'simulations of 7 to 10 snapshots .* set atlas.time to "last", a time, or "subspaces"'
    ):
        nw.partition(shorter, clusters=2, of="simulations", rank=2)
    assert nw.partition(shorter, clusters=2, of="simulations", time="last", rank=2).count == 2


@given(
    lengths=st.lists(st.integers(1, 5), min_size=2, max_size=12),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 99),
    of=st.sampled_from(["snapshots", "simulations"]),
)
def test_no_split_divides_a_simulation(lengths: list[int], share: float, seed: int, of: str) -> None:
    """Whatever the items: simulations on either side are disjoint, and all splits together hold out everybody once."""
    names = tuple(f"s{number}" for number, length in enumerate(lengths) for _ in range(length))
    count = len(names)
    items = items_of(SnapshotTable(names, np.arange(count, dtype=float), np.zeros((count, 0))), of)
    splits = splits_of(items, np.arange(items.count), share, seed)
    for train, test in splits.pairs:
        assert not set(items.groups[train]) & set(items.groups[test])
        assert len(train)
        assert len(test)
    held = np.sort(np.concatenate([test for _, test in splits.pairs]))
    np.testing.assert_array_equal(held, np.arange(items.count))


def test_a_simulation_on_both_sides_is_refused() -> None:
    """A mask that holds out half of a simulation is refused by its name, for snapshots and for simulations."""
    mask = np.zeros(120, bool)
    mask[:15] = True
    for of in ("snapshots", "simulations"):
        with pytest.raises(ConfigError, match="holdout divides simulation 's01' between training and validation"):
            nw.partition(SNAPSHOTS, clusters=3, of=of, rank=2, holdout=mask)
    mask[15:20] = True
    assert nw.partition(SNAPSHOTS, clusters=3, rank=2, holdout=mask).gain.held_out.startswith("the snapshots that were given")


def test_held_out_simulations_by_name() -> None:
    """Named simulations are held out; an unknown name, or all of them, are refused."""
    assert "s03, s07" in nw.partition(SNAPSHOTS, clusters=3, rank=2, holdout=["s03", "s07"]).gain.held_out
    with pytest.raises(ConfigError, match="'s99' is not among the simulations"):
        nw.partition(SNAPSHOTS, clusters=3, rank=2, holdout=["s99"])
    with pytest.raises(ConfigError, match="all simulations are held out"):
        nw.partition(SNAPSHOTS, clusters=3, rank=2, holdout=sorted(set(SNAPSHOTS["simulation"].values)))
