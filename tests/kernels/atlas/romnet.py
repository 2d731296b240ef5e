"""The public set of 1 000 thermo-mechanical simulations, given as reduced coordinates of 23 global modes at 27 columns each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tests.shared_data import shared_data

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Simulations:
    """Training and test simulations, (S, 23, 27)."""

    train: Floats
    test: Floats


@cache
def simulations() -> Simulations:
    """The data set; the calling test is skipped where it is absent."""
    with np.load(shared_data("romnet-thermomechanical") / "romnet_reduced_coordinates.npz", allow_pickle=False) as stored:
        return Simulations(stored["train"], stored["test"])


def vectors(fields: Floats) -> Floats:
    """Simulations as space-time vectors, (621, S)."""
    return np.ascontiguousarray(fields.reshape(len(fields), -1).T)


def side_by_side(fields: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Columns of all simulations (23, 27 S), and which are whose (S, 27)."""
    count, rows, times = fields.shape
    return fields.transpose(1, 0, 2).reshape(rows, count * times), np.arange(count * times).reshape(count, times)
