"""The largest arrays of a model: modes, written panel by panel by the workers that lift them.

    modes (N, *space)    chunks of a few modes by the box of one panel, so that a panel is a few whole files of its own

A whole panel is written as files, without Zarr: nothing is encoded here, and opening the arrays and copying every chunk for it
took as long as the writing. Panels at the ragged end of a grid, which share their chunk with its padding, go through Zarr.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.models.files import FieldShape, create_array
from nwidth.models.whole_files import crc_of_file, read_whole, write_whole
from nwidth_graphs.kernels.memory import page_aligned
from nwidth_graphs.sequence import all_put_away, at_the_end

if TYPE_CHECKING:
    from nwidth_graphs.layout import Panel

# Modes are read one at a time (a picture) or a few rows at a time (a projection): 4 MiB chunks serve both.
CHUNK_BYTES = 4 * 2**20
# Modes of a panel of which a thread may hold two.
SMALL_PANEL_BYTES = 8 * 2**20

_last = threading.local()
"""Of each thread, the files of the panel that it wrote last, and their proof: it is asked for next, without a read."""
_held = threading.local()
"""Of each thread that is in a sequence of blocks, the memory in which it makes modes."""


@dataclass(frozen=True)
class ModesWriter:
    """``write(panel, modes (r, rows), mean (rows,) or None)``: called in the worker that lifted the panel."""

    folder: str
    rank: int
    chunks: tuple[int, ...] = ()
    """Of the modes: (modes, *box of a panel)."""
    direct: bool = False
    """Past the system's cache, from which nobody will read them soon."""
    array: str = "modes"
    """Name of the array in its group."""

    def __call__(self, panel: Panel, modes: NDArray[np.float64], mean: NDArray[np.float64] | None) -> None:
        if self._is_whole(panel):
            files = self._modes_files(panel)
            told = [self._write(file, part) for file, part in zip(files, self._layers(modes), strict=True)]
            told.append(crc_of_file(self._mean_file(panel)) if mean is None else self._write(self._mean_file(panel), mean))
            _last.files, _last.proof = files, "-".join(told)
            return
        import zarr

        group: Any = zarr.open_group(self.folder, mode="r+")
        group[self.array][(slice(None), *panel.selection)] = modes.reshape(self.rank, *panel.shape)
        if mean is not None:
            group["mean"][panel.selection] = mean.reshape(panel.shape)

    def place(self, panel: Panel) -> NDArray[np.float64]:
        """Memory in which to make the modes (r, rows) of a panel, from which nothing is being written any more.

        In a sequence of blocks it is the same from block to block. Small panels have two pieces of memory in turn, of which the
        older one is free. Large ones have one, and wait for it, hardly ever long: a block is read meanwhile. A second one would
        be a third of a thread's memory.
        """
        needed = self.rank * panel.rows
        memory: dict[int, NDArray[np.float64]] | None = getattr(_held, "modes", None)
        if memory is None:
            if not at_the_end(_let_go):
                return page_aligned((self.rank, panel.rows))
            memory = _held.modes = {}
            _held.turn = 0
        if 8 * needed <= SMALL_PANEL_BYTES:
            _held.turn = 1 - _held.turn
        else:
            all_put_away()
        if _held.turn not in memory or memory[_held.turn].size < needed:
            memory[_held.turn] = page_aligned((needed,))
        return memory[_held.turn][:needed].reshape(self.rank, panel.rows)

    def _write(self, file: Path, values: NDArray[np.float64]) -> str:
        _make_room(file)
        return write_whole(file, values, direct=self.direct)

    def read(self, panel: Panel) -> NDArray[np.float64]:
        """The modes (r, rows) of a panel that was written."""
        depth, rows = self.chunks[0], panel.rows
        if self._is_whole(panel):
            files = self._modes_files(panel)
            found = np.empty((len(files) * depth, rows))
            try:
                for layer, file in enumerate(files):
                    read_whole(file, found[layer * depth : (layer + 1) * depth])
            except OSError:
                pass  # absent, or torn: Zarr has an answer to the first, and words for the second
            else:
                return found[: self.rank]
        import zarr

        group: Any = zarr.open_group(self.folder, mode="r")
        return np.asarray(group[self.array][(slice(None), *panel.selection)]).reshape(self.rank, rows)

    def proof(self, panel: Panel) -> str:
        """CRC-32C of what lies on disk of a panel's modes and mean: who saw it once knows later whether they are still there."""
        files = self._modes_files(panel)
        if getattr(_last, "files", None) == files:
            del _last.files  # once: what lies there later is somebody else's to read
            return str(_last.proof)
        return "-".join(crc_of_file(file) for file in (*files, self._mean_file(panel)))

    def _is_whole(self, panel: Panel) -> bool:
        """Whether the panel is one box of the chunk grid, and no part of one."""
        return all(
            part.start % size == 0 and part.stop - part.start == size
            for part, size in zip(panel.selection, self.chunks[1:], strict=True)
        )

    def _layers(self, modes: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
        """The modes in chunks along their number, the last one filled up with NaN as Zarr does."""
        depth = self.chunks[0]
        for start in range(0, self.rank, depth):
            part = modes[start : start + depth]
            missing = depth - len(part)
            yield part if missing == 0 else np.concatenate([part, np.full((missing, part.shape[1]), np.nan)])

    def _modes_files(self, panel: Panel) -> list[Path]:
        place = self._place(panel)
        return [Path(self.folder, self.array, "c", str(layer), *place) for layer in range(math.ceil(self.rank / self.chunks[0]))]

    def _mean_file(self, panel: Panel) -> Path:
        return Path(self.folder, "mean", "c", *self._place(panel))

    def _place(self, panel: Panel) -> list[str]:
        return [str(part.start // size) for part, size in zip(panel.selection, self.chunks[1:], strict=True)]


def create_modes(model: Path, basis: str, field: FieldShape, rank: int, *, centred: bool, direct: bool = False) -> ModesWriter:
    """Create the empty arrays of one field's modes (and mean) and return what writes them.

    Arrays of an interrupted run that fit are left as they are: panels that it wrote need not be written again.
    """
    import zarr

    folder = model / "bases" / basis / field.name
    rows = int(np.prod(field.panel))
    depth = layer_depth(rank, CHUNK_BYTES // (8 * max(rows, 1)))
    chunks = tuple(max(1, size) for size in (depth, *field.panel))
    writer = ModesWriter(str(folder), rank, chunks, direct)
    if folder.exists() and _fits(folder, (rank, *field.shape), chunks, centred=centred):
        return writer
    group = zarr.open_group(str(folder), mode="w")
    group.attrs.update({"location": field.location, "components": list(field.components), "units": field.units})
    create_array(group, "modes", (rank, *field.shape), chunks, ("mode", *field.dims))
    if centred:
        create_array(group, "mean", field.shape, field.panel, field.dims)
    return writer


def layer_depth(rank: int, most: int) -> int:
    """Modes of a chunk: at most `most`, at least half of it, and as few as can be beyond the last mode. Pure."""
    most = max(1, min(rank, most))
    return min(range(most, most // 2, -1), key=lambda depth: -rank % depth)


def _fits(folder: Path, shape: tuple[int, ...], chunks: tuple[int, ...], *, centred: bool) -> bool:
    """Whether the arrays of a field were made already, as they are wanted."""
    import zarr

    try:
        group: Any = zarr.open_group(str(folder), mode="r")
        modes = group["modes"]
        return "location" in group.attrs and (modes.shape, modes.chunks) == (shape, chunks) and ("mean" in group) == centred
    except (OSError, ValueError, KeyError):  # torn, or half made: it is made anew
        return False


def _let_go() -> None:
    del _held.modes


def _make_room(file: Path) -> None:
    """Create the folders of a chunk, but never those of its array: a run that gave up has removed them, and they stay away."""
    inside = list(file.parents)[: file.parts[::-1].index("c")]
    for folder in reversed(inside):
        folder.mkdir(exist_ok=True)
