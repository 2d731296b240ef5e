"""Choosing what is drawn: a basis, a field, which modes or which snapshot; the drawing is another process's work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from nwidth.dashboards import texts
from nwidth.dashboards.contents import ModelView
from nwidth.dashboards.libraries import pn
from nwidth.dashboards.painting import Painter, Request, note
from nwidth.dashboards.style import words
from nwidth.dashboards.widgets import number, select
from nwidth.report.markup import tag

TILES = 6
"""Modes that are drawn at once."""
MOST_STILL = 8
"""Fields of bases that a saved page shows modes of."""


def request_for(view: ModelView, what: str, basis: str, field: str, first: int, key: str = "") -> Request:
    """What to draw from `first` on: a page of modes, or one snapshot."""
    count = TILES if what == "modes" else 1
    return Request(str(view.model.resolve()), basis, field, what, first, count, key, _store_options(view.record))


class Pictures:
    """Choices, and below them the picture, as soon as it is drawn."""

    def __init__(self, view: ModelView, what: str, painter: Painter, key: str) -> None:
        self.view, self.what, self.painter, self.key = view, what, painter, key
        fields = list(view.main.fields)
        self.basis = select("basis", list(view.bases), value=view.main.name, width=220)
        self.field = select("field", fields, value=fields[0], width=220)
        label = "from mode" if what == "modes" else f"snapshot, 1 to {view.snapshots.count}"
        step = TILES if what == "modes" else 1
        self.first = number(label, value=1, start=1, end=self._last(), step=step, width=170)
        self.picture = words(note("drawing …"))
        self._wanted: Request | None = None
        self.basis.param.watch(self._other_basis, "value")
        for widget in (self.field, self.first):
            widget.param.watch(self._draw, "value")
        shown = [widget for widget in (self.basis, self.field) if len(widget.options) > 1] if what == "modes" else [self.field]
        self.layout = pn.Column(pn.Row(*shown, self.first), self.picture, sizing_mode="stretch_width")
        pn.state.execute(self._draw)

    def _last(self) -> int:
        return max(1, self.view.bases[self.basis.value].rank if self.what == "modes" else self.view.snapshots.count)

    async def _other_basis(self, *_: Any) -> None:
        """Another basis may have other fields, and another number of modes."""
        fields = list(self.view.bases[self.basis.value].fields)
        self.field.options = fields
        self.first.end = self._last()
        if self.field.value not in fields:
            self.field.value = fields[0]
        if self.first.value > self.first.end:
            self.first.value = 1
        await self._draw()

    async def _draw(self, *_: Any) -> None:
        """Draw what is chosen, in a thread that waits for the other process; only the last choice is shown."""
        chosen = self.basis.value, self.field.value, int(self.first.value or 1) - 1
        self._wanted = wanted = request_for(self.view, self.what, *chosen, self.key)
        found = self.painter.kept(wanted)
        if found is None:
            self.picture.object = note("drawing …")
            found = await asyncio.to_thread(self.painter.paint, wanted)
        if self._wanted == wanted:
            self.picture.object = found


def still_requests(view: ModelView, what: str) -> list[tuple[str, Request]]:
    """Titles and pictures of a page that is saved: the first modes of every field, or the first snapshot and the worst one."""
    if what == "modes":
        chosen = [(basis.name, field, 0) for basis in view.bases.values() for field in basis.fields][:MOST_STILL]
        titles = [f"{basis}: {field}" if basis != field else field for basis, field, _ in chosen]
    else:
        worst = int(view.main.certificate.get("worst_snapshot", 0))
        chosen = [(view.main.name, field, first) for field in view.main.fields for first in dict.fromkeys((0, worst))][
            :MOST_STILL
        ]
        titles = [f"{field}, {'worst' if first else 'first'} snapshot" for _, field, first in chosen]
    return [(title, request_for(view, what, *choice)) for title, choice in zip(titles, chosen, strict=True)]


def still_pictures(view: ModelView, what: str, painter: Painter) -> Any:
    """The pictures of a page that is saved, each under its title."""
    chosen = still_requests(view, what)
    drawn = painter.paint_all([request for _, request in chosen])
    parts = [
        part
        for (title, _), picture in zip(chosen, drawn, strict=True)
        for part in (words(tag("h3", texts.short(title, 120))), words(picture))
    ]
    return pn.Column(*parts, sizing_mode="stretch_width")


def _store_options(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """How the study reached its store; credentials are never in it."""
    configuration = record.get("configuration")
    study = configuration.get("study") if isinstance(configuration, Mapping) else None
    options = study.get("store_options") if isinstance(study, Mapping) else None
    return tuple((str(name), str(value)) for name, value in options.items() if value) if isinstance(options, Mapping) else ()
