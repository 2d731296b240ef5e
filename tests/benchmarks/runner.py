"""Runs cases: data, floor, then every method in a process of its own; a record for each, failures too."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.data import write_store
from tests.benchmarks.floor import Floor, drop_caches
from tests.benchmarks.job import Job
from tests.benchmarks.suites import Case
from tests.benchmarks.watch import Watched, watch

# A peer that is killed for memory gets twice as much, this often; every failure stays in the table.
ESCALATIONS = 3
Say = Callable[[str], None]
Keep = Callable[[Floor, list["Record"]], None]


@dataclass(frozen=True)
class Record:
    """One line of the table; fields are None where a method failed."""

    case: str
    method: str
    outcome: str
    """``done``, ``absent: ...``, ``failed: ...`` or ``stopped after ... s``."""
    memory: int
    seconds: float | None = None
    fastest: float | None = None
    cpu_seconds: float | None = None
    others: float | None = None
    prepare_seconds: float | None = None
    floors: float | None = None
    syrks: float | None = None
    read_bytes: int | None = None
    counted_bytes: int | None = None
    reads: float | None = None
    peak_bytes: int | None = None
    peak_process_bytes: int | None = None
    spilled_bytes: int | None = None
    singular_values: float | None = None
    all_values: float | None = None
    excess: float | None = None
    defect: float | None = None
    note: str = ""


def run_case(
    case: Case, scratch: Path | None, say: Say, keep: Keep = lambda floor, records: None, stores: Path | None = None
) -> tuple[Floor, list[Record]]:
    """Run all methods of a case under a folder that is removed at the end; `keep` is given what there is after each.

    Data are made anew, or taken from the folder `stores` where a case of them has been there before.
    """
    with tempfile.TemporaryDirectory(prefix="nwidth-benchmark-", dir=scratch) as name:
        folder = Path(name)
        source = data_of(case, folder if stores is None else stores, say)
        job = Job("floor", case.matrix, case.rank, source, str(folder / "floor"), memory=case.memory, repeats=case.repeats)
        floor = _floor(job, folder)
        say(f"{case.name}: floor {floor.seconds():.2f} s, one syrk {floor.syrk_seconds:.2f} s")
        records = []
        for record in _records(case, job, floor, folder):
            records.append(record)
            keep(floor, records)
            say(f"  {record.method}: {record.outcome}" + ("" if record.seconds is None else f", {record.seconds:.2f} s"))
    return floor, records


def _floor(job: Job, folder: Path) -> Floor:
    return Floor(**_call("floor", replace(job, method="floor"), folder, 600.0)[1])


def data_of(case: Case, folder: Path, say: Say) -> str:
    """Where the data of a case lie; they have their name when they are whole."""
    matrix = case.matrix
    place = folder / f"{matrix.unknowns}-{matrix.snapshots}-{matrix.dtype}{'.zarr' if case.on_store else '.npy'}"
    if not place.exists():
        say(f"{case.name}: writing {matrix.nbytes / 2**30:.2f} GiB")
        begun = place.with_stem("begun")
        shutil.rmtree(begun, ignore_errors=True)  # what an interrupted call has left
        if case.on_store:
            write_store(matrix, str(begun), "blosc")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(begun, matrix.snapshot_rows())
        begun.rename(place)
    return str(place)


def _records(case: Case, job: Job, floor: Floor, folder: Path) -> Iterator[Record]:
    """A record for each attempt; our own runs on a store stand between two floors, for machines change within minutes."""
    for method in case.methods:
        attempt = replace(job, method=method)
        for _ in range(1 + ESCALATIONS):
            record = _run_method(case, attempt, floor, folder)
            if case.on_store and method.startswith("nwidth") and record.seconds is not None:
                after = _floor(job, folder)
                record = replace(record, floors=2 * record.seconds / (floor.seconds() + after.seconds()))
                floor = after
            yield record
            if not _short_of_memory(record):
                break
            attempt = replace(attempt, memory=2 * attempt.memory)


def _short_of_memory(record: Record) -> bool:
    return record.outcome.startswith("failed") and any(word in record.outcome for word in ("Killed", "Memory", "memory"))


def _run_method(case: Case, job: Job, floor: Floor, folder: Path) -> Record:
    place = folder / "scratch"
    place.mkdir()
    if case.on_store:
        drop_caches()
    watched, result = _call("child", replace(job, scratch=str(place)), folder, case.limit_seconds)
    shutil.rmtree(place, ignore_errors=True)
    blank = Record(case.name, job.method, "done", job.memory)
    if watched.status is None:
        return replace(blank, outcome=f"stopped after {case.limit_seconds:.0f} s")
    if "absent" in result:
        return replace(blank, outcome=f"absent: {result['absent']}")
    if "spans" not in result:
        return replace(blank, outcome=f"failed: {_last_line(watched)}")
    return _filled(blank, watched, result, floor)


def _filled(blank: Record, watched: Watched, result: dict[str, Any], floor: Floor) -> Record:
    spans = result.pop("spans")
    usage = watched.usage(spans[0][0], spans[-1][1])
    walls = [stop - start for start, stop in spans]
    seconds = statistics.median(walls)
    return replace(
        blank,
        seconds=seconds,
        fastest=min(walls),
        cpu_seconds=usage.cpu_seconds / len(spans),
        others=usage.others,
        floors=seconds / floor.seconds(),
        syrks=seconds / floor.syrk_seconds,
        read_bytes=usage.read_bytes // len(spans),
        reads=usage.read_bytes / len(spans) / floor.stored_bytes if floor.stored_bytes else None,
        peak_bytes=usage.peak_bytes,
        peak_process_bytes=usage.peak_process_bytes,
        **{name: value for name, value in result.items() if name in Record.__dataclass_fields__},
    )


def _call(module: str, job: Job, folder: Path, limit: float) -> tuple[Watched, dict[str, Any]]:
    told, result = folder / "job.json", folder / "result.json"
    told.write_text(json.dumps(asdict(job)))
    result.unlink(missing_ok=True)
    watched = watch([sys.executable, "-m", f"tests.benchmarks.{module}", str(told), str(result)], limit, {})
    if not result.exists() and module == "floor":
        raise RuntimeError(f"the floor could not be measured: {watched.errors[-2000:]}")
    return watched, json.loads(result.read_text()) if result.exists() else {}


def _last_line(watched: Watched) -> str:
    lines = [line for line in watched.errors.strip().splitlines() if line and not line.startswith(" ")]
    return (lines or [f"exit status {watched.status}"])[-1][:160]
