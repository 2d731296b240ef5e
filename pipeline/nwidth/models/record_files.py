"""A tree of frozen records as a Zarr group: its JSON in one attribute, its arrays beside it.

    <folder>/
      zarr.json         ``nwidth_<name>`` (schema), ``arrays`` (how many), ``<name>`` (the records), and attributes of the writer
      0, 1, 2, ...      the arrays

Which records may come back is the reader's choice, so that a file cannot ask for anything else; see `records`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import LayoutError
from nwidth.models.records import Arrays, flatten, restore

LARGEST_BYTES = 8 << 30
"""Of all arrays together: more is not what training writes, and is refused before it is read."""


def write_records(folder: Path, name: str, schema: int, record: Any, attributes: Mapping[str, Any]) -> None:
    """Write a record into a folder, which may hold other groups already."""
    import zarr

    arrays: Arrays = {}
    tree = flatten(record, arrays)
    group = zarr.open_group(str(folder), mode="a")
    for number, values in arrays.items():
        dims = [f"axis_{axis}" for axis in range(values.ndim)]
        group.create_array(number, data=np.ascontiguousarray(values), compressors=None, dimension_names=dims, overwrite=True)
    group.attrs.update({f"nwidth_{name}": schema, "arrays": len(arrays), **attributes, name: tree})


def attributes_of(folder: Path) -> dict[str, Any]:
    """The attributes of a folder that is there.

    Raises
    ------
    LayoutError
        They are damaged.
    """
    try:
        return dict(json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"])
    except (OSError, ValueError, KeyError, TypeError):
        raise LayoutError(f"{folder / 'zarr.json'} is damaged; train the model again") from None


def read_records(folder: Path, name: str, schema: int, kinds: Sequence[type]) -> Any:
    """The record of a folder.

    Raises
    ------
    LayoutError
        It is damaged, too large, of another schema, or names a record that is not among `kinds`.
    """
    attributes = attributes_of(folder)
    try:
        version, count, tree = (attributes[key] for key in (f"nwidth_{name}", "arrays", name))
    except KeyError:
        raise LayoutError(f"{folder / 'zarr.json'} is damaged; train the model again") from None
    if version != schema:
        raise LayoutError(f"{folder} has schema {version}, expected {schema}; upgrade nwidth, or train again")
    return restore(tree, _read_arrays(folder, int(count)), kinds)


def _read_arrays(folder: Path, count: int) -> Arrays:
    import zarr

    group = zarr.open_group(str(folder), mode="r")
    try:
        arrays: dict[str, Any] = {str(number): group[str(number)] for number in range(count)}
    except KeyError as error:
        raise LayoutError(f"{folder} lacks its array {error}; train the model again") from None
    size = sum(int(array.nbytes) for array in arrays.values())
    if size > LARGEST_BYTES:
        raise LayoutError(f"{folder} says that it holds {size} bytes, and at most {LARGEST_BYTES} are read; train again")
    return {name: np.asarray(array[...]) for name, array in arrays.items()}
