"""Errors as they were measured: snapshot by snapshot, and an indicator beside the errors that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource
from numpy.typing import NDArray

from nwidth.dashboards.figures.theme import BLUE, INK, ORANGE, hover, legend_above, plot


def error_plot(index: NDArray[np.int64], errors: NDArray[np.float64], names: NDArray[Any], rtol: float | None) -> Any:
    """Relative error of every snapshot that is shown, the worst one marked.

    ``index (p,)`` snapshots, ``errors (p,)``, ``names (p,)`` of their simulations.
    """
    made = plot("Relative error of every snapshot", "snapshot", "relative error", y_axis_type="log")
    shown = np.isfinite(errors) & (errors > 0)
    if not shown.any():
        made.title.text = "Every snapshot lies in the basis: all errors are zero"
        return made
    source = ColumnDataSource({"index": index[shown], "error": errors[shown], "name": _texts(names[shown])})
    dots = made.scatter("index", "error", source=source, size=5, color=BLUE, alpha=0.7, legend_label="measured")
    worst = int(np.argmax(np.where(shown, errors, -np.inf)))
    top = ColumnDataSource({"index": [int(index[worst])], "error": [errors[worst]], "name": _texts(names[[worst]])})
    star = made.scatter("index", "error", source=top, size=12, marker="circle", fill_color=None, line_color=ORANGE, line_width=2,
                        legend_label="worst")  # fmt: skip
    if rtol is not None:
        made.line([0, int(index.max())], [rtol, rtol], color=INK, line_dash="dashed", legend_label="asked, over all snapshots")
    hover(made, [dots, star], ("snapshot", "@index"), ("simulation", "@name"), ("error", "@error{0.000e}"))
    legend_above(made)
    return made


def indicator_plot(indicator: NDArray[np.float64], errors: NDArray[np.float64]) -> Any:
    """Indicator against true error, both logarithmic, with the line where they are equal. Arrays ``(p,)``."""
    made = plot(
        "Error indicator against true error", "indicator", "true relative error",
        x_axis_type="log", y_axis_type="log", height=420, match_aspect=True,
    )  # fmt: skip
    shown = np.isfinite(indicator) & np.isfinite(errors) & (indicator > 0) & (errors > 0)
    if not shown.any():
        return made
    source = ColumnDataSource({"indicator": indicator[shown], "error": errors[shown]})
    dots = made.scatter("indicator", "error", source=source, size=7, color=BLUE, alpha=0.7, legend_label="measured")
    both = np.concatenate([indicator[shown], errors[shown]])
    ends = [float(both.min()) / 1.5, float(both.max()) * 1.5]
    made.line(ends, ends, color=ORANGE, line_dash="dashed", legend_label="equal")
    hover(made, [dots], ("indicator", "@indicator{0.000e}"), ("error", "@error{0.000e}"))
    legend_above(made)
    return made


def _texts(values: NDArray[Any]) -> list[str]:
    return [str(value) for value in values]
