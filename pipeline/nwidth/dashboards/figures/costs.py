"""Predicted beside measured: bytes that were read and memory of a worker, pass by pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nwidth.dashboards.costs import Costs
from nwidth.dashboards.figures.theme import BLUE, SHADE, hover, label, legend_above, plot
from nwidth.dashboards.libraries import bk, layouts
from nwidth.report import words


def cost_plots(costs: Costs) -> Any | None:
    """Two plots side by side; None where the run has measured nothing."""
    if not costs.passes:
        return None
    names = [label(entry.name, 24) for entry in costs.passes]
    read = _bars("Read from the store", names, [(entry.planned_bytes, entry.measured_bytes) for entry in costs.passes])
    peak = _bars("Largest memory of a worker", names, [(entry.planned_peak, entry.measured_peak) for entry in costs.passes])
    return layouts.row(read, peak, sizing_mode="stretch_width")


def _bars(title: str, names: Sequence[str], pairs: Sequence[tuple[float | None, float | None]]) -> Any:
    largest = max((value for pair in pairs for value in pair if value is not None), default=0.0)
    unit, scale = ("GB", 1e9) if largest >= 1e9 else ("MB", 1e6) if largest >= 1e6 else ("kB", 1e3)
    # Passes may have one name twice; a place has each only once.
    places = [f"{number + 1} {name}" for number, name in enumerate(names)]
    factors = [(place, kind) for place in places for kind in ("planned", "measured")]
    made = plot(title, "", unit, x_range=bk.FactorRange(*factors), height=300)
    drawn = []
    for number, (kind, colour) in enumerate((("planned", SHADE), ("measured", BLUE))):
        values = [pair[number] for pair in pairs]
        source = bk.ColumnDataSource(
            {
                "place": [(place, kind) for place in places],
                "value": [(value or 0.0) / scale for value in values],
                "words": [words.amount(value) if value is not None else "not known" for value in values],
            }
        )
        drawn.append(made.vbar("place", top="value", width=0.8, source=source, color=colour, legend_label=kind))
    made.y_range.start = 0
    made.xgrid.grid_line_color = None
    made.xaxis.major_label_text_font_size = "0px"
    made.xaxis.major_tick_line_color = None
    hover(made, drawn, ("pass", "@place"), ("", "@words"))
    legend_above(made)
    return made
