"""A run's ledger as events: the end of the file, read tolerantly, because another process is writing it.

    {"time": "2026-03-01T12:00:00Z", "event": "started", "key": "...", ...}        one line per event, never rewritten

A line that is no such object is counted and passed over: a disk that filled up, a hand that edited. The last line, as long as
its end of line is missing, is one that is being written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MOST_BYTES = 2**18
"""Of the end of the file: some thousand events. A watcher's ledger grows for years, and it is looked at every other second."""


@dataclass(frozen=True)
class Event:
    """One line of a ledger."""

    time: datetime | None
    """In UTC; None where the line has none that can be read."""
    name: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ledger:
    """What the end of a ledger says."""

    events: tuple[Event, ...] = ()
    """Oldest first."""
    damaged: int = 0
    """Lines that are no events."""
    truncated: bool = False
    """Whether there are older events, which were not read."""


def read_ledger(file: Path, most_bytes: int = MOST_BYTES) -> Ledger:
    """The last events of a ledger; an empty one where there is no file, or none that can be read."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            start = max(0, size - most_bytes)
            stream.seek(start)
            content = stream.read(most_bytes)
    except OSError:
        return Ledger()
    lines = content.split(b"\n")
    unfinished = lines.pop()
    if start and lines:
        lines.pop(0)  # begun before what was read
    found = [_event(line) for line in lines if line.strip()]
    last = _event(unfinished) if unfinished.strip() and (lines or not start) else None
    events = tuple(event for event in (*found, last) if event is not None)
    return Ledger(events, sum(event is None for event in found), start > 0)


def _event(line: bytes) -> Event | None:
    """One event, or None where the line is not one."""
    try:
        entry = json.loads(line.decode("utf-8"))
        details = dict(entry)
        return Event(moment(details.pop("time", None)), str(details.pop("event")), details)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def moment(text: Any) -> datetime | None:
    """A time in UTC from its ISO form; None for anything else."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
