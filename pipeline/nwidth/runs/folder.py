"""The folder of a study's results: one writer at a time, attempts aside, published by rename, and a ledger that only grows.

runs/<study>/
  model.zarr/      the model of the last run that finished
  report.html      what a person reads
  run.json         configuration, plan, measurements, provenance
  ledger.jsonl     one line per event, never rewritten
  .lock            held while a run is at work
  .attempt-<id>/   a run at work, or one that was killed (swept by the next)
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nwidth.errors import RunError, StoreError
from nwidth.models.files import read_manifest
from nwidth.runs.exchange import exchange

MODEL, REPORT, RECORD, LEDGER = "model.zarr", "report.html", "run.json", "ledger.jsonl"
_REPLACED = ".replaced-model.zarr"


@dataclass(frozen=True)
class RunFolder:
    """One study's results."""

    path: Path

    @contextmanager
    def attempt(self) -> Iterator[Path]:
        """A fresh folder to work in, removed at the end whatever happens; only one at a time.

        Raises
        ------
        RunError
            Another run of this study is at work.
        StoreError
            The folder cannot be created.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / ".lock").open("w")
        except OSError as error:
            raise StoreError(
                f"cannot write results to {self.path}: {error.strerror}; set study.output to a writable folder"
            ) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"another run is at work in {self.path}; wait for it, or give the study another name") from None
            self._sweep()
            folder = self.path / f".attempt-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self, attempt: Path, record: Mapping[str, Any]) -> None:
        """Put the attempt's model and record in place of the last ones, in one step each.

        A crash between the two leaves the new model with the old record: `record` sees that they differ, so that the next run
        does not take one for the other.
        """
        (attempt / RECORD).write_text(json.dumps(record, indent=2, default=str), encoding="utf-8")
        replaced = self.path / _REPLACED
        if not (self.path / MODEL).exists():
            (attempt / MODEL).rename(self.path / MODEL)
        elif not exchange(attempt / MODEL, self.path / MODEL):
            # Two steps, where the file system cannot do it in one; `_sweep` mends a crash in between.
            (self.path / MODEL).rename(replaced)
            (attempt / MODEL).rename(self.path / MODEL)
        os.replace(attempt / RECORD, self.path / RECORD)
        shutil.rmtree(replaced, ignore_errors=True)

    def record(self) -> dict[str, Any] | None:
        """The record of the last finished run, or None; only where the model that lies beside it is the one it tells of."""
        try:
            found: dict[str, Any] = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
            model = read_manifest(self.path / MODEL)
            return found if found["provenance"]["content_key"] == model["provenance"]["content_key"] else None
        except (OSError, ValueError, TypeError, KeyError, StoreError):
            return None

    def note(self, event: str, **details: Any) -> None:
        """Append one event to the ledger."""
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details}, default=str)
        with (self.path / LEDGER).open("a", encoding="utf-8") as ledger:
            ledger.write(line + "\n")

    def _sweep(self) -> None:
        """Remove what a killed run left, and put back a model that was being replaced."""
        for stale in self.path.glob(".attempt-*"):
            shutil.rmtree(stale, ignore_errors=True)
        replaced = self.path / _REPLACED
        if replaced.exists() and not (self.path / MODEL).exists():
            replaced.rename(self.path / MODEL)
        shutil.rmtree(replaced, ignore_errors=True)
