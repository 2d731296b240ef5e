"""Scaled modes of the nodes of a tree: written by the worker that made them, read by their parent, gone with the attempt.

node ──write(panel, modes)──> scratch/<field>-<node>  (N, *space), chunked by panels ──read(panel)──> parent

A folder outlives its driver. What lies there is believed by the checksum that was taken when the node's result was kept.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nwidth.models.files import FieldShape
from nwidth.models.whole_files import crc_of_file
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

    def reader(self, label: str, content: str = "") -> Callable[[Panel], Reading]:
        """``read(panel)``: modes as columns (rows, rank); `content` says which, for those who keep what is made of them."""
        ...

    def make_room(self, label: str, shape: FieldShape, rank: int) -> None:
        """Make an array before several tasks write into it; one of as many modes keeps the panels that it has."""
        ...

    def proof(self, label: str, shape: FieldShape, rank: int, panel: Panel) -> str:
        """Checksum of what lies on disk of one panel; empty where it is not all there, or where nothing lies on disk."""
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

    def reader(self, label: str, content: str = "") -> Callable[[Panel], Reading]:
        """Open the array anew for every panel: it is not there yet when the reader is made."""
        return ReadScratch(str(Path(self.folder) / label), content)

    def make_room(self, label: str, shape: FieldShape, rank: int) -> None:
        """Open the array, or make it in the place of another one."""
        import zarr

        try:
            found: Any = zarr.open_array(f"{self.folder}/{label}", mode="r")
            fits = (found.shape, found.chunks) == ((rank, *shape.shape), _chunks(shape, rank))
        except (OSError, ValueError, KeyError):  # not there, or torn
            fits = False
        if not fits:
            self.drop(label)
            _array(self.folder, label, shape, rank)

    def proof(self, label: str, shape: FieldShape, rank: int, panel: Panel) -> str:
        """CRC-32C of the panel's chunks."""
        depth, *box = _chunks(shape, rank)
        place = [str(part.start // size) for part, size in zip(panel.selection, box, strict=True)]
        files = [Path(self.folder, label, "c", str(layer), *place) for layer in range(math.ceil(rank / depth))]
        return "-".join(map(crc_of_file, files)) if all(file.exists() for file in files) else ""

    def drop(self, label: str) -> None:
        """Remove the array's folder."""
        shutil.rmtree(Path(self.folder) / label, ignore_errors=True)


def _array(folder: str, label: str, shape: FieldShape, rank: int) -> Any:
    import zarr
    from zarr.errors import ContainsArrayError

    place = f"{folder}/{label}"
    # Looked for, not tried: an exception from within Zarr keeps all frames above it, and the columns of a node that they hold,
    # until the garbage collector comes by.
    if not Path(place, "zarr.json").exists():
        try:
            return zarr.create_array(
                place,
                shape=(rank, *shape.shape),
                chunks=_chunks(shape, rank),
                dtype="float64",
                compressors=None,
                fill_value=np.nan,
                overwrite=False,
                config={"write_empty_chunks": True},
            )
        except ContainsArrayError:  # another task came first
            pass
    return zarr.open_array(place, mode="r+")


def _chunks(shape: FieldShape, rank: int) -> tuple[int, ...]:
    depth = max(1, min(rank, CHUNK_BYTES // (8 * max(int(np.prod(shape.panel)), 1))))
    return depth, *(max(1, extent) for extent in shape.panel)


@dataclass(frozen=True)
class ReadScratch:
    """``read(panel)`` of one array; its bytes are not those of a store, and count as none."""

    path: str
    content: str = ""

    def __call__(self, panel: Panel) -> Reading:
        import zarr

        array: Any = zarr.open_array(self.path, mode="r")
        return Reading(as_rows(np.asarray(array[(slice(None), *panel.selection)])))

    def into(self, panel: Panel, out: Floats) -> int:
        """Fill `out` (N, rows), chunk by chunk: what a chain carries may be as large as all else that it holds."""
        import zarr

        array: Any = zarr.open_array(self.path, mode="r")
        place = out.reshape(len(out), *panel.shape)
        for box in product(*map(_cuts, panel.selection, array.chunks[1:])):
            inside = (
                slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, panel.selection, strict=True)
            )
            place[(slice(None), *inside)] = array[(slice(None), *box)]
        return 0


def _cuts(whole: slice, size: int) -> list[slice]:
    """The range, cut where chunks of that size end."""
    edges = [whole.start, *range((whole.start // size + 1) * size, whole.stop, size), whole.stop]
    return [slice(start, stop) for start, stop in pairwise(edges)]


@dataclass
class MemoryScratch:
    """Arrays of this process, for threads."""

    arrays: dict[str, Floats] = field(default_factory=dict)

    def write(self, label: str, shape: FieldShape, rank: int, panel: Panel, modes: Floats) -> None:
        """Fill one panel."""
        array = self.arrays.setdefault(label, np.full((rank, *shape.shape), np.nan))
        array[(slice(None), *panel.selection)] = modes.reshape(rank, *panel.shape)

    def reader(self, label: str, content: str = "") -> Callable[[Panel], Reading]:
        """Views of the array."""
        return lambda panel: Reading(as_rows(self.arrays[label][(slice(None), *panel.selection)]))

    def make_room(self, label: str, shape: FieldShape, rank: int) -> None:
        """Fill it with NaN."""
        self.arrays.setdefault(label, np.full((rank, *shape.shape), np.nan))

    def proof(self, label: str, shape: FieldShape, rank: int, panel: Panel) -> str:
        """Nothing lies on disk."""
        return ""

    def drop(self, label: str) -> None:
        """Free the array."""
        self.arrays.pop(label, None)
