"""The spectrum with a slider for the truncation: the projection error follows at once, in the browser, in a saved page, too.

error(N) = sqrt( sum_{i>N} s_i^2 / sum_i s_i^2 )          N modes, from the singular values alone: no field is read
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.dashboards.figures.theme import BLUE, INK, ORANGE, SHADE, hover, legend_above, plot
from nwidth.dashboards.libraries import bk, layouts
from nwidth.dashboards.style import STYLE
from nwidth.report import words
from nwidth.report.markup import Html, facts, tag

Floats = NDArray[np.float64]

MOST_RANKS = 2000
"""Ranks that the slider offers, and values that are drawn: more cannot be told apart on a screen."""


@dataclass(frozen=True)
class Truncations:
    """Every truncation that the slider offers."""

    ranks: NDArray[np.int64]
    """0..K."""
    errors: Floats
    """(K + 1,): relative projection error."""
    energies: Floats
    """(K + 1,): ``1 - error^2``, summed from its own side, so that it is right where the error is large."""
    values: Floats
    """(K,): singular values."""
    floor: float
    chosen: int
    """Rank of the basis."""
    modes_bytes: float = 0.0
    """Of one mode."""


def truncations(values: Floats, floor: float, chosen: int, missed_energy: float = 0.0, most: int = MOST_RANKS) -> Truncations:
    """The truncations of a spectrum, up to `most` ranks or the chosen one. Pure."""
    from nwidth.models.basis import Spectrum

    spectrum = Spectrum(values, floor, "", "", missed_energy)
    last = min(len(values), max(most, chosen))
    energies = np.concatenate([[0.0], spectrum.energy])[: last + 1]
    return Truncations(np.arange(last + 1), spectrum.projection_error[: last + 1], energies, values[:last], floor, chosen)


def smallest_rank(errors: Floats, tolerance: float) -> int | None:
    """The fewest modes with an error of at most `tolerance`; None where the ranks on offer do not reach it. Pure."""
    reached = np.flatnonzero(errors <= tolerance)
    return int(reached[0]) if reached.size else None


def spectrum_panel(found: Truncations, rtol: float | None = None) -> Any:
    """Slider, sentence, singular values and error curve, linked in the browser."""
    if len(found.values) == 0:
        return bk.Div(text=tag("p", "This basis has no singular values."), sizing_mode="stretch_width", disable_math=True)
    values, curve = _values_plot(found), _error_plot(found, rtol)
    start = min(found.chosen, len(found.values))
    sentence = bk.Div(
        text=truncation_words(found, start),
        stylesheets=[STYLE],
        sizing_mode="stretch_width",
        disable_math=True,
        name="truncation",
    )
    slider = bk.Slider(
        start=0, end=len(found.values), value=start, step=1, title="modes kept", name="truncation-slider",
        sizing_mode="stretch_width", bar_color=ORANGE, margin=(4, 0, 0, 0),
    )  # fmt: skip
    lines = [bk.Span(location=start + 0.5, dimension="height", line_color=ORANGE, line_width=2) for _ in range(2)]
    lines[1].location = start
    values.add_layout(lines[0])
    curve.add_layout(lines[1])
    source = bk.ColumnDataSource({"error": found.errors, "energy": found.energies}, name="truncations")
    dot = bk.ColumnDataSource({"rank": [start], "error": [_positive(found.errors)[start]]}, name="truncation-dot")
    curve.scatter("rank", "error", source=dot, size=11, color=ORANGE, line_color="white")
    slider.js_on_change("value", bk.CustomJS(args=_arguments(found, source, dot, sentence, lines), code=MOVE))
    return layouts.column(slider, sentence, layouts.row(values, curve, sizing_mode="stretch_width"), sizing_mode="stretch_width")


MOVE = """
const rank = cb_obj.value, error = source.data.error[rank], energy = source.data.energy[rank]
const number = (value) => value === 0 ? "0" : value < 0.01 ? value.toExponential(2).replace("e+", "e") : value.toPrecision(3)
const percent = (error) => {
  if (error === 0) return "100 %"
  const missing = error * error
  return (100 * energy).toFixed(missing >= 0.1 ? 1 : Math.min(12, Math.floor(-Math.log10(missing)))) + " %"
}
above.location = rank + 0.5
below.location = rank
dot.data = {rank: [rank], error: [Math.max(error, least)]}
const parts = [["modes", rank], ["projection error", number(error)], ["energy", percent(error)],
               ["next singular value", rank < values.length ? number(values[rank] / values[0]) + " of the first" : "none"],
               ["beside the model", rank === chosen ? "as it is" : rank > chosen ? "more than it has" : "fewer than it has"]]
const cells = parts.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join("")
sentence.text = `<dl class="strip">${cells}</dl>`
"""
"""The same words as `truncation_words`; what it writes are numbers, never texts from a store."""


def truncation_words(found: Truncations, rank: int) -> Html:
    """What so many modes hold, in one strip."""
    top = found.values[0] if found.values[0] > 0 else 1.0
    after = f"{words.error(found.values[rank] / top, 3)} of the first" if rank < len(found.values) else "none"
    beside = "as it is" if rank == found.chosen else "more than it has" if rank > found.chosen else "fewer than it has"
    return facts(
        [
            ("modes", str(rank)),
            ("projection error", words.error(float(found.errors[rank]), 3)),
            ("energy", words.share(1 - float(found.errors[rank]) ** 2)),
            ("next singular value", after),
            ("beside the model", beside),
        ],
        "strip",
    )


def _arguments(found: Truncations, source: Any, dot: Any, sentence: Any, lines: list[Any]) -> dict[str, Any]:
    return {
        "source": source, "dot": dot, "sentence": sentence, "above": lines[0], "below": lines[1],
        "values": found.values.tolist(), "chosen": found.chosen, "least": float(_positive(found.errors).min()),
    }  # fmt: skip


def _values_plot(found: Truncations) -> Any:
    """Singular values, those below the floor pale."""
    index = np.arange(1, len(found.values) + 1)
    shown = found.values > 0
    trusted = shown & (found.values > found.floor)
    made = plot("Singular values", "index i", "singular value σᵢ", y_axis_type="log", x_range=bk.Range1d(0, len(index) + 1))
    drawn = []
    for mask, colour, name in ((trusted, BLUE, "above the floor"), (shown & ~trusted, SHADE, "rounding of the route")):
        if mask.any():
            source = bk.ColumnDataSource({"index": index[mask], "value": found.values[mask]})
            drawn.append(made.scatter("index", "value", source=source, size=5, color=colour, legend_label=name))
    hover(made, drawn, ("index", "@index"), ("value", "@value{0.000e}"))
    if drawn:
        legend_above(made)
    return made


def _error_plot(found: Truncations, rtol: float | None) -> Any:
    """Projection error against the number of modes, and what was asked."""
    errors = _positive(found.errors)
    made = plot("Projection error", "modes kept", "relative error", y_axis_type="log", x_range=bk.Range1d(0, len(errors)))
    source = bk.ColumnDataSource({"rank": found.ranks, "error": errors})
    line = made.line("rank", "error", source=source, color=BLUE, line_width=2, legend_label="from the singular values")
    hover(made, [line], ("modes", "@rank"), ("error", "@error{0.000e}"))
    if rtol is not None:
        asked = made.line([0, len(errors)], [rtol, rtol], color=INK, line_dash="dashed", legend_label="asked")
        asked.level = "underlay"
    legend_above(made)
    return made


def _positive(errors: Floats) -> Floats:
    """Errors for a logarithmic axis: zeros a decade below the smallest that is none."""
    above = errors[errors > 0]
    return np.maximum(errors, 0.1 * float(above.min()) if above.size else 1e-16)
