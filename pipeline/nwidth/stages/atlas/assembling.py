"""A dissimilarity matrix made by all workers: into an array of this process, or into a file that they share with it.

vectors ──Dask, blocks of rows──> D.npy beside the modes ──read──> D          the file is gone afterwards
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.problems.options import content_token
from nwidth.stages.problem import Passes
from nwidth.stages.sinks import FolderSink, ModesSink
from nwidth_graphs.dissimilarity import NAME, sine_graph

Floats = NDArray[np.float64]
Assemble = Callable[[Floats, str], NDArray[Any]]
"""``assemble(vectors (N, m), dtype) -> D (m, m)``."""

# Workers hold the vectors three times beside what a pass needs at other times: more than this is left to the driver.
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class MemoryRows:
    """Writes rows into an array of this process."""

    target: NDArray[Any]

    def __call__(self, start: int, rows: NDArray[Any]) -> None:
        self.target[start : start + len(rows)] = rows


@dataclass(frozen=True)
class FileRows:
    """Writes rows into an ``.npy`` file that is there already: one contiguous piece each, so that no two writers meet."""

    file: str
    offset: int
    """Bytes of the header."""

    def __call__(self, start: int, rows: NDArray[Any]) -> None:
        with open(self.file, "r+b", buffering=0) as stream:
            stream.seek(self.offset + start * rows.shape[1] * rows.itemsize)
            rest = memoryview(np.ascontiguousarray(rows)).cast("B")
            while rest:
                rest = rest[stream.write(rest) :]


@dataclass(frozen=True)
class Assembling:
    """Makes the matrix where modes go, with the workers that make these."""

    passes: Passes
    sink: ModesSink

    def __call__(self, vectors: Floats, dtype: str) -> NDArray[Any]:
        """D (m, m); rows of one pair agree to rounding, and the diagonal is zero."""
        count = vectors.shape[1]
        if not isinstance(self.sink, FolderSink):
            D = np.empty((count, count), dtype)
            self._run(vectors, MemoryRows(D), dtype)
            return D
        file = self.sink.model.parent / f"{NAME}-{uuid.uuid4().hex[:8]}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._run(vectors, _made(file, count, dtype), dtype)
            return np.asarray(np.load(file, allow_pickle=False))
        finally:
            file.unlink(missing_ok=True)

    def _run(self, vectors: Floats, write: Any, dtype: str) -> None:
        graph = sine_graph(vectors, write, content_token(NAME, vectors, dtype), dtype)
        self.passes.executor.run(graph, NAME, self.passes.progress)


def suits(vectors: Floats) -> bool:
    """Whether workers have room for the vectors, three times."""
    return 3 * vectors.nbytes <= MOST_BYTES


def _made(file: Path, count: int, dtype: str) -> FileRows:
    """The file with its header, as long as it will be, and what writes its rows."""
    np.lib.format.open_memmap(file, mode="w+", dtype=np.dtype(dtype), shape=(count, count)).flush()
    with file.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)
        return FileRows(str(file), stream.tell())
