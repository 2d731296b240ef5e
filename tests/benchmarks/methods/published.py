"""The arithmetic of published programs, written plainly: what a person would run instead of a cluster.

Two processes, each with one BLAS thread: load half of the rows of an uncompressed array, one Gram matrix each, their sum, its
eigenvalues. That is the part of distributed operator inference (dOpInf) that its tables time, with pipes in the place of MPI's
reduction, which moves one 600 x 600 matrix.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.floor import drop_caches
from tests.benchmarks.job import Answer, Job, Method, Work


@contextmanager
def plain_processes(job: Job) -> Iterator[Work]:
    """The processes are up and their libraries imported before the clock starts; the file is cold, as stores are."""
    file = _plain_copy(job)
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(job.workers)]
    workers = [
        context.Process(target=_serve, args=(pipe[1], str(file), index, job.workers), daemon=True)
        for index, pipe in enumerate(pipes)
    ]
    for worker in workers:
        worker.start()
    for pipe in pipes:
        pipe[0].recv()
    drop_caches()

    def work() -> Answer:
        for pipe in pipes:
            pipe[0].send("go")
        total = sum(pipe[0].recv() for pipe in pipes)
        return Answer(np.sqrt(np.linalg.eigvalsh(total)[::-1].clip(0)), None)

    yield work
    for pipe in pipes:
        pipe[0].send("stop")
    for worker in workers:
        worker.join(timeout=10)


def _plain_copy(job: Job) -> Path:
    """The snapshots as one file (n, m), row by row, as the published program reads them."""
    import zarr

    stored: Any = zarr.open_array(str(Path(job.source) / "fields" / "u"), mode="r")
    file = Path(job.scratch) / "rows.npy"
    rows = np.lib.format.open_memmap(str(file), "w+", stored.dtype, (stored.shape[1], stored.shape[0]))
    for start in range(0, stored.shape[1], stored.chunks[1]):
        part = slice(start, min(start + stored.chunks[1], stored.shape[1]))
        rows[part] = stored[:, part].T
    rows.flush()
    return file


def _serve(pipe: Any, file: str, index: int, count: int) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        pipe.send("ready")
        while pipe.recv() == "go":
            rows = np.load(file, mmap_mode="r")
            share = len(rows) * index // count, len(rows) * (index + 1) // count
            block = np.array(rows[slice(*share)])
            pipe.send(block.T @ block)


METHODS: dict[str, Method] = {"plain NumPy, processes": plain_processes}
