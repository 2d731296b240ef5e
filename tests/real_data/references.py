"""What the tests of real data share: one path from files to a basis, and the energies of a spectrum."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw


def ingested(folder: Path, files: Sequence[Path], **options: Any) -> xr.Dataset:
    """Ingest the files into a new store below `folder` and open its snapshots."""
    store = folder / "store"
    nw.ingest(files, store, **options)
    dataset: xr.Dataset = nw.open_snapshots(store)
    return dataset


def energies(basis: nw.Basis, ranks: Sequence[int]) -> NDArray[np.float64]:
    """E(r) for each r in `ranks`."""
    return np.asarray(basis.spectrum.energy[np.array(ranks) - 1], np.float64)


def assert_digits(actual: Any, expected: Sequence[float], digits: int) -> None:
    """The values agree with the table to the digits that it prints: half a unit of the last one."""
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.5 * 10.0**-digits * (1 + 1e-9))
