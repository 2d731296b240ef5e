"""The page of one run: tabs that are made when they are opened first, each by itself: what fails says so in its own place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nwidth.dashboards import texts
from nwidth.dashboards.contents import BasisView, ModelView, read_cluster_map, read_model_view, shown_snapshots
from nwidth.dashboards.costs import costs_of
from nwidth.dashboards.figures import clusters, costs, errors, spectrum
from nwidth.dashboards.indicators import read_indicators
from nwidth.dashboards.libraries import pn
from nwidth.dashboards.painting import Painter, Request
from nwidth.dashboards.pictures import Pictures, still_pictures, still_requests
from nwidth.dashboards.runs import RunState
from nwidth.dashboards.style import TABS, words
from nwidth.dashboards.widgets import select
from nwidth.errors import NwidthError
from nwidth.report.markup import tag

MOST_STILL_SPECTRA = 12
"""A saved page has no server to ask for another basis: it holds so many."""

Section = tuple[str, Callable[[], Any]]


class RunPage:
    """One run's tabs, or why there are none."""

    def __init__(self, run: RunState, painter: Painter, *, still: bool = False) -> None:
        self.run, self.painter, self.still = run, painter, still
        self.body = pn.Column(sizing_mode="stretch_width")
        self.events = words(texts.ledger_table(run.ledger))
        self.tabs: Any = None
        self._sections: list[Section] = []

    def requests(self, found: ModelView | str | None) -> list[Request]:
        """Pictures that a saved page of this run holds."""
        if not isinstance(found, ModelView) or not found.bases:
            return []
        return [request for what in ("modes", "snapshots") for _, request in still_requests(found, what)]

    def read(self) -> ModelView | str | None:
        """The model; why it cannot be read; None where the run has none yet."""
        if not self.run.model_key:
            return None
        try:
            return read_model_view(self.run.folder)
        except (NwidthError, OSError) as error:
            return str(error)

    @property
    def opened(self) -> str:
        """Title of the tab that is open."""
        title, _ = self._sections[int(self.tabs.active)]
        return title

    def show(self, found: ModelView | str | None, opened: str = "") -> None:
        """Fill the page with what `read` gave, and open the tab of that title, or the first."""
        self._sections = [*self._of_model(found), ("Ledger", lambda: self.events)]
        self.tabs = pn.Tabs(
            *((title, pn.Column(sizing_mode="stretch_width")) for title, _ in self._sections),
            sizing_mode="stretch_width",
            tabs_location="above",
            stylesheets=[TABS],
        )
        self.tabs.param.watch(lambda event: self._open(event.new), "active")
        titles = [title for title, _ in self._sections]
        first = titles.index(opened) if opened in titles else 0
        for number in range(len(titles)) if self.still else (first,):
            self._open(number)
        self.tabs.active = first
        self.body.objects = [*([words(texts.alert(found))] if isinstance(found, str) else []), self.tabs]

    def follow(self, run: RunState) -> None:
        """Show the events that came since."""
        if run.ledger != self.run.ledger:
            self.events.object = texts.ledger_table(run.ledger)
        self.run = run

    def _open(self, number: int) -> None:
        """Make the content of a tab, the first time."""
        place = self.tabs[number]
        if len(place):
            return
        title, make = self._sections[number]
        try:
            place.objects = [make()]
        except (NwidthError, OSError, KeyError, ValueError, TypeError) as error:
            place.objects = [words(texts.alert(f"{title} cannot be shown: {error}"))]

    def _of_model(self, found: ModelView | str | None) -> list[Section]:
        if not isinstance(found, ModelView) or not found.bases:
            return []
        view = found
        sections: list[Section] = [
            ("Summary", lambda: words(texts.summary(view))),
            ("Spectrum", lambda: self._by_basis(view, lambda basis: _spectrum(view, basis))),
            ("Errors", lambda: self._by_basis(view, lambda basis: _errors(view, basis))),
            ("Modes", lambda: self._pictures(view, "modes")),
            ("Snapshots", lambda: self._pictures(view, "snapshots")),
        ]
        if view.has_atlas:
            sections.append(("Clusters", lambda: _clusters(view)))
        if view.has_indicator:
            sections.append(("Indicator", lambda: _indicator(view)))
        return [*sections, ("Cost", lambda: _costs(view))]

    def _by_basis(self, view: ModelView, make: Callable[[BasisView], Any]) -> Any:
        """The content for the basis that is chosen; all of them, one after the other, in a page that is saved."""
        if self.still:
            shown = [view.main, *(basis for basis in view.bases.values() if basis is not view.main)][:MOST_STILL_SPECTRA]
            parts = [part for basis in shown for part in (words(tag("h3", "Basis ", texts.short(basis.name, 60))), make(basis))]
            return pn.Column(*(parts if len(shown) > 1 else parts[1:]), sizing_mode="stretch_width")
        content = pn.Column(make(view.main), sizing_mode="stretch_width")
        if len(view.bases) == 1:
            return content
        chosen = select("basis", list(view.bases), value=view.main.name, width=260)
        chosen.param.watch(lambda event: setattr(content, "objects", [make(view.bases[event.new])]), "value")
        return pn.Column(chosen, content, sizing_mode="stretch_width")

    def _pictures(self, view: ModelView, what: str) -> Any:
        if self.still:
            return still_pictures(view, what, self.painter)
        return Pictures(view, what, self.painter, self.run.model_key).layout


def _spectrum(view: ModelView, basis: BasisView) -> Any:
    found = spectrum.truncations(basis.spectrum.singular_values, basis.spectrum.floor, basis.rank, basis.spectrum.missed_energy)
    return pn.pane.Bokeh(spectrum.spectrum_panel(found, view.rtol), sizing_mode="stretch_width")


def _errors(view: ModelView, basis: BasisView) -> Any:
    shown = shown_snapshots(basis.errors)
    index = shown if basis.members is None else basis.members[shown]
    names = view.snapshots.simulation[index]
    drawn = errors.error_plot(index, basis.errors[shown], names, view.rtol)
    return pn.Column(_plot(drawn), words(texts.errors_note(basis, len(shown))), sizing_mode="stretch_width")


def _clusters(view: ModelView) -> Any:
    found = read_cluster_map(view)
    atlas = found.atlas
    small = [clusters.error_bars(atlas), clusters.gain_plot(atlas), clusters.switch_map(atlas) if atlas.count > 1 else None]
    return pn.Column(
        words(texts.clusters_table(found)),
        _plot(clusters.cluster_map(found)),
        pn.Row(*(_plot(made) for made in small if made is not None), sizing_mode="stretch_width"),
        sizing_mode="stretch_width",
    )


def _indicator(view: ModelView) -> Any:
    found = read_indicators(view.model)
    drawn = [_plot(errors.indicator_plot(found))] if found else []
    return pn.Column(words(texts.indicator_table(found)), *drawn, sizing_mode="stretch_width")


def _costs(view: ModelView) -> Any:
    found = costs_of(view.record)
    drawn = costs.cost_plots(found)
    parts = [words(texts.cost_table(found)), *([_plot(drawn)] if drawn is not None else [])]
    return pn.Column(*parts, sizing_mode="stretch_width")


def _plot(made: Any) -> Any:
    return pn.pane.Bokeh(made, sizing_mode="stretch_width")
