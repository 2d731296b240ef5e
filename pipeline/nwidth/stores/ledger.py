"""The store's own ledger: one entry per run, kept as five short columns under ``runs/``.

Columns, not one growing document: opening a store of 10 000 runs reads ten small chunks, and one more run rewrites the last.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.errors import DuplicateRunError
from nwidth.stores.columns import append_column, create_column, read_column
from nwidth.stores.protocol import RunEntry
from nwidth.stores.schema import LEDGER_ARRAYS, RUN

if TYPE_CHECKING:
    import zarr

LEDGER_CHUNK = 1024


def create_ledger(root: zarr.Group) -> None:
    """Create the empty columns."""
    for name in LEDGER_ARRAYS:
        create_column(root, f"runs/{name}", (RUN,), np.dtype("i8") if name in ("start", "stop") else str, LEDGER_CHUNK)


def read_ledger(root: zarr.Group) -> tuple[RunEntry, ...]:
    """All runs, in the order of their snapshots."""
    simulation, source_key, start, stop, details = (read_column(root, f"runs/{name}").tolist() for name in LEDGER_ARRAYS)
    return tuple(
        RunEntry(str(name), str(key), int(first), int(last), tuple(extra["files"]), extra["reader"])
        for name, key, first, last, extra in zip(simulation, source_key, start, stop, map(json.loads, details), strict=True)
    )


def append_entry(root: zarr.Group, entry: RunEntry) -> None:
    """Add one run."""
    details = json.dumps({"files": entry.files, "reader": entry.reader})
    values: tuple[Any, ...] = (entry.simulation, entry.source_key, entry.start, entry.stop, details)
    for name, value in zip(LEDGER_ARRAYS, values, strict=True):
        append_column(root, f"runs/{name}", [value])


def check_new(runs: tuple[RunEntry, ...], simulation: str, source_key: str, url: str) -> None:
    """Refuse a run that is in the store already (`DuplicateRunError`)."""
    for run in runs:
        if run.source_key == source_key:
            raise DuplicateRunError(f"this run is in {url} already, as simulation {run.simulation!r}; it was not added again")
        if run.simulation == simulation:
            raise DuplicateRunError(
                f"{url} has another run named {simulation!r} already; give this one a different simulation name"
            )
