"""Columns from several places, side by side, as one block: modes of models, snapshots of a store, a shift between means.

    StackedReader(panel)  =  [ Phi_1 diag(w_1) | Phi_2 diag(w_2) | snapshots | ... ]        (rows, k) float64

Merging, appending and hierarchical reductions reduce such a stack by the ordinary passes: a reader is a reader, wherever its
columns come from. Every part reads the same panel, so that no field is ever held whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading, as_rows

if TYPE_CHECKING:
    from nwidth.models.model import Model

Floats = NDArray[np.float64]
Reader = Callable[[Panel], Reading]


@runtime_checkable
class FillingReader(Protocol):
    """A reader that can fill a part of a stack: what it reads is then in memory once, and not beside its copy."""

    def into(self, panel: Panel, out: Floats) -> int:
        """Fill `out` (k, rows) with the columns of a panel; bytes that came from a store."""
        ...


@dataclass(frozen=True)
class Columns:
    """A reader and how many columns its blocks have."""

    read: Reader
    count: int


@dataclass(frozen=True)
class FieldColumns:
    """The columns of one field, and the models that hold its modes; the first says how it is cut, and has its mesh."""

    basis: str
    parts: tuple[Columns, ...]
    models: tuple[Model, ...]

    @property
    def count(self) -> int:
        """k."""
        return sum(part.count for part in self.parts)


@dataclass(frozen=True)
class StackedReader:
    """``read(panel)``: the columns of all parts, in order, as one float64 block (rows, k)."""

    parts: tuple[Columns, ...]

    @property
    def columns(self) -> int:
        """k."""
        return sum(part.count for part in self.parts)

    def __call__(self, panel: Panel) -> Reading:
        # Snapshots first, as a block of a store lies: the transposed view is what leaves expect. Filled part by part, because
        # a store's reader hands out a buffer that the next read of the same thread overwrites.
        stacked = np.empty((self.columns, panel.rows))
        start, nbytes = 0, 0
        for part in self.parts:
            nbytes += _fill(stacked[start : start + part.count], part.read, panel)
            start += part.count
        return Reading(stacked.T, nbytes, lent=True)


def _fill(out: Floats, read: Reader | FillingReader, panel: Panel) -> int:
    if isinstance(read, FillingReader):
        return read.into(panel, out)
    reading = read(panel)
    out[...] = np.asarray(reading.values).T
    return reading.bytes_read


@dataclass(frozen=True)
class ModesReader:
    """``read(panel)``: the modes of one field of one basis of a model on disk, as columns ``Phi diag(weights)``.

    The array is opened anew for every panel: the folder of a study's model is replaced when it is run again, and a handle
    that a worker kept would tell of the old one.
    """

    folder: str
    """``<model>/bases/<basis>/<field>``."""
    weights: Floats | None = field(default=None, repr=False)
    """(N,), the singular values in a weighted merge; None for 1."""

    def __call__(self, panel: Panel) -> Reading:
        values = np.asarray(_open(self.folder, "modes")[(slice(None), *panel.selection)], np.float64)
        rows = as_rows(values)
        return Reading(rows if self.weights is None else rows * self.weights, values.nbytes, lent=True)


@dataclass(frozen=True)
class MeansReader:
    """``read(panel)``: one column, ``sum_i weights_i mean_i``, of the means of one field of several models."""

    folders: tuple[str, ...]
    weights: tuple[float, ...]

    def __call__(self, panel: Panel) -> Reading:
        means = [np.asarray(_open(folder, "mean")[panel.selection], np.float64).reshape(-1) for folder in self.folders]
        total = sum(weight * mean for weight, mean in zip(self.weights, means, strict=True))
        return Reading(np.asarray(total)[:, None], sum(mean.nbytes for mean in means), lent=True)


def modes_of(model: Path, basis: str, name: str, rank: int, weights: Floats | None = None) -> Columns:
    """The modes of one field of a model, as columns of a stack."""
    return Columns(ModesReader(str(model / "bases" / basis / name), weights), rank)


def stacked(parts: Sequence[Columns]) -> StackedReader:
    """Parts side by side."""
    return StackedReader(tuple(parts))


def _open(folder: str, name: str) -> Any:
    import zarr

    return zarr.open_array(f"{folder}/{name}", mode="r")
