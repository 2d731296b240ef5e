"""k-medoids: K of the points as representatives, such that the sum of the distances to the nearest one is small.

    loss = sum_i min_k D[i, medoid_k]

Swapping medoid b for point j changes the loss by (dn, ds: distances of i to its nearest and second nearest medoid)

    change(b, j) = sum_i [ min(D_ij, dn_i) - dn_i ]  +  sum_{i in cluster b} [ clip(D_ij, dn_i, ds_i) - dn_i ]

The first sum is shared by all b, so that all K exchanges for a candidate j cost one look at its m distances.

    BUILD        add the point that lowers the loss most                 K m^2, one pass over D for every medoid
    farthest     add the point farthest from the medoids so far          K m
    PAM          the best of all K m swaps, until none is left           m^2 for every swap, as FastPAM1 finds it
    FasterPAM    the best swap for j at once, if it lowers the loss       a few times m^2 in all

FasterPAM's candidates are looked at in blocks while nothing changes, which gives the same swaps as one by one.
Ties go to the lowest index everywhere, so equal input gives equal output.

Source  L. Kaufman, P. Rousseeuw, Finding groups in data (1990) for BUILD and PAM; E. Schubert, P. Rousseeuw, Fast and eager
        k-medoids clustering, Information Systems 101 (2021) for the swaps; T. Gonzalez, Theor. Comput. Sci. 38 (1985) for the
        farthest point
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nwidth_graphs.kernels.angles import Floats, Matrix
from nwidth_graphs.kernels.partition import Indices, Partition, nearest

Start = Literal["build", "farthest"]
Method = Literal["pam", "fasterpam"]

# Distances that are looked at together: 2 MB in float32, three arrays of it stay in cache.
BLOCK_ENTRIES = 2**19
# A swap must lower the loss by more than rounding of a float64 sum can pretend; loops could not end otherwise.
GAIN_RATIO = 1e-12


@dataclass(frozen=True)
class Medoids:
    """A finished partition around medoids."""

    medoids: Indices
    """(K,) ascending: cluster k is that of medoids[k]."""
    partition: Partition
    loss: float
    start_loss: float
    """Before any swap."""
    swaps: int
    converged: bool
    """Whether no swap was left that lowers the loss."""


def k_medoids(
    D: Matrix,
    count: int,
    *,
    method: Method = "fasterpam",
    start: Start | Indices = "farthest",
    restarts: int = 0,
    seed: int = 0,
    most_swaps: int | None = None,
) -> Medoids:
    """Partition m points around `count` medoids.

    Parameters
    ----------
    D : (m, m) array
        Symmetric dissimilarities, float64 or float32; sums are float64 either way.
    method : "pam" or "fasterpam"
        The reference ("pam" from "build" is the textbook algorithm), or the fast one with losses that are as good.
    start : "build", "farthest", or (K,) array of points
    restarts, seed : int
        So many further runs from random starts; the first of the smallest loss is returned. Without clear clusters, the best
        of five was seen 2 % below the first.
    most_swaps : int, optional
        Stop each run there at the latest.

    Raises
    ------
    ValueError
        D is not square or not finite, there are more clusters than points or none, or a given start does not fit.
    """
    D = np.asarray(D)
    _refuse(D, count)
    medoids = build(D, count) if isinstance(start, str) and start == "build" else _other_start(D, count, start)
    random = np.random.default_rng(seed)
    starts = [medoids, *(random.permutation(len(D))[:count] for _ in range(restarts))]
    limit = np.inf if most_swaps is None else most_swaps
    return min((_run(D, first, method, limit) for first in starts), key=lambda found: found.loss)


def _run(D: Matrix, medoids: Indices, method: Method, limit: float) -> Medoids:
    start_loss, count = _loss(D, medoids), len(medoids)
    if count == 1:
        medoids, swaps, converged = np.array([int(np.argmin(_column_sums(D)))]), 0, True
    elif count == len(D):
        swaps, converged = 0, True
    else:
        run = _best_swaps if method == "pam" else _eager_swaps
        medoids, swaps, converged = run(D, medoids, limit)
    medoids = np.sort(medoids)
    partition = nearest(D[medoids], medoids)
    return Medoids(medoids, partition, float(partition.distances.sum()), start_loss, swaps, converged)


def build(D: Matrix, count: int) -> Indices:
    """BUILD: the point of smallest total distance, then always the one that lowers the loss most, in the order chosen (K,)."""
    return grown(D, np.array([int(np.argmin(_column_sums(D)))]), count)


def grown(D: Matrix, known: Indices, count: int) -> Indices:
    """Steps of BUILD from some medoids on, until there are `count`: in the order chosen (K,), the known ones first.

    From the medoids of a finished partition into fewer clusters it leaves few swaps to do, and no larger loss than theirs.
    """
    medoids = [int(medoid) for medoid in known]
    near = D[medoids].min(axis=0)
    while len(medoids) < count:
        decrease = np.concatenate([np.maximum(near - rows, 0.0).sum(axis=1, dtype=np.float64) for rows in _row_blocks(D)])
        decrease[medoids] = -1.0  # chosen already: duplicates may lower nothing, but they are other points
        medoids.append(int(np.argmax(decrease)))
        near = np.minimum(near, D[medoids[-1]])
    return np.array(medoids)


def farthest(D: Matrix, count: int) -> Indices:
    """Farthest-point start: first the 1-medoid, then always the point farthest from all medoids; within twice the best radius."""
    medoids = [int(np.argmin(_column_sums(D)))]
    near = D[medoids[0]].astype(np.float64)
    while len(medoids) < count:
        near[medoids] = -1.0
        medoids.append(int(np.argmax(near)))
        near = np.minimum(near, D[medoids[-1]])
    return np.array(medoids)


@dataclass
class _State:
    """Medoids in the order of their slots, and what swaps are judged by; distances in the type of D."""

    medoids: Indices
    near: Matrix
    second: Matrix
    slots: Matrix
    """(m, K): one in the column of the slot that a point belongs to."""

    @classmethod
    def of(cls, D: Matrix, medoids: Indices) -> _State:
        E = D[medoids]
        everyone = np.arange(E.shape[1])
        slot = np.argmin(E, axis=0)
        near = E[slot, everyone]
        E[slot, everyone] = np.inf
        slots = np.zeros((len(near), len(medoids)), D.dtype)
        slots[everyone, slot] = 1.0
        return cls(medoids, near, E.min(axis=0), slots)

    def changes(self, rows: Matrix) -> Floats:
        """Change of the loss (c, K) for each of c candidates, given by their distances (c, m), in the place of each medoid."""
        shared = (np.minimum(rows, self.near) - self.near).sum(axis=1, dtype=np.float64)
        moved = np.maximum(rows, self.near)
        np.minimum(moved, self.second, out=moved)
        moved -= self.near
        return np.asarray(shared[:, None] + moved @ self.slots)

    def change(self, row: Matrix) -> Floats:
        """The same (K,) for one candidate, all in float64."""
        near, second, row = (values.astype(np.float64) for values in (self.near, self.second, row))
        moved = np.clip(row, near, second) - near
        return np.asarray(np.sum(np.minimum(row - near, 0.0)) + moved @ self.slots.astype(np.float64))

    def swapped(self, D: Matrix, slot: int, candidate: int) -> _State:
        medoids = self.medoids.copy()
        medoids[slot] = candidate
        return _State.of(D, medoids)


def _best_swaps(D: Matrix, medoids: Indices, limit: float) -> tuple[Indices, int, bool]:
    """PAM: the swap of the largest decrease, the lowest candidate of several, until none is left."""
    state, swaps, least = _State.of(D, medoids), 0, _least_gain(D, medoids)
    while True:
        changes = np.concatenate([state.changes(rows) for rows in _row_blocks(D)])
        changes[state.medoids] = np.inf
        candidate = int(np.argmin(changes.min(axis=1)))
        exact = state.change(D[candidate])
        slot = int(np.argmin(exact))
        if exact[slot] >= -least:
            return state.medoids, swaps, True
        if swaps >= limit:
            return state.medoids, swaps, False
        state, swaps = state.swapped(D, slot, candidate), swaps + 1


def _eager_swaps(D: Matrix, medoids: Indices, limit: float) -> tuple[Indices, int, bool]:
    """FasterPAM: candidates in a circle, each swapped in at once where that lowers the loss, until a full round found none."""
    state, swaps, least = _State.of(D, medoids), 0, _least_gain(D, medoids)
    longest = max(1, BLOCK_ENTRIES // len(D))
    position, unchanged, length = 0, 0, 1
    while unchanged < len(D):
        stop = min(position + length, len(D), position + len(D) - unchanged)
        found = _first_improvement(D, state, position, stop, least)
        if found is None:
            unchanged += stop - position
            position, length = stop % len(D), min(2 * length, longest)
            continue
        if swaps >= limit:
            return state.medoids, swaps, False
        candidate, slot = found
        state, swaps = state.swapped(D, slot, candidate), swaps + 1
        # What was computed behind the swap is lost, so blocks are short while swaps are frequent.
        position, unchanged, length = (candidate + 1) % len(D), 1, max(1, length // 2)
    return state.medoids, swaps, True


def _first_improvement(D: Matrix, state: _State, start: int, stop: int, least: float) -> tuple[int, int] | None:
    """(candidate, slot) of the first candidate with a swap that lowers the loss, confirmed in float64."""
    best = state.changes(D[start:stop]).min(axis=1)
    for offset in np.flatnonzero(best < -least):
        candidate = start + int(offset)
        if candidate in state.medoids:
            continue
        exact = state.change(D[candidate])
        slot = int(np.argmin(exact))
        if exact[slot] < -least:
            return candidate, slot
    return None


def _least_gain(D: Matrix, medoids: Indices) -> float:
    return GAIN_RATIO * _loss(D, medoids)


def _loss(D: Matrix, medoids: Indices) -> float:
    return float(D[medoids].min(axis=0).sum(dtype=np.float64))


def _column_sums(D: Matrix) -> Floats:
    return np.asarray(D.sum(axis=0, dtype=np.float64))


def _row_blocks(D: Matrix) -> list[Matrix]:
    step = max(1, BLOCK_ENTRIES // len(D))
    return [D[start : start + step] for start in range(0, len(D), step)]


def _other_start(D: Matrix, count: int, start: Start | Indices) -> Indices:
    if isinstance(start, str):
        return farthest(D, count)
    chosen = np.array(start)
    if chosen.shape != (count,) or len(set(chosen.tolist())) < count or chosen.min() < 0 or chosen.max() >= len(D):
        raise ValueError(f"the start holds {chosen.size} medoids; give {count} different indices below {len(D)}")
    return chosen


def _refuse(D: Matrix, count: int) -> None:
    if D.ndim != 2 or D.shape[0] != D.shape[1]:
        raise ValueError(f"the dissimilarities have the shape {D.shape}; give a square matrix, one row for every point")
    if not 1 <= count <= len(D):
        raise ValueError(f"{count} clusters of {len(D)} points were asked for; ask for at least 1 and at most {len(D)}")
    if not np.isfinite(D.sum(dtype=np.float64)):
        raise ValueError("a dissimilarity is not finite; leave out the points whose coordinates are not finite")
