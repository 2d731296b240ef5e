"""Watch a store: run a study whenever it has changed, until told to stop.

poll the version (metadata only) ──changed──> run, as `nwidth run` does ──> one event
                                  └─same────> wait

A run that is refused, or fails, is an event, too: the store is watched on, and the next version gets its chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nwidth.config import Study
from nwidth.errors import BusyError, CertificateError, ConfigError, InputError, NwidthError, PlanError
from nwidth.operations.observing import standing
from nwidth.runs.folder import RunFolder
from nwidth.runs.run import RunResult, run
from nwidth.stores import open_store
from nwidth.workers import Progress

Wait = Callable[[float], None]
FINAL = (InputError, ConfigError, PlanError, CertificateError)


@dataclass(frozen=True)
class Event:
    """Something that a watch saw or did."""

    name: str
    """``waiting`` (there is no store yet), ``done``, ``nothing to do``, ``busy`` (another run), ``failed``, ``stopped``."""
    version: str = ""
    """Of the store."""
    words: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the ledger."""
        return {"event": self.name, "version": self.version, "words": self.words, **self.details}


def watch(
    study: Study,
    *,
    every: float = 30.0,
    once: bool = False,
    on_event: Callable[[Event], None],
    progress: Progress | None = None,
    wait: Wait = time.sleep,
) -> Event:
    """Run a study whenever its store has a new version.

    Parameters
    ----------
    every : seconds between two looks at the store
    once : look once, and run where something is new
    on_event : called with every event, in this thread
    wait : how to wait; an exception that it raises, or that a run raises and that is not an `NwidthError`, ends the watch

    Returns
    -------
    Event
        The last one.
    """
    with standing(study):
        return _watch(study, every, once, on_event, progress, wait)


def _watch(
    study: Study, every: float, once: bool, on_event: Callable[[Event], None], progress: Progress | None, wait: Wait
) -> Event:
    seen, last = "", Event("")
    while True:
        event, seen = _look(study, seen, progress)
        # The same trouble at every look is told once.
        if event is not None and event != last:
            on_event(event)
        last = event or last
        if once:
            return event or Event("nothing to do", seen)
        wait(every)


def _look(study: Study, seen: str, progress: Progress | None) -> tuple[Event | None, str]:
    """What happened, if anything; and the version that need not be looked at again."""
    try:
        version = open_store(study.store_url, options=study.store_options).reference().version
    except NwidthError as error:
        return Event("waiting", words=str(error)), seen
    if version == seen:
        return None, seen
    try:
        result = run(study, progress=progress)
    except BusyError as error:
        return Event("busy", version, str(error)), seen
    except NwidthError as error:
        # What a second look would be told again waits for another version; a lost cluster may pass.
        return Event("failed", version, str(error)), version if isinstance(error, FINAL) else seen
    return _event_of(result, version), str(result.plan["store_version"])


def _event_of(result: RunResult, version: str) -> Event:
    bases = {
        name: {"rank": entry["rank"], "error": entry["certificate"]["frobenius_error"], "bound": entry["certificate"]["bound"]}
        for name, entry in result.bases.items()
    }
    details = {"snapshots": result.plan["snapshots"], "bases": bases, "model": str(result.model)}
    return Event(result.status, version, result.words, details)


def note_stop(study: Study) -> None:
    """Write into the study's ledger that the watch was told to stop."""
    folder = RunFolder(study.run_folder)
    if folder.path.is_dir():
        folder.note("watch stopped")
