"""A run slow enough to be killed anywhere: a store of many small blocks, a reader that takes its time, and a log of every read.

``python -m tests.chaos.slow FOLDER STORE LOG [ADDRESS]`` runs the study of `study_in`; it says "ready" when all is imported, and
begins when it is sent a line.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.config import Study
from nwidth_graphs import budget
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading
from tests.runs.studies import add_run, snapshots_of, study_of

BLOCKS = 24
ROWS = 512
SNAPSHOTS = 64
READ_SECONDS = 0.04
RANK = 9


@dataclass(frozen=True)
class Slowly:
    """Reads as `read` does, logs the block with one write, which the system keeps whole, and takes `READ_SECONDS` more."""

    read: Any
    log: str

    def __call__(self, panel: Panel) -> Reading:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{panel.index}\n".encode())
        os.close(descriptor)
        time.sleep(READ_SECONDS)
        return self.read(panel)  # type: ignore[no-any-return]

    def part(self, start: int, stop: int) -> Slowly:
        """The same of some snapshots."""
        return Slowly(self.read.part(start, stop), self.log)


def make_store(url: Path) -> Path:
    """A field in `BLOCKS` columns of chunks; every snapshot is centred, so that modes have a mean beside them."""
    from nwidth.stores import layout

    targets = {name: getattr(layout, name) for name in ("CHUNK_TARGET", "SHARD_TARGET")}
    layout.CHUNK_TARGET, layout.SHARD_TARGET = layout.PANEL_ROWS * ROWS * 4, 0
    try:
        add_run(url, "alpha", {"T": snapshots_of(BLOCKS * ROWS, SNAPSHOTS, decades=3, dtype=np.float32)})
    finally:
        for name, value in targets.items():
            setattr(layout, name, value)
    return url


def small_blocks() -> None:
    """Cut small fields as finely as large ones are cut, in this process, which makes the plan."""
    budget.MIN_BLOCK_BYTES = ROWS * SNAPSHOTS * 4
    budget.BLOCKS_OF_A_SMALL_FIELD = BLOCKS


def study_in(folder: Path, store: Path, address: str | None = None, **reduce: Any) -> Study:
    """The study that is killed: partials of every block are kept, though it is small."""
    workers = {} if address else {"count": 2}
    return study_of(
        folder, store, address, study={"keep": "always"}, workers=workers, reduce={"rank": RANK, "centre": True, **reduce}
    )


def run_slowly(study: Study, log: Path, **options: Any) -> Any:
    """Run a study with `Slowly` around its readers."""
    import nwidth.problems.stored
    from nwidth.runs import run

    stored: Any = nwidth.problems.stored
    reader = stored.StoreReader
    stored.StoreReader = lambda *arguments: Slowly(reader(*arguments), str(log))
    try:
        return run(study, **options)
    finally:
        stored.StoreReader = reader


def main() -> None:
    """Wait for a line, then run."""
    folder, store, log, address = (*sys.argv[1:], "")[:4]
    small_blocks()
    import distributed

    import nwidth.runs

    assert distributed
    assert nwidth.runs
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    run_slowly(study_in(Path(folder), Path(store), address or None), Path(log))


if __name__ == "__main__":
    main()
