"""Panel's widgets with their words above them: ``label`` in newer Panels, ``name`` in those before."""

from __future__ import annotations

from typing import Any

from nwidth.dashboards.libraries import pn


def select(words: str, options: Any, **settings: Any) -> Any:
    """A choice among a few."""
    return _made(pn.widgets.Select, words, options=options, **settings)


def number(words: str, **settings: Any) -> Any:
    """A whole number within limits."""
    return _made(pn.widgets.IntInput, words, **settings)


def _made(kind: Any, words: str, **settings: Any) -> Any:
    return kind(**{"label" if "label" in kind.param else "name": words}, margin=(6, 12, 6, 0), **settings)
