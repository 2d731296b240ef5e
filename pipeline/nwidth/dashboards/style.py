"""The style sheet of the dashboard's own markup, for panes that each live in a shadow tree of their own."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from nwidth.report.markup import Html

STYLE = files("nwidth.dashboards").joinpath("style.css").read_text("utf-8")


def words(markup: Html) -> Any:
    """Markup of ours as a pane; its texts are escaped already."""
    import panel as pn

    return pn.pane.HTML(markup, stylesheets=[STYLE], sizing_mode="stretch_width", disable_math=True, margin=(2, 0))
