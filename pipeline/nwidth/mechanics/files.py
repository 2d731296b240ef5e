"""Reduced bodies on disk, inside of the model whose bases they use: arrays and JSON, never a pickle.

model.zarr/mechanics/
  zarr.json                  attribute ``mechanics``: the records, with the names of their arrays
  0, 1, 2, ...               the arrays
  cluster-<k>/bases/...      bases of the clusters, where there is a dictionary
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import LayoutError, StoreError
from nwidth.mechanics.body import DualField, Interpolation, ReducedBody, RuleErrors
from nwidth.models.records import Arrays, flatten, restore
from nwidth_graphs.kernels.gappy_reconstruction import MaskedBasis
from nwidth_graphs.kernels.indicator import Calibration

MECHANICS_SCHEMA = 1
FOLDER = "mechanics"
LARGEST_BYTES = 8 << 30
"""Of all arrays together: more is not what training writes, and is refused before it is read."""


@dataclass(frozen=True)
class ReducedMechanics:
    """All that training gives: one body, or one for each cluster."""

    bodies: tuple[ReducedBody, ...]
    case: str
    """Name of the case that it was trained with, where it has one."""
    notes: tuple[str, ...]
    """What was done otherwise than asked, in words."""


KINDS = (ReducedMechanics, ReducedBody, DualField, Interpolation, RuleErrors, MaskedBasis, Calibration)


def aside(model: Path) -> Path:
    """Where training works: beside what was trained before."""
    return model / f"{FOLDER}.partial"


def write_mechanics(model: Path, mechanics: ReducedMechanics, *, of: str, key: str) -> None:
    """Write what was trained, and put it, with the bases that lie aside already, in place of what there was.

    Parameters
    ----------
    of : content key of the model's bases
    key : content key of bases and settings together: who asks for the same again finds it
    """
    import zarr

    arrays: Arrays = {}
    tree = flatten(mechanics, arrays)
    group = zarr.open_group(str(aside(model)), mode="a")
    for name, values in arrays.items():
        dims = [f"axis_{axis}" for axis in range(values.ndim)]
        group.create_array(name, data=np.ascontiguousarray(values), compressors=None, dimension_names=dims, overwrite=True)
    group.attrs.update({"nwidth_mechanics": MECHANICS_SCHEMA, "arrays": len(arrays), "of": of, "key": key, "mechanics": tree})
    shutil.rmtree(model / FOLDER, ignore_errors=True)
    aside(model).rename(model / FOLDER)


def mechanics_key(model: Path) -> str | None:
    """The key that a model's mechanics were written with; None where it has none."""
    try:
        return str(_attributes(model / FOLDER)["key"])
    except (StoreError, KeyError):
        return None


def read_mechanics(model: Path, of: str) -> ReducedMechanics:
    """Read what was trained; `of` is the content key of the model's bases.

    Raises
    ------
    StoreError
        Nothing was.
    LayoutError
        It is damaged, too large, of other bases, or from a newer nwidth.
    """
    attributes = _attributes(model / FOLDER)
    try:
        version, count, tree, bases = (attributes[key] for key in ("nwidth_mechanics", "arrays", "mechanics", "of"))
    except KeyError:
        raise LayoutError(f"{model / FOLDER / 'zarr.json'} is damaged; train the mechanics again") from None
    if version != MECHANICS_SCHEMA:
        raise LayoutError(f"{model / FOLDER} has schema {version}, expected {MECHANICS_SCHEMA}; upgrade nwidth, or train again")
    if bases != of:
        raise LayoutError(f"the mechanics of {model} were trained on other bases than it holds; train them again")
    found = restore(tree, _arrays(model / FOLDER, int(count)), KINDS)
    if not isinstance(found, ReducedMechanics):
        raise LayoutError(f"{model / FOLDER} does not hold reduced mechanics; train them again")
    return found


def _attributes(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except FileNotFoundError:
        raise StoreError(f"{folder.parent} has no reduced mechanics; train them with nw.train_mechanics") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise LayoutError(f"{folder / 'zarr.json'} is damaged; train the mechanics again") from None
    return found


def _arrays(folder: Path, count: int) -> Arrays:
    import zarr

    group = zarr.open_group(str(folder), mode="r")
    try:
        arrays: dict[str, Any] = {str(number): group[str(number)] for number in range(count)}
    except KeyError as error:
        raise LayoutError(f"{folder} lacks its array {error}; train the mechanics again") from None
    size = sum(int(array.nbytes) for array in arrays.values())
    if size > LARGEST_BYTES:
        raise LayoutError(f"{folder} says that it holds {size} bytes, and at most {LARGEST_BYTES} are read; train again")
    return {name: np.asarray(array[...]) for name, array in arrays.items()}
