"""All snapshots of a run at once, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.readers.protocol import Run


def gather(run: Run) -> dict[str, NDArray[Any]]:
    """Field -> (m, *shape); checks on the way that every snapshot is what the run announced."""
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in run.fields}
    for snapshot in run.snapshots():
        assert set(snapshot) == set(run.fields)
        for name, values in snapshot.items():
            assert values.shape == run.fields[name].shape
            assert values.dtype == run.fields[name].dtype
            rows[name].append(np.array(values))
    gathered = {name: np.array(values) for name, values in rows.items()}
    assert all(len(values) == len(run.times) for values in gathered.values())
    return gathered
