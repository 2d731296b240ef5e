"""Widths of the whole set and of its parts, from coordinates; see `nwidth_graphs.kernels.widths`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nwidth.models.atlas import WidthCurves
from nwidth.stages.atlas.coordinates import Coordinates
from nwidth_graphs.kernels.widths import Widths, widths

Indices = NDArray[np.int64]

# A pivoted QR of so many columns takes a few seconds; of more, a sample stands for the set.
MOST_COLUMNS = 3000


def width_curves(coordinates: Coordinates, clusters: Sequence[Indices], ranks: Sequence[int], seed: int) -> WidthCurves:
    """The curves of all snapshots and of every cluster's own; of a sample where there are very many."""
    columns = np.flatnonzero(coordinates.norms > 0.0)
    sample = _thinned(columns, seed)
    whole = widths(coordinates.unit[:, sample], ranks)
    parts = [_of_part(coordinates, own, ranks, seed) for own in clusters]
    return WidthCurves(
        ranks=whole.ranks,
        pod=whole.pod,
        greedy=whole.greedy,
        lower=whole.lower,
        parts_upper=np.stack([part.upper for part in parts]),
        parts_lower=np.stack([part.lower for part in parts]),
        sample=0 if len(sample) == len(columns) else len(sample),
    )


def _of_part(coordinates: Coordinates, own: Indices, ranks: Sequence[int], seed: int) -> Widths:
    return widths(coordinates.unit[:, _thinned(own, seed)], ranks)


def _thinned(columns: Indices, seed: int) -> Indices:
    if len(columns) <= MOST_COLUMNS:
        return columns
    return np.sort(np.random.default_rng(seed).permutation(columns)[:MOST_COLUMNS])
