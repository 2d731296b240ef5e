"""The folder of a study's results: one run at a time, attempts aside, published by rename, and a ledger that only grows.

runs/<study>/
  model.zarr/      the model of the last run that finished
  report.html      what a person reads
  run.json         configuration, plan, measurements, provenance
  ledger.jsonl     one line per event, never rewritten
  .lock            held while a run is at work
  .attempt-<key>/  a run at work, or one that was cut off: taken up by the next run of the same key, swept by one of another
  .scratch-<id>/   what a run needs while it lives

An attempt's key is the content key of what it computes, so whatever lies in it belongs to the same inputs, settings and code. A
worker that outlives its driver for a moment may still write into it: the same bits, by rename, beside those of the run that took
the attempt up.
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

from nwidth.errors import BusyError, CertificateError, ConfigError, InputError, PlanError, StoreError
from nwidth.exchange import exchange
from nwidth.models.files import MANIFEST, read_manifest
from nwidth.operations.logging import log

MODEL, REPORT, RECORD, LEDGER, PARTIALS = "model.zarr", "report.html", "run.json", "ledger.jsonl", "partials"
DRAWS = "draws.zarr"
_REPLACED = ".replaced-model.zarr"
_ATTEMPT, _SCRATCH = ".attempt-", ".scratch-"
# What a second run of the same key would be told again: nothing of it is worth keeping.
_FINAL = (InputError, ConfigError, PlanError, CertificateError)


@dataclass(frozen=True)
class RunFolder:
    """One study's results."""

    path: Path

    @contextmanager
    def held(self) -> Iterator[Path]:
        """Hold the folder for one run, and give it a scratch folder, which is removed at the end.

        What a killed run left half published is put right first: a record that lacks its model's place, a model aside.

        Raises
        ------
        BusyError
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
                raise BusyError(f"another run is at work in {self.path}; wait for it, or give the study another name") from None
            self._mend()
            scratch = self._new_scratch()
            scratch.mkdir()
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    @contextmanager
    def attempt(self, key: str) -> Iterator[Path]:
        """The folder in which the run of `key` works: a fresh one, or the one that an interrupted run left; others are swept.

        It is removed at the end, unless the run failed in a way that may pass (a lost cluster, a full disk, a damaged chunk) and
        left partials that its next try need not compute again. On a full disk they stay, and the modes go.
        """
        folder = self.path / f"{_ATTEMPT}{key}"
        self.sweep(but=folder)
        (folder / PARTIALS).mkdir(parents=True, exist_ok=True)
        (folder / MODEL / MANIFEST).unlink(missing_ok=True)
        for torn in folder.rglob("*.partial"):
            torn.unlink(missing_ok=True)
        try:
            yield folder
        except BaseException as error:
            if isinstance(error, _FINAL) or not any((folder / PARTIALS).glob("*/*")):
                self._discard(folder)
            elif isinstance(error, OSError):
                shutil.rmtree(folder / MODEL, ignore_errors=True)
            raise
        self._discard(folder)

    def publish(self, attempt: Path, record: Mapping[str, Any]) -> None:
        """Put the attempt's model and record in place of the last ones, in one step each.

        The record is written into the attempt first: from then on the run is finished, and a kill at any later moment leaves it
        to the next run to complete what was begun here (`_mend`).
        """
        _write_whole(attempt / RECORD, json.dumps(record, indent=2, default=str))
        self._complete(attempt)

    def record(self) -> dict[str, Any] | None:
        """The record of the last finished run, or None; only where the model that lies beside it is the one it tells of."""
        try:
            found: dict[str, Any] = json.loads((self.path / RECORD).read_text(encoding="utf-8"))
            model = read_manifest(self.path / MODEL)
            return found if found["provenance"]["content_key"] == model["provenance"]["content_key"] else None
        except (OSError, ValueError, TypeError, KeyError, StoreError):
            return None

    def report_is_stale(self) -> bool:
        """Whether the report is missing, or older than what it shows: a run was killed, or something was trained since."""
        shown = (self.path / RECORD, self.path / MODEL / "mechanics" / "zarr.json", self.path / DRAWS / "ensemble.json")
        try:
            written = (self.path / REPORT).stat().st_mtime_ns
            return any(file.stat().st_mtime_ns > written for file in shown if file is shown[0] or file.is_file())
        except FileNotFoundError:
            return True

    def note(self, event: str, **details: Any) -> None:
        """Append one event to the ledger, and to the log where there is one."""
        log("runs", event, details)
        line = json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": event, **details}, default=str)
        with (self.path / LEDGER).open("a", encoding="utf-8") as ledger:
            ledger.write(line + "\n")

    def sweep(self, but: Path | None = None) -> None:
        """Remove all attempts, or all but one."""
        for stale in self.path.glob(f"{_ATTEMPT}*"):
            if stale != but:
                self._discard(stale)

    def _mend(self) -> None:
        """Complete what a killed run had begun to publish, put back a model that was being replaced, remove what it left."""
        for attempt in self.path.glob(f"{_ATTEMPT}*"):
            if _run_of(attempt / RECORD) is not None:
                self._complete(attempt)
                self.note("completed", key=attempt.name.removeprefix(_ATTEMPT))
                self._discard(attempt)
        replaced = self.path / _REPLACED
        if replaced.exists() and not (self.path / MODEL).exists():
            replaced.rename(self.path / MODEL)
        for stale in (replaced, *self.path.glob(f"{_SCRATCH}*")):
            shutil.rmtree(stale, ignore_errors=True)
        for torn in self.path.glob("*.partial"):
            torn.unlink(missing_ok=True)

    def _complete(self, attempt: Path) -> None:
        """Bring a finished attempt's model and record to their places; every step is skipped where it was done before."""
        run = _run_of(attempt / RECORD)
        if _run_of(attempt / MODEL / MANIFEST) == run:
            replaced = self.path / _REPLACED
            if not (self.path / MODEL).exists():
                (attempt / MODEL).rename(self.path / MODEL)
            elif not exchange(attempt / MODEL, self.path / MODEL):
                # Two steps, where the file system cannot do it in one; `_mend` comes here again after a crash in between.
                shutil.rmtree(replaced, ignore_errors=True)
                (self.path / MODEL).rename(replaced)
                (attempt / MODEL).rename(self.path / MODEL)
            shutil.rmtree(replaced, ignore_errors=True)
        if _run_of(self.path / MODEL / MANIFEST) == run:
            # A copy: the attempt keeps its own, which says that it is finished, until it is gone.
            _write_whole(self.path / RECORD, (attempt / RECORD).read_text(encoding="utf-8"))

    def _discard(self, folder: Path) -> None:
        """Remove a folder; under another name first, so that a kill in the middle leaves no attempt with parts missing."""
        doomed = self._new_scratch()
        try:
            folder.rename(doomed)
        except OSError:
            doomed = folder
        shutil.rmtree(doomed, ignore_errors=True)

    def _new_scratch(self) -> Path:
        return self.path / f"{_SCRATCH}{uuid.uuid4().hex[:8]}"


def _run_of(file: Path) -> str | None:
    """The id of the run that wrote a record or a manifest; None where there is none that can be read."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["provenance"]["run"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _write_whole(file: Path, text: str) -> None:
    """Write a small file that is there whole or not at all, after a power cut, too."""
    partial = file.with_name(f".{file.name}.partial")
    with partial.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, file)
