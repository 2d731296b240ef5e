"""``python -m tests.benchmarks [--suite in-memory|out-of-core|all] [--scale tiny|small|full] [--only CASE]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from tests.benchmarks.floor import Floor
from tests.benchmarks.runner import Record, run_case
from tests.benchmarks.suites import Case, cases
from tests.benchmarks.table import case_table


def machine() -> str:
    """What ran the benchmarks, in one line."""
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown")
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0.0)
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {memory:.0f} GiB, Python {platform.python_version()}, "
        f"load {os.getloadavg()[0]:.1f} at the start"
    )


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


class Report:
    """The table and the records so far, written after every method: a suite that is interrupted leaves what it has."""

    def __init__(self, out: Path | None, table: Path | None, arguments: str) -> None:
        self._out, self._table = out, table
        self._machine = machine()
        self._head = f"{time.strftime('%Y-%m-%d')}, `python -m tests.benchmarks {arguments}`, {self._machine}.\n"
        self._done: dict[str, tuple[Case, Floor, list[Record]]] = {}

    def text(self) -> str:
        """The table as Markdown."""
        return "\n".join([self._head, *(case_table(*done) for done in self._done.values())])

    def keep(self, case: Case, floor: Floor, records: list[Record]) -> None:
        """Take the records of a case so far, and write."""
        self._done[case.name] = (case, floor, records)
        if self._table:
            self._table.write_text(self.text())
        if self._out:
            kept = [
                {"case": asdict(case), "floor": asdict(floor), "records": [asdict(record) for record in records]}
                for case, floor, records in self._done.values()
            ]
            self._out.write_text(json.dumps({"machine": self._machine, "cases": kept}, indent=1))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; the table goes to the screen, too."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=("in-memory", "out-of-core", "all"), default="all")
    parser.add_argument("--scale", choices=("tiny", "small", "full"), default="small")
    parser.add_argument("--out", type=Path, help="write all records as JSON")
    parser.add_argument("--table", type=Path, help="write the table as Markdown")
    parser.add_argument("--scratch", type=Path, help="folder for data, on a disk with room for them (default: the temporary one)")
    parser.add_argument("--stores", type=Path, help="folder where data stay, and are found the next time (default: none)")
    parser.add_argument("--only", action="append", help="a part of a case's name; may be repeated")
    parser.add_argument("--method", action="append", help="a part of a method's name; may be repeated")
    parser.add_argument("--rank", type=int, help="modes to compute (default: what the case says)")
    parser.add_argument("--times", type=int, default=1, help="run the list of methods this often, one round after another")
    asked = parser.parse_args(arguments)
    report = Report(asked.out, asked.table, shlex.join(sys.argv[1:] if arguments is None else arguments))
    for case in cases(asked.suite, asked.scale):
        if asked.only and not any(part in case.name for part in asked.only):
            continue
        methods = tuple(name for name in case.methods if not asked.method or any(part in name for part in asked.method))
        case = replace(case, methods=asked.times * methods, rank=asked.rank or case.rank)
        run_case(case, asked.scratch, _say, partial(report.keep, case), asked.stores)
    print(report.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
