"""Statistics of a field over all draws, on disk: one pass over the modes, written block by block by the workers that form it.

fields/<field>/mean, std              (time, *space[, component])
fields/<field>/quantiles              (level, time, *space[, component])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.models.files import create_array
from nwidth_graphs.draws import ModesBlock
from nwidth_graphs.kernels.field_statistics import FieldStatistics
from nwidth_graphs.layout import Panel, panels

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ModesReader:
    """Reads one panel of the modes of all clusters, and the weights of its rows; travels to the workers."""

    folders: tuple[str, ...]
    """``bases/<basis>/<field>`` of every cluster's model."""
    weights: str = ""
    """Array of the weights of the places, without the component; none weighs 1."""
    components: int = 1

    def __call__(self, panel: Panel) -> ModesBlock:
        import zarr

        modes: list[Floats] = []
        means: list[Floats | None] = []
        for folder in self.folders:
            group: Any = zarr.open_group(folder, mode="r")
            modes.append(np.asarray(group["modes"][(slice(None), *panel.selection)]).reshape(group["modes"].shape[0], -1))
            means.append(np.asarray(group["mean"][panel.selection]).ravel() if "mean" in group else None)
        read = sum(array.nbytes for array in (*modes, *means) if array is not None)
        return ModesBlock(modes, means, self._weights(panel), read)

    def _weights(self, panel: Panel) -> Floats | None:
        if not self.weights:
            return None
        import zarr

        space = panel.selection if self.components == 1 else panel.selection[:-1]
        stored: Any = zarr.open_array(self.weights, mode="r")
        return np.repeat(np.asarray(stored[space], np.float64).ravel(), self.components)


def panels_at(modes_folder: str | Path) -> tuple[Panel, ...]:
    """The field's space, cut as its modes are on disk: every file is read once."""
    import zarr

    stored: Any = zarr.open_array(str(Path(modes_folder) / "modes"), mode="r")
    return panels(stored.shape[1:], stored.chunks[1:])


@dataclass(frozen=True)
class StatisticsWriter:
    """``write(panel, statistics)``: called in the worker that formed them."""

    folder: str

    def __call__(self, panel: Panel, found: FieldStatistics) -> None:
        import zarr

        group: Any = zarr.open_group(self.folder, mode="r+")
        everywhere = slice(None)
        group["mean"][(everywhere, *panel.selection)] = found.mean.reshape(-1, *panel.shape)
        group["std"][(everywhere, *panel.selection)] = np.sqrt(found.variance).reshape(-1, *panel.shape)
        if "quantiles" in group:
            shape = (*found.quantiles.shape[:2], *panel.shape)
            group["quantiles"][(everywhere, everywhere, *panel.selection)] = found.quantiles.reshape(shape)


def create_statistics(folder: Path, modes_folder: Path, times: Floats, levels: Sequence[float]) -> StatisticsWriter:
    """Create the empty arrays of one field's statistics, shaped and cut as its modes are, and return what writes them."""
    import zarr

    source: Any = zarr.open_group(str(modes_folder), mode="r")
    modes = source["modes"]
    space, box, dims = modes.shape[1:], modes.chunks[1:], modes.metadata.dimension_names[1:]
    group = zarr.open_group(str(folder), mode="w")
    group.attrs.update(dict(source.attrs))
    for name in ("mean", "std"):
        create_array(group, name, (len(times), *space), (1, *box), ("time", *dims))
    create_coordinate(group, "time", times)
    if levels:
        create_array(group, "quantiles", (len(levels), len(times), *space), (1, 1, *box), ("level", "time", *dims))
        create_coordinate(group, "level", np.asarray(levels, float))
    return StatisticsWriter(str(folder))


def create_coordinate(group: Any, name: str, values: Floats) -> None:
    """A small coordinate along the dimension of its own name."""
    create_array(group, name, values.shape, values.shape, (name,))[...] = values
