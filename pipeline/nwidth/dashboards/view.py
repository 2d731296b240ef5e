"""All runs of a folder, followed: a table of states on top, the page of the chosen run below.

every POLL_MILLISECONDS    scan of the folder, in a thread, shared by all sessions that look at the same moment
                           states that changed -> table; events -> ledger; another model -> the page is made anew
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nwidth.dashboards import texts
from nwidth.dashboards.libraries import pn
from nwidth.dashboards.page import RunPage
from nwidth.dashboards.painting import Painter
from nwidth.dashboards.runs import RunState, find_runs
from nwidth.dashboards.scheduler import SchedulerView, ask_scheduler
from nwidth.dashboards.style import TABS, words
from nwidth.dashboards.widgets import select
from nwidth.report.markup import Html, join, tag

POLL_MILLISECONDS = 2000
WIDEST = 1240
MOST_STILL_RUNS = 12
"""Runs of a saved page, the newest: each takes some hundred kilobytes."""


class Scanner:
    """The runs of a folder, looked for at most once a second, however many sessions ask."""

    def __init__(self, folder: Path, seconds: float = 1.0) -> None:
        self.folder, self.seconds = folder, seconds
        self._found: tuple[RunState, ...] = ()
        self._at = -float("inf")
        self._busy = threading.Lock()

    def runs(self) -> tuple[RunState, ...]:
        """What was found, not longer than `seconds` ago."""
        with self._busy:
            if time.monotonic() - self._at >= self.seconds:
                self._found = find_runs(self.folder)
                self._at = time.monotonic()
            return self._found


class Dashboard(pn.viewable.Viewer):  # type: ignore[misc, unused-ignore]
    """The dashboard of one folder, in one session."""

    def __init__(
        self, folder: Path, *, scanner: Scanner | None = None, painter: Painter | None = None, still: bool = False
    ) -> None:
        super().__init__()
        self.folder, self.still = folder, still
        self.scanner, self.painter = scanner or Scanner(folder, 0.0), painter or Painter()
        self.head = words(self._heading())
        self.table = words(Html(""))
        self.tasks = words(Html(""))
        self.choice = select("run", [], width=320, visible=False)
        self.place = pn.Column(sizing_mode="stretch_width")
        self.page: RunPage | None = None
        self.runs: tuple[RunState, ...] = ()
        self._poll: Any = None
        self._show_runs(self.scanner.runs())
        self.choice.param.watch(self._chosen, "value")
        if still:
            self._show_all()
        else:
            self._show_page()
        self.layout = pn.Column(
            self.head, self.table, self.tasks, self.choice, self.place,
            sizing_mode="stretch_width", max_width=WIDEST, styles={"margin": "0 auto", "padding": "14px 18px 40px"},
        )  # fmt: skip

    def __panel__(self) -> Any:
        """Shown: in a notebook, too, the folder is followed from now on."""
        if not self.still and _loop_is_running():
            self.follow()
        return self.layout

    def follow(self) -> None:
        """Look at the folder again and again, for as long as somebody looks at this page."""
        if self._poll is None:
            self._poll = pn.state.add_periodic_callback(self.refresh, period=POLL_MILLISECONDS)

    async def refresh(self) -> None:
        """Look at the folder, and show what has changed."""
        runs = await asyncio.to_thread(self.scanner.runs)
        self._show_runs(runs)
        run = self._run()
        if self.page is not None and run is not None and self.page.run.folder == run.folder:
            if self.page.run.model_key == run.model_key:
                self.page.follow(run)
            else:
                self._show_page()
        elif run is not None:
            self._show_page()
        self._put(self.head, self._heading())
        self._put(self.tasks, await self._tasks(run))

    def _chosen(self, *_: Any) -> None:
        if self.page is None or str(self.page.run.folder) != self.choice.value:
            self._show_page()

    def _show_runs(self, runs: tuple[RunState, ...]) -> None:
        self.runs = runs
        self._put(self.table, texts.runs_table(runs, self.folder.resolve()))
        options = {texts.short(run.title, 60): str(run.folder) for run in runs}
        if options != self.choice.options:
            kept = self.choice.value
            self.choice.options = options
            self.choice.value = kept if kept in options.values() else next(iter(options.values()), None)
        self.choice.visible = len(runs) > 1 and not self.still

    def _show_page(self) -> None:
        """Make the page of the chosen run, with the tab open that was open before."""
        run = self._run()
        if run is None:
            self.page, self.place.objects = None, []
            return
        opened = self.page.opened if self.page is not None else ""
        self.page = RunPage(run, self.painter)
        self.page.show(self.page.read(), opened)
        self.place.objects = [self.page.body]

    def _show_all(self) -> None:
        """The pages of all runs, for a file: nobody is there to be asked for another."""
        made = [RunPage(run, self.painter, still=True) for run in self.runs[:MOST_STILL_RUNS]]
        found = [page.read() for page in made]
        # One process draws all that is wanted: starting one takes longer than drawing.
        self.painter.paint_all([request for page, view in zip(made, found, strict=True) for request in page.requests(view)])
        pages = []
        for page, view in zip(made, found, strict=True):
            page.show(view)
            pages.append((texts.short(page.run.title, 40), page.body))
        self.place.objects = (
            [pages[0][1]]
            if len(pages) == 1
            else [pn.Tabs(*pages, sizing_mode="stretch_width", stylesheets=[TABS])]
            if pages
            else []
        )

    def _run(self) -> RunState | None:
        return next((run for run in self.runs if str(run.folder) == self.choice.value), None)

    async def _tasks(self, run: RunState | None) -> Html:
        """What the scheduler of a run at work says; nothing is asked for a run that is over."""
        if run is None or run.state != "running":
            return Html("")
        asked = await ask_scheduler(run.scheduler) if run.scheduler else SchedulerView("")
        return join([texts.dask_link(run), texts.scheduler_table(asked) if run.scheduler else Html("")])

    def _heading(self) -> Html:
        moment = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return tag(
            "div", tag("h1", "nwidth"), tag("span", tag("code", texts.short(self.folder.resolve())), class_="where"),
            tag("span", f"as of {moment}" if self.still else f"looked at {moment}", class_="at"), class_="head",
        )  # fmt: skip

    @staticmethod
    def _put(pane: Any, markup: Html) -> None:
        """Change a pane only where something has changed: nothing is sent otherwise."""
        if pane.object != markup:
            pane.object = markup


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def make_dashboard(folder: Path, scanner: Scanner, painter: Painter) -> Callable[[], Any]:
    """What the server calls for every session."""

    def session() -> Any:
        made = Dashboard(folder, scanner=scanner, painter=painter)
        made.follow()
        return made.layout

    return session
