"""The documentation site builds strictly, has a page for every module, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import nwidth
from tests.import_rules import module_name, sources
from tests.repository import REPOSITORY

LOADING = {"object": "data"} | dict.fromkeys(("script", "img", "iframe", "source", "video", "audio", "embed"), "src")
LOADING_LINKS = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
ELSEWHERE = re.compile(r"(?:https?:)?//")
STYLE_LOADS = re.compile(r"(?:@import\s+|url\()\s*['\"]?((?:https?:)?//[^'\")\s]+)")


class Loads(HTMLParser):
    """Collects the addresses elsewhere that a browser would fetch by itself on opening a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what this tag loads."""
        values = {name: value or "" for name, value in attrs}
        address = values.get(LOADING.get(tag, ""), "")
        if tag == "link" and LOADING_LINKS & set(values.get("rel", "").split()):
            address = values.get("href", "")
        if ELSEWHERE.match(address):
            self.addresses.append(address)


def loads(page: str) -> list[str]:
    """Every address elsewhere that opening the page would fetch."""
    parser = Loads()
    parser.feed(page)
    return parser.addresses + STYLE_LOADS.findall(page)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_public_module_has_a_reference_page(site: Path) -> None:
    """The reference has one page for every module that has a docstring and no leading underscore in its name."""
    by_hand = {path.stem for path in (REPOSITORY / "docs" / "reference").glob("*.md")} | {"python"}
    pages = {path.stem for path in (site / "reference").glob("*.html")} - by_hand
    public = {module_name(path) for path in sources() if path.read_text("utf-8").lstrip().startswith(('"""', 'r"""'))}
    assert pages == {name for name in public if not any(part.startswith("_") for part in name.split("."))}
    assert "FormatError" in (site / "reference" / "nwidth.errors.html").read_text("utf-8")


def test_every_public_name_has_its_entry_on_one_page(site: Path) -> None:
    """The page of the Python interface has a heading for every name of ``nwidth``, with the signature of each function."""
    page = (site / "reference" / "python.html").read_text("utf-8")
    headings = set(re.findall(r'<h2 id="[^"]*">nw\.(\w+)<', page))
    assert headings == set(nwidth.__all__) - {"__version__"}
    assert all(f">{name}</span>" in page for name in ("pod", "train_mechanics", "monte_carlo", "open_ensemble", "MechanicsModel"))


@pytest.mark.parametrize("section", ["tutorials", "how-to", "explanation", "explanation/methods", "reference"])
def test_every_page_is_named_by_the_index_of_its_section(section: str) -> None:
    """No page is found by luck alone: the index of its folder links to it."""
    folder = REPOSITORY / "docs" / section
    linked = set(re.findall(r"\]\(([\w.-]+\.md)", (folder / "index.md").read_text("utf-8")))
    assert {path.name for path in folder.glob("*.md")} - linked - {"index.md"} == set()


def test_the_pages_load_nothing_from_elsewhere(site: Path) -> None:
    """Opening any page of the site makes no request to another host: it can be read offline and tells nobody."""
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 10
    found = {path.relative_to(site).as_posix(): addresses for path in pages if (addresses := loads(path.read_text("utf-8")))}
    assert found == {}


@pytest.mark.parametrize(
    "planted",
    [
        '<script src="https://cdn.example.org/x.js"></script>',
        '<link rel="stylesheet" href="//fonts.example.org/css">',
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>body { background: url(https://example.org/a.png) }</style>",
        '<img src="http://example.org/pixel.gif">',
    ],
)
def test_a_planted_request_is_caught(planted: str) -> None:
    """The reader of pages sees scripts, styles, fonts and pictures of other hosts, and lets ordinary links be."""
    assert len(loads(planted)) == 1
    assert loads('<a href="https://example.org">elsewhere</a><img src="local.png">') == []
