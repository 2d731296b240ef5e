"""How different two items are: one square matrix, or vectors that it is made of when it is asked for.

sine, euclidean    of snapshots, of space-time vectors, of last snapshots       vectors, and D
parameters         Euclidean, of standardised parameters                         D
of subspaces       principal angles of a basis for each simulation              D
given              a matrix of the user's own                                   D
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.models.atlas import reading_time
from nwidth.stages.atlas.assembling import Assemble, suits
from nwidth.stages.atlas.coordinates import Coordinates
from nwidth.stages.atlas.items import Items
from nwidth_graphs.kernels.angles import sine, sine_between
from nwidth_graphs.kernels.distances import euclidean, euclidean_between, space_time, standardised
from nwidth_graphs.kernels.local_bases import local_basis
from nwidth_graphs.kernels.subspaces import FAMILY, bi_projection, principal_angles

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

SUBSPACES = (*FAMILY, "bi-projection")
# Where dimensions differ, right angles for what is missing make sums metrics; in products and maxima one right angle drowns all
# others, and every pair of different dimensions would be as far apart as can be: there, shared angles alone are compared.
SUMS = ("geodesic", "chordal", "procrustes")
BETWEEN = {"sine": sine_between, "euclidean": euclidean_between}
# Single precision halves a matrix that would weigh on memory; its entries are right to 1e-6, far below what moves a medoid.
SINGLE_FROM = 4000
# 12 000 items are 576 MB in single precision. Beyond, no square matrix is made: medoids come from samples.
MOST_DENSE = 12_000
# A simulation's subspace holds what a thousandth of its norm does not: the tail would add angles that are noise.
SUBSPACE_RTOL = 1e-3
FAR = 1e3


@dataclass(frozen=True)
class ItemSpace:
    """Items with a dissimilarity."""

    name: str
    count: int
    """I."""
    vectors: Floats | None = None
    """(N, I): items as vectors, where the dissimilarity is one of vectors."""
    matrix: NDArray[Any] | None = None
    """D (I, I); None where so many items have vectors only."""

    def square(self, items: Indices) -> NDArray[Any]:
        """D of some items."""
        if self.matrix is not None:
            return self.matrix[np.ix_(items, items)]
        return self.between(items, items)

    def between(self, items: Indices, others: Indices) -> NDArray[Any]:
        """Dissimilarities (items, others)."""
        if self.matrix is not None:
            return self.matrix[np.ix_(items, others)]
        if self.vectors is None:
            raise TypeError(f"the dissimilarity {self.name!r} has neither a matrix nor vectors")
        return BETWEEN[self.name](self.vectors[:, items], self.vectors[:, others])


def item_space(name: str, reading: str, coordinates: Coordinates, items: Items, assemble: Assemble | None = None) -> ItemSpace:
    """The dissimilarity of that name between items, from coordinates alone; a large matrix by `assemble`, where it is given.

    Raises
    ------
    ConfigError
        It is not defined for these items: subspaces of single snapshots, parameters that there are none of, times that do not
        match.
    """
    if name in SUBSPACES:
        return _of_subspaces(name, coordinates, items)
    if name == "parameters":
        if not items.inputs.size or not np.ptp(items.inputs, axis=0).any():
            raise ConfigError('atlas.dissimilarity = "parameters": the snapshots have no parameters that differ; use "sine"')
        return ItemSpace(name, items.count, matrix=euclidean(standardised(items.inputs)))
    return _of_vectors(name, _vectors(reading, coordinates, items), assemble)


def given_space(matrix: Any, items: Items) -> ItemSpace:
    """A matrix of the user's own.

    Raises
    ------
    ConfigError
        It is not square, not symmetric, negative, not finite, or does not fit the items.
    """
    D = np.asarray(matrix, np.float64)
    if D.shape != (items.count, items.count):
        raise ConfigError(f"dissimilarity: a matrix of shape {D.shape} was given for {items.count} {items.of}")
    if not (np.isfinite(D).all() and (D >= 0.0).all() and np.array_equal(D, D.T) and not D.diagonal().any()):
        raise ConfigError("dissimilarity: the matrix given is not finite, non-negative and symmetric with a zero diagonal")
    return ItemSpace("given", items.count, matrix=D)


def _vectors(reading: str, coordinates: Coordinates, items: Items) -> Floats:
    if items.of == "snapshots":
        return coordinates.values
    time = reading_time(reading)
    if time is not None:
        return coordinates.values[:, items.at(time)]
    if reading == "subspaces":
        raise ConfigError(f'atlas.time = "subspaces" needs a dissimilarity of subspaces: {", ".join(SUBSPACES)}')
    return space_time(coordinates.values, items.times(reading))


def _of_vectors(name: str, vectors: Floats, assemble: Assemble | None) -> ItemSpace:
    count = vectors.shape[1]
    if count > MOST_DENSE:
        return ItemSpace(name, count, vectors)
    if name == "sine" and count > SINGLE_FROM and assemble is not None and suits(vectors):
        return ItemSpace(name, count, vectors, assemble(vectors, "float32"))
    if name == "sine":
        return ItemSpace(name, count, vectors, sine(vectors, dtype=np.float32 if count > SINGLE_FROM else np.float64))
    return ItemSpace(name, count, vectors, euclidean(vectors))


def _of_subspaces(name: str, coordinates: Coordinates, items: Items) -> ItemSpace:
    if items.of == "snapshots":
        raise ConfigError(
            f'atlas.dissimilarity = "{name}" compares simulations as subspaces; set atlas.of to "simulations", or use "sine"'
        )
    snapshots = [coordinates.values[:, found] for found in items.snapshots]
    bases = [local_basis(values, rtol=SUBSPACE_RTOL, normalise=False).modes for values in snapshots]
    if name == "bi-projection":
        return ItemSpace(name, items.count, matrix=bi_projection(snapshots, bases))
    matrix = FAMILY[name](principal_angles(bases, missing=name in SUMS))
    # A right angle is infinitely far in the Martin dissimilarity: farther than all others will do.
    return ItemSpace(name, items.count, matrix=np.nan_to_num(matrix, posinf=FAR))
