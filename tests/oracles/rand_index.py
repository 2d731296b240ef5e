"""Agreement of two partitions, from its definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def adjusted_rand_index(first: ArrayLike, second: ArrayLike) -> float:
    """Hubert and Arabie, Comparing partitions, J. Classification 2 (1985): 1 for equal partitions, 0 as expected by chance."""
    a, b = (np.unique(np.asarray(labels), return_inverse=True)[1] for labels in (first, second))
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)
    together = _pairs(table).sum()
    rows, columns = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    expected = rows * columns / float(_pairs(np.array(float(len(a)))))
    return float((together - expected) / ((rows + columns) / 2 - expected))


def _pairs(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(counts * (counts - 1) / 2)
