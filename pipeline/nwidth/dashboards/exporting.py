"""The dashboard as one file: every script, style and picture inside, sliders and choices of axes at work, no server."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

from nwidth.errors import StoreError
from nwidth.report import words


def export(folder: Path, into: Path) -> Path:
    """Write the page of a folder to a file, in one step, and return its path.

    Raises
    ------
    StoreError
        `folder` is not a folder, or the file cannot be written.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is not a folder; give the folder that studies write their results to")
    from bokeh.resources import INLINE
    from panel.io.save import save

    from nwidth.dashboards.view import Dashboard

    page = io.StringIO()
    document = _with_styles_inside(Dashboard(folder, still=True).layout)
    save(document, page, resources=INLINE, title=f"nwidth: {words.printable(folder.resolve().name)}")
    partial = into.with_name(f".{into.name}.partial")
    try:
        partial.write_text(_without_icons(page.getvalue()), encoding="utf-8")
        os.replace(partial, into)
    except OSError as error:
        raise StoreError(f"the page cannot be written to {into} ({error.strerror}); give another file") from None
    return into


def _with_styles_inside(layout: Any) -> Any:
    """The layout as a document whose style sheets are texts: Panel refers to its own by address, even in a page to be saved."""
    from bokeh.document import Document
    from bokeh.models import ImportedStyleSheet, InlineStyleSheet

    document = Document()
    root = layout.get_root(document)
    inside: dict[str, Any] = {}
    for model in root.references():
        sheets = getattr(model, "stylesheets", None)
        if not sheets:
            continue
        for sheet in sheets:
            if isinstance(sheet, ImportedStyleSheet) and sheet.url not in inside:
                inside[sheet.url] = InlineStyleSheet(css=_content(sheet.url))
        model.stylesheets = [inside[sheet.url] if isinstance(sheet, ImportedStyleSheet) else sheet for sheet in sheets]
    document.add_root(root)  # last: a document looks through all its models at every change
    return document


def _without_icons(page: str) -> str:
    """The page without Panel's icons, which a browser would fetch from elsewhere; an empty one, so that it asks for none."""
    head, end, body = page.partition("</head>")
    return re.sub(r'<link rel="(?:apple-touch-icon|icon)"[^>]*>', "", head) + '<link rel="icon" href="data:,">' + end + body


def _content(address: str) -> str:
    """The text of one of Panel's style sheets, from where it is installed."""
    from panel.io.resources import CDN_DIST, DIST_DIR

    place = address.removeprefix(CDN_DIST).partition("?")[0]
    file = (DIST_DIR / place).resolve()
    return file.read_text("utf-8") if file.is_relative_to(DIST_DIR.resolve()) and file.is_file() else ""
