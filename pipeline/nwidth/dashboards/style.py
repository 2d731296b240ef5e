"""The style sheet of the dashboard's own markup, for panes that each live in a shadow tree of their own."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from nwidth.dashboards.libraries import pn
from nwidth.report.markup import Html

STYLE = files("nwidth.dashboards").joinpath("style.css").read_text("utf-8")


TABS = """
.bk-tab { font-size: 14px; padding: 6px 13px; }
.bk-tab.bk-active { color: #0a5ca8; font-weight: 600; border-color: #dde2e8 !important; }
"""


def words(markup: Html) -> Any:
    """Markup of ours as a pane; its texts are escaped already."""
    return pn.pane.HTML(markup, stylesheets=[STYLE], sizing_mode="stretch_width", disable_math=True, margin=(2, 0))
