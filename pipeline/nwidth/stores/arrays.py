"""Creating the arrays of a store from its first run, and lengthening the coordinates by each run.

Everything goes through a Zarr group inside a transaction, the same for plain Zarr and Icechunk: nothing of it is visible
before the transaction commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import FieldError
from nwidth.mesh import Mesh
from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stores.codec import compressors
from nwidth.stores.columns import append_column, array_at, create_column, record_nodes, write_array
from nwidth.stores.layout import Layout, choose_layout
from nwidth.stores.ledger import create_ledger
from nwidth.stores.options import StoreOptions
from nwidth.stores.schema import COMPONENTS_KEY, KIND_KEY, LEDGER_ARRAYS, LOCATION_KEY, MESH_ARRAYS, ROLE_KEY, SNAPSHOT

if TYPE_CHECKING:
    import zarr

Parameters = Mapping[str, NDArray[Any]]
"""Parameter name -> one float64 or text value per snapshot of a run."""


def run_parameters(run: Run, constants: Mapping[str, float | str]) -> Parameters:
    """All parameters of a run as one value per snapshot: text stays text, numbers become finite float64 (`FieldError`)."""
    columns = {name: np.full(run.times.size, value, dtype=object) for name, value in constants.items()} | dict(run.parameters)
    return {name: _parameter(name, values) for name, values in columns.items()}


def _parameter(name: str, values: NDArray[Any]) -> NDArray[Any]:
    if all(isinstance(value, str) for value in values.tolist()):
        return np.asarray([str(value) for value in values.tolist()], dtype=object)
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise FieldError(f"parameter {name!r} is neither a number nor text throughout; give one kind of value") from error
    if not np.isfinite(numbers).all():
        raise FieldError(f"parameter {name!r} is not finite; give every run a value")
    return numbers


def parameter_kinds(parameters: Parameters) -> dict[str, str]:
    """Parameter name -> ``number`` or ``text``."""
    return {name: "number" if values.dtype.kind == "f" else "text" for name, values in parameters.items()}


def field_layouts(fields: Mapping[str, FieldSpec], n_snapshots: int, options: StoreOptions) -> dict[str, Layout]:
    """The layout of every field; the memory budget is shared in proportion to the sizes of one snapshot. Pure (no I/O)."""
    sizes = {name: int(np.prod(spec.shape)) * spec.dtype.itemsize for name, spec in fields.items()}
    total = sum(sizes.values())
    return {
        name: choose_layout(
            tuple(spec.shape),
            tuple(spec.dims),
            spec.dtype,
            max(options.expected_snapshots, n_snapshots),
            max(1, options.memory_budget * sizes[name] // total),
        )
        for name, spec in fields.items()
    }


def create_arrays(
    root: zarr.Group,
    run: Run,
    parameters: Parameters,
    layouts: Mapping[str, Layout],
    named: Mapping[str, tuple[str, ...]],
    codec: str,
) -> None:
    """Create every array that the store of `run` will ever have, with no snapshot in it yet; the mesh and grid are written."""
    paths = _create_mesh(root, run)
    root.create_group("fields", attributes={"Conventions": "CF-1.11"})
    root.create_group("runs")
    coordinates = ["simulation", "time", *(name for name in parameters if not any(char.isspace() for char in name))]
    for name, spec in run.fields.items():
        _create_field(root, name, spec, layouts[name], named[name], codec, " ".join(coordinates))
    _create_coordinates(root, run, parameters)
    labels = _create_labels(root, run, named)
    create_ledger(root)
    columns = ["simulation", "time", *run.fields, *parameters, *run.coordinates, *labels]
    record_nodes(root, [*paths, *(f"fields/{name}" for name in columns), *(f"runs/{name}" for name in LEDGER_ARRAYS)])
    for name, weights in run.weights.items():
        write_inner_product_arrays(root, name, "diagonal", {"weights": weights}, {"dims": _weight_dims(name, weights, run)})


def _create_field(
    root: zarr.Group, name: str, spec: FieldSpec, layout: Layout, dims: tuple[str, ...], codec: str, coordinates: str
) -> None:
    attributes: dict[str, Any] = {ROLE_KEY: "field", LOCATION_KEY: spec.location, "coordinates": coordinates}
    attributes |= {COMPONENTS_KEY: list(spec.components)} if spec.components else {}
    attributes |= {"units": spec.units} if spec.units else {}
    attributes |= {"long_name": spec.long_name} if spec.long_name else {}
    root.create_array(
        f"fields/{name}",
        shape=(0, *spec.shape),
        chunks=layout.chunks,
        shards=layout.shards,
        dtype=spec.dtype.newbyteorder("="),
        compressors=compressors(codec, spec.dtype),
        fill_value=np.nan,
        dimension_names=(SNAPSHOT, *dims),
        attributes=attributes,
    )


def _create_coordinates(root: zarr.Group, run: Run, parameters: Parameters) -> None:
    create_column(root, "fields/simulation", (SNAPSHOT,), str, attributes={ROLE_KEY: "coordinate", "long_name": "simulation"})
    calendar = {"calendar": run.attributes["calendar"]} if "calendar" in run.attributes else {}
    time = {ROLE_KEY: "coordinate", "standard_name": "time", "units": run.time_units, **calendar}
    create_column(root, "fields/time", (SNAPSHOT,), np.float64, attributes=time)
    for name, values in parameters.items():
        dtype = np.float64 if values.dtype.kind == "f" else str
        units = {"units": run.attributes[f"units:{name}"]} if f"units:{name}" in run.attributes else {}
        create_column(root, f"fields/{name}", (SNAPSHOT,), dtype, attributes={ROLE_KEY: "parameter", **units})
    for name, values in run.coordinates.items():
        column = create_column(root, f"fields/{name}", (name,), values.dtype, attributes={ROLE_KEY: "grid"}, length=len(values))
        column[:] = values


def _create_labels(root: zarr.Group, run: Run, named: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Component names as index coordinates, so that ``.sel(component="x")`` works."""
    labels = {named[name][-1]: spec.components for name, spec in run.fields.items() if spec.components}
    for dim, components in labels.items():
        column = create_column(root, f"fields/{dim}", (dim,), str, attributes={ROLE_KEY: "label"}, length=len(components))
        column[:] = np.asarray(components, dtype=object)
    return list(labels)


def _create_mesh(root: zarr.Group, run: Run) -> list[str]:
    """Write the mesh and the integration points; the paths that were made."""
    arrays = _mesh_arrays(run.mesh)
    if run.integration_points is not None:
        arrays |= {"point_cell": run.integration_points.cell, "point_local": run.integration_points.local}
    if not arrays:
        return []
    unit = {"length_unit": run.mesh.length_unit, "cell_order": "VTK"} if run.mesh else {}
    root.create_group("mesh", attributes=unit)
    for name, values in arrays.items():
        write_array(root, f"mesh/{name}", values)
    return [f"mesh/{name}" for name in arrays]


def _mesh_arrays(mesh: Mesh | None) -> dict[str, NDArray[Any]]:
    return {name: getattr(mesh, name) for name in MESH_ARRAYS} if mesh is not None else {}


def _weight_dims(name: str, weights: NDArray[np.float64], run: Run) -> list[str]:
    """The dimensions of a reader's weights: those of the fields that they fit, or of their leading axes."""
    for spec in run.fields.values():
        if weights.shape == tuple(spec.shape[: weights.ndim]):
            return list(spec.dims[: weights.ndim])
    raise FieldError(f"weights {name!r} have shape {weights.shape}, which fits no field; mend the reader")


def check_weights(run: Run) -> None:
    """Refuse a reader's weights that fit no field, or are negative or not finite (`FieldError`)."""
    for name, weights in run.weights.items():
        _weight_dims(name, weights, run)
        if not np.isfinite(weights).all() or (weights < 0).any():
            raise FieldError(
                f"weights {name!r} have a negative or non-finite entry; an inner product needs weights of at least 0"
            )


def append_coordinates(root: zarr.Group, run: Run, simulation: str, parameters: Parameters) -> None:
    """Lengthen the coordinates of ``snapshot`` by one run."""
    append_column(root, "fields/simulation", [simulation] * run.times.size)
    append_column(root, "fields/time", np.asarray(run.times, np.float64))
    for name, values in parameters.items():
        append_column(root, f"fields/{name}", values)


def lengthen_fields(root: zarr.Group, names: tuple[str, ...], count: int) -> dict[str, zarr.Array[Any]]:
    """Make room for `count` more snapshots in every field; the arrays to write into."""
    arrays = {name: array_at(root, f"fields/{name}") for name in names}
    for array in arrays.values():
        array.resize((array.shape[0] + count, *array.shape[1:]))
    return arrays


def write_inner_product_arrays(
    root: zarr.Group, name: str, kind: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
) -> None:
    """Write ``inner_products/<name>``."""
    group = root.create_group(f"inner_products/{name}", attributes={**attributes, KIND_KEY: kind})
    for key, values in arrays.items():
        write_array(group, key, np.asarray(values))
    record_nodes(root, [f"inner_products/{name}", *(f"inner_products/{name}/{key}" for key in arrays)])
