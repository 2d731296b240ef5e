"""What the machine needs at least for a case, measured bare: ``python -m tests.benchmarks.floor job.json result.json``.

    floor = max( passes x reading the stored bytes,  (passes x decoding + products) / cores )

Products are those of a certified POD by the Gram route: ``C = X^T X``, ``U = X T``, ``U^T X`` and ``U^T U``, in float64, on
panels that lie in cache, one BLAS thread on every core at once. Decoding is Blosc alone, into one reused buffer a thread.
Processor seconds are medians of `REPEATS`.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.data import Matrix
from tests.benchmarks.job import Job

REPEATS = 3
PANEL = 2048
# Values of the panels that are multiplied; the rest is the same again.
SAMPLE_VALUES = 2**25


@dataclass(frozen=True)
class Floor:
    """Bare costs of one case, in seconds: wall for reading, processor time for the rest."""

    stored_bytes: int
    read_seconds: float
    cold: bool
    decode_seconds: float
    gram_seconds: float
    lift_seconds: float
    cores: int

    def seconds(self, passes: int = 2) -> float:
        """The floor of a run with that many passes over the store."""
        work = (passes * self.decode_seconds + self.gram_seconds + self.lift_seconds) / self.cores
        return max(passes * self.read_seconds, work)

    @property
    def syrk_seconds(self) -> float:
        """One ``X^T X`` on all cores."""
        return self.gram_seconds / self.cores


def measure(job: Job) -> Floor:
    """Measure all of it for one case."""
    from threadpoolctl import threadpool_limits

    stored, read, cold, decode = (0, 0.0, False, 0.0) if job.source.endswith(".npy") else _store_costs(job)
    with threadpool_limits(1):
        gram, lift = _product_costs(job.matrix, job.rank)
    return Floor(stored, read, cold, decode, gram, lift, _cores())


def drop_caches() -> bool:
    """Whether the page cache could be emptied."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def _store_costs(job: Job) -> tuple[int, float, bool, float]:
    files = sorted(path for path in (Path(job.source) / "fields" / "u" / "c").rglob("*") if path.is_file())
    cold = drop_caches()
    start = time.perf_counter()
    with ThreadPoolExecutor(job.workers) as pool:
        sizes = list(pool.map(_read_whole, files))
    read = time.perf_counter() - start
    passes = [_processor_seconds(lambda: _decode_all(job, files)) for _ in range(REPEATS)]
    return sum(sizes), read, cold, statistics.median(passes)


def _read_whole(path: Path) -> int:
    buffer = bytearray(2**22)
    total = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            total += count
    return total


def _decode_all(job: Job, files: list[Path]) -> None:
    """Decode every chunk, a thread for each core; mapped files, so that reading is a look into the page cache."""
    import zarr

    array: Any = zarr.open_array(str(Path(job.source) / "fields" / "u"), mode="r")
    _on_all_cores(lambda share: _decode(files[share :: _cores()], array))


def _decode(files: list[Path], array: Any) -> None:
    from numcodecs import blosc

    out = np.empty(array.chunks, array.dtype)
    for path in files:
        content = np.memmap(path, np.uint8, "r")
        for chunk in _chunks(content, array):
            blosc.decompress(chunk, out)


def _chunks(content: Any, array: Any) -> Iterator[Any]:
    if array.shards is None:
        yield np.asarray(content)
        return
    count = math.prod(outer // inner for outer, inner in zip(array.shards, array.chunks, strict=True))
    for offset, length in np.frombuffer(content[-16 * count - 4 : -4].tobytes(), "<u8").reshape(-1, 2):
        if length != 2**64 - 1:
            yield np.asarray(content[offset : offset + length])


def _product_costs(matrix: Matrix, rank: int) -> tuple[float, float]:
    random = np.random.default_rng(0)
    panels = [np.asfortranarray(random.standard_normal((PANEL, matrix.snapshots))) for _ in range(_cores())]
    transform = random.standard_normal((rank, matrix.snapshots))
    count = max(1, min(SAMPLE_VALUES // matrix.snapshots, matrix.unknowns) // PANEL // _cores())
    scale = matrix.unknowns / (count * PANEL * _cores())

    def gram(share: int) -> None:
        for _ in range(count):
            panels[share].T @ panels[share]

    def lift(share: int) -> None:
        for _ in range(count):
            modes = transform @ panels[share].T
            modes @ panels[share]
            modes @ modes.T

    for work in (gram, lift):
        _on_all_cores(work)
    timed = [
        statistics.median(_processor_seconds(lambda work=work: _on_all_cores(work)) for _ in range(REPEATS))  # type: ignore[misc]
        for work in (gram, lift)
    ]
    return scale * timed[0], scale * timed[1]


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _on_all_cores(work: Callable[[int], None]) -> None:
    """Call ``work(share)`` on one thread per core at once: cores share caches and memory, and a run loads them all."""
    with ThreadPoolExecutor(_cores()) as pool:
        list(pool.map(work, range(_cores())))


def _processor_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    content = json.loads(Path(sys.argv[1]).read_text())
    Path(sys.argv[2]).write_text(json.dumps(asdict(measure(Job(**{**content, "matrix": Matrix(**content["matrix"])})))))
