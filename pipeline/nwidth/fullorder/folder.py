"""The folder of a production: what there is of every point, read from the points' own folders.

    production/
      design.csv                      a design that was drawn
      ledger.jsonl                    one line per event, never rewritten
      .lock, .session                 held while a production is at work; which one
      points/<point>/attempt-<n>/     inputs, what the solver printed and wrote, parameters.json, outcome.json

A point is done when one of its attempts says so with the key of its present inputs. There is no second book that could
contradict: a killed production is taken up by reading what is there.
"""

from __future__ import annotations

import fcntl
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nwidth.errors import BusyError, ConfigError, StoreError
from nwidth.fullorder.attempts import OUTCOME, attempt_number, remove_folder
from nwidth.fullorder.protocol import Outcome, Point

DESIGN, LEDGER, LOCK, SESSION, POINTS = "design.csv", "ledger.jsonl", ".lock", ".session", "points"


@dataclass(frozen=True)
class ProductionFolder:
    """One production's files."""

    path: Path

    @property
    def session_file(self) -> Path:
        """Names the production at work; guards of solvers look at it."""
        return self.path / SESSION

    def of(self, point: Point) -> Path:
        """The folder of a point."""
        return self.path / POINTS / point.name

    @contextmanager
    def held(self) -> Iterator[str]:
        """Hold the folder for one production, and give the name of its session; at the end, solvers still at work are stopped.

        Raises
        ------
        BusyError
            Another production is at work here.
        StoreError
            The folder cannot be written.
        """
        try:
            (self.path / POINTS).mkdir(parents=True, exist_ok=True)
            lock = (self.path / LOCK).open("w")
        except OSError as error:
            raise self._unwritable(error) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError(
                    f"another production is at work in {self.path}; wait for it, or give full_order another folder"
                ) from None
            session = uuid.uuid4().hex
            try:
                self.session_file.write_text(session, encoding="utf-8")
            except OSError as error:
                raise self._unwritable(error) from None
            try:
                yield session
            finally:
                self.session_file.unlink(missing_ok=True)

    def note(self, event: str, **details: Any) -> None:
        """Append one event to the ledger; `StoreError` where it cannot be written."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details}, default=str)
        try:
            with (self.path / LEDGER).open("a", encoding="utf-8") as ledger:
                ledger.write(line + "\n")
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot write to {self.path}: {error.strerror}; make room there, or set full_order.folder")

    def outcome(self, point: Point, key: str) -> Outcome | None:
        """The good attempt of a point, or its last failed one, or None.

        Raises
        ------
        ConfigError
            The point is done with other inputs: the deck, a file beside it or its row has changed since.
        """
        found = [(attempt, *read) for attempt in self.attempts(point) if (read := _read(attempt)) is not None]
        for _, its_key, outcome in found:
            if outcome.status == "done" and its_key == key:
                return outcome
        for attempt, _, outcome in found:
            if outcome.status == "done":
                raise ConfigError(
                    f"{attempt} was produced from other inputs than the study has now (deck, files or parameters have changed); "
                    f"give full_order another folder and the study another store, or remove {attempt.parent}"
                )
        mine = [outcome for _, its_key, outcome in found if its_key == key]
        return mine[-1] if mine else None

    def attempts(self, point: Point) -> list[Path]:
        """Folders of the attempts of a point, in their order."""
        return sorted(self.of(point).glob("attempt-*"), key=attempt_number)

    def sweep(self, point: Point, keep: str) -> None:
        """Remove the attempts of a point but the one called `keep`; with ``""``, all."""
        for attempt in self.attempts(point):
            if attempt.name != keep:
                remove_folder(attempt)


def _read(attempt: Path) -> tuple[str, Outcome] | None:
    """Key and outcome of an attempt; None where it was cut off before it had one."""
    try:
        content = json.loads((attempt / OUTCOME).read_text(encoding="utf-8"))
        key = str(content.pop("key"))
        return key, Outcome(**content)
    except (OSError, ValueError, TypeError, KeyError):
        return None
