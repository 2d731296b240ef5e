"""Try partitions on coordinates alone: the whole map over dissimilarities, numbers of clusters and numbers of modes.

    for every split, on its training items        partition ──> local bases ──> errors of held-out items on all of them
    on all items                                  partition ──> loss, silhouette, smallest cluster, accuracy of a classifier

No field is read: all of it is products with the factor of the one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import AtlasSection
from nwidth.models.atlas import GainMap
from nwidth.stages.atlas.coordinates import Coordinates
from nwidth.stages.atlas.items import Items
from nwidth.stages.atlas.parts import Ground, Parts, least_size, partition_items
from nwidth.stages.atlas.spaces import ItemSpace
from nwidth.stages.atlas.splits import Splits
from nwidth_graphs.kernels.distances import euclidean, standardised
from nwidth_graphs.kernels.gain import (
    Candidate,
    Criterion,
    criterion,
    mean_labels,
    neighbour_accuracy,
    oracle_labels,
    own_errors,
    quantile_gain,
)
from nwidth_graphs.kernels.local_bases import leading_modes, relative_errors
from nwidth_graphs.kernels.partition import nearest, overlapping
from nwidth_graphs.kernels.silhouette import silhouettes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

LADDER = (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 56, 80)
"""Numbers of modes that are tried."""
MOST_CLUSTERS = 20
# Trials of very many items run on so many of them, drawn by the seed: the gain of a sample is that of the whole to a few percent.
TRIAL_ITEMS = 2000
# X'X of so many snapshots is 128 MB; of more, the parts that bases are made of are formed one by one.
MOST_IN_GRAM = 4000


@dataclass(frozen=True)
class Trial:
    """One candidate: a dissimilarity and a number of clusters."""

    dissimilarity: str
    candidate: Candidate
    loss: float
    silhouette: float
    oracle: Floats
    medoid: Floats
    mean: Floats
    """(R,): gains of the quantile by three ways to choose a basis."""


@dataclass(frozen=True)
class Bench:
    """What all trials have in common."""

    coordinates: Coordinates
    items: Items
    active: Indices
    """Items that are not zero."""
    splits: Splits
    request: AtlasSection
    ranks: tuple[int, ...]

    @cached_property
    def gram(self) -> Floats | None:
        """``X'X`` of all normalised snapshots: bases of all trials are made of its parts; None where it would be large."""
        unit = self.coordinates.unit
        return unit.T @ unit if unit.shape[1] <= MOST_IN_GRAM else None

    @cached_property
    def input_distances(self) -> Floats | None:
        """Distances (I', I') between the inputs of the active items, infinite within a simulation; None where there are none."""
        if not has_inputs(self.items):
            return None
        return _apart(euclidean(standardised(self.items.inputs[self.active])), self.items.groups[self.active])


def ladder(most: int, rank: int | None, frame: int) -> tuple[int, ...]:
    """Numbers of modes to try: up to `most`, a rank that is asked for among them, none beyond the frame."""
    asked = {step for step in LADDER if step <= most} | ({rank} if rank is not None else set())
    return tuple(sorted({min(step, frame) for step in asked}))


def counts_to_try(request: AtlasSection, items: int) -> tuple[int, ...]:
    """Numbers of clusters to try, from 2: what is asked for, or up to 20, as long as mean sizes are twice the least."""
    if request.clusters != "auto":
        given = (request.clusters,) if isinstance(request.clusters, int) else request.clusters
        return tuple(sorted({count for count in given if 1 < count <= items}))
    most = min(MOST_CLUSTERS, items // (2 * least_size(request, items)))
    return tuple(range(2, most + 1))


def thinned(active: Indices, seed: int) -> Indices:
    """The items that trials use: all, or a sample of them where there are very many."""
    if len(active) <= TRIAL_ITEMS:
        return active
    return np.sort(np.random.default_rng(seed).permutation(active)[:TRIAL_ITEMS])


def try_all(bench: Bench, spaces: Sequence[ItemSpace], counts: Sequence[int]) -> list[Trial]:
    """All candidates, dissimilarity by dissimilarity."""
    whole = [_global_errors(bench, train, test) for train, test in bench.splits.pairs]
    return [trial for space in spaces for trial in _of_space(bench, space, counts, whole)]


def _of_space(bench: Bench, space: ItemSpace, counts: Sequence[int], whole: Sequence[Floats]) -> Iterator[Trial]:
    """From few clusters to many: each partition starts from the one before."""
    everybody = Ground(space, bench.active)
    grounds = [Ground(space, train) for train, _ in bench.splits.pairs]
    for count in sorted(counts):
        yield _trial(bench, everybody, grounds, count, whole)


def _trial(bench: Bench, everybody: Ground, grounds: Sequence[Ground], count: int, whole: Sequence[Floats]) -> Trial:
    tests = [test for _, test in bench.splits.pairs]
    found = [_choices(bench, _parts(bench, ground, count), test) for ground, test in zip(grounds, tests, strict=True)]
    medoid, wrong, oracle, mean = (np.concatenate([choice[place] for choice in found], axis=1) for place in range(4))
    one = np.concatenate(whole, axis=1)
    parts = _parts(bench, everybody, count)
    rows = everybody.square
    # Right and wrong errors stand for two bases of which the first is always right.
    measured = criterion(one, np.stack([medoid, wrong]), np.zeros(one.shape[1], np.int64))
    return Trial(
        dissimilarity=everybody.space.name,
        candidate=Candidate(count, int(parts.partition.sizes.min()), _accuracy(bench, parts, rows), measured),
        loss=parts.loss,
        silhouette=float(silhouettes(rows, parts.partition.labels).mean()),
        oracle=quantile_gain(one, oracle),
        medoid=quantile_gain(one, medoid),
        mean=quantile_gain(one, mean),
    )


def _parts(bench: Bench, ground: Ground, count: int) -> Parts:
    return partition_items(ground, min(count, len(ground.items)), bench.request)


def _choices(bench: Bench, parts: Parts, test: Indices) -> tuple[Floats, Floats, Floats, Floats]:
    """Errors (R, held-out items) by nearest medoid, on wrong bases, by oracle, by mean dissimilarity."""
    errors = local_errors(bench, parts, test)
    labels = nearest(parts.space.between(parts.representatives, test)).labels
    own = own_errors(errors, labels)
    others = len(errors) - 1
    wrong = (errors.sum(axis=0) - own) / others if others else own
    by_mean = mean_labels(np.asarray(parts.space.between(test, parts.items), np.float64), parts.partition.labels)
    return own, wrong, own_errors(errors, oracle_labels(errors)), own_errors(errors, by_mean)


def local_errors(bench: Bench, parts: Parts, test: Indices) -> Floats:
    """Errors (K, R, items) of some items on the local bases of a partition of others."""
    members = overlapping(parts.to_items, parts.partition, bench.request.overlap)
    bases = [basis_of(bench, bench.items.columns(parts.items[own])) for own in members]
    return _of_items(bench, bases, test)


def basis_of(bench: Bench, columns: Indices) -> Floats:
    """Modes (N, r), at most as many as are tried, of some snapshots."""
    members = bench.coordinates.unit[:, columns]
    scale = None if bench.request.normalise else bench.coordinates.norms[columns]
    gram = bench.gram[np.ix_(columns, columns)] if bench.gram is not None and len(columns) < len(members) else None
    if scale is not None:
        members, gram = members * scale, None if gram is None else gram * scale[:, None] * scale
    return leading_modes(members, bench.ranks[-1], gram)


def _global_errors(bench: Bench, train: Indices, test: Indices) -> Floats:
    """(R, items)."""
    errors: Floats = _of_items(bench, [basis_of(bench, bench.items.columns(train))], test)[0]
    return errors


def _of_items(bench: Bench, bases: Sequence[Floats], test: Indices) -> Floats:
    """Errors (K, R, items): of a simulation, ``sqrt(sum_t e_t^2 |u_t|^2 / sum_t |u_t|^2)``."""
    if bench.items.of == "snapshots":
        return np.asarray(relative_errors(bench.coordinates.unit[:, test], bases, bench.ranks))
    columns = np.concatenate([bench.items.snapshots[int(item)] for item in test])
    starts = np.cumsum([0, *(len(bench.items.snapshots[int(item)]) for item in test)])[:-1]
    errors = relative_errors(bench.coordinates.unit[:, columns], bases, bench.ranks)
    squares = bench.coordinates.norms[columns] ** 2
    total = np.add.reduceat(squares, starts)
    missed = np.add.reduceat(errors**2 * squares, starts, axis=2)
    return np.asarray(np.sqrt(missed / np.where(total > 0.0, total, 1.0)))


def _accuracy(bench: Bench, parts: Parts, rows: NDArray[Any]) -> float:
    """Share of items whose nearest neighbour in the inputs, of another simulation, has their label: a pessimistic accuracy.

    Without inputs that differ, neighbours are those of the solutions, `rows` (I', I').
    """
    D = bench.input_distances
    if D is None:
        D = _apart(np.array(rows, np.float64), bench.items.groups[parts.items])
    return neighbour_accuracy(D, parts.partition.labels)


def _apart(D: Floats, groups: Indices) -> Floats:
    """The same matrix, with what is of one simulation infinitely far apart, unless there is only one."""
    if len(np.unique(groups)) > 1:
        D[groups[:, None] == groups] = np.inf
    return D


def has_inputs(items: Items) -> bool:
    """Whether anything that is known before solving tells the items apart."""
    return bool(items.inputs.size and np.ptp(items.inputs, axis=0).any())


def gain_map(bench: Bench, trials: Sequence[Trial]) -> GainMap:
    """The trials as a record."""

    def rows(values: Sequence[Floats]) -> Floats:
        return np.array(values, np.float64).reshape(len(trials), len(bench.ranks))

    measured: list[Criterion] = [trial.candidate.criterion for trial in trials]
    return GainMap(
        dissimilarities=tuple(trial.dissimilarity for trial in trials),
        clusters=np.array([trial.candidate.count for trial in trials], np.int64),
        smallest=np.array([trial.candidate.smallest for trial in trials], np.int64),
        loss=np.array([trial.loss for trial in trials], np.float64),
        silhouette=np.array([trial.silhouette for trial in trials], np.float64),
        accuracy=np.array([trial.candidate.accuracy for trial in trials], np.float64),
        ranks=np.array(bench.ranks, np.int64),
        global_error=rows([one.global_error for one in measured]),
        own_error=rows([one.own for one in measured]),
        wrong_error=rows([one.wrong for one in measured]),
        oracle_gain=rows([trial.oracle for trial in trials]),
        medoid_gain=rows([trial.medoid for trial in trials]),
        mean_gain=rows([trial.mean for trial in trials]),
        break_even=rows([one.break_even for one in measured]),
        expected_gain=rows([one.expected_gain(trial.candidate.accuracy) for one, trial in zip(measured, trials, strict=True)]),
        greatest_gain=rows([one.greatest_gain for one in measured]),
        floor=bench.coordinates.error_floor,
        held_out=bench.splits.words,
        accuracy_of="nearest neighbour in the parameters and the time"
        if has_inputs(bench.items) and bench.items.of == "snapshots"
        else "nearest neighbour in the parameters"
        if has_inputs(bench.items)
        else "nearest neighbour among the solutions, which flatters a classifier",
    )
