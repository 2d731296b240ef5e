"""Write a model that was made of models: what it shares with its parents is copied, what is new is written.

The manifest is written last, and says what the model is made of (``provenance.parents``) and how far its errors are known
(``bases.<basis>.remainder``), so that it can be merged and updated again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.models import files
from nwidth.models.model import Model

if TYPE_CHECKING:
    import xarray as xr

FIELD_NORMS = "field_norms"
"""Group of a model that was made of others: norms (snapshot,) of each unscaled field, where it keeps no factor."""


def copy_place(parents: Sequence[Model], into: Path) -> None:
    """Copy the mesh and the grid from the first parent that has them."""
    for group in ("mesh", "grid"):
        source = next((parent.path / group for parent in parents if (parent.path / group).is_dir()), None)
        if source is not None and not (into / group).exists():
            shutil.copytree(source, into / group)


def joined_snapshots(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Coordinates of the snapshots of several models, one after the other; what one of them lacks is NaN, or empty text."""
    import xarray as xr

    names = list(dict.fromkeys(str(name) for part in parts for name in part.coords))
    joined = {}
    for name in names:
        columns = [part.coords[name].values if name in part.coords else None for part in parts]
        text = any(column is not None and column.dtype.kind in "OUST" for column in columns)
        filled = [_column(column, part.sizes["snapshot"], text) for column, part in zip(columns, parts, strict=True)]
        attributes = next(part.coords[name].attrs for part in parts if name in part.coords)
        joined[name] = xr.Variable("snapshot", np.concatenate(filled), attributes)
    return xr.Dataset(coords=joined)


def _column(values: NDArray[Any] | None, count: int, text: bool) -> NDArray[Any]:
    if values is None:
        return np.full(count, "", dtype=object) if text else np.full(count, np.nan)
    return values.astype(object) if text else values


def write_per_field(model: Path, group: str, arrays: Mapping[str, NDArray[np.float64]], dims: Sequence[str]) -> None:
    """Write one small array per field under ``<group>/<field>``."""
    import zarr

    folder = zarr.open_group(str(model / group), mode="w")
    for name, values in arrays.items():
        files.write_array(folder, name, values, dims)
