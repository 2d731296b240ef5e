"""The data dictionary of a snapshot store: names, attributes, and what is refused.

    /                     attributes nwidth_schema, nwidth_content = "snapshots", nwidth_nodes (all nodes: nothing is ever listed)
    mesh/                 points connectivity offsets cell_types [point_cell point_local]
    fields/<name>         (snapshot, *space[, component]), role "field"
    fields/simulation     (snapshot,) text       the run that a snapshot belongs to
    fields/time           (snapshot,) float64    CF units
    fields/<parameter>    (snapshot,)            role "parameter": float64 or text
    fields/<grid axis>    (axis,)                role "grid": lat, lon, ...
    fields/component      (component,) text      role "label"
    runs/                 simulation source_key start stop details: one entry per run, the store's own ledger
    inner_products/<name>/  attributes nwidth_kind and the caller's; arrays: weights, or indptr indices data (compressed rows)

Coordinates lie beside the fields because that is where xarray looks: ``open_dataset(path, engine="zarr", group="fields",
consolidated=False)`` alone gives fields with their simulation, time and parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nwidth.errors import FieldError, LayoutError
from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stores.protocol import SCHEMA_VERSION

SCHEMA_KEY = "nwidth_schema"
CONTENT_KEY = "nwidth_content"
CONTENT = "snapshots"
NODES_KEY = "nwidth_nodes"
STORE_ID_KEY = "nwidth_store_id"
COMMIT_KEY = "nwidth_commit"
ROLE_KEY = "nwidth_role"
LOCATION_KEY = "nwidth_location"
COMPONENTS_KEY = "nwidth_components"
KIND_KEY = "nwidth_kind"

SNAPSHOT = "snapshot"
RUN = "run"
RESERVED = frozenset({"simulation", "time", SNAPSHOT, "component"})
MESH_ARRAYS = ("points", "connectivity", "offsets", "cell_types")
LEDGER_ARRAYS = ("simulation", "source_key", "start", "stop", "details")
# NaN marks what was never written, so integers are not stored; half precision has no trustworthy digits for a reduction.
FIELD_TYPES = ("float32", "float64", "complex64", "complex128")


def check_root(attributes: Mapping[str, Any], url: str) -> None:
    """Refuse a store that is not ours, or that a newer version wrote.

    Raises
    ------
    LayoutError
        Foreign layout, or newer schema.
    """
    version = attributes.get(SCHEMA_KEY)
    if version is None or attributes.get(CONTENT_KEY) != CONTENT:
        found = f"it holds {attributes[CONTENT_KEY]!r}" if CONTENT_KEY in attributes else f"it has no attribute {SCHEMA_KEY!r}"
        raise LayoutError(f"{url} is not a snapshot store of nwidth: {found}; bring foreign Zarr data in with `nwidth ingest`")
    if not isinstance(version, int) or version < 1:
        raise LayoutError(
            f"{url} has schema version {version!r}, expected 1 to {SCHEMA_VERSION}; the store is damaged or foreign"
        )
    if version > SCHEMA_VERSION:
        raise LayoutError(f"{url} has schema version {version} and this nwidth knows {SCHEMA_VERSION}; update nwidth to open it")


def check_run(run: Run, parameters: Mapping[str, Any]) -> None:
    """Refuse a run that no store could hold, before anything is looked up in the store (`FieldError`)."""
    if not run.fields:
        raise FieldError("the run has no fields; choose at least one field to ingest")
    if run.times.ndim != 1 or not run.times.size:
        raise FieldError(f"the run has times of shape {run.times.shape}, expected one time for each of one or more snapshots")
    clash = sorted(set(parameters) & set(run.parameters))
    if clash:
        raise FieldError(f"parameter {clash[0]!r} is given for the run and for each snapshot; give it once")
    for name, values in run.parameters.items():
        if values.shape != run.times.shape:
            raise FieldError(
                f"parameter {name!r} has shape {values.shape}, expected one value for each of {run.times.size} snapshots"
            )
    names = [*run.fields, *parameters, *run.parameters, *run.coordinates]
    for name in names:
        _check_name(name)
        if names.count(name) > 1:
            raise FieldError(f"the name {name!r} is used twice among fields, parameters and grid coordinates; rename one of them")
    for name, spec in run.fields.items():
        _check_spec(name, spec, run)


def _check_name(name: str) -> None:
    if not name or name in RESERVED or name.startswith((".", "__")) or "/" in name or name == "zarr.json" or len(name) > 200:
        raise FieldError(
            f"{name!r} cannot name a field, parameter or coordinate (reserved, empty, too long or with '/'); rename it"
        )


def _check_spec(name: str, spec: FieldSpec, run: Run) -> None:
    if spec.dtype.name not in FIELD_TYPES:
        raise FieldError(
            f"field {name!r} has type {spec.dtype}, expected one of {', '.join(FIELD_TYPES)}; convert it in the reader"
        )
    if len(spec.dims) != len(spec.shape) or not spec.shape or min(spec.shape) < 1:
        raise FieldError(
            f"field {name!r} has dimensions {spec.dims} and shape {spec.shape}; expected one extent above 0 for each dimension"
        )
    if spec.components and (spec.dims[-1] != "component" or spec.shape[-1] != len(spec.components)):
        raise FieldError(
            f"field {name!r} names {len(spec.components)} components; its last dimension {spec.dims[-1]!r} has {spec.shape[-1]}"
        )
    expected = {"node": run.mesh.n_points if run.mesh else None, "cell": run.mesh.n_cells if run.mesh else None}
    expected["point"] = run.integration_points.cell.size if run.integration_points else None
    wanted = expected.get(spec.location)
    if wanted is not None and spec.shape[0] != wanted:
        raise FieldError(
            f"field {name!r} has {spec.shape[0]} values, but there are {wanted} of location {spec.location!r}; mend the reader"
        )


def field_dimensions(fields: Mapping[str, FieldSpec]) -> dict[str, tuple[str, ...]]:
    """Names of the stored dimensions of every field, such that xarray can hold all fields in one dataset.

    ``component`` is shared where all fields have the same components; else each field has ``<name>_component``.

    Raises
    ------
    FieldError
        Two fields give one dimension different extents.
    """
    labels = {(spec.components, spec.shape[-1]) for spec in fields.values() if spec.dims[-1] == "component"}
    named: dict[str, tuple[str, ...]] = {}
    extents: dict[str, int] = {}
    for name, spec in fields.items():
        last = f"{name}_component" if len(labels) > 1 and spec.dims[-1] == "component" else spec.dims[-1]
        named[name] = (*spec.dims[:-1], last)
        for dim, extent in zip(named[name], spec.shape, strict=True):
            if extents.setdefault(dim, extent) != extent:
                raise FieldError(
                    f"dimension {dim!r} has {extent} entries in field {name!r} and {extents[dim]} in others; name them apart"
                )
    return named
