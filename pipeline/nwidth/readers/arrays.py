"""A run from named arrays: the part that ``.npz``, plain HDF5 and Zarr share.

    points            (n, 2 or 3)         mesh points; or x, y[, z], each (n,)
    cells_<type>      (n_cells, nodes)    cells of one VTK type, by number (cells_10) or by name (cells_tetra)
    connectivity, offsets, cell_types     or all cells at once, as in `nwidth.mesh.Mesh`
    time              (m,)                times; snapshots are numbered 0, 1, ... where absent
    parameter_<name>  (m,)                one design point per snapshot
    anything else     (m, n) or (m, n, c) a field: snapshot first, then space, then components

Scalars are not fields and are kept as attributes. Fields are read one snapshot at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, FormatError
from nwidth.mesh import Mesh, mesh_from_cells
from nwidth.readers.protocol import Fields, FieldSpec, Location, Run

VTK_TYPES = {
    "line": 3, "triangle": 5, "quad": 9, "tetra": 10, "hexahedron": 12, "wedge": 13, "pyramid": 14,
    "line3": 21, "triangle6": 22, "quad8": 23, "tetra10": 24, "hexahedron20": 25, "wedge15": 26,
}  # fmt: skip
"""Names that may follow ``cells_``, beside the VTK numbers themselves."""

MESH_KEYS = ("points", "x", "y", "z", "connectivity", "offsets", "cell_types")
TIME_KEYS = ("time", "times", "t")


@dataclass(frozen=True)
class Source:
    """One array of a file, known by its header and read by need."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[], NDArray[Any]]
    """The whole array (for the small ones)."""
    rows: Callable[[], Iterator[NDArray[Any]]]
    """One entry of the first axis after the other."""
    dims: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)


def run_from_sources(path: Path, sources: Mapping[str, Source], *, fields: Sequence[str] | None = None) -> Run:
    """Sort named arrays into mesh, times, parameters and fields, by the table at the top of this module.

    Raises
    ------
    nwidth.errors.FormatError
        Fields disagree on the number of snapshots, or times, parameters or cells have the wrong shape.
    """
    coordinates = {name for name, source in sources.items() if source.dims == (name,)}
    chosen = _fields(path, sources, fields, coordinates)
    n_snapshots = next(iter(chosen.values())).shape[0]
    mesh = _mesh(path, {name: source for name, source in sources.items() if name not in chosen})
    times, units = _times(path, sources, n_snapshots, next(iter(chosen.values())).dims[:1])
    return Run(
        fields={name: _spec(source, mesh) for name, source in chosen.items()},
        times=times,
        snapshots=lambda: _snapshots(chosen),
        mesh=mesh,
        coordinates={
            name: sources[name].read()
            for name in sorted(coordinates)
            if any(name in source.dims[1:] for source in chosen.values())
        },
        parameters=_parameters(path, sources, n_snapshots),
        time_units=units,
        attributes={
            name: str(source.read()) for name, source in sources.items() if source.shape == () and source.dtype.kind in "biuf"
        },
    )


def spec_of_rows(
    shape: tuple[int, ...], dtype: np.dtype[Any], mesh: Mesh | None, attributes: Mapping[str, str] | None = None
) -> FieldSpec:
    """The spec of snapshots of shape ``(n,)`` or ``(n, c)``: at the cells where only their number fits, else at the nodes."""
    at_cells = mesh is not None and shape[0] == mesh.n_cells != mesh.n_points
    location: Location = "cell" if at_cells else "node"
    if mesh is not None and not at_cells and shape[0] != mesh.n_points:
        location = "grid"
    texts = attributes or {}
    units, long_name = texts.get("units", ""), texts.get("long_name", "")
    if location == "grid" or len(shape) > 2:
        return FieldSpec("grid", tuple(f"dim_{k}" for k in range(len(shape))), shape, dtype, units=units, long_name=long_name)
    if len(shape) == 1:
        return FieldSpec(location, (location,), shape, dtype, units=units, long_name=long_name)
    return FieldSpec(location, (location, "component"), shape, dtype, component_names(shape[1]), units, long_name)


def stored_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What a store keeps numbers of `dtype` as: float32 for half and single precision, float64 for all others."""
    return np.dtype(np.float32) if dtype.kind == "f" and dtype.itemsize <= 4 else np.dtype(np.float64)


def component_names(n: int) -> tuple[str, ...]:
    """Names of n components: x, y, z for vectors, VTK's order for symmetric tensors, numbers otherwise."""
    known = {2: ("x", "y"), 3: ("x", "y", "z"), 6: ("xx", "yy", "zz", "xy", "yz", "xz")}
    tensor = tuple(a + b for a in "xyz" for b in "xyz")
    return tensor if n == 9 else known.get(n, tuple(str(k) for k in range(n)))


def _fields(path: Path, sources: Mapping[str, Source], wanted: Sequence[str] | None, coordinates: set[str]) -> dict[str, Source]:
    reserved = {*MESH_KEYS, *TIME_KEYS, *coordinates}
    candidates = {
        name: source
        for name, source in sources.items()
        if name not in reserved
        and not name.startswith(("cells_", "parameter_"))
        and len(source.shape) >= 2
        and source.dtype.kind in "fiu"
    }
    if wanted is not None:
        unknown = [name for name in wanted if name not in candidates]
        if unknown:
            raise ConfigError(f"{path} has no field {unknown[0]!r}; its fields are {', '.join(candidates) or 'none'}")
        candidates = {name: candidates[name] for name in wanted}
    if not candidates:
        raise FormatError(
            f"{path} holds no field: expected an array of shape (snapshots, values), found {', '.join(sources) or 'nothing'}"
        )
    lengths = {name: source.shape[0] for name, source in candidates.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise FormatError(
            f"{path}: fields differ in their number of snapshots ({listed}); choose those that belong together with fields=..."
        )
    return candidates


def _times(
    path: Path, sources: Mapping[str, Source], n_snapshots: int, first_dim: tuple[str, ...]
) -> tuple[NDArray[np.float64], str]:
    for name in dict.fromkeys((*TIME_KEYS, *first_dim)):
        if name in sources:
            times = np.asarray(sources[name].read(), np.float64).ravel()
            if times.shape != (n_snapshots,):
                raise FormatError(
                    f"{path}: {name} has {times.size} entries for {n_snapshots} snapshots; give one time per snapshot"
                )
            return times, sources[name].attributes.get("units", "s")
    return np.arange(n_snapshots, dtype=np.float64), "1"


def _parameters(path: Path, sources: Mapping[str, Source], n_snapshots: int) -> dict[str, NDArray[Any]]:
    found = {name.removeprefix("parameter_"): source for name, source in sources.items() if name.startswith("parameter_")}
    for name, source in found.items():
        if source.shape != (n_snapshots,):
            raise FormatError(
                f"{path}: parameter_{name} has shape {source.shape}; expected ({n_snapshots},), one value per snapshot"
            )
    return {name: source.read() for name, source in found.items()}


def _mesh(path: Path, sources: Mapping[str, Source]) -> Mesh | None:
    points = _points(path, sources)
    if points is None:
        return None
    if "connectivity" in sources:
        missing = [name for name in ("offsets", "cell_types") if name not in sources]
        if missing:
            raise FormatError(f"{path} has connectivity but no {missing[0]}; give connectivity, offsets and cell_types together")
        base = mesh_from_cells(points, [])
        return Mesh(base.points, sources["connectivity"].read(), sources["offsets"].read(), sources["cell_types"].read())
    blocks = {name: source for name, source in sources.items() if name.startswith("cells_")}
    return mesh_from_cells(points, [(_vtk_type(path, name), _cells(path, name, source)) for name, source in blocks.items()])


def _points(path: Path, sources: Mapping[str, Source]) -> NDArray[np.float64] | None:
    if "points" in sources:
        points = np.asarray(sources["points"].read(), np.float64)
        if points.ndim != 2 or points.shape[1] not in (1, 2, 3):
            raise FormatError(f"{path}: points have shape {points.shape}; expected (n, 2) or (n, 3)")
        return points
    axes = [name for name in "xyz" if name in sources and len(sources[name].shape) == 1 and sources[name].dims != (name,)]
    if not axes or len({sources[name].shape for name in axes}) != 1:
        return None
    return np.column_stack([np.asarray(sources[name].read(), np.float64) for name in axes])


def _vtk_type(path: Path, key: str) -> int:
    word = key.removeprefix("cells_")
    if word.isdigit():
        return int(word)
    if word not in VTK_TYPES:
        raise FormatError(f"{path}: {key} is of no known cell type; write cells_<VTK number> or one of {', '.join(VTK_TYPES)}")
    return VTK_TYPES[word]


def _cells(path: Path, name: str, source: Source) -> NDArray[Any]:
    cells = source.read()
    if cells.ndim != 2 or cells.dtype.kind not in "iu":
        raise FormatError(f"{path}: {name} has shape {cells.shape} and type {cells.dtype}; expected (n_cells, nodes) integers")
    return cells


def _spec(source: Source, mesh: Mesh | None) -> FieldSpec:
    dtype = stored_type(source.dtype)
    named = source.dims[1:]
    if named and named[:1] not in (("node",), ("cell",), ("point",)):
        units, long_name = source.attributes.get("units", ""), source.attributes.get("long_name", "")
        return FieldSpec("grid", named, source.shape[1:], dtype, units=units, long_name=long_name)
    return spec_of_rows(source.shape[1:], dtype, mesh, source.attributes)


def _snapshots(chosen: Mapping[str, Source]) -> Iterator[Fields]:
    streams = {name: source.rows() for name, source in chosen.items()}
    for first in zip(*streams.values(), strict=True):
        yield {name: np.asarray(row, stored_type(row.dtype)) for name, row in zip(streams, first, strict=True)}
