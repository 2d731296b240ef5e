"""Folders of runs as `nwidth run` leaves them: finished, failed, at work, cut off; written through the package's own files."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.models.records import Arrays, flatten
from nwidth_graphs.kernels.indicator import Calibration
from tests.report.samples import Sample, write_run

BEGAN = "2026-03-01T12:00:00Z"


def event(name: str, time: str = BEGAN, **details: Any) -> dict[str, Any]:
    """One line of a ledger."""
    return {"time": time, "event": name, **details}


def note(folder: Path, *events: dict[str, Any] | str) -> Path:
    """Append events to a run's ledger; texts as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ledger.jsonl").open("a", encoding="utf-8") as ledger:
        for entry in events:
            ledger.write((entry if isinstance(entry, str) else json.dumps(entry)) + "\n")
    return folder


def finished(folder: Path, sample: Sample) -> Path:
    """A run that took 2.6 s."""
    folder.mkdir(parents=True)
    write_run(folder, sample)
    return note(folder, event("started", key="k", store="s.icechunk"), event("finished", key="k", seconds=2.6))


def begin(folder: Path, blocks: int = 0) -> Path:
    """A run that has begun, and kept the partials of so many blocks of its first pass; its lock is not held."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    note(folder, event("started", now, key="k", blocks={"T": 8}))
    place = folder / ".attempt-k" / "partials" / "gram-T-0123abcd"
    place.mkdir(parents=True, exist_ok=True)
    for block in range(blocks):
        (place / f"{block}x1.part").write_bytes(b"")
    return folder


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The run's lock, held as a run holds it."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def calibrated(model: Path, pairs: int = 40) -> Calibration:
    """Write the calibration of one reduced body into a model, where training writes it, beside a body without."""
    import zarr

    rng = np.random.default_rng(3)
    residuals = np.logspace(-5, -1, pairs)
    fitted = Calibration.fit(residuals, 2.0 * residuals * np.exp(0.2 * rng.standard_normal(pairs)))
    arrays: Arrays = {}
    tree = flatten(fitted, arrays)
    group = zarr.open_group(str(model / "mechanics"), mode="w")
    for name, values in arrays.items():
        group.create_array(name, data=values)
    bodies = [{"record": "ReducedBody", "calibration": tree}, {"record": "ReducedBody", "calibration": None}]
    group.attrs.update(
        {"nwidth_mechanics": 1, "arrays": len(arrays), "mechanics": {"record": "ReducedMechanics", "bodies": bodies}}
    )
    return fitted
