"""HTML by small functions: whatever is not `Html` already is escaped, so a name from a store cannot become markup."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from nwidth.report import words


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: Any) -> Html:
    """`value` as markup: escaped, unless it is markup. Control characters, which HTML does not allow, become spaces."""
    if isinstance(value, Html):
        return value
    return Html(escape(words.printable(value)))


def join(parts: Iterable[Any]) -> Html:
    """Parts one after the other."""
    return Html("\n".join(text(part) for part in parts))


def tag(name: str, *children: Any, **attributes: Any) -> Html:
    """``<name attributes>children</name>``; write ``class_`` for ``class``, ``data_x`` for ``data-x``."""
    shown = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"' for key, value in attributes.items() if value is not None
    )
    return Html(f"<{name}{shown}>{''.join(text(child) for child in children)}</{name}>")


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]], *, numeric: Iterable[int] = ()) -> Html:
    """A table with a caption and column headings; the columns `numeric` are aligned right in tabular numerals."""
    right = set(numeric)
    heads = join(tag("th", head, scope="col", class_="n" if column in right else None) for column, head in enumerate(header))
    body = join(
        tag("tr", *(tag("td", cell, class_="n" if column in right else None) for column, cell in enumerate(row))) for row in rows
    )
    whole = tag("table", tag("caption", caption), tag("thead", tag("tr", heads)), tag("tbody", body))
    # A wide table scrolls by itself; a keyboard must be able to reach it.
    return tag("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def facts(pairs: Iterable[tuple[str, Any]], class_: str = "facts") -> Html:
    """A definition list: what, and its value."""
    return tag("dl", *(tag("div", tag("dt", what), tag("dd", value)) for what, value in pairs), class_=class_)


def png(data: bytes, alt: str, width: int, height: int) -> Html:
    """A picture in the page itself."""
    source = Html("data:image/png;base64," + base64.b64encode(data).decode())
    return Html(f'<img src="{source}" alt="{text(alt)}" width="{width}" height="{height}">')


def figure(content: Html, caption: Any) -> Html:
    """A plot or picture with its caption."""
    return tag("figure", content, tag("figcaption", caption))


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) from a PNG's header."""
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
