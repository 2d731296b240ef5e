"""The sine dissimilarities of very many snapshots, assembled by all workers in blocks of rows.

    X (N, m) ──rows a:b──> D[a:b, :] (b - a, m) ──write──> one contiguous piece of the matrix, by the worker that made it

The matrix never travels: what goes up the tree is a tally. Every block has all of its columns, so that a pair is formed twice,
once for each of its two rows: twice the arithmetic of one triangle, for writes that no two workers share. Both values agree to
the rounding of a product.

Cost    2 N m^2 operations over all workers; in each, X as sent and twice beside it, and one block of rows
Source  see `nwidth_graphs.kernels.angles`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nwidth_graphs import trees
from nwidth_graphs.kernels.angles import Matrix, sine_rows
from nwidth_graphs.leaves import Tally, peak_process_bytes

# 10 000 columns in float32: 20 MB. Columns are made unit length anew for every block, which is then a hundredth of the work.
ROWS = 512
NAME = "dissimilarity"


@dataclass(frozen=True)
class Rows:
    """Rows ``start:stop`` of the matrix."""

    start: int
    stop: int


@dataclass(frozen=True)
class RowsPartial:
    """What some blocks cost, and the largest dissimilarity in them."""

    greatest: float
    tally: Tally


WriteRows = Callable[[int, Matrix], None]
"""``write(start, rows (c, m))``: called in the worker, once per block."""


def sine_graph(vectors: Matrix, write: WriteRows, token: str, dtype: str = "float32") -> trees.TaskGraph:
    """The graph that writes D (m, m) of the columns of `vectors` (N, m); its root, `root`, is a `RowsPartial`.

    Builds only: nothing is computed here.
    """
    columns = vectors.shape[1]
    blocks = [Rows(start, min(start + ROWS, columns)) for start in range(0, columns, ROWS)]
    tree = trees.Tree(
        method=NAME,
        field="sine",
        leaf=rows_leaf,
        blocks=blocks,
        merge=merge_rows,
        close=close_rows,
        shared={"vectors": vectors, "write": write, "dtype": dtype},
    )
    return trees.build([tree], token)


def root() -> str:
    """Name of the root."""
    return f"{NAME}-sine"


def rows_leaf(block: Rows, *, vectors: Matrix, write: WriteRows, dtype: str) -> RowsPartial:
    """Make one block of rows, and write it."""
    started = time.perf_counter()
    rows = sine_rows(vectors, block.start, block.stop, dtype=np.dtype(dtype))
    write(block.start, rows)
    tally = Tally(compute_seconds=time.perf_counter() - started, blocks=1, peak_process_bytes=peak_process_bytes())
    return RowsPartial(float(rows.max(initial=0.0)), tally)


def merge_rows(parts: Sequence[RowsPartial]) -> RowsPartial:
    """Sums and a maximum: associative."""
    return RowsPartial(max(part.greatest for part in parts), Tally.merge([part.tally for part in parts]))


def close_rows(partial: RowsPartial, **_: Any) -> RowsPartial:
    """Nothing is left to do."""
    return partial
