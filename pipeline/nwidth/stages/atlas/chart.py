"""Everything that is decided on coordinates, between the two reads: who belongs together, how many, and which modes.

coordinates ──> space ──> trials ──> choice ──> parts ──> cuts          no field is read
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import AtlasSection
from nwidth.errors import ConfigError
from nwidth.models.atlas import GainMap, WidthCurves
from nwidth.stages.atlas.assembling import Assemble
from nwidth.stages.atlas.choice import Choice, decide_among, follows
from nwidth.stages.atlas.coordinates import Coordinates
from nwidth.stages.atlas.curves import width_curves
from nwidth.stages.atlas.cuts import LocalCut, local_cut
from nwidth.stages.atlas.items import Items, SnapshotTable, items_of
from nwidth.stages.atlas.parts import RESTARTS, SAMPLE, Ground, Parts, least_size, partition_items
from nwidth.stages.atlas.spaces import ItemSpace, given_space, item_space
from nwidth.stages.atlas.splits import splits_of
from nwidth.stages.atlas.trials import Bench, Trial, counts_to_try, gain_map, ladder, thinned, try_all
from nwidth_graphs.kernels.partition import Partition, nearest, overlapping
from nwidth_graphs.kernels.silhouette import silhouettes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Wanted:
    """What is asked of an atlas, and what is known of the snapshots beside their fields."""

    section: AtlasSection
    """`rank` and `rtol` are those of the local bases; at least one is set."""
    table: SnapshotTable
    matrix: Any = None
    """A dissimilarity of the user's own (I, I)."""
    held_out: NDArray[np.bool_] | None = None
    """A mask (m,) of snapshots, in the place of the section's share."""


@dataclass(frozen=True)
class Chart:
    """A partition with its local bases, before they are lifted."""

    items: Items
    space: ItemSpace
    parts: Parts
    """Of the items that are not zero."""
    partition: Partition
    """Of all items."""
    to_items: Floats
    """(K, I)."""
    silhouettes: Floats
    """(I,)."""
    gain: GainMap
    choice: Choice
    cuts: tuple[LocalCut, ...]
    widths: WidthCurves
    notes: tuple[str, ...]

    @property
    def labels(self) -> Indices:
        """(m,): cluster of every snapshot."""
        return np.asarray(self.partition.labels[self.items.item_of])


def chart(coordinates: Coordinates, wanted: Wanted, assemble: Assemble | None = None) -> Chart:
    """Decide on an atlas; `assemble` makes a large matrix of dissimilarities, where there are workers for it.

    Raises
    ------
    ConfigError
        More clusters than items; a dissimilarity, method or split that these snapshots do not allow.
    """
    request = wanted.section
    items = items_of(wanted.table, request.of)
    active = _active(coordinates, items)
    _refuse(request, items, active)
    spaces = spaces_of(coordinates, items, wanted, assemble)
    bench, trials = tried(coordinates, items, active, wanted, spaces)
    names = [space.name for space in spaces]
    best, choice = decide_among(trials, names, bench.ranks, request.rank, request, len(active))
    space = spaces[best]
    count = None if follows(request) else choice.count
    parts = partition_items(Ground(space, active), count, request, least_size(request, len(active), choice.count), RESTARTS)
    everyone = np.arange(items.count)
    to_items = np.asarray(space.between(parts.representatives, everyone), np.float64)
    partition = nearest(to_items, parts.representatives)
    cuts = _cuts(coordinates, items, parts, partition, request)
    return Chart(
        items=items,
        space=space,
        parts=parts,
        partition=partition,
        to_items=to_items,
        silhouettes=_silhouettes(space, parts, items.count),
        gain=gain_map(bench, trials),
        choice=choice,
        cuts=cuts,
        widths=width_curves(coordinates, [cut.own for cut in cuts], bench.ranks, request.seed),
        notes=tuple(_notes(request, items, active, parts, choice)),
    )


def tried(
    coordinates: Coordinates, items: Items, active: Indices, wanted: Wanted, spaces: Sequence[ItemSpace]
) -> tuple[Bench, list[Trial]]:
    """The map over dissimilarities, numbers of clusters and numbers of modes."""
    request = wanted.section
    some = thinned(active, request.seed)
    holdout = request.holdout if wanted.held_out is None else wanted.held_out
    bench = Bench(
        coordinates,
        items,
        some,
        splits_of(items, some, holdout, request.seed),
        request,
        ladder(request.max_rank, request.rank, coordinates.unit.shape[0]),
    )
    if follows(request):
        counts: tuple[int, ...] = (len(partition_items(Ground(spaces[0], some), None, request).representatives),)
        counts = tuple(count for count in counts if count > 1)
    else:
        counts = counts_to_try(request, len(some))
    return bench, try_all(bench, spaces, counts)


def active_items(coordinates: Coordinates, items: Items) -> Indices:
    """Items that are not zero."""
    return _active(coordinates, items)


def dissimilarities_of(request: AtlasSection) -> tuple[str, ...]:
    """The dissimilarities that are asked for, each once."""
    asked = request.dissimilarity
    return (asked,) if isinstance(asked, str) else tuple(dict.fromkeys(asked))


def spaces_of(coordinates: Coordinates, items: Items, wanted: Wanted, assemble: Assemble | None = None) -> list[ItemSpace]:
    """The dissimilarities that are asked for, or the one that is given."""
    if wanted.matrix is not None:
        return [given_space(wanted.matrix, items)]
    names = dissimilarities_of(wanted.section)
    return [item_space(name, str(wanted.section.time), coordinates, items, assemble) for name in names]


def _active(coordinates: Coordinates, items: Items) -> Indices:
    weights = np.bincount(items.item_of, coordinates.norms > 0.0, minlength=items.count)
    return np.flatnonzero(weights > 0.0)


def _refuse(request: AtlasSection, items: Items, active: Indices) -> None:
    if isinstance(request.clusters, int) and request.clusters > len(active):
        zero = f", {items.count - len(active)} of them zero" if len(active) < items.count else ""
        raise ConfigError(
            f"atlas.clusters = {request.clusters}, and there are {items.count} {items.of}{zero}; ask for at most {len(active)}, "
            'or for clusters = "auto"'
        )


def _cuts(
    coordinates: Coordinates, items: Items, parts: Parts, partition: Partition, request: AtlasSection
) -> tuple[LocalCut, ...]:
    enlarged = overlapping(parts.to_items, parts.partition, request.overlap)
    return tuple(
        local_cut(
            coordinates,
            items.columns(partition.members(cluster)),
            items.columns(parts.items[members]),
            rank=request.rank,
            rtol=request.rtol,
            normalise=request.normalise,
        )
        for cluster, members in enumerate(enlarged)
    )


def _silhouettes(space: ItemSpace, parts: Parts, count: int) -> Floats:
    """NaN where no matrix was made; zero items count as 0, as one that is alone."""
    if space.matrix is None:
        return np.full(count, np.nan)
    found = np.zeros(count)
    found[parts.items] = silhouettes(space.square(parts.items), parts.partition.labels)
    return found


def _notes(request: AtlasSection, items: Items, active: Indices, parts: Parts, choice: Choice) -> list[str]:
    notes = []
    least = least_size(request, len(active), choice.count)
    if least < request.minimum_size and choice.count > 1 and request.method != "tree":
        notes.append(
            f"minimum_size = {request.minimum_size} is too much for {len(active)} {items.of} in {choice.count} "
            f"{'cluster' if choice.count == 1 else 'clusters'}: {least} are enough"
        )
    if len(parts.representatives) < choice.count:
        absorbed = choice.count - len(parts.representatives)
        notes.append(f"{absorbed} of {choice.count} clusters had fewer than {least} {items.of}, and joined their neighbours")
    if parts.sampled is not None:
        notes.append(
            f"{items.count} {items.of} are too many for a matrix of all pairs: medoids are those of samples of {SAMPLE}, whose "
            f"loss on a validation sample is {parts.sampled:.3f} times that of medoids found on it"
        )
    if len(active) < items.count:
        zero = items.count - len(active)
        notes.append(f"{zero} of {items.count} {items.of} are zero: they lie in every basis, and are counted to cluster 0")
    return notes
