"""CalculiX results: nodal fields from the ``.frd``, integration-point fields from the ``.dat`` or ``.dat.gz`` beside it.

    blade.frd              DISP, STRESS, NDTEMP, PE, ...   location "node", names and component order as the solver wrote them
    blade.dat[.gz]         S, E, PEEQ, ...                 location "point": element and integration point are in the mesh

Both are read one time at a time. Times present in one file and not in the other are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FormatError
from nwidth.mesh import Mesh
from nwidth.readers import calculix_dat, frd
from nwidth.readers.calculix_dat import Table
from nwidth.readers.frd import FrdIndex, ResultBlock
from nwidth.readers.protocol import Fields, FieldSpec, IntegrationPoints, Run

# .dat prints times with eight digits, ascii .frd with six.
SAME_TIME = 2e-5


class FrdReader:
    """Reads ``.frd`` (ascii or binary) with the ``.dat`` or ``.dat.gz`` of the same stem."""

    name = "calculix"
    suffixes = (".frd",)

    def claims(self, path: Path) -> bool:
        """Whether the name ends in .frd."""
        return path.suffix.lower() == ".frd"

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files beside `path` that belong to the same run."""
        dat = dat_beside(path)
        return (dat,) if dat else ()

    def open(self, path: Path, *, fields: Sequence[str] | None = None) -> Run:
        """Index the files; no field is read yet.

        Parameters
        ----------
        fields
            Names to read; a field that the solver wrote only at some of the times has to be left out this way.

        Raises
        ------
        nwidth.errors.FormatError
            A file is truncated or damaged, a time is missing in one of them, or a field is missing at a time.
        """
        index = frd.index_frd(path)
        steps = _steps(index, fields, path)
        specs = {name: _nodal_spec(block, len(index.nodes)) for name, block in steps[0].items()} if steps else {}
        dat = dat_beside(path)
        points = _open_points(dat, index, [next(iter(step.values())).time for step in steps], fields) if dat else None
        if points:
            specs |= points.specs
        if not specs:
            raise FormatError(f"{path} holds no results{_of(fields)}; ask CalculiX for *NODE FILE or *EL FILE output")
        times = np.array([next(iter(step.values())).time for step in steps]) if steps else points.times if points else np.empty(0)
        return Run(
            fields=specs,
            times=times,
            snapshots=_stream(path, index, steps, points),
            mesh=_mesh(index, path),
            integration_points=points.places if points else None,
            attributes={"solver": "CalculiX"},
        )


def dat_beside(path: Path) -> Path | None:
    """The ``.dat`` or ``.dat.gz`` of the same stem; both at once are refused, since they may differ."""
    found = [path.with_suffix(suffix) for suffix in (".dat", ".dat.gz") if path.with_suffix(suffix).is_file()]
    if len(found) == 2:
        raise FormatError(f"{path} has both {found[0].name} and {found[1].name} beside it; remove the stale one")
    return found[0] if found else None


@dataclass(frozen=True)
class _Points:
    """The integration-point side of a run."""

    specs: dict[str, FieldSpec]
    places: IntegrationPoints
    times: NDArray[np.float64]
    rows: Callable[[], Iterator[Fields]]


def _of(fields: Sequence[str] | None) -> str:
    return f" named {', '.join(fields)}" if fields else ""


def _steps(index: FrdIndex, fields: Sequence[str] | None, path: Path) -> list[dict[str, ResultBlock]]:
    """Group result blocks into output times, and see that every field is there at each."""
    steps: list[dict[str, ResultBlock]] = []
    last: tuple[int, float] | None = None
    for block in index.results:
        if fields is not None and block.name not in fields:
            continue
        if (block.step, block.time) != last:
            steps.append({})
            last = (block.step, block.time)
        if block.name in steps[-1]:
            raise FormatError(f"{path} holds field {block.name} twice at time {block.time:g}; leave it out with fields=...")
        steps[-1][block.name] = block
    names = {name: block for step in steps for name, block in step.items()}
    for step in steps:
        at = next(iter(step.values())).time
        for name, block in names.items():
            if name not in step:
                raise FormatError(
                    f"{path} has no field {name} at time {at:g}, but has it at time {block.time:g}; "
                    "leave it out with fields=..., or write it always"
                )
            if step[name].components != block.components or step[name].layout.count != len(index.nodes):
                raise FormatError(
                    f"{path}: field {name} at time {at:g} covers {step[name].layout.count} of {len(index.nodes)} nodes "
                    f"with components {step[name].components}; every field must cover all nodes: leave it out with fields=..., "
                    "or drop NSET= from *NODE FILE"
                )
    return steps


def _nodal_spec(block: ResultBlock, n_nodes: int) -> FieldSpec:
    if len(block.components) == 1:
        return FieldSpec("node", ("node",), (n_nodes,), block.dtype)
    return FieldSpec("node", ("node", "component"), (n_nodes, len(block.components)), block.dtype, block.components)


def _mesh(index: FrdIndex, path: Path) -> Mesh:
    """Renumber nodes 0, 1, ... in file order, and elements to VTK's node order."""
    sizes = np.array([frd.ELEMENTS[int(kind)][1] for kind in index.element_types], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    connectivity = _positions(index.nodes, index.element_nodes, path)
    cell_types = np.empty(len(sizes), np.uint8)
    for kind in np.unique(index.element_types):
        vtk_type, n_nodes, order = frd.ELEMENTS[int(kind)]
        which = np.flatnonzero(index.element_types == kind)
        places = offsets[which][:, None] + np.arange(n_nodes)
        connectivity[places] = connectivity[places[:, list(order)]]
        cell_types[which] = vtk_type
    return Mesh(index.points, connectivity, offsets, cell_types)


def _positions(numbers: NDArray[np.int64], wanted: NDArray[np.int64], path: Path, what: str = "node") -> NDArray[np.int64]:
    """Positions of the numbers `wanted` within `numbers`, which need not be contiguous or sorted."""
    order = np.argsort(numbers, kind="stable")
    places = np.minimum(np.searchsorted(numbers, wanted, sorter=order), max(len(numbers) - 1, 0))
    found = order[places] if len(numbers) else np.zeros(len(wanted), np.int64)
    if len(wanted) and (not len(numbers) or (numbers[found] != wanted).any()):
        missing = int(wanted[np.argmax(numbers[found] != wanted)]) if len(numbers) else int(wanted[0])
        raise FormatError(
            f"{path} refers to {what} {missing}, which the mesh does not have; the files are of different runs, or damaged"
        )
    return found.astype(np.int64)


def _stream(
    path: Path, index: FrdIndex, steps: list[dict[str, ResultBlock]], points: _Points | None
) -> Callable[[], Iterator[Fields]]:
    def snapshots() -> Iterator[Fields]:
        rows = points.rows() if points else None
        with path.open("rb") as file:
            for step in steps:
                snapshot: dict[str, NDArray[Any]] = {
                    name: _nodal_values(file, block, index, path) for name, block in step.items()
                }
                if rows is not None:
                    snapshot |= next(rows)
                yield snapshot
        if not steps and rows is not None:
            yield from rows

    return snapshots


def _nodal_values(file: Any, block: ResultBlock, index: FrdIndex, path: Path) -> NDArray[Any]:
    nodes, values = frd.read_result(file, block, path)
    if not np.array_equal(nodes, index.nodes):
        values = values[_positions(nodes, index.nodes, path)]
    return values[:, 0] if values.shape[1] == 1 else values


def _open_points(dat: Path, index: FrdIndex, times: list[float], fields: Sequence[str] | None) -> _Points | None:
    tables = tuple(table for table in calculix_dat.index_dat(dat) if fields is None or table.name in fields)
    if not tables:
        return None
    printed = np.array(list(dict.fromkeys(table.time for table in tables)))
    _same_times(dat, printed, np.array(times) if times else printed, tables)
    keys, n_components = _layout(next(calculix_dat.read_times(dat, tables)), dat)
    cell = _positions(index.elements, keys[:, 0], dat, "element")
    specs = {name: _point_spec(name, n, tables, len(keys)) for name, n in n_components.items()}

    def rows() -> Iterator[Fields]:
        for group in calculix_dat.read_times(dat, tables):
            yield _point_values(group, keys, specs, dat)

    return _Points(specs, IntegrationPoints(cell=cell, local=keys[:, 1] - 1), printed, rows)


def _same_times(dat: Path, printed: NDArray[np.float64], times: NDArray[np.float64], tables: tuple[Table, ...]) -> None:
    scale = SAME_TIME * max(float(np.abs(times).max(initial=0.0)), 1e-300)
    for one, other, where in ((times, printed, dat.name), (printed, times, "the .frd beside it")):
        for time in one:
            if not other.size or np.abs(other - time).min() > scale:
                raise FormatError(
                    f"{dat}: time {time:g} is missing in {where}; print both at the same TIME POINTS, or complete the file"
                )
    if len(printed) != len(times):
        raise FormatError(f"{dat} has {len(printed)} times, the .frd beside it {len(times)}; they are of different runs")
    for name in dict.fromkeys(table.name for table in tables):
        have = {table.time for table in tables if table.name == name}
        missing = [time for time in printed if time not in have]
        if missing:
            raise FormatError(
                f"{dat} has no table {name} at time {missing[0]:g}; leave {name} out with fields=..., or print it always"
            )


def _joined(group: list[tuple[Table, NDArray[np.float64]]], dat: Path) -> dict[str, NDArray[np.float64]]:
    """The rows of each field at one time: the tables of several element sets one after the other."""
    names = dict.fromkeys(table.name for table, _ in group)
    parts = {name: [rows for table, rows in group if table.name == name] for name in names}
    for name, tables in parts.items():
        if len({rows.shape[1] for rows in tables}) > 1:
            raise FormatError(f"{dat}: the element sets print {name} with different numbers of values; print them in one set")
    return {name: np.concatenate(tables) for name, tables in parts.items()}


def _layout(group: list[tuple[Table, NDArray[np.float64]]], dat: Path) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Element and point numbers ``(n_points, 2)``, which all fields must share, and the number of values of each field."""
    joined = _joined(group, dat)
    keys = next(iter(joined.values()))[:, :2].astype(np.int64)
    if len(np.unique(keys, axis=0)) != len(keys):
        raise FormatError(
            f"{dat} prints some integration points twice at time {group[0][0].time:g}; make its element sets disjoint"
        )
    return keys, {name: rows.shape[1] - 2 for name, rows in joined.items()}


def _point_spec(name: str, n_values: int, tables: tuple[Table, ...], n_points: int) -> FieldSpec:
    components = next(table.components for table in tables if table.name == name)
    if n_values == 1:
        return FieldSpec("point", ("point",), (n_points,), np.dtype(np.float64))
    if len(components) != n_values:
        components = tuple(str(k + 1) for k in range(n_values))
    return FieldSpec("point", ("point", "component"), (n_points, n_values), np.dtype(np.float64), components)


def _point_values(
    group: list[tuple[Table, NDArray[np.float64]]], keys: NDArray[np.int64], specs: dict[str, FieldSpec], dat: Path
) -> dict[str, NDArray[np.float64]]:
    values: dict[str, NDArray[np.float64]] = {}
    for name, rows in _joined(group, dat).items():
        spec = specs[name]
        n_values = spec.shape[1] if len(spec.shape) == 2 else 1
        if rows.shape != (len(keys), 2 + n_values) or (rows[:, :2] != keys).any():
            raise FormatError(
                f"{dat}: table {name} at time {group[0][0].time:g} has {len(rows)} rows of other integration points "
                f"than the first table's {len(keys)}; the file is truncated, "
                f"or fields are printed for different sets: leave {name} out with fields=..."
            )
        values[name] = rows[:, 2] if n_values == 1 else rows[:, 2:]
    return values
