"""``.npz`` archives, ``.npy`` arrays, and folders of ``snapshots_<field>.npy``.

    run.npz                        the keys of `nwidth.readers.arrays`
    velocity.npy                   one field, (m, n) or (m, n, c); `axis` says which axis counts snapshots
    folder/snapshots_<field>.npy   several fields of one run, with points.npy (or pts.npy), cells.npy and time.npy beside them

Nothing is ever unpickled; sizes are checked against the file before memory is taken, and snapshots are read one at a time.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, FormatError
from nwidth.readers.arrays import Source, run_from_sources
from nwidth.readers.protocol import Run

FOLDER_PREFIX = "snapshots_"
# Names that folders of .npy files use for their mesh and times.
COMPANIONS = {"points": ("points.npy", "pts.npy"), "cells": ("cells.npy",), "time": ("time.npy", "times.npy")}
CELLS_BY_NODES = {2: "cells_line", 3: "cells_triangle", 4: "cells_tetra", 8: "cells_hexahedron", 10: "cells_tetra10"}


class NumpyReader:
    """Reads ``.npz``, ``.npy`` and folders of ``snapshots_<field>.npy``."""

    name = "numpy"
    suffixes = (".npz", ".npy")

    def claims(self, path: Path) -> bool:
        """Whether the suffix fits, or the folder holds ``snapshots_<field>.npy``."""
        if path.is_dir():
            return any(path.glob(f"{FOLDER_PREFIX}*.npy"))
        return path.suffix.lower() in self.suffixes

    def open(
        self,
        path: Path,
        *,
        fields: Sequence[str] | None = None,
        axis: int = 0,
        points: Path | None = None,
        cells: Path | None = None,
        cell_type: str | None = None,
        time: Path | None = None,
    ) -> Run:
        """Read the headers; fields are read later, one snapshot at a time.

        Parameters
        ----------
        fields
            Names to read; needed where arrays differ in their number of snapshots.
        axis
            The axis of a ``.npy`` that counts snapshots (0 or 1).
        points, cells, time
            Companion ``.npy`` files of a ``.npy``: (n, 2 or 3), (n_cells, nodes), (m,).
        cell_type
            VTK number or name of the cells, where their number of nodes leaves a doubt.

        Raises
        ------
        nwidth.errors.FormatError
            A file is truncated, holds Python objects, or its arrays do not fit together.
        """
        if path.suffix.lower() == ".npz" and not path.is_dir():
            return run_from_sources(path, _npz_sources(path), fields=fields)
        arrays = _folder(path) if path.is_dir() else {path.stem.removeprefix(FOLDER_PREFIX): path}
        sources = {name: _npy_source(file, axis) for name, file in arrays.items()}
        given = {"points": points, "cells": cells, "time": time}
        for key, file in _companions(path, given).items():
            source = _npy_source(Path(file), 0)
            sources[_cells_key(source, cell_type, Path(file)) if key == "cells" else key] = source
        return run_from_sources(path, sources, fields=fields)


def _folder(path: Path) -> dict[str, Path]:
    return {file.stem.removeprefix(FOLDER_PREFIX): file for file in sorted(path.glob(f"{FOLDER_PREFIX}*.npy"))}


def _companions(path: Path, given: dict[str, Path | None]) -> dict[str, Path]:
    found = {key: Path(file) for key, file in given.items() if file is not None}
    if path.is_dir():
        for key, names in COMPANIONS.items():
            beside = [path / name for name in names if (path / name).is_file()]
            if key not in found and beside:
                found[key] = beside[0]
    return found


def _cells_key(source: Source, cell_type: str | None, file: Path) -> str:
    if cell_type is not None:
        return f"cells_{cell_type}"
    n_nodes = source.shape[1] if len(source.shape) == 2 else 0
    if n_nodes not in CELLS_BY_NODES:
        raise ConfigError(f"{file} has cells of {n_nodes} nodes; say their type with cell_type=...")
    return CELLS_BY_NODES[n_nodes]


def _npy_source(path: Path, axis: int) -> Source:
    if axis not in (0, 1):
        raise ConfigError(f"axis={axis} cannot count the snapshots of {path}; expected 0 or 1")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise FormatError(
            f"{path} cannot be read as .npy ({error}); it is truncated, or holds Python objects, which are never loaded"
        ) from None
    if axis and array.ndim > 1:
        array = np.moveaxis(array, axis, 0)
    return Source(array.shape, array.dtype, lambda: np.array(array), lambda: (np.array(row) for row in array))


def _npz_sources(path: Path) -> dict[str, Source]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if info.filename.endswith(".npy")]
            return {name.removesuffix(".npy"): _member(path, archive, name) for name in names}
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise FormatError(f"{path} cannot be read as .npz ({error}); it is truncated or damaged: copy it again") from None


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> Source:
    with archive.open(name) as file:
        shape, fortran, dtype, header_bytes = _header(file, path, name)
    expected = header_bytes + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if archive.getinfo(name).file_size != expected:
        raise FormatError(
            f"{path}: {name} has {archive.getinfo(name).file_size} bytes, its header promises {expected}; it is damaged"
        )

    def rows() -> Iterator[NDArray[Any]]:
        # Column-major order interleaves the snapshots, so that such an array can only be read whole.
        yield from _read_all(path, name) if fortran else _read_rows(path, name, shape, dtype)

    return Source(shape, dtype, lambda: _read_all(path, name), rows)


def _header(file: IO[bytes], path: Path, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except ValueError as error:
        raise FormatError(f"{path}: {name} has no readable .npy header ({error}); it is damaged") from None
    if dtype.hasobject:
        raise FormatError(f"{path}: {name} holds Python objects, which are never loaded; save plain numbers")
    return shape, fortran, dtype, file.tell()


def _read_all(path: Path, name: str) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        return array


def _read_rows(path: Path, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    with zipfile.ZipFile(path) as archive, archive.open(name) as file:
        _header(file, path, name)
        for k in range(shape[0]):
            try:
                raw = file.read(row_bytes)
            except (zipfile.BadZipFile, zlib.error, EOFError) as error:
                raise FormatError(f"{path}: {name} is damaged at row {k} ({error}); copy it again") from None
            if len(raw) != row_bytes:
                raise FormatError(f"{path}: {name} is truncated at row {k} of {shape[0]}; copy it again")
            yield np.frombuffer(raw, dtype).reshape(shape[1:])
