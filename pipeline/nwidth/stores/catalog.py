"""What a store holds, read from its metadata; and whether a new run fits it.

Nothing here writes, and nothing here reads a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FieldError, MeshError
from nwidth.mesh import Mesh
from nwidth.readers.protocol import FieldSpec, IntegrationPoints, Location, Run
from nwidth.stores.codec import codec_words
from nwidth.stores.columns import array_at, nodes, read_column
from nwidth.stores.protocol import FieldInfo
from nwidth.stores.schema import COMPONENTS_KEY, KIND_KEY, LOCATION_KEY, MESH_ARRAYS, ROLE_KEY

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True)
class Catalog:
    """The contents of one version: fields, the types of parameters (``number`` or ``text``), grid axes, inner products."""

    fields: Mapping[str, FieldInfo]
    parameters: Mapping[str, str]
    grid: tuple[str, ...]
    inner_products: Mapping[str, str]
    n_snapshots: int
    has_mesh: bool
    time_units: str


def read_catalog(root: zarr.Group) -> Catalog:
    """Read the catalogue of the version that `root` shows."""
    known = nodes(root)
    columns = [path for path in known if path.startswith("fields/")]
    arrays = {path.split("/", 1)[1]: array_at(root, path) for path in columns}
    roles = {name: str(array.attrs.asdict().get(ROLE_KEY, "")) for name, array in arrays.items()}
    products = [path.split("/")[1] for path in known if path.startswith("inner_products/") and path.count("/") == 1]
    return Catalog(
        fields={name: _field(name, arrays[name]) for name, role in roles.items() if role == "field"},
        parameters={name: parameter_type(arrays[name]) for name, role in roles.items() if role == "parameter"},
        grid=tuple(name for name, role in roles.items() if role == "grid"),
        inner_products={name: str(root[f"inner_products/{name}"].attrs.asdict()[KIND_KEY]) for name in products},
        n_snapshots=int(arrays["time"].shape[0]) if "time" in arrays else 0,
        has_mesh="mesh/points" in known,
        time_units=str(arrays["time"].attrs.asdict().get("units", "")) if "time" in arrays else "",
    )


def _field(name: str, array: zarr.Array[Any]) -> FieldInfo:
    attributes = cast("dict[str, Any]", array.attrs.asdict())
    components = tuple(attributes.get(COMPONENTS_KEY, ()))
    dims = tuple(str(dim) for dim in array.metadata.dimension_names or ())  # type: ignore[union-attr]
    if dims and dims[-1] == f"{name}_component":
        dims = (*dims[:-1], "component")
    return FieldInfo(
        name=name,
        location=cast("Location", attributes[LOCATION_KEY]),
        dims=dims,
        shape=array.shape,
        dtype=array.dtype,
        chunks=array.chunks,
        shards=array.shards,
        codec=codec_words(cast("Any", array.compressors)),
        components=components,
        units=str(attributes.get("units", "")),
    )


def parameter_type(array: zarr.Array[Any]) -> str:
    """``number`` or ``text``."""
    return "number" if array.dtype.kind == "f" else "text"


def read_mesh(root: zarr.Group) -> Mesh | None:
    """The mesh, or None where the store has none."""
    if "mesh/points" not in nodes(root):
        return None
    points, connectivity, offsets, cell_types = (read_column(root, f"mesh/{name}") for name in MESH_ARRAYS)
    unit = str(root["mesh"].attrs.asdict().get("length_unit", ""))
    return Mesh(points, connectivity, offsets, cell_types, unit)


def read_integration_points(root: zarr.Group) -> IntegrationPoints | None:
    """The integration points, or None where the store has none."""
    if "mesh/point_cell" not in nodes(root):
        return None
    return IntegrationPoints(read_column(root, "mesh/point_cell"), read_column(root, "mesh/point_local"))


def check_same_fields(catalog: Catalog, run: Run, named: Mapping[str, tuple[str, ...]]) -> None:
    """Refuse a run whose fields, their places, shapes, units or times differ from the store's (`FieldError`)."""
    if set(run.fields) != set(catalog.fields):
        raise FieldError(
            f"{_names('field', set(catalog.fields), set(run.fields))}; choose the same fields as the store's first run"
        )
    for name, spec in run.fields.items():
        for what, found, expected in _aspects(spec, catalog.fields[name]):
            if found != expected:
                raise FieldError(
                    f"field {name!r} has {what} {found}, and the store has {expected}; mend the run or start a new store"
                )
    if run.time_units != catalog.time_units:
        raise FieldError(
            f"the run counts time in {run.time_units!r}, and the store in {catalog.time_units!r}; convert the run's times"
        )


def _aspects(spec: FieldSpec, info: FieldInfo) -> list[tuple[str, Any, Any]]:
    return [
        ("location", spec.location, info.location),
        ("dimensions", tuple(spec.dims), info.dims[1:]),
        ("shape", tuple(spec.shape), info.shape[1:]),
        ("type", spec.dtype.name, info.dtype.name),
        ("components", tuple(spec.components), info.components),
        ("units", spec.units, info.units),
    ]


def check_same_parameters(catalog: Catalog, given: Mapping[str, str]) -> None:
    """Refuse parameters of other names or types (``number``, ``text``) than the store's (`FieldError`)."""
    if set(given) != set(catalog.parameters):
        raise FieldError(
            f"{_names('parameter', set(catalog.parameters), set(given))}; every run of a store has the same parameters"
        )
    for name, kind in given.items():
        if kind != catalog.parameters[name]:
            raise FieldError(f"parameter {name!r} is a {kind}, and a {catalog.parameters[name]} in the store; give it as before")


def _names(what: str, expected: set[str], found: set[str]) -> str:
    lacks = [f"lacks {what} {name!r}" for name in sorted(expected - found)]
    adds = [f"adds {what} {name!r}" for name in sorted(found - expected)]
    return f"the run {' and '.join(lacks + adds)}"


def check_same_mesh(root: zarr.Group, run: Run, catalog: Catalog) -> None:
    """Refuse another mesh, other integration points or another grid (`MeshError`)."""
    ours = read_mesh(root)
    if (ours is None) != (run.mesh is None):
        raise MeshError(f"the run has {_has(run.mesh)} mesh and the store has {_has(ours)}; ingest it into a store of its own")
    if ours is not None and run.mesh is not None:
        difference = ours.difference(run.mesh)
        if difference:
            raise MeshError(f"the run's mesh differs from the store's: {difference}; ingest it into a store of its own")
    _check_points(read_integration_points(root), run.integration_points)
    if set(run.coordinates) != set(catalog.grid):
        raise MeshError(
            f"the run has grid axes {sorted(run.coordinates)} and the store has {sorted(catalog.grid)}; ingest it separately"
        )
    for name, values in run.coordinates.items():
        if not same_values(read_column(root, f"fields/{name}"), values):
            raise MeshError(f"the run's grid differs from the store's along {name!r}; ingest it into a store of its own")


def _has(thing: object) -> str:
    return "no" if thing is None else "a"


def _check_points(ours: IntegrationPoints | None, theirs: IntegrationPoints | None) -> None:
    if (ours is None) != (theirs is None):
        raise MeshError(
            f"the run has {_has(theirs)} set of integration points and the store has {_has(ours)}; ingest it separately"
        )
    if ours is None or theirs is None:
        return
    if not (np.array_equal(ours.cell, theirs.cell) and np.array_equal(ours.local, theirs.local)):
        raise MeshError(
            "the run's integration points differ from the store's (owning cells or local numbers); ingest it separately"
        )


def same_values(ours: NDArray[Any], theirs: NDArray[Any]) -> bool:
    """Equal shapes, and equal values up to the rounding of float32 files (1e-6 of the largest)."""
    if ours.shape != theirs.shape:
        return False
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu":
        return bool(np.array_equal(ours, theirs))
    scale = float(np.abs(ours).max(initial=0.0))
    return bool(np.allclose(ours, theirs, rtol=0.0, atol=1e-6 * scale))
