"""All cores for the small problems between two passes, when no block is at work.

A pass keeps every core busy with blocks, one BLAS thread each. The eigenvalue problem between two of them is one task, which
the driver does: of 5000 snapshots it takes a single core as long as half a pass.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from nwidth_graphs.kernels.svd import LARGE

# More threads than this wait for memory, not for arithmetic.
MOST = 8


@contextmanager
def all_cores(columns: int) -> Generator[None]:
    """BLAS of this process on as many threads as there are cores for it, where a matrix of so many columns is worth it.

    Not within a leaf. The number depends on the machine alone, not on the workers: as many workers as there may be, the bits
    are the same.
    """
    if columns < LARGE:
        yield  # a second thread would spin more than it computes
        return
    with threadpool_limits(min(MOST, _cores())):
        yield


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
