"""Runs one method in this process, times it, and scores its answer: ``python -m tests.benchmarks.child job.json result.json``."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.data import Matrix
from tests.benchmarks.job import AbsentError, Job

# Longer than two samples of the watcher, so that the moments just before and after the work are seen.
PAUSE = 0.15
# Seconds after which a method is not repeated any more: long runs are steadier than short ones.
ENOUGH = 20.0


def main() -> None:
    """Read the job, write the result."""
    from tests.benchmarks.methods import METHODS
    from tests.benchmarks.scoring import score

    told, result = Path(sys.argv[1]), Path(sys.argv[2])
    content = json.loads(told.read_text())
    job = Job(**{**content, "matrix": Matrix(**content["matrix"])})
    record: dict[str, Any] = {}
    entered = time.monotonic()
    try:
        with METHODS[job.method](job) as work:
            record["prepare_seconds"] = time.monotonic() - entered
            time.sleep(PAUSE)
            record["spans"] = []
            while len(record["spans"]) < job.repeats and time.monotonic() - entered < ENOUGH:
                start = time.monotonic()
                answer = work()
                record["spans"].append([start, time.monotonic()])
            time.sleep(PAUSE)
    except AbsentError as error:
        result.write_text(json.dumps({"absent": str(error)}))
        return
    record |= asdict(score(job.matrix, job.rank, answer.singular_values, answer.modes))
    record |= {"spilled_bytes": answer.spilled_bytes, "counted_bytes": answer.counted_bytes, "note": answer.note}
    result.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
