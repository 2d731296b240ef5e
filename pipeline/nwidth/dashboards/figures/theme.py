"""How the dashboard's plots look: one place for colours, letters and tools; texts from stores are made harmless here."""

from __future__ import annotations

from typing import Any

from nwidth.dashboards.libraries import bk, figure
from nwidth.report import words
from nwidth.report.styling import BLUE, CATEGORIES, INK, MUTED, ORANGE, RULE, SHADE

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"
HEIGHT = 330
LONGEST_LABEL = 48
TOOLS = "pan,box_zoom,wheel_zoom,reset,save"

__all__ = ["BLUE", "CATEGORIES", "INK", "MUTED", "ORANGE", "RULE", "SHADE", "cluster_colour", "hover", "label", "plot"]


def label(text: object, longest: int = LONGEST_LABEL) -> str:
    """Text from elsewhere for a plot: no control characters, not endless, and nothing that is taken for mathematics.

    Bokeh reads ``$$...$$``, ``\\(...\\)`` and ``\\[...\\]`` as TeX, and would want a library for it.
    """
    shown = words.printable(text).replace("\n", " ")
    for mark in ("$$", r"\(", r"\["):
        shown = shown.replace(mark, mark[0] + " " + mark[1])
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def cluster_colour(cluster: int) -> str:
    """Colour of a cluster: six that are told apart by everyone, then again from the start."""
    return CATEGORIES[cluster % len(CATEGORIES)]


def plot(title: str, x: str, y: str, **options: Any) -> Any:
    """An empty plot in the dashboard's style, as wide as its place."""
    logarithmic = {side: options.get(f"{side}_axis_type") == "log" for side in "xy"}
    made: Any = figure(
        title=label(title, 90),
        x_axis_label=label(x),
        y_axis_label=label(y),
        height=options.pop("height", HEIGHT),
        sizing_mode="stretch_width",
        tools=options.pop("tools", TOOLS),
        **options,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    made.outline_line_color = None
    made.title.text_font = made.axis.axis_label_text_font = made.axis.major_label_text_font = FONT
    made.title.text_font_size, made.title.text_font_style, made.title.text_color = "13px", "normal", INK
    made.axis.axis_label_text_font_size, made.axis.axis_label_text_font_style = "12px", "normal"
    made.axis.axis_label_text_color = made.axis.major_label_text_color = MUTED
    made.axis.axis_line_color = made.axis.major_tick_line_color = SHADE
    made.axis.minor_tick_line_color = None
    made.grid.grid_line_color = RULE
    for axis, log in ((made.xaxis, logarithmic["x"]), (made.yaxis, logarithmic["y"])):
        if log:
            axis.formatter = bk.PrintfTickFormatter(format="%.0e")
    return made


def hover(made: Any, renderers: list[Any], *rows: tuple[str, str]) -> None:
    """Show these rows beside the pointer; Bokeh escapes the values of columns."""
    made.add_tools(bk.HoverTool(renderers=renderers, tooltips=list(rows), attachment="above"))


def legend_above(made: Any) -> None:
    """Put the legend above the plot, in one line, without a box."""
    legend = made.legend[0]
    made.add_layout(legend, "above")
    legend.orientation, legend.border_line_color, legend.background_fill_alpha = "horizontal", None, 0.0
    legend.label_text_font, legend.label_text_font_size, legend.label_text_color = FONT, "12px", MUTED
    legend.padding, legend.margin, legend.spacing = 2, 0, 14
