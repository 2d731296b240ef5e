"""A real browser looks at the dashboard: clicks, sliders, runs that change while it looks, and no request to anywhere else.

`NWIDTH_KEEP_PICTURES=1 pytest tests/dashboards/test_browser.py` writes the pictures of the documentation anew.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from nwidth.dashboards.exporting import export
from tests.dashboards.folders import begin, calibrated, event, finished, held, note
from tests.report.samples import blade, line, plate
from tests.repository import REPOSITORY

PATIENCE = 120_000
"""Milliseconds that a picture may take on a busy machine."""
HOSTILE = "<img src=x onerror=alert(1)>"


@dataclass
class Visit:
    """A page, and what it asked for and complained of."""

    page: Any
    home: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def tab(self, title: str) -> None:
        """Open a tab of the run."""
        self.page.locator(".bk-tab", has_text=title).locator("visible=true").first.click()

    def shown(self, text: str) -> Any:
        """Wait until a text is to be seen."""
        found = self.page.get_by_text(text).locator("visible=true").first
        found.wait_for(timeout=PATIENCE)
        return found

    def strip(self) -> dict[str, str]:
        """What stands below the slider that is visible."""
        strips = self.page.locator("dl.strip", has_text="beside the model").locator("visible=true").first
        return dict(zip(strips.locator("dt").all_inner_texts(), strips.locator("dd").all_inner_texts(), strict=True))

    def in_peace(self) -> None:
        """Nothing was asked of anybody else, and nothing went wrong."""
        assert [
            url for url in self.requests if not url.startswith((self.home, "data:", "blob:", self.home.replace("http", "ws")))
        ] == []
        assert self.complaints == []


@contextmanager
def visiting(browser: Any, url: str) -> Iterator[Visit]:
    """Open a page; in the end, it must have been in peace."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    made = Visit(page, url.partition("?")[0])
    page.on("request", lambda request: made.requests.append(request.url))
    page.on("requestfailed", lambda request: made.complaints.append(f"failed: {request.url}"))
    page.on("console", lambda message: made.complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("dialog", lambda dialog: refuse(dialog, made.complaints))
    page.goto(url)
    yield made
    made.in_peace()
    page.close()


def refuse(dialog: Any, complaints: list[str]) -> None:
    """Close a dialog that the page has opened, and note what it said."""
    complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


@contextmanager
def served(folder: Path, *options: str) -> Iterator[str]:
    """The address at which the real command serves a folder."""
    command = [sys.executable, "-m", "nwidth", "dashboard", str(folder), "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield json.loads("".join(server.stdout.readline() for _ in range(3)))["url"]
        finally:
            server.terminate()


def keep(visit: Visit, name: str) -> None:
    """Keep a picture for the documentation, where it is asked for."""
    if os.environ.get("NWIDTH_KEEP_PICTURES"):
        visit.page.wait_for_timeout(1500)  # a toolbar fades, a focus ring goes
        # Without the line on top: it has the name of a temporary folder.
        clip = {"x": 0, "y": 58, "width": 1200, "height": 842}
        visit.page.screenshot(path=REPOSITORY / "docs" / "images" / f"dashboard-{name}.png", clip=clip)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, atlas_run: Path) -> Path:
    """A folder with three finished runs: a plate, a blade with an indicator, bumps with an atlas."""
    folder = tmp_path_factory.mktemp("served") / "runs"
    finished(folder / "plate", replace(plate(), study="plate"))
    calibrated(finished(folder / "blade", replace(blade(), study="blade")) / "model.zarr")
    shutil.copytree(atlas_run, folder / "bumps")
    record = json.loads((folder / "bumps" / "run.json").read_text())
    (folder / "bumps" / "run.json").write_text(json.dumps(record | {"study": "bumps"}))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)  # many steps, each of which waits for a picture or a page on a machine that may be busy
def test_a_run_is_looked_through(browser: Any, runs: Path) -> None:
    """Every tab opens, the slider's numbers follow, axes change, another run is chosen, modes are drawn: all from this host."""
    with served(runs) as url, visiting(browser, url) as visit:
        visit.shown("bumps")
        keep(visit, "runs")
        visit.tab("Spectrum")
        visit.shown("beside the model")
        before = visit.strip()
        assert before["beside the model"] == "as it is"
        visit.page.locator(".noUi-handle").locator("visible=true").first.focus()
        visit.page.keyboard.press("ArrowRight")
        after = visit.strip()
        assert int(after["modes"]) == int(before["modes"]) + 1
        assert after["beside the model"] == "more than it has"
        assert float(after["projection error"]) < float(before["projection error"])
        keep(visit, "spectrum")
        visit.tab("Clusters")
        visit.shown("represented by")
        visit.page.locator("select").locator("visible=true").last.select_option(label="error on its own basis")
        labels = "Bokeh.documents[0].roots().flatMap(root => [...root.references()]).map(model => model.axis_label)"
        assert "error on its own basis" in visit.page.evaluate(labels)
        keep(visit, "clusters")
        for title, text in (("Errors", "measured in the lifting pass"), ("Cost", "peak of a worker"), ("Ledger", "finished")):
            visit.tab(title)
            visit.shown(text)
        visit.page.locator("select").locator("visible=true").first.select_option(label="blade")
        visit.page.locator(".bk-tab", has_text="Indicator").wait_for(timeout=PATIENCE)  # the page of the blade is there
        visit.tab("Modes")
        visit.page.locator(".tile img").first.wait_for(timeout=PATIENCE)
        sizes = visit.page.evaluate("[...document.images].map(i => i.naturalWidth)")
        assert all(size > 50 for size in sizes)
        keep(visit, "modes")
        visit.tab("Indicator")
        visit.shown("errors below the indicator")
        keep(visit, "indicator")
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 1200


def test_a_run_fails_while_the_page_is_open(browser: Any, tmp_path: Path) -> None:
    """An empty folder, a run at work, its failure: the open page says each within seconds."""
    with served(tmp_path) as url, visiting(browser, url) as visit:
        visit.shown("No run in")
        keep(visit, "empty")
        folder = begin(tmp_path / "turbine", 5)
        with held(folder):
            visit.shown("gram-T: 5 of 8")
            keep(visit, "running")
        note(folder, event("failed", error=f"RunError: {HOSTILE}"), "no event")
        visit.shown(f"RunError: {HOSTILE}")
        visit.shown("1 line of this ledger cannot be read")


@pytest.mark.slow
def test_names_from_a_store_are_only_names(browser: Any, tmp_path: Path) -> None:
    """Markup as the name of study, field, simulation and parameter opens no dialog, runs no script, asks for nothing."""
    sample = replace(
        line(), name="x_onerror", study=HOSTILE, units=HOSTILE, simulations=(HOSTILE, *"abcde"),
        parameters={"<b>$$speed$$": line().values[:, 0]},
    )  # fmt: skip
    finished(tmp_path / "hostile", sample)
    with served(tmp_path) as url, visiting(browser, url) as visit:
        visit.shown(HOSTILE)
        for title in ("Spectrum", "Errors", "Cost", "Ledger"):
            visit.tab(title)
            visit.page.wait_for_timeout(300)
        assert visit.page.evaluate("document.querySelectorAll('img').length") == 0


@pytest.mark.slow
def test_a_saved_page_needs_nothing(browser: Any, tmp_path: Path) -> None:
    """The exported file opens from disk with pictures inside, asks for nothing, and its slider moves."""
    finished(tmp_path / "runs" / "plate", replace(plate(), study="plate"))
    page = export(tmp_path / "runs", tmp_path / "page.html")
    assert page.stat().st_size < 12 * 2**20
    with visiting(browser, page.as_uri()) as visit:
        visit.tab("Spectrum")
        visit.shown("beside the model")
        before = int(visit.strip()["modes"])
        visit.page.locator(".noUi-handle").locator("visible=true").first.focus()
        visit.page.keyboard.press("ArrowLeft")
        assert int(visit.strip()["modes"]) == before - 1
        visit.tab("Modes")
        assert visit.page.locator(".tile img").locator("visible=true").count() >= 6


@pytest.mark.slow
def test_a_wrong_token_is_told_what_to_do(browser: Any, tmp_path: Path) -> None:
    """A browser with a wrong token sees a page that says so; with the right one it is in, and the address keeps no token."""
    with served(tmp_path, "--token", "a-token-of-more-than-16") as url:
        page = browser.new_page()
        assert page.goto(url[:-3]).status == 403
        assert "asks for its token" in page.inner_text("body")
        assert page.goto(url).status == 200
        assert "token" not in page.url
        page.get_by_text("No run in").wait_for(timeout=PATIENCE)
        page.close()
