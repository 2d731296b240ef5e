"""A Monte Carlo run in the report: estimates with standard errors, histograms, the indicator, true errors, fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.typing import NDArray

from nwidth.report import words
from nwidth.report.markup import Html, facts, figure, join, table, tag
from nwidth.report.modes import FieldModes
from nwidth.report.record import FieldPlace
from nwidth.report.styling import BLUE, INK, ORANGE, WIDTH, Plot, inline_svg, plain, styled

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.models.basis import Basis
    from nwidth.uncertainty.ensemble import Ensemble

MOST_HISTOGRAMS = 9
SHOWN = 5
"""Reasons of failed draws."""


def ensemble_section(ensemble: Ensemble, pictures: list[Html]) -> Html:
    """All that a run of draws says; `pictures` of its fields are drawn with the others of the page."""
    document = ensemble.document
    parts = [_facts(document), _inputs(document), _estimates(document)]
    if document["estimates"]:
        drawn = inline_svg(histograms(document), "Histograms of the quantities of interest.", "mch")
        parts.append(
            figure(
                Html(drawn), "Quantities over all draws that did not fail; the line is the mean, the band two standard errors."
            )
        )
    indicator = np.asarray(ensemble.draws["indicator"])
    if np.isfinite(indicator).any():
        drawn = inline_svg(indicator_histogram(indicator), "Histogram of the error indicator.", "mci")
        parts.append(
            figure(Html(drawn), "The largest indicator of every draw, over its times: the relative error that the model expects.")
        )
    parts += pictures
    failed = list(document["failures"].items())
    parts += [tag("p", f"Draw {draw} failed: {why}", class_="note") for draw, why in failed[:SHOWN]]
    return join(parts)


def _facts(document: Mapping[str, Any]) -> Html:
    told: list[tuple[str, Any]] = [
        ("draws", f"{words.number(document['draws'])}, seed {document['seed']}"),
        ("failed", words.number(len(document["failures"]))),
        ("with a remark", words.number(len(document["remarks"]))),
        ("processor time of the draws", words.seconds(document["processor_seconds"])),
        ("time in all", words.seconds(document["seconds"]["all"])),
    ]
    if document["indicator"] is not None:
        told.append(
            (
                "indicator, median and 95 %",
                f"{words.error(document['indicator']['median'], 2)}, {words.error(document['indicator']['q95'], 2)}",
            )
        )
    verified = document.get("verified")
    if verified is not None:
        told += [
            (
                f"true error of {name}, median and largest of {words.count(len(verified['draws']), 'draw')}",
                f"{words.error(of['median'], 2)}, {words.error(of['largest'], 2)}",
            )
            for name, of in verified["errors"].items()
            if of is not None
        ]
        told.append(("speed-up in core-hours", words.number(verified["speed_up_core_hours"], 3)))
        told.append(("speed-up by the clock", words.number(verified["speed_up_wall_clock"], 3)))
    return facts(told)


def _inputs(document: Mapping[str, Any]) -> Html:
    rows = [
        (
            name,
            of["distribution"],
            ", ".join(f"{key} {_value(value)}" for key, value in of.items() if key != "distribution" and value is not None),
        )
        for name, of in document["inputs"].items()
    ]
    return table("Uncertain inputs", ("input", "distribution", "with"), rows)


def _value(value: Any) -> str:
    return words.number(value, 4) if isinstance(value, int | float) else str(value)


def _estimates(document: Mapping[str, Any]) -> Html:
    if not document["estimates"]:
        return Html("")
    levels = [f"{level:.0%}" for level in document["levels"]]
    rows = [
        (name, *(f"{value:.4g}" for value in (of["mean"], of["standard_error"], of["std"], *of["quantiles"])))
        for name, of in document["estimates"].items()
    ]
    head = ("quantity", "mean", "standard error", "standard deviation", *levels)
    return table("Quantities of interest", head, rows, numeric=range(1, len(head)))


@styled
def histograms(document: Mapping[str, Any]) -> Plot:
    """A histogram for each quantity, with its mean and two standard errors to both sides."""
    shown = list(document["estimates"].items())[:MOST_HISTOGRAMS]
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    plot = Plot(figsize=(WIDTH * columns / 3, 2.2 * rows), layout="constrained")
    axes = plot.subplots(rows, columns, squeeze=False)
    for panel in axes.flat[len(shown) :]:
        panel.set_visible(False)
    for panel, (name, of) in zip(axes.flat, shown, strict=False):
        edges = np.asarray(of["edges"], float)
        panel.bar(edges[:-1], of["counts"], np.diff(edges), align="edge", color=BLUE, alpha=0.7, lw=0)
        panel.axvspan(of["mean"] - 2 * of["standard_error"], of["mean"] + 2 * of["standard_error"], color=ORANGE, alpha=0.3, lw=0)
        panel.axvline(of["mean"], color=ORANGE, lw=1.2)
        panel.set_title(plain(name))
        panel.tick_params(axis="x", labelsize=7)
        panel.locator_params(axis="x", nbins=4)
        panel.ticklabel_format(axis="x", scilimits=(-2, 4))
    axes[0, 0].set_ylabel("draws")
    return plot


@styled
def indicator_histogram(indicator: NDArray[np.float64]) -> Plot:
    """The largest indicator of every draw, on a logarithmic axis."""
    known = indicator[np.isfinite(indicator).any(axis=1)]
    largest = np.nanmax(known, axis=1)
    plot = Plot(figsize=(0.6 * WIDTH, 2.2), layout="constrained")
    axes = plot.subplots()
    low, high = max(float(largest.min()), 1e-16), max(float(largest.max()), 1e-15)
    edges = np.geomspace(low / 1.05, high * 1.05, 31)
    axes.hist(np.maximum(largest, low), list(edges), color=BLUE, alpha=0.7, lw=0)
    axes.axvline(float(np.median(largest)), color=INK, lw=1.0, ls=(0, (4, 2)))
    axes.set(xscale="log", xlabel="indicator, dashed: the median", ylabel="draws")
    # Labels between powers of ten overlap where there are few of these.
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="x")
    return plot


# --- fields -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Statistics:
    """As much of a basis as pictures of fields ask for."""

    modes_by_field: Mapping[str, xr.DataArray]
    mean_by_field: Mapping[str, xr.DataArray] = field(default_factory=dict)


@dataclass(frozen=True)
class FieldSpread(FieldModes):
    """Mean and standard deviation of one field over the draws, at the last time."""

    spread: Any = None

    @property
    def what(self) -> str:
        return f"Mean and standard deviation of {self.name} over the draws"

    @property
    def note(self) -> str:
        return f"{self.name} over all draws, at the last time, in {self.place.units or 'its own unit'}."

    def items(self) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
        yield "mean", np.asarray(self.basis.modes_by_field[self.name][-1], float), False
        yield "standard deviation", np.asarray(self.spread[-1], float), False


def spread_of(ensemble: Ensemble, name: str) -> FieldSpread:
    """What is drawn of one field."""
    found = ensemble.fields[name]
    attributes: Any = found.attrs
    place = FieldPlace(
        location=str(attributes.get("location", "node")),
        components=tuple(str(item) for item in attributes.get("components", ()) or ()),
        units=str(attributes.get("units", "")),
    )
    basis = cast("Basis", _Statistics({name: found["mean"]}))
    return FieldSpread(basis, name, place, 2, spread=found["std"])
