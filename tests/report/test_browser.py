"""A real browser opens the report from disk: no request leaves, no error is logged, every picture has a size, in both schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nwidth.report import write_report
from tests.report.samples import Sample, earth, plate, write_run
from tests.report.test_report import hostile


def visit(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
    """(page, requests other than the file's own, errors and messages)."""
    page = browser.new_page(**options)
    requests: list[str] = []
    messages: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: refuse(dialog, messages))
    page.goto(path.as_uri())
    return page, [url for url in requests if not url.startswith(("data:", path.as_uri()))], messages


def refuse(dialog: Any, messages: list[str]) -> None:
    """Close a dialog that the page has opened, and note what it said."""
    messages.append(dialog.message)
    dialog.dismiss()


@pytest.mark.parametrize("make", [plate, earth, hostile])
def test_a_browser_opens_the_report_in_peace(browser: Any, tmp_path: Path, make: Any) -> None:
    """The page asks for nothing, logs nothing, opens no dialog, and all its pictures are drawn, none wider than the page."""
    sample: Sample = make()
    path = write_report(write_run(tmp_path, sample), n_modes=2)
    page, requests, messages = visit(browser, path, viewport={"width": 1000, "height": 800})
    assert requests == []
    assert messages == []
    sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])")
    assert all(min(size) > 50 for size in sizes)
    assert len(sizes) == (3 if make is plate else 0)
    drawings = page.evaluate("[...document.querySelectorAll('svg')].map(s => [s.clientWidth, s.clientHeight])")
    assert len(drawings) >= 5
    assert all(min(size) > 100 for size in drawings)
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    page.close()


def test_the_report_fits_a_phone_and_the_dark(browser: Any, tmp_path: Path) -> None:
    """At 390 pixels nothing sticks out, and in the dark scheme ground and ink change places, in plots as well."""
    path = write_report(write_run(tmp_path, earth()), n_modes=1)
    page, _, _ = visit(browser, path, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
    colours = {}
    for scheme in ("light", "dark"):
        page, _, _ = visit(browser, path, color_scheme=scheme)
        colours[scheme] = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('svg text')).fill]"
        )
        page.close()
    brightness = {
        scheme: [sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(", ")) for colour in pair]
        for scheme, pair in colours.items()
    }
    assert brightness["light"][0] > brightness["light"][1] + 200
    assert brightness["dark"][1] > brightness["dark"][0] + 200
