"""Records as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.floor import Floor
from tests.benchmarks.job import MIB
from tests.benchmarks.runner import Record
from tests.benchmarks.suites import Case

COLUMNS = (
    "method | s | × floor | × syrk | CPU s | others | reads | peak MB, all | one | spill MB | s₁…k rel. err. | "
    "all s / s₁ | excess | defect"
)


def case_table(case: Case, floor: Floor, records: Sequence[Record]) -> str:
    """The section of one case: what it is, its floor, and a line per record."""
    matrix = case.matrix
    lines = [
        f"### {case.name}: {matrix.unknowns:,} × {matrix.snapshots} {matrix.dtype}, {case.rank} modes",
        "",
        f"{matrix.nbytes / 2**30:.2f} GiB{_stored(case, floor)}; median of at most {case.repeats}. {_floor(case, floor)}",
        "",
        f"| {COLUMNS} |",
        "|" + " --- |" * len(COLUMNS.split("|")),
        *(_line(case, record) for record in records),
        "",
    ]
    return "\n".join(lines)


def _stored(case: Case, floor: Floor) -> str:
    if not case.on_store:
        return " in memory"
    return f", {floor.stored_bytes / 2**30:.2f} GiB stored; workers 2 × {case.memory / MIB:.0f} MiB, one thread each"


def _floor(case: Case, floor: Floor) -> str:
    products = f"Gram {floor.gram_seconds:.1f} + lift {floor.lift_seconds:.1f} core-s"
    if not case.on_store:
        return f"Floor {floor.seconds():.2f} s = ({products}) / {floor.cores} cores; one syrk {floor.syrk_seconds:.2f} s."
    cache = "cold" if floor.cold else "from the page cache, which could not be dropped"
    return (
        f"Floor {floor.seconds():.2f} s = max(2 × reading {floor.read_seconds:.2f} s ({cache}), (2 × decoding "
        f"{floor.decode_seconds:.1f} + {products}) / {floor.cores} cores)."
    )


def _line(case: Case, record: Record) -> str:
    name = record.method if record.memory == case.memory else f"{record.method} ({record.memory / MIB:.0f} MiB each)"
    if record.seconds is None:
        return f"| {name} | {record.outcome} |" + " |" * (len(COLUMNS.split("|")) - 2)
    cells = [
        name,
        f"{record.seconds:.2f}",
        _number(record.floors, ".2f"),
        _number(record.syrks, ".1f"),
        _number(record.cpu_seconds, ".1f"),
        _number(record.others, ".2f"),
        _number(record.reads, ".2f"),
        _number(record.peak_bytes and record.peak_bytes / 1e6, ".0f"),
        _number(record.peak_process_bytes and record.peak_process_bytes / 1e6, ".0f"),
        _number(None if record.spilled_bytes is None else record.spilled_bytes / 1e6, ".0f"),
        *(_number(value, ".0e") for value in (record.singular_values, record.all_values, record.excess, record.defect)),
    ]
    return "| " + " | ".join(cells) + " |"


def _number(value: Any, form: str) -> str:
    return "–" if value is None else format(value, form)
