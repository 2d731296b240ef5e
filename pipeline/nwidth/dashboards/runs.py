"""The runs of a folder and their states, from ledgers, records and the names of files: cheap enough to be asked every second.

events, oldest first      started ... resumed ... | finished | failed | completed | nothing to do
state                     begun and not ended: running while somebody is at work, else stopped (killed, cut off)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from nwidth.dashboards.alive import at_work, lock_is_held
from nwidth.dashboards.ledger import Event, Ledger, read_ledger
from nwidth.models.files import MANIFEST
from nwidth.shelf import FolderShelf

State = Literal["running", "finished", "failed", "stopped", "empty"]

MODEL, RECORD, LEDGER = "model.zarr", "run.json", "ledger.jsonl"
LARGEST_RECORD = 16 * 2**20
MOST_RUNS = 500
"""A folder with more is taken for one of another kind: the newest are shown."""
BEGINS = {"started", "resumed"}
ENDS: Mapping[str, State] = {"finished": "finished", "completed": "finished", "nothing to do": "finished", "failed": "failed"}


@dataclass(frozen=True)
class PassProgress:
    """How far one pass is."""

    name: str
    """As in ``gram-T``: the step and the field."""
    done: int
    """Blocks whose partials are there."""
    total: int | None
    """Blocks in all; None where nothing says."""


@dataclass(frozen=True)
class RunState:
    """One run, as its folder tells."""

    folder: Path
    name: str
    state: State
    since: datetime | None
    """When the last run began."""
    seconds: float | None
    """How long it took, or has been going on."""
    words: str
    """What to know of it: the error, what it waits for."""
    passes: tuple[PassProgress, ...]
    ledger: Ledger
    scheduler: str
    """Address of the Dask scheduler, where the run says one; empty otherwise."""
    dask_dashboard: str
    """Where that scheduler's own dashboard is, where the run says so."""
    model_key: str
    """Changes when the model does; empty without a model."""

    @property
    def title(self) -> str:
        """The study's name, and that of the folder where it is another one."""
        place = self.folder.resolve().name
        return self.name if place in (self.name, MODEL) else f"{self.name} ({place})"


def find_runs(folder: Path, now: datetime | None = None) -> tuple[RunState, ...]:
    """The runs in a folder: itself, its folders, and those of a folder ``runs`` in it; running ones first, then the newest.

    A folder that is not there holds none.
    """
    moment = datetime.now(UTC) if now is None else now
    states = [run_state(path, moment) for path in sorted(_run_folders(folder), key=_changed, reverse=True)[:MOST_RUNS]]
    oldest = datetime.min.replace(tzinfo=UTC)
    return tuple(sorted(states, key=lambda run: (run.state == "running", run.since or oldest), reverse=True))


def run_state(folder: Path, now: datetime) -> RunState:
    """The state of one run."""
    ledger, record = read_ledger(folder / LEDGER), _record(folder / RECORD)
    key = _model_key(folder)
    begun, ended = _last(ledger, BEGINS), _last(ledger, set(ENDS))
    state: State
    if begun is not None and (ended is None or _place(ledger, begun) > _place(ledger, ended)):
        state = "running" if at_work(folder, now.timestamp()) else "stopped"
    elif lock_is_held(folder / ".lock"):
        begun, state = None, "running"  # it plans: the ledger is told when it begins
    elif ended is not None:
        state = ENDS[ended.name]
    else:
        state = "finished" if key else "empty"
    return RunState(
        folder=folder,
        name=str(record.get("study") or folder.resolve().name),
        state=state,
        since=begun.time if begun is not None else None,
        seconds=_seconds(state, begun, ended, now),
        words=_words(state, begun, ended, key),
        passes=_progress(folder, record, begun) if state in ("running", "stopped") else (),
        ledger=ledger,
        scheduler=_told(ledger, record, "scheduler"),
        dask_dashboard=_told(ledger, record, "dashboard"),
        model_key=key,
    )


def model_folder(folder: Path) -> Path:
    """The model of a run's folder, or the folder itself where it is a model."""
    return folder if (folder / MANIFEST).is_file() else folder / MODEL


def _run_folders(folder: Path) -> Iterator[Path]:
    if _is_run(folder):
        yield folder
        return
    for parent in (folder, folder / "runs"):
        try:
            inside = [path for path in parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
        except OSError:
            continue
        for path in inside:
            if _is_run(path):
                yield path


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (LEDGER, RECORD, f"{MODEL}/{MANIFEST}", MANIFEST, ".lock"))


def _changed(folder: Path) -> float:
    times = [path.stat().st_mtime for path in (folder / LEDGER, folder / RECORD, folder) if path.exists()]
    return max(times, default=0.0)


def _record(file: Path) -> Mapping[str, Any]:
    """A run's record, or nothing where it cannot be read: the page of the run says why."""
    try:
        if file.stat().st_size > LARGEST_RECORD:
            return {}
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _model_key(folder: Path) -> str:
    try:
        status = (model_folder(folder) / MANIFEST).stat()
    except OSError:
        return ""
    return f"{status.st_mtime_ns}-{status.st_ino}-{status.st_size}"


def _last(ledger: Ledger, names: set[str]) -> Event | None:
    return next((event for event in reversed(ledger.events) if event.name in names), None)


def _place(ledger: Ledger, wanted: Event) -> int:
    return next(place for place, event in enumerate(ledger.events) if event is wanted)


def _seconds(state: State, begun: Event | None, ended: Event | None, now: datetime) -> float | None:
    if state == "running":
        return (now - begun.time).total_seconds() if begun is not None and begun.time is not None else None
    if state == "finished" and ended is not None and isinstance(ended.details.get("seconds"), int | float):
        return float(ended.details["seconds"])
    if state == "failed" and begun is not None and ended is not None and begun.time is not None and ended.time is not None:
        return (ended.time - begun.time).total_seconds()
    return None


def _words(state: State, begun: Event | None, ended: Event | None, key: str) -> str:
    if state == "failed" and ended is not None:
        return str(ended.details.get("error", "the ledger does not say why"))
    if state == "stopped":
        return "cut off before its end; the same command goes on where it was"
    if state == "running" and begun is None:
        return "planning"
    if state == "finished" and not key:
        return "the ledger says that it finished, and its model is gone"
    return ""


def _progress(folder: Path, record: Mapping[str, Any], begun: Event | None) -> tuple[PassProgress, ...]:
    """Blocks of every pass that lie on the shelf of the attempt; in all, as the run says, or as its last plan had it."""
    totals: dict[str, Any] = {}
    plan = record.get("plan")
    if isinstance(plan, Mapping) and isinstance(plan.get("fields"), Mapping):
        totals = {str(name): field.get("blocks") for name, field in plan["fields"].items() if isinstance(field, Mapping)}
    told = begun.details.get("blocks") if begun is not None and begun.name == "started" else None
    totals |= dict(told) if isinstance(told, Mapping) else {}
    done: dict[str, int] = {}
    for attempt in folder.glob(".attempt-*"):
        try:
            kept = FolderShelf(str(attempt / "partials")).kept_blocks()
        except (OSError, ValueError):  # swept while it was looked at, or a foreign file
            continue
        for place, blocks in kept.items():
            name = place.rpartition("-")[0] or place
            done[name] = done.get(name, 0) + blocks
    return tuple(PassProgress(name, blocks, _total(name, totals, blocks)) for name, blocks in done.items())


def _total(name: str, totals: Mapping[str, Any], done: int) -> int | None:
    """Blocks in all of a pass by its field; None where nobody says, or says less than there are."""
    for field, blocks in totals.items():
        if (name == field or name.endswith(f"-{field}")) and isinstance(blocks, int) and blocks >= done:
            return blocks
    return None


def _told(ledger: Ledger, record: Mapping[str, Any], what: str) -> str:
    """An address that the last events tell; that of the study, for the scheduler."""
    for event in reversed(ledger.events):
        if isinstance(event.details.get(what), str):
            return str(event.details[what])
    workers = record.get("configuration", {}).get("workers") if isinstance(record.get("configuration"), Mapping) else None
    address = workers.get("address") if what == "scheduler" and isinstance(workers, Mapping) else None
    return address if isinstance(address, str) else ""
