"""What the engine did beyond the two passes, as markup: routes compared, blocks taken up or moved, updates, models merged.

Every function takes a table of ``run.json`` or of the manifest, of which any key may be missing, and gives nothing where there
is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nwidth.report import words
from nwidth.report.markup import Html, table, tag

NOTHING = Html("")


def routes(plan: Mapping[str, Any]) -> Html:
    """Every route that the plan considered, with its price, or why it was not open."""
    considered = [entry for entry in _listed(plan.get("comparison")) if entry.get("route")]
    if not considered:
        return NOTHING
    return table(
        "Routes that the plan compared",
        ("route", "reads", "bytes", "work", "memory", "time", "smallest value", "errors are"),
        [_route(entry, chosen=entry["route"] == plan.get("route")) for entry in considered],
        numeric=[1, 2, 3, 4, 5, 6],
    )


def _route(entry: Mapping[str, Any], *, chosen: bool) -> tuple[Any, ...]:
    name = tag("strong", f"{entry['route']}, chosen") if chosen else str(entry["route"])
    if not entry.get("feasible", True):
        return (name, *[""] * 6, f"not open: {entry.get('why_not') or 'no reason recorded'}")
    return (
        name,
        words.number(entry.get("reads")),
        words.amount(entry.get("bytes_to_read")),
        words.operations(entry.get("flops")),
        words.memory(entry.get("peak_bytes")),
        words.seconds(entry.get("seconds")),
        f"{words.number(entry['floor'])} σ₁" if entry.get("floor") is not None else "–",
        {"exact": "exact, and measured"}.get(str(entry.get("guarantee")), str(entry.get("guarantee") or "")),
    )


def settings(plan: Mapping[str, Any]) -> Html:
    """Floor, truncation, workers, and what an interrupted run would leave: a sentence each."""
    told = (("floor", "Floor"), ("truncation", "Truncation"), ("workers", "Workers"), ("kept", "Kept for a run that is killed"))
    lines = [f"{label}: {plan[key]}." for key, label in told if isinstance(plan.get(key), str) and plan[key]]
    return tag("p", " ".join(lines), class_="note") if lines else NOTHING


def blocks(passes: Sequence[Mapping[str, Any]]) -> Html:
    """Blocks of the passes that were taken up from an interrupted run, found no room, or went to a device."""
    rows = [row for entry in passes if (row := _blocks(entry)) is not None]
    if not rows:
        return NOTHING
    header = ("pass", "blocks", "taken up from a run that was cut off", "without room to be kept", "on a device", "where")
    return table("Blocks, and where they were reduced", header, rows, numeric=[1, 2, 3, 4])


def _blocks(entry: Mapping[str, Any]) -> tuple[str, ...] | None:
    counts = [_count(entry.get(f"blocks{key}")) for key in ("", "_reused", "_unkept", "_on_device")]
    split = entry.get("split")
    if not any(counts[1:]) and not isinstance(split, Mapping):
        return None
    shipped = _count(entry.get("blocks_shipped"))
    where = f"{words.count(shipped, 'block')} read by CPU workers for the device. " if shipped else ""
    return (str(entry.get("name", "")), *(words.number(count) for count in counts), where + _split_words(split))


def _split_words(split: Any) -> str:
    """How a pool was to share the blocks: the record's own words and numbers."""
    if not isinstance(split, Mapping):
        return ""
    shown = [
        f"{key.replace('_', ' ')} {words.number(value, 3) if isinstance(value, int | float) else value}"
        for key, value in split.items()
        if isinstance(value, int | float | str) and value != ""
    ]
    return "; ".join(shown)


def parents(provenance: Mapping[str, Any]) -> Html:
    """The models that a model was made of."""
    rows = [
        (
            str(parent.get("content_key", "")),
            words.number(parent.get("snapshots")),
            f"{parent['store']}, version {parent.get('version')}" if parent.get("store") else str(parent.get("path", "")),
        )
        for parent in _listed(provenance.get("parents"))
    ]
    if not rows:
        return NOTHING
    how = str(provenance.get("made_by") or "made")
    return table(f"Models that this one was made of: {how}", ("model", "snapshots", "of"), rows, numeric=[1])


def remainder(entry: Mapping[str, Any]) -> Html:
    """What a combined basis left out in this step and in those before it; `entry` is the manifest's of the basis."""
    steps = _listed(entry.get("updates"))
    known, left = entry.get("remainder"), entry.get("truncation_error")
    if not isinstance(known, Mapping) and not steps:
        return NOTHING
    lines = [] if left is None else [f"This step left out {words.error(left, 3)} of the snapshots' norm."]
    if isinstance(known, Mapping):
        lines.append(
            "All that was left out before is orthogonal to the modes, so errors are known exactly."
            if known.get("orthogonal")
            else "What was left out before may overlap the modes, so errors are bounded from above and not measured."
        )
    note = tag("p", " ".join(lines), class_="note")
    if not steps:
        return note
    rows = [
        (
            str(number), words.number(step.get("snapshots")), words.error(step.get("truncation_error"), 3),
            words.error(step.get("accumulated_error"), 3),
        )
        for number, step in enumerate(steps, 1)
    ]  # fmt: skip
    header = ("update", "new snapshots", "left out", "error with all before")
    return Html(note + table("Updates of this basis", header, rows, numeric=[0, 1, 2, 3]))


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list | tuple) else []


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0
