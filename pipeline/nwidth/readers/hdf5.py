"""HDF5: as NetCDF-4 where its datasets have dimension scales, else as named arrays (`nwidth.readers.arrays`).

Groups are walked; a dataset ``results/u`` becomes the field ``results_u``. Links that leave the file are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError
from nwidth.readers.arrays import Source, run_from_sources
from nwidth.readers.netcdf import NetcdfReader
from nwidth.readers.protocol import Run


class Hdf5Reader:
    """Reads ``.h5`` and ``.hdf5``."""

    name = "hdf5"
    suffixes = (".h5", ".hdf5")

    def claims(self, path: Path) -> bool:
        """Whether the suffix is one of HDF5's."""
        return path.suffix.lower() in self.suffixes

    def open(self, path: Path, *, fields: Sequence[str] | None = None) -> Run:
        """Read the headers; one snapshot of each field is read at a time.

        Raises
        ------
        nwidth.errors.FormatError
            The file is truncated, or its arrays do not fit together.
        """
        if _has_dimension_scales(path):
            return NetcdfReader().open(path, fields=fields)
        return run_from_sources(path, _sources(path), fields=fields)


def _file(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FormatError(f"{path} cannot be read as HDF5 ({error}); it is truncated or damaged: copy it again") from None


def _datasets(path: Path, file: Any) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.external:
            raise FormatError(f"{path}: {name} keeps its values in another file; an HDF5 file may not name files: repack it")
        if item.dtype.kind in "fiub":
            found[re.sub(r"\W+", "_", name)] = item

    # visititems follows hard links only: neither soft nor external links are opened.
    file.visititems(add)
    return found


def _has_dimension_scales(path: Path) -> bool:
    with _file(path) as file:
        return "_NCProperties" in file.attrs or any("DIMENSION_LIST" in item.attrs for item in _datasets(path, file).values())


def _sources(path: Path) -> dict[str, Source]:
    with _file(path) as file:
        return {name: _source(path, item) for name, item in _datasets(path, file).items()}


def _source(path: Path, item: Any) -> Source:
    name = item.name

    def read() -> NDArray[Any]:
        with _file(path) as file:
            return np.asarray(file[name][()])

    def rows() -> Iterator[NDArray[Any]]:
        with _file(path) as file:
            for k in range(file[name].shape[0]):
                try:
                    row = np.asarray(file[name][k])
                except OSError as error:
                    raise FormatError(
                        f"{path}: {name} cannot be read at row {k} ({error}); it is damaged: copy it again"
                    ) from None
                yield row

    texts = {key: str(item.attrs[key]) for key in ("units", "long_name") if isinstance(item.attrs.get(key), str)}
    return Source(tuple(item.shape), item.dtype, read, rows, attributes=texts)
