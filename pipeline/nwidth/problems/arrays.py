"""The problem of xarray objects: views of memory, blocks of an array's own Dask graph, or the store that a field came from."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, FieldError
from nwidth.inner_products import cut_mass
from nwidth.models.files import FieldShape
from nwidth.problems.comparing import FieldLayout, choose, compare_routes
from nwidth.problems.cutting import SPARSE, Cut, Memory
from nwidth.problems.options import COMPONENT, check_tables, check_weights, content_token, inner_product_of
from nwidth.sources import GivenWeights, StoreReader
from nwidth.sparse_products import MatrixRows, cut_sparse
from nwidth.stages.problem import Grouping, Problem
from nwidth.stores.origin import origin_of
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import FieldSource, Reading, as_rows

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.mesh import Mesh


def problem_from_arrays(
    arrays: Mapping[str, xr.DataArray],
    request: ReduceSection,
    memory: Memory,
    *,
    weights: Any = None,
    mesh: Mesh | None = None,
    scratch: Path | None = None,
) -> Problem:
    """The problem of DataArrays (snapshot first), each in memory or on Dask; patches of a mass matrix lie under `scratch`.

    Raises
    ------
    FieldError
        A field is empty, or not of floating-point numbers.
    ConfigError
        An unknown inner product or field name, weights or a mesh that do not fit.
    PlanError
        A field does not fit the memory.
    """
    sources: dict[str, FieldSource] = {}
    shapes: dict[str, FieldShape] = {}
    check_tables(tuple(arrays), request)
    for name, array in arrays.items():
        _check_array(name, array)
    layouts = [_layout(name, array, request, weights=_kind(weights)) for name, array in arrays.items()]
    candidates = compare_routes(layouts, request, memory)
    chosen, reason = choose(candidates, layouts, request)
    for name, array in arrays.items():
        cut = chosen.cuts[name]
        sources[name] = FieldSource(
            name=name, panels=cut.panels, snapshots=array.shape[0], itemsize=array.dtype.itemsize, centre=request.centre,
            **_inner(name, array, request, cut, weights, mesh, (scratch or Path()) / name),
            **_blocks(array, cut, chosen.grouping),
        )  # fmt: skip
        shapes[name] = FieldShape(
            name, tuple(map(str, array.dims[1:])), array.shape[1:], cut.box, str(array.attrs.get("location", "node")),
            tuple(map(str, array[COMPONENT].values)) if COMPONENT in array.coords else (), str(array.attrs.get("units", "")),
        )  # fmt: skip
    first = next(iter(arrays.values()))
    # Arrays in memory never leave this process, so nothing can mistake their keys, and hashing them would cost as much as a pass.
    contents = [array.data if array.chunks is not None else uuid.uuid4().hex for array in arrays.values()]
    token = content_token(*contents, request.model_dump_json(), memory.bytes, memory.threads)
    return Problem(
        sources,
        shapes,
        token,
        lambda index: _array_label(first, index),
        route=chosen.cost.route,
        reason=reason,
        grouping=chosen.grouping,
        comparison=tuple(candidate.cost for candidate in candidates),
    )


def _inner(
    name: str, array: xr.DataArray, request: ReduceSection, cut: Cut, weights: Any, mesh: Mesh | None, scratch: Path
) -> dict[str, Any]:
    """The arguments of a `FieldSource` that stand for the inner product."""
    has_component = array.dims[-1] == COMPONENT
    components = array.shape[-1] if has_component else 1
    if isinstance(weights, MatrixRows):
        return cut_sparse("inner_product", weights, array.shape[1:], cut.panels, scratch)
    if weights is not None:
        space = array.shape[1:-1] if has_component else array.shape[1:]
        return {"product": GivenWeights(check_weights("inner_product", np.asarray(weights, np.float64), space), components)}
    if _wants_mass(name, request):
        return cut_mass(_mesh_of(name, array, mesh), cut.panels, components, scratch).arguments
    return {}


def _kind(weights: Any) -> str:
    """What was given as inner product in the place of a name; nothing where a name was."""
    return SPARSE if isinstance(weights, MatrixRows) else "" if weights is None else "weights"


def _wants_mass(name: str, request: ReduceSection) -> bool:
    wanted = inner_product_of(name, request)
    if wanted not in ("identity", "mass"):
        raise ConfigError(f'inner_product = {wanted!r} is not known; give "identity", "mass", weights, or a sparse matrix')
    return wanted == "mass"


def _mesh_of(name: str, array: xr.DataArray, mesh: Mesh | None) -> Mesh:
    space = array.dims[1:]
    if len(space) - (space[-1] == COMPONENT) != 1:
        raise ConfigError(
            f'inner_product = "mass" needs field {name!r} over (node,) or (node, component), and its space is {space}; name the '
            f"last dimension {COMPONENT!r} if it is one, or pass weights"
        )
    if mesh is None or mesh.n_points != array.shape[1]:
        found = "there is none" if mesh is None else f"it has {mesh.n_points} points for {array.shape[1]} nodes"
        raise ConfigError(f'inner_product = "mass" needs the mesh of field {name!r}, and {found}; pass mesh=, or weights')
    return mesh


def _check_array(name: str, array: xr.DataArray) -> None:
    if array.ndim < 2 or 0 in array.shape:
        raise FieldError(
            f"field {name!r} has shape {array.shape} over {array.dims}: it needs snapshots and at least one space dimension"
        )
    if array.dtype.kind != "f":
        raise FieldError(f"field {name!r} has dtype {array.dtype}, not a floating-point one; convert it with .astype(float)")


def _layout(name: str, array: xr.DataArray, request: ReduceSection, *, weights: str) -> FieldLayout:
    origin = origin_of(array) if array.chunks is not None else None
    inner_product = weights or inner_product_of(name, request)
    components = array.dims[-1] == COMPONENT
    common: dict[str, Any] = {
        "name": name, "shape": array.shape, "itemsize": array.dtype.itemsize, "components": components,
        "inner_product": inner_product, "panelwise": inner_product in ("mass", SPARSE),
    }  # fmt: skip
    if origin is not None:
        # Read by the leaves themselves, and cut as a run of the same store would cut it: the same blocks, the same bits.
        stored = origin.reference.array(f"fields/{origin.field}")
        return FieldLayout(**common, chunks=stored.chunks, shards=stored.shards)
    space = array.shape[1:]
    whole = (*[1] * (len(space) - 1), space[-1]) if components else (1,) * len(space)
    granules: list[tuple[int, ...]] = [whole]
    depth = 1
    if array.chunks is not None:
        # Panels of whole chunks leave each chunk in one piece; single rows are the last resort and cost reads of parts.
        chunk = tuple(max(sizes) for sizes in array.chunks[1:])
        granules.insert(0, (*chunk[:-1], space[-1]) if components else chunk)
        depth = max(array.chunks[0])
    return FieldLayout(**common, chunks=(depth, *whole), stored=False, in_parts=array.chunks is None, granules=tuple(granules))


def _blocks(array: xr.DataArray, cut: Cut, grouping: Grouping | None) -> dict[str, Any]:
    if array.chunks is None:
        return {"read": MemoryReader(array.values)}
    origin = origin_of(array)
    if origin is not None:
        return {"read": StoreReader(origin.reference, origin.field, ((0, array.shape[0]),))}
    depths = (array.shape[0],) if grouping is None else tuple(group.size for group in grouping.groups)
    return {"array": array.data.rechunk((depths, *cut.box))}


@dataclass(frozen=True)
class MemoryReader:
    """Views of an array in this process's memory."""

    values: NDArray[Any]

    def part(self, start: int, stop: int) -> MemoryReader:
        """The snapshots ``start:stop`` only."""
        return MemoryReader(self.values[start:stop])

    def __call__(self, panel: Panel) -> Reading:
        return Reading(as_rows(self.values[(slice(None), *panel.selection)]))


def _array_label(array: xr.DataArray, index: int) -> str:
    parts = [
        f"{key} {array[key].values[index]}" for key in ("simulation", "time") if key in array.coords and array[key].ndim == 1
    ]
    return ", ".join(parts) or f"{array.dims[0]} {index}"
