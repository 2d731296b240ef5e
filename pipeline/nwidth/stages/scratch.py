"""Scaled modes of the nodes of a tree: written by the worker that made them, read by their parent, gone with the attempt.

node ──write(panel, modes)──> scratch/<field>-<node>  (N, *space), chunked by panels ──read(panel)──> parent
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.models.files import FieldShape
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading, as_rows

Floats = NDArray[np.float64]
# A chunk holds one panel and as many modes as make up this size: parents read all modes of a panel.
CHUNK_BYTES = 16 * 2**20


class Scratch(Protocol):
    """A place for intermediate modes; travels to workers where workers are processes."""

    def write(self, label: str, shape: FieldShape, rank: int, panel: Panel, modes: Floats) -> None:
        """Store the rows of one panel, (rank, rows); the first panel that comes makes the array."""
        ...

    def reader(self, label: str) -> Callable[[Panel], Reading]:
        """``read(panel)``: modes as columns (rows, rank)."""
        ...

    def drop(self, label: str) -> None:
        """Forget an array; nothing happens where there is none."""
        ...


@dataclass(frozen=True)
class FolderScratch:
    """Zarr arrays under a folder that all workers see."""

    folder: str

    def write(self, label: str, shape: FieldShape, rank: int, panel: Panel, modes: Floats) -> None:
        """Write one panel's chunks."""
        _array(self.folder, label, shape, rank)[(slice(None), *panel.selection)] = modes.reshape(rank, *panel.shape)

    def reader(self, label: str) -> Callable[[Panel], Reading]:
        """Open the array anew for every panel: it is not there yet when the reader is made."""
        return ReadScratch(str(Path(self.folder) / label))

    def drop(self, label: str) -> None:
        """Remove the array's folder."""
        shutil.rmtree(Path(self.folder) / label, ignore_errors=True)


def _array(folder: str, label: str, shape: FieldShape, rank: int) -> Any:
    import zarr

    rows = int(np.prod(shape.panel))
    depth = max(1, min(rank, CHUNK_BYTES // (8 * max(rows, 1))))
    try:
        return zarr.open_array(f"{folder}/{label}", mode="r+")
    except FileNotFoundError:
        # Two tasks that come first at once write the same metadata; nothing is overwritten that has chunks.
        return zarr.create_array(
            f"{folder}/{label}",
            shape=(rank, *shape.shape),
            chunks=(depth, *(max(1, extent) for extent in shape.panel)),
            dtype="float64",
            compressors=None,
            fill_value=np.nan,
            overwrite=False,
            config={"write_empty_chunks": True},
        )


@dataclass(frozen=True)
class ReadScratch:
    """``read(panel)`` of one array; its bytes are not those of a store, and count as none."""

    path: str

    def __call__(self, panel: Panel) -> Reading:
        import zarr

        array: Any = zarr.open_array(self.path, mode="r")
        return Reading(as_rows(np.asarray(array[(slice(None), *panel.selection)])))


@dataclass
class MemoryScratch:
    """Arrays of this process, for threads."""

    arrays: dict[str, Floats] = field(default_factory=dict)

    def write(self, label: str, shape: FieldShape, rank: int, panel: Panel, modes: Floats) -> None:
        """Fill one panel."""
        array = self.arrays.setdefault(label, np.full((rank, *shape.shape), np.nan))
        array[(slice(None), *panel.selection)] = modes.reshape(rank, *panel.shape)

    def reader(self, label: str) -> Callable[[Panel], Reading]:
        """Views of the array."""
        return lambda panel: Reading(as_rows(self.arrays[label][(slice(None), *panel.selection)]))

    def drop(self, label: str) -> None:
        """Free the array."""
        self.arrays.pop(label, None)
