"""A rectangular plate with six round holes, meshed by quadrilaterals that follow the holes.

The plate is 5 x 3 square blocks. A plain block is a grid of ``k x k`` cells; a block with a hole is a ring of ``4k`` cells
around, blended between the circle and the square. Both have ``k`` equal edges on every side, so that blocks fit
without hanging nodes.

    +---------+---------+---------+---------+---------+
    |  o      |         |         |         |      o  |      o   bolt holes, radius 4 mm
    +---------+---------+---------+---------+---------+      O   large holes, radius 6 mm
    |         |    O    |         |    O    |         |
    +---------+---------+---------+---------+---------+      100 mm x 60 mm
    |  o      |         |         |         |      o  |
    +---------+---------+---------+---------+---------+
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Quads = NDArray[np.int64]

BLOCK = 20.0
"""Side of a block in mm."""
COLUMNS, ROWS = 5, 3
HOLES = {(0, 0): 4.0, (4, 0): 4.0, (0, 2): 4.0, (4, 2): 4.0, (1, 1): 6.0, (3, 1): 6.0}
"""(column, row) of a block -> radius of the hole at its centre, in mm."""


def plate_mesh(resolution: int) -> tuple[Floats, Quads]:
    """Points ``(n, 2)`` in mm and quadrilaterals ``(cells, 4)``, counter-clockwise, for `resolution` cells along a block's side.

    The number of points grows like ``18 resolution**2``: 34 gives 21 415.
    """
    points, quads, count = [], [], 0
    for column in range(COLUMNS):
        for row in range(ROWS):
            hole = HOLES.get((column, row))
            places, cells = _square(resolution) if hole is None else _ring(resolution, hole)
            points.append(places + BLOCK * (np.array([column, row]) + 0.5))
            quads.append(cells + count)
            count += len(places)
    return _merge(np.concatenate(points), np.concatenate(quads))


def plate_area() -> float:
    """Area of the exact plate, with round holes, in mm^2."""
    return COLUMNS * ROWS * BLOCK**2 - float(np.pi * sum(radius**2 for radius in HOLES.values()))


def _square(k: int) -> tuple[Floats, Quads]:
    x, y = np.meshgrid(_ticks(k), _ticks(k))
    return np.column_stack([x.ravel(), y.ravel()]), _lattice(k, k)


def _ring(k: int, radius: float) -> tuple[Floats, Quads]:
    """Four sectors; along a sector the square's side and the circle's arc are both cut into `k` equal parts."""
    layers = max(1, round(1.4 * k * (BLOCK / 2 - radius) / BLOCK))  # cells near the hole about as long as they are wide
    angle = np.linspace(-np.pi / 4, np.pi / 4, k + 1)
    arc = radius * np.column_stack([np.cos(angle), np.sin(angle)])
    side = np.column_stack([np.full(k + 1, BLOCK / 2), _ticks(k)])
    blend = np.linspace(0, 1, layers + 1)[:, None, None]
    sector = ((1 - blend) * arc + blend * side).reshape(-1, 2)
    # Cells of the lattice run (layer, angle), which is clockwise here: reverse them.
    cells = _lattice(k, layers)[:, ::-1]
    turns = [np.array([[cosine, sine], [-sine, cosine]]) for cosine, sine in ((1, 0), (0, 1), (-1, 0), (0, -1))]
    return np.concatenate([sector @ turn for turn in turns]), np.concatenate([cells + i * len(sector) for i in range(4)])


def _ticks(k: int) -> Floats:
    return np.linspace(-BLOCK / 2, BLOCK / 2, k + 1)


def _lattice(columns: int, rows: int) -> Quads:
    """Cells of a lattice of points numbered row by row."""
    first = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    return np.asarray(first[:, None] + np.array([0, 1, columns + 2, columns + 1]))


def _merge(points: Floats, quads: Quads) -> tuple[Floats, Quads]:
    """Join points that neighbouring blocks share; they agree to rounding, and no two others are closer than a micrometre."""
    _, kept, number = np.unique(np.round(points, 6) + 0.0, axis=0, return_index=True, return_inverse=True)
    return points[kept], number.ravel()[quads]
