"""The error indicator beside true errors: the pairs that it was calibrated with, which the model keeps with its reduced bodies.

model.zarr/mechanics/zarr.json    records; of each body the calibration, and of that the names of its arrays: only these are read
eta(rho)                          the indicator at the residual of every pair, beside the true error e of that pair
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import LayoutError
from nwidth.models.records import restore
from nwidth_graphs.kernels.indicator import Calibration

Floats = NDArray[np.float64]

FOLDER = "mechanics"
MOST_PAIRS = 4000
LARGEST_PAIRS = 10_000_000
"""Of one calibration: more is not what training writes."""


@dataclass(frozen=True)
class IndicatorView:
    """One reduced body's indicator."""

    body: int
    residuals: Floats
    """(p,): rho."""
    indicator: Floats
    """(p,): eta(rho), the upper estimate."""
    errors: Floats
    """(p,): e, the true relative errors."""
    pairs: int
    """Of the calibration; evenly chosen ones are shown where these are many."""

    @property
    def correlation(self) -> float | None:
        """Of log rho and log e; None where one of them does not vary."""
        x, y = np.log(self.residuals), np.log(self.errors)
        return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else None

    @property
    def covered(self) -> float:
        """Share of the pairs whose true error is at most the indicator."""
        return float(np.mean(self.errors <= self.indicator))


def read_indicators(model: Path) -> tuple[IndicatorView, ...]:
    """The indicators of a model's reduced bodies; none where nothing was calibrated.

    Raises
    ------
    LayoutError
        What is there is damaged, or of another layout.
    """
    file = model / FOLDER / "zarr.json"
    try:
        bodies = json.loads(file.read_text("utf-8"))["attributes"]["mechanics"]["bodies"]
        found = [(body, tree["calibration"]) for body, tree in enumerate(bodies) if tree["calibration"] is not None]
        return tuple(_view(body, _calibration(model / FOLDER, tree)) for body, tree in found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LayoutError(f"the indicator of {model} cannot be read ({error}); train its mechanics again") from None


def _calibration(folder: Path, tree: Mapping[str, Any]) -> Calibration:
    import zarr

    group: Any = zarr.open_group(str(folder), mode="r")
    arrays: dict[str, Any] = {name: group[name] for name in _named(tree)}
    if max((array.size for array in arrays.values()), default=0) > LARGEST_PAIRS:
        raise ValueError(f"more than {LARGEST_PAIRS} pairs")
    found = restore(tree, {name: np.asarray(array[...]) for name, array in arrays.items()}, (Calibration,))
    if not isinstance(found, Calibration):
        raise ValueError("no calibration")
    return found


def _named(tree: Mapping[str, Any]) -> Iterator[str]:
    """Names of the arrays of one record."""
    for value in tree.values():
        if isinstance(value, Mapping) and "array" in value:
            yield str(value["array"])


def _view(body: int, calibration: Calibration) -> IndicatorView:
    count = len(calibration.residuals)
    shown = np.unique(np.linspace(0, count - 1, min(count, MOST_PAIRS)).round().astype(np.int64))
    residuals, errors = calibration.residuals[shown], calibration.errors[shown]
    return IndicatorView(body, residuals, np.asarray(calibration.evaluate(residuals).upper), errors, count)
