"""``python -m tests.benchmarks [--suite in-memory|out-of-core|all] [--scale tiny|small|full] [--out FILE] [--table FILE]``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.runner import run_case
from tests.benchmarks.suites import cases
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


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; the table goes to the screen, too."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--suite", choices=("in-memory", "out-of-core", "all"), default="all")
    parser.add_argument("--scale", choices=("tiny", "small", "full"), default="small")
    parser.add_argument("--out", type=Path, help="write all records as JSON")
    parser.add_argument("--table", type=Path, help="write the table as Markdown")
    parser.add_argument("--scratch", type=Path, help="folder for data, on a disk with room for them (default: the temporary one)")
    parser.add_argument("--only", action="append", help="a part of a case's name; may be repeated")
    asked = parser.parse_args(arguments)
    sections = [
        f"{time.strftime('%Y-%m-%d')}, `python -m tests.benchmarks --suite {asked.suite} --scale {asked.scale}`, {machine()}.\n"
    ]
    results = []
    for case in cases(asked.suite, asked.scale):
        if asked.only and not any(part in case.name for part in asked.only):
            continue
        floor, records = run_case(case, asked.scratch, lambda text: print(text, file=sys.stderr, flush=True))
        sections.append(case_table(case, floor, records))
        results.append({"case": asdict(case), "floor": asdict(floor), "records": [asdict(record) for record in records]})
        if asked.out:
            asked.out.write_text(json.dumps({"machine": machine(), "cases": results}, indent=1))
        if asked.table:
            asked.table.write_text("\n".join(sections))
    print("\n".join(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main())
