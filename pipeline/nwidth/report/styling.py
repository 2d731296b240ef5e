"""How the report's plots look, and how a figure becomes SVG that belongs to the page.

Figures are drawn in the colours of `INK`, `MUTED`, ... on a transparent ground; in the page these become CSS variables,
so the same SVG follows the reader's light or dark scheme. Text stays text: it can be searched, and needs no embedded font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from nwidth.report import words

INK = "#1b1f24"
MUTED = "#5a6472"
RULE = "#dde2e8"
SHADE = "#8b95a5"
BLUE = "#0a5ca8"
ORANGE = "#c4540a"
VARIABLES = {INK: "--ink", MUTED: "--muted", RULE: "--rule", SHADE: "--shade", BLUE: "--blue", ORANGE: "--orange"}

# Okabe and Ito's palette without its yellow and black: told apart by colour-blind readers, on white and on near-black.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SEQUENCE = "viridis"
WIDTH = 8.0
"""Inches of a figure as wide as the column."""

# Typed Any: matplotlib's own type for settings lists all their names.
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": SHADE,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": SHADE,
    "ytick.color": SHADE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "nwidth",
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}

_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}


class Plot(Figure):
    """A figure that a notebook shows by itself, whatever its plotting backend."""

    def _repr_svg_(self) -> str:
        return svg_text(self)


def styled(make: Callable[..., Plot]) -> Callable[..., Plot]:
    """Draw with the report's style, whatever the caller's own settings are."""

    @wraps(make)
    def drawn(*args: Any, **options: Any) -> Plot:
        with mpl.rc_context(STYLE):
            return make(*args, **options)

    return drawn


def plain(text: object, longest: int = 32) -> str:
    """User text for a plot: no mathematics in dollars, no control characters, and not endless."""
    shown = words.printable(text).replace("\n", " ")
    return (shown if len(shown) <= longest else shown[: longest - 1] + "…").replace("$", r"\$")


def svg_text(figure: Figure) -> str:
    """The figure as an SVG document without metadata."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # Names may be in scripts that matplotlib's font lacks; the browser has fonts for them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Long names leave no room for the plot: it is drawn all the same, with names that overlap.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        figure.savefig(buffer, format="svg", metadata=_METADATA)
    text = buffer.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)


def inline_svg(figure: Figure, alt: str, prefix: str) -> str:
    """The figure as an SVG element for the page: described by `alt`, ids made unique by `prefix`, colours as CSS variables."""
    text = svg_text(figure)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = _own_ids(text, prefix)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    head, body = text.split(">", 1)
    head = re.sub(r'\s(?:width|height|version)="[^"]*"', "", head)
    # All plots have one scale: a narrow figure takes its share of the column.
    share = min(100.0, 100 * figure.get_figwidth() / WIDTH)
    return f'{head} role="img" aria-label="{escape(words.printable(alt))}" style="width: {share:.4g}%">{body}'


def _own_ids(svg: str, prefix: str) -> str:
    """Put `prefix` before all ids that something refers to, and drop the others, which matplotlib may give twice."""
    used = set(re.findall(r'(?:url\(|href=")#([^)"]*)', svg))
    svg = re.sub(r'\sid="([^"<>]*)"', lambda found: f' id="{prefix}-{found[1]}"' if found[1] in used else "", svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}-\1)", svg)
    return re.sub(r'href="#([^"]*)"', rf'href="#{prefix}-\1"', svg)
