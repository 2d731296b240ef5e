"""Mesh files that PyVista (VTK) reads: VTK, VTU and its kin, PVD series, XDMF, EnSight, OpenFOAM, Exodus, VTKHDF.

    point data -> location "node"        cell data -> location "cell"
    where one name stands at both, the cell field is called <name>_cell

One time is read at a time. The mesh of every time is compared with the first one's, and a mesh that changes is refused by name.
Several blocks are joined where they carry the same arrays, and refused where not. Of a polyhedron the points are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FieldError, FormatError, MeshError
from nwidth.mesh import Mesh
from nwidth.readers import indexes
from nwidth.readers.arrays import component_names, stored_type
from nwidth.readers.protocol import Fields, FieldSpec, Location, Run

SUFFIXES = (
    ".vtk", ".vtu", ".vtp", ".vts", ".vti", ".vtr", ".pvtu", ".pvti", ".pvtr", ".vtm", ".vtmb", ".pvd",
    ".xdmf", ".xmf", ".case", ".foam", ".e", ".ex2", ".exo", ".exii", ".vtkhdf",
)  # fmt: skip
# Bookkeeping of VTK and of Exodus, no field of the solver.
NOT_FIELDS = {
    "vtkGhostType", "vtkOriginalPointIds", "vtkOriginalCellIds", "vtkCompositeIndex", "ObjectId",
    "GlobalElementId", "GlobalNodeId", "PedigreeElementId", "PedigreeNodeId", "BlockId",
}  # fmt: skip

Load = Callable[[int], Any]
"""Number of a time -> the PyVista data set at that time."""


class PyVistaReader:
    """Reads what VTK reads, through PyVista."""

    name = "pyvista"
    suffixes = SUFFIXES

    def claims(self, path: Path) -> bool:
        """Whether the suffix is one of VTK's, or the folder is an OpenFOAM case."""
        if path.is_dir():
            return (path / "system" / "controlDict").is_file() and (path / "constant").is_dir()
        return path.suffix.lower() in SUFFIXES

    def companions(self, path: Path) -> tuple[Path, ...]:
        """The files that an index names, or those of the OpenFOAM case around a ``.foam``."""
        if path.suffix.lower() == ".foam":
            return tuple(sorted(file for file in path.parent.rglob("*") if file.is_file() and file != path))
        return indexes.named_files(path)

    def open(self, path: Path) -> Run:
        """Read the first time for mesh and field names; the others are read when their turn comes.

        Raises
        ------
        nwidth.errors.FormatError
            The file is truncated or damaged, or an index names files outside its folder.
        nwidth.errors.MeshError, nwidth.errors.FieldError
            While reading: the mesh, or the set of fields, changes from one time to the next.
        """
        indexes.check_index(path)
        times, load = _series(path) if path.suffix.lower() == ".pvd" else _times(path)
        first = _grid(load(0), path)
        mesh = _mesh(first)
        specs = {name: _spec(values, location) for name, (values, location) in _arrays(first).items()}
        if not specs:
            raise FormatError(f"{path} holds a mesh but no point or cell data; write the fields too")
        return Run(fields=specs, times=times, snapshots=lambda: _snapshots(path, times, load, mesh, specs), mesh=mesh)


def _series(path: Path) -> tuple[NDArray[np.float64], Load]:
    """A ``.pvd``: an index of (time, file)."""
    entries = [attributes for name, attributes, _ in indexes.elements(path) if name == "DataSet"]
    if not entries:
        raise FormatError(f"{path} names no data set; it is empty or damaged")
    times = sorted({float(entry.get("timestep", k)) for k, entry in enumerate(entries)})
    by_time = [[entry for k, entry in enumerate(entries) if float(entry.get("timestep", k)) == time] for time in times]

    def load(k: int) -> Any:
        import pyvista

        parts = [_read_file(indexes.file_beside(path, entry["file"])) for entry in by_time[k]]
        return parts[0] if len(parts) == 1 else pyvista.MultiBlock(parts)

    return np.array(times, np.float64), load


def _read_file(path: Path) -> Any:
    return _times(path)[1](0)


def _times(path: Path) -> tuple[NDArray[np.float64], Load]:
    """The times that VTK finds in a file, and how to read one; a file without times has the single time 0."""
    algorithm = _algorithm(path)
    with _errors_are_ours(path):
        algorithm.UpdateInformation()
    from vtkmodules.vtkCommonExecutionModel import vtkStreamingDemandDrivenPipeline as Pipeline

    times = algorithm.GetOutputInformation(0).Get(Pipeline.TIME_STEPS()) or ()

    def load(k: int) -> Any:
        import pyvista

        with _errors_are_ours(path):
            if times:
                algorithm.UpdateTimeStep(times[k])
            else:
                algorithm.Update()
        output = algorithm.GetOutputDataObject(0)
        if output is None:
            raise FormatError(f"VTK made nothing of {path}; it is truncated, or of another format than its suffix says")
        # A copy, since the algorithm overwrites its output at the next time.
        return pyvista.wrap(output).copy(deep=True)

    return np.array(times or [_own_time(load)], np.float64), load


def _own_time(load: Load) -> float:
    """The time that a single file states in its field data, or 0."""
    data = load(0)
    value = data.field_data.get("TimeValue") if hasattr(data, "field_data") else None
    return float(np.ravel(value)[0]) if value is not None and np.size(value) == 1 else 0.0


def _algorithm(path: Path) -> Any:
    """The VTK reader for `path`, set to give cell data as the solver has them."""
    import pyvista

    if path.is_dir():
        # OpenFOAM's reader takes a case by the name of any file in its folder; the file itself need not exist.
        return _openfoam_algorithm(path / "case.foam")
    if path.suffix.lower() == ".foam":
        return _openfoam_algorithm(path)
    with _errors_are_ours(path):
        return pyvista.get_reader(path, force_ext=".xdmf" if path.suffix.lower() == ".xmf" else None).reader


def _openfoam_algorithm(file: Path) -> Any:
    from vtkmodules.vtkIOGeometry import vtkOpenFOAMReader

    reader = vtkOpenFOAMReader()
    reader.SetFileName(str(file))
    reader.CreateCellToPointOff()
    reader.UpdateInformation()
    reader.DisableAllPatchArrays()
    reader.SetPatchArrayStatus("internalMesh", 1)
    return reader


@dataclass
class _errors_are_ours:  # noqa: N801 -- a context manager reads as a verb
    """VTK prints its errors and goes on with half a mesh: raise them instead, as refusals of ours."""

    path: Path

    def __enter__(self) -> None:
        import pyvista

        self._catcher = pyvista.VtkErrorCatcher(raise_errors=False, send_to_logging=False)
        self._catcher.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._catcher.__exit__(None, None, None)
        if error is not None and not isinstance(error, FormatError) and isinstance(error, Exception):
            raise FormatError(f"{self.path} cannot be read by VTK ({error}); it is truncated or damaged") from error
        if error is None and self._catcher.error_events:
            said = " ".join(str(self._catcher.error_events[0].alert).split())
            raise FormatError(f"{self.path} cannot be read by VTK ({said}); it is truncated or damaged")


def _grid(data: Any, path: Path) -> Any:
    """One unstructured grid (or any single data set), from whatever blocks a file holds."""
    import pyvista

    leaves = _leaves(data) if isinstance(data, (pyvista.MultiBlock, pyvista.PartitionedDataSet)) else [data]
    leaves = [leaf for leaf in leaves if leaf.n_points]
    if not leaves:
        raise FormatError(f"VTK finds no points in {path}; it is empty, truncated, or of another format than its suffix says")
    if len(leaves) == 1:
        return leaves[0]
    names = [set(_arrays(leaf)) for leaf in leaves]
    for other in names[1:]:
        if other != names[0]:
            odd = sorted(other ^ names[0])[0]
            raise FieldError(
                f"{path}: field {odd} is not on all {len(leaves)} blocks, so that they cannot be joined; write one block per file"
            )
    return pyvista.merge([leaf.cast_to_unstructured_grid() for leaf in leaves], merge_points=False)


def _leaves(blocks: Any) -> list[Any]:
    import pyvista

    found: list[Any] = []
    for block in blocks:
        if isinstance(block, (pyvista.MultiBlock, pyvista.PartitionedDataSet)):
            found += _leaves(block)
        elif block is not None:
            found.append(block)
    return found


def _mesh(grid: Any) -> Mesh:
    from vtkmodules.util.numpy_support import vtk_to_numpy

    # Through VTK itself: PyVista has renamed these properties between its versions.
    unstructured = grid.cast_to_unstructured_grid()
    cells = unstructured.GetCells()
    connectivity, offsets = vtk_to_numpy(cells.GetConnectivityArray()), vtk_to_numpy(cells.GetOffsetsArray())
    return Mesh(np.array(unstructured.points), np.array(connectivity), np.array(offsets), np.array(unstructured.celltypes))


def _arrays(grid: Any) -> dict[str, tuple[NDArray[Any], Location]]:
    """Name -> (values, location) of all numeric fields; a name at both places gets ``_cell`` for the cells."""
    found: dict[str, tuple[NDArray[Any], Location]] = {}
    sides: tuple[tuple[Any, Location], ...] = ((grid.point_data, "node"), (grid.cell_data, "cell"))
    for data, location in sides:
        for name in data:
            values = np.asarray(data[name])
            if name not in NOT_FIELDS and values.dtype.kind in "fiu":
                found[f"{name}_cell" if name in found else name] = (values, location)
    return found


def _spec(values: NDArray[Any], location: Location) -> FieldSpec:
    dtype = stored_type(values.dtype)
    if values.ndim == 1:
        return FieldSpec(location, (location,), values.shape, dtype)
    return FieldSpec(location, (location, "component"), values.shape, dtype, component_names(values.shape[1]))


def _snapshots(path: Path, times: NDArray[np.float64], load: Load, mesh: Mesh, specs: dict[str, FieldSpec]) -> Iterator[Fields]:
    for k, time in enumerate(times):
        grid = _grid(load(k), path)
        difference = mesh.difference(_mesh(grid))
        if difference:
            raise MeshError(
                f"{path}: the mesh at time {time:g} is not that of time {times[0]:g}: {difference}; "
                "map the fields onto one mesh first"
            )
        arrays = _arrays(grid)
        if set(arrays) != set(specs):
            odd = sorted(set(arrays) ^ set(specs))[0]
            raise FieldError(
                f"{path}: field {odd} is not there at every time (see time {time:g}); write the same fields at all times"
            )
        yield {name: np.array(values, specs[name].dtype) for name, (values, _) in arrays.items()}
