"""What a model has been taught beyond its bases, as data and in words: to predict, and to solve load cases.

What is damaged, or of other bases, is told as such: an inspection is not the place to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nwidth.errors import LayoutError, StoreError
from nwidth.report import words


def taught(model: Path, content_key: str) -> dict[str, Any]:
    """``learned`` and ``mechanics``: the summary of each, None where there is none, ``{"damaged": why}`` for what is not read."""
    from nwidth.mechanics.files import FOLDER, read_enrichments, read_mechanics
    from nwidth.mechanics.summary import summary as of_mechanics
    from nwidth.models.learned import has_learned, read_learned
    from nwidth.stages.learning import summary as of_learned

    def mechanics() -> dict[str, Any]:
        return {**of_mechanics(read_mechanics(model, content_key)), "enrichments": len(read_enrichments(model))}

    return {
        "learned": _told(lambda: of_learned(read_learned(model))) if has_learned(model) else None,
        "mechanics": _told(mechanics) if (model / FOLDER).is_dir() else None,
    }


def _told(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return read()
    except (LayoutError, StoreError) as error:
        return {"damaged": str(error)}


def learned_lines(found: Mapping[str, Any] | None) -> list[str]:
    """What a model has learnt to predict; no line where it has not."""
    if found is None:
        return []
    if "damaged" in found:
        return [f"  does not predict: {found['damaged']}"]
    inputs = words.listing(found["inputs"]) or "the time alone"
    accuracy = "" if found["accuracy"] is None else f", {found['accuracy']:.0%} of held-out simulations in the right one"
    return [f"  predicts from {inputs}: {words.count(found['clusters'], 'cluster')}{accuracy}"]


def mechanics_lines(found: Mapping[str, Any] | None) -> list[str]:
    """What a model solves, body by body; no line where it does not."""
    if found is None:
        return []
    if "damaged" in found:
        return [f"  solves no load case: {found['damaged']}"]
    versions = f", enriched {words.count(found['enrichments'], 'time')}" if found["enrichments"] else ""
    shared = ", all at the same points" if found["shared_points"] else ""
    bodies = "one reduced body" if len(found["bodies"]) == 1 else f"{len(found['bodies'])} reduced bodies"
    lines = [f"  solves load cases of {found['case']} with {bodies}{shared}{versions}"]
    for number, body in enumerate(found["bodies"]):
        lines += [f"    body {number}: {_body_words(body)}"]
    return [*lines, *(f"    {note}" for note in found["notes"])]


def _body_words(body: Mapping[str, Any]) -> str:
    rule = body["cubature"]
    parts = [
        f"{words.count(body['modes'], 'mode')}, {words.count(body['points'], 'point')}",
        f"cubature to {words.error(rule['training'], 2)}",
        *(f"{name} of {words.count(dual['modes'], 'mode')}" for name, dual in body["duals"].items()),
    ]
    if body["unseen"] is not None:
        errors = [f"{name} {words.error(of['median'], 2)}" for name, of in body["unseen"]["errors"].items() if of is not None]
        parts.append(f"held-out errors {words.listing(errors) or 'unknown'}")
    return "; ".join(parts)
