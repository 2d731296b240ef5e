"""Representatives, and who belongs to them: the one place that knows the methods.

    k-medoids   items themselves, the sum of dissimilarities smallest            FasterPAM from BUILD, and from random starts
    tree        anchors such that everybody is within a given sine of one         no K to choose
    k-means     the members closest to centres                                    the school of local bases, to compare

Whatever the method, an item belongs to the nearest representative: what a new snapshot is assigned by. For the tree this keeps
its guarantee, since the nearest anchor is no farther than that of the leaf.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.config import AtlasSection
from nwidth.errors import ConfigError
from nwidth.stages.atlas.spaces import BETWEEN, ItemSpace
from nwidth_graphs.kernels.anchors import projection_error_tree
from nwidth_graphs.kernels.kmeans import k_means
from nwidth_graphs.kernels.kmedoids import grown, k_medoids
from nwidth_graphs.kernels.partition import Partition, keep_large, nearest
from nwidth_graphs.kernels.sampled_medoids import sampled_k_medoids

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# Random starts beside BUILD: without clear clusters the best of a few was seen 2 % below the first. They take nine tenths of the
# time, so that trials, which compare numbers of clusters and not single partitions, do without.
RESTARTS = 4
# BUILD looks at the whole matrix once for every medoid; the farthest-point start does not.
BUILD_UP_TO = 2000
# Items of a sample, where no square matrix of all is made.
SAMPLE = 2000
# No cluster need have more than this share of all items: small sets would otherwise have no clusters at all.
LEAST_SHARE = 6


@dataclass(frozen=True)
class Ground:
    """Some items of a space, and what their partitions into more and more clusters have in common."""

    space: ItemSpace
    items: Indices
    """(I',)."""
    found: dict[int, Indices] = field(default_factory=dict, repr=False)
    """Number of clusters -> medoids (places in `items`) of the partitions that were made."""

    @cached_property
    def square(self) -> NDArray[Any]:
        """D (I', I'); the space's own where these are all of its items."""
        everybody = self.space.matrix is not None and len(self.items) == len(self.space.matrix)
        return self.space.matrix if everybody and self.space.matrix is not None else self.space.square(self.items)

    def start(self, count: int) -> Literal["build", "farthest"] | Indices:
        """What k-medoids starts from: the partition into the next fewer clusters, where there is one, and a step of BUILD."""
        fewer = max((known for known in self.found if known < count), default=0)
        if fewer:
            return grown(self.square, self.found[fewer], count)
        return "build" if len(self.items) <= BUILD_UP_TO else "farthest"


@dataclass(frozen=True)
class Parts:
    """A partition of some items."""

    space: ItemSpace
    items: Indices
    """(I',): the items that were partitioned."""
    representatives: Indices
    """(K,): items, ascending."""
    to_items: Floats
    """(K, I'): dissimilarities of the representatives to them."""
    partition: Partition
    sampled: float | None = None
    """Where the medoids are of samples: the loss on a validation sample, over that of medoids found on it; else None."""

    @property
    def loss(self) -> float:
        """Mean dissimilarity to the nearest representative."""
        return float(self.partition.distances.mean())


def partition_items(ground: Ground, count: int | None, request: AtlasSection, minimum: int = 1, restarts: int = 0) -> Parts:
    """Partition the items of a ground around `count` representatives, or as many as the tree's tolerance asks for.

    k-medoids takes the best of BUILD and of so many random starts. Clusters with fewer than `minimum` items are absorbed by their
    neighbours, smallest first.

    Raises
    ------
    ConfigError
        More clusters than items, or a method that needs another dissimilarity.
    """
    space, items = ground.space, ground.items
    if count is not None and count > len(items):
        raise ConfigError(f"{count} clusters of {len(items)} items were asked for; ask for at most {len(items)}")
    found, sampled = _representatives(ground, count, request, restarts)
    to_items = np.asarray(space.between(items[found], items), np.float64)
    kept = keep_large(to_items, minimum, found)
    return Parts(space, items, items[found[kept]], to_items[kept], nearest(to_items[kept], found[kept]), sampled)


def least_size(request: AtlasSection, items: int, count: int = LEAST_SHARE // 2) -> int:
    """The smallest cluster that is allowed: what is asked for, at most a sixth of the items and half the mean of `count` parts.

    A tree has no such rule: absorbing a leaf would break the radius that it guarantees.
    """
    if request.method == "tree":
        return 1
    return max(1, min(request.minimum_size, items // LEAST_SHARE, items // (2 * count)))


def _representatives(ground: Ground, count: int | None, request: AtlasSection, restarts: int) -> tuple[Indices, float | None]:
    """Places in the items, ascending; and what samples cost, where there were any."""
    space, items = ground.space, ground.items
    if request.method == "tree":
        tree = projection_error_tree(_vectors(space, items, "tree", ("sine",)), request.tolerance, most=count)
        return np.sort(tree.anchors), None
    if count is None:
        raise ConfigError(f'method = "{request.method}" needs a number of clusters')
    if request.method == "k-means":
        return _nearest_to_means(space, items, count, request), None
    if space.matrix is None and len(items) > SAMPLE:
        vectors = _vectors(space, items, "k-medoids", tuple(BETWEEN))
        found = sampled_k_medoids(vectors, count, sample=SAMPLE, seed=request.seed, between=BETWEEN[space.name])
        return found.medoids, found.validation_ratio
    medoids = k_medoids(ground.square, count, start=ground.start(count), restarts=restarts, seed=request.seed).medoids
    ground.found[count] = medoids
    return medoids, None


def _nearest_to_means(space: ItemSpace, items: Indices, count: int, request: AtlasSection) -> Indices:
    vectors = _vectors(space, items, "k-means", tuple(BETWEEN))
    means = k_means(vectors, count, kind="angle" if space.name == "sine" else "euclidean", seed=request.seed)
    chosen: list[int] = []
    distances = np.array(BETWEEN[space.name](vectors, means.centres))
    for centre in range(count):
        distances[chosen, centre] = np.inf  # two centres never share a representative
        chosen.append(int(np.argmin(distances[:, centre])))
    return np.sort(np.array(chosen))


def _vectors(space: ItemSpace, items: Indices, method: str, allowed: tuple[str, ...]) -> NDArray[Any]:
    if space.vectors is None or space.name not in allowed:
        raise ConfigError(
            f'atlas.method = "{method}" needs dissimilarity = "{" or ".join(allowed)}", and {space.name!r} was asked for; use '
            'method = "k-medoids"'
        )
    return space.vectors if len(items) == space.count else space.vectors[:, items]
