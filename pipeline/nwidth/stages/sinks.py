"""Where modes go: into a model on disk, written by the workers, or into an array of this process.

A sink also gives modes back for a repair: `repairing` reads a panel of modes, multiplies it by T (r, k), stores it beside the
original (so that a task that runs twice does no harm), and hands it to the same reduction that measures any block. A folder keeps
the modes as they were lifted until the run is done: a run that is killed in a repair, and resumed, begins again from those.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nwidth.models.files import FieldShape
from nwidth.models.modes import ModesWriter, create_modes
from nwidth.stages.scratch import FolderScratch, MemoryScratch, ReadScratch, Scratch
from nwidth_graphs.kernels.memory import page_aligned
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading, as_rows

Floats = NDArray[np.float64]
Write = Callable[[Panel, Floats, Floats | None], None]


class ModesSink(Protocol):
    """Takes the modes of one field of one basis."""

    def begin(self, basis: str, shape: FieldShape, rank: int, *, centred: bool, read_again: bool = False) -> Write:
        """Make room, and return what writes a panel; `read_again` says that the same run will read all of it."""
        ...

    def repairing(self, basis: str, shape: FieldShape, transform: Floats) -> Callable[[Panel], Reading]:
        """Return what multiplies a panel of modes by `transform` from the right, stores it aside, and shows it as a block."""
        ...

    def finish_repair(self, basis: str, shape: FieldShape) -> None:
        """Put the repaired modes in the place of the old ones."""
        ...

    def collect(self, basis: str, shape: FieldShape) -> tuple[Floats, Floats | None]:
        """The modes (N, *space) and the mean (*space), where there is one, in this process's memory."""
        ...


@runtime_checkable
class NodeSink(ModesSink, Protocol):
    """A sink whose modes are read again in the same run, and which has room for those of the nodes of a tree."""

    def reading(self, basis: str, shape: FieldShape) -> Callable[[Panel], Reading]:
        """``read(panel)`` of the modes as columns (rows, N), in the workers."""
        ...

    def scratch(self) -> Scratch:
        """A place beside the modes for intermediate ones, which the workers see as well."""
        ...


@dataclass(frozen=True)
class FolderSink:
    """Modes as Zarr arrays of a model folder."""

    model: Path

    def begin(self, basis: str, shape: FieldShape, rank: int, *, centred: bool, read_again: bool = False) -> Write:
        """Create the arrays, or take up those of an interrupted run, as its lifting pass left them."""
        folder, lifted = self._field(basis, shape), self._lifted(basis, shape)
        if lifted.exists():
            shutil.rmtree(folder / "modes", ignore_errors=True)
            lifted.rename(folder / "modes")
        shutil.rmtree(folder / "repaired", ignore_errors=True)
        return create_modes(self.model, basis, shape, rank, centred=centred, direct=not read_again)

    def repairing(self, basis: str, shape: FieldShape, transform: Floats) -> Callable[[Panel], Reading]:
        """Repair into ``repaired``, beside ``modes``."""
        import zarr

        folder = self._field(basis, shape)
        shutil.rmtree(folder / "repaired", ignore_errors=True)
        group = zarr.open_group(str(folder), mode="r+")
        modes: Any = group["modes"]
        repaired = group.create_array("repaired", **_like(modes, transform.shape[1]))
        return RepairInFolder(
            lifted=ModesWriter(str(folder), len(transform), modes.chunks),
            repaired=ModesWriter(str(folder), transform.shape[1], repaired.chunks, direct=True, array="repaired"),
            transform=transform,
        )

    def finish_repair(self, basis: str, shape: FieldShape) -> None:
        """Swap the folders of the two arrays; modes as they were lifted go beside the model."""
        folder, lifted = self._field(basis, shape), self._lifted(basis, shape)
        if lifted.exists():
            shutil.rmtree(folder / "modes")
        else:
            lifted.parent.mkdir(parents=True, exist_ok=True)
            (folder / "modes").rename(lifted)
        (folder / "repaired").rename(folder / "modes")

    def _field(self, basis: str, shape: FieldShape) -> Path:
        return self.model / "bases" / basis / shape.name

    def _lifted(self, basis: str, shape: FieldShape) -> Path:
        return self.model.with_name(f".{self.model.name}.lifted") / basis / shape.name

    def collect(self, basis: str, shape: FieldShape) -> tuple[Floats, Floats | None]:
        """Read the arrays."""
        import zarr

        group: Any = zarr.open_group(str(self.model / "bases" / basis / shape.name), mode="r")
        return np.asarray(group["modes"][...]), np.asarray(group["mean"][...]) if "mean" in group else None

    def reading(self, basis: str, shape: FieldShape) -> Callable[[Panel], Reading]:
        """Read the array."""
        return ReadScratch(str(self._field(basis, shape) / "modes"))

    def scratch(self) -> Scratch:
        """A folder beside the model."""
        return FolderScratch(str(self.model.with_name(f".{self.model.name}.scratch")))


def _like(array: Any, modes: int) -> dict[str, Any]:
    """The arguments that create an array like another one, but for the number of modes."""
    return {
        "shape": (modes, *array.shape[1:]),
        "chunks": (min(modes, array.chunks[0]), *array.chunks[1:]),
        "dtype": array.dtype,
        "dimension_names": array.metadata.dimension_names,
        "compressors": array.compressors,
        "fill_value": array.fill_value,
        "config": {"write_empty_chunks": True},
    }


@dataclass(frozen=True)
class RepairInFolder:
    """``read(panel)`` of the repaired modes; see the module."""

    lifted: ModesWriter
    repaired: ModesWriter
    transform: Floats = field(repr=False)

    def __call__(self, panel: Panel) -> Reading:
        old = self.lifted.read(panel)
        new = np.matmul(self.transform.T, old, out=page_aligned((self.transform.shape[1], panel.rows)))
        self.repaired(panel, new, None)
        return Reading(new.T)


@dataclass(frozen=True)
class MemoryWriter:
    """``write(panel, modes (r, rows), mean (rows,) or None)`` into arrays of this process."""

    modes: Floats = field(repr=False)
    mean: Floats = field(repr=False)

    def place(self, panel: Panel) -> Floats | None:
        """Where the modes (r, rows) of a panel will lie; None where that is no matrix."""
        part = self.modes[(slice(None), *panel.selection)]
        try:
            return np.reshape(part, (len(part), -1), copy=False)
        except ValueError:
            return None

    def __call__(self, panel: Panel, modes: Floats, mean: Floats | None) -> None:
        part = self.modes[(slice(None), *panel.selection)]
        if not np.may_share_memory(part, modes):  # else they were made there
            part[...] = modes.reshape(part.shape)
        if mean is not None:
            self.mean[panel.selection] = mean.reshape(panel.shape)


@dataclass
class MemorySink:
    """Modes as arrays of this process, written by its own threads: a worker process would fill a copy and lose it."""

    modes: dict[str, Floats] = field(default_factory=dict)
    means: dict[str, Floats] = field(default_factory=dict)
    _repaired: dict[str, Floats] = field(default_factory=dict)

    def begin(self, basis: str, shape: FieldShape, rank: int, *, centred: bool, read_again: bool = False) -> Write:
        """Allocate."""
        # Not filled: each thread touches the pages of its own panels first, and a pass that fails returns nothing.
        modes = self.modes[shape.name] = np.empty((rank, *shape.shape))
        mean = np.full(shape.shape if centred else (0,), np.nan)
        if centred:
            self.means[shape.name] = mean
        return MemoryWriter(modes, mean)

    def repairing(self, basis: str, shape: FieldShape, transform: Floats) -> Callable[[Panel], Reading]:
        """Repair into a second array."""
        old = self.modes[shape.name]
        new = self._repaired[shape.name] = np.full((transform.shape[1], *old.shape[1:]), np.nan)

        def read(panel: Panel) -> Reading:
            selection = (slice(None), *panel.selection)
            part = transform.T @ old[selection].reshape(len(transform), -1)
            new[selection] = part.reshape(-1, *panel.shape)
            return Reading(part.T)

        return read

    def finish_repair(self, basis: str, shape: FieldShape) -> None:
        """Swap the arrays."""
        self.modes[shape.name] = self._repaired.pop(shape.name)

    def collect(self, basis: str, shape: FieldShape) -> tuple[Floats, Floats | None]:
        """The arrays themselves."""
        return self.modes[shape.name], self.means.get(shape.name)

    def reading(self, basis: str, shape: FieldShape) -> Callable[[Panel], Reading]:
        """Views of the array."""
        modes = self.modes[shape.name]
        return lambda panel: Reading(as_rows(modes[(slice(None), *panel.selection)]))

    def scratch(self) -> Scratch:
        """Arrays of this process."""
        return MemoryScratch()
