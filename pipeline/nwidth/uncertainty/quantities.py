"""Scalar quantities of interest: one number for every draw, from what the pass over the modes says of it.

    maximum   max_i x_i          minimum   min_i x_i
    mean      sum_i w_i x_i / sum_i w_i
    integral  sum_i w_i x_i      norm      sqrt( sum_i w_i x_i^2 )

over the rows i of a field (all components), at the last time, the first, or the largest over all times; w = 1 where the field
has no weights.
The standard error of an estimated mean over D draws is ``s / sqrt(D)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.field_statistics import DrawSummaries

Floats = NDArray[np.float64]

Reduction = Literal["maximum", "minimum", "mean", "integral", "norm"]
Moment = Literal["last", "first", "largest"]
HISTOGRAM_BINS = "fd"  # Freedman and Diaconis: by the interquartile range, so that one outlier does not empty the picture


@dataclass(frozen=True)
class Quantity:
    """What is asked of one field."""

    name: str
    field: str
    of: Reduction = "maximum"
    at: Moment = "last"

    def values(self, over_rows: DrawSummaries, weight: float) -> Floats:
        """(D,) from the summaries (D, T) of the field; `weight` is the sum of the weights."""
        series = {
            "maximum": over_rows.greatest,
            "minimum": over_rows.least,
            "integral": over_rows.total,
            "mean": over_rows.total / weight,
            "norm": np.sqrt(over_rows.squares),
        }[self.of]
        return {"last": series[:, -1], "first": series[:, 0], "largest": series.max(axis=1)}[self.at]


@dataclass(frozen=True)
class Estimate:
    """A quantity over all draws that did not fail."""

    draws: int
    mean: float
    std: float
    standard_error: float
    """Of the mean: ``s / sqrt(D)``."""
    least: float
    greatest: float
    quantiles: tuple[float, ...]
    counts: tuple[int, ...]
    """Histogram; `edges` has one entry more."""
    edges: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def estimate(values: Floats, levels: tuple[float, ...]) -> Estimate:
    """Mean, spread, standard error, quantiles and histogram of D finite values; NaN spread of a single one."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    counts, edges = _histogram(values)
    return Estimate(
        draws=len(values),
        mean=float(values.mean()),
        std=spread,
        standard_error=spread / float(np.sqrt(len(values))),
        least=float(values.min()),
        greatest=float(values.max()),
        quantiles=tuple(float(found) for found in np.quantile(values, levels)) if levels else (),
        counts=tuple(int(count) for count in counts),
        edges=tuple(float(edge) for edge in edges),
    )


def _histogram(values: Floats) -> tuple[NDArray[np.int64], Floats]:
    edges = np.histogram_bin_edges(values, bins=HISTOGRAM_BINS)
    if len(edges) > 101:  # a heavy tail asks for thousands
        edges = np.linspace(values.min(), values.max(), 101)
    return np.histogram(values, edges)[0], edges
