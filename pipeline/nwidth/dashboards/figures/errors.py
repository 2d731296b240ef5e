"""Errors as they were measured: snapshot by snapshot, and an indicator beside the errors that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.dashboards.figures.theme import BLUE, INK, ORANGE, cluster_colour, hover, legend_above, plot
from nwidth.dashboards.indicators import IndicatorView
from nwidth.dashboards.libraries import bk


def error_plot(index: NDArray[np.int64], errors: NDArray[np.float64], names: NDArray[Any], rtol: float | None) -> Any:
    """Relative error of every snapshot that is shown, the worst one marked.

    ``index (p,)`` snapshots, ``errors (p,)``, ``names (p,)`` of their simulations.
    """
    made = plot("Relative error of every snapshot", "snapshot", "relative error", y_axis_type="log")
    shown = np.isfinite(errors) & (errors > 0)
    if not shown.any():
        made.title.text = "Every snapshot lies in the basis: all errors are zero"
        return made
    source = bk.ColumnDataSource({"index": index[shown], "error": errors[shown], "name": _texts(names[shown])})
    dots = made.scatter("index", "error", source=source, size=5, color=BLUE, alpha=0.7, legend_label="measured")
    worst = int(np.argmax(np.where(shown, errors, -np.inf)))
    top = bk.ColumnDataSource({"index": [int(index[worst])], "error": [errors[worst]], "name": _texts(names[[worst]])})
    star = made.scatter("index", "error", source=top, size=12, marker="circle", fill_color=None, line_color=ORANGE, line_width=2,
                        legend_label="worst")  # fmt: skip
    if rtol is not None:
        made.line([0, int(index.max())], [rtol, rtol], color=INK, line_dash="dashed", legend_label="asked, over all snapshots")
    hover(made, [dots, star], ("snapshot", "@index"), ("simulation", "@name"), ("error", "@error{0.000e}"))
    legend_above(made)
    return made


def indicator_plot(views: Sequence[IndicatorView]) -> Any:
    """Indicator against true error, both logarithmic, a colour for each body. Below the line it is on the safe side."""
    made = plot(
        "Error indicator against true error", "indicator η", "true relative error e",
        x_axis_type="log", y_axis_type="log", height=430,
    )  # fmt: skip
    drawn = []
    for view in views:
        source = bk.ColumnDataSource({"indicator": view.indicator, "error": view.errors, "residual": view.residuals})
        name = "measured" if len(views) == 1 else f"body {view.body}"
        drawn.append(
            made.scatter(
                "indicator", "error", source=source, size=7, color=cluster_colour(view.body), alpha=0.7, legend_label=name
            )
        )
    both = np.concatenate([part for view in views for part in (view.indicator, view.errors)])
    ends = [float(both.min()) / 1.5, float(both.max()) * 1.5]
    made.line(ends, ends, color=INK, line_dash="dashed", legend_label="equal")
    hover(made, drawn, ("indicator", "@indicator{0.000e}"), ("error", "@error{0.000e}"), ("residual", "@residual{0.000e}"))
    legend_above(made)
    return made


def _texts(values: NDArray[Any]) -> list[str]:
    return [str(value) for value in values]
