"""The problem of columns that lie in models: their modes, side by side, cut by the chunks in which they were written.

models, inner products ──> Problem whose "snapshots" are modes        nothing is read here but metadata, the mesh and weights
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, NwidthError, StoreError
from nwidth.inner_products import cut_mass
from nwidth.models.files import FieldShape
from nwidth.models.model import Model
from nwidth.problems.cutting import Cut, Memory, cut_field, inner_row_bytes
from nwidth.problems.stored import stored_product
from nwidth.stacking import FieldColumns, stacked
from nwidth.stages.problem import Problem
from nwidth.stores import open_store
from nwidth_graphs.source import FieldSource


def problem_from_models(
    fields: Mapping[str, FieldColumns], request: ReduceSection, memory: Memory, scratch: Path, token: str
) -> Problem:
    """The columns of some fields as a problem; patches of a mass matrix are written under `scratch`.

    `request` names the inner products. Weights and matrices of a store are read from the store that a model names.

    Raises
    ------
    ConfigError
        An inner product that needs a mesh or a store which cannot be had.
    PlanError
        A field does not fit the memory.
    """
    sources, shapes = {}, {}
    for name, columns in fields.items():
        group = _modes_group(columns.models[0], columns.basis, name)
        cut = _cut(name, group["modes"], columns.count, request, memory)
        shapes[name] = _shape(name, group, cut)
        sources[name] = FieldSource(
            name=name,
            panels=cut.panels,
            snapshots=columns.count,
            itemsize=8,
            read=stacked(columns.parts),
            **_product(name, columns, shapes[name], cut, request, scratch / name),
        )
    return Problem(sources, shapes, token, lambda index: f"mode {index} of the models that are combined")


def _modes_group(model: Model, basis: str, field: str) -> Any:
    import zarr

    return zarr.open_group(str(model.path / "bases" / basis / field), mode="r")


def _cut(name: str, modes: Any, columns: int, request: ReduceSection, memory: Memory) -> Cut:
    space, chunk = modes.shape[1:], modes.chunks[1:]
    # Beside the stack, the modes of one part at a time as they are read: never more than the stack has columns.
    extra = inner_row_bytes(str(_wanted(name, request))) + 8 * columns
    half = tuple(max(1, size // 8) if axis == 0 else size for axis, size in enumerate(chunk))
    return cut_field(name, space, [chunk, half], columns, 8, request, memory, 0, extra)


def _shape(name: str, group: Any, cut: Cut) -> FieldShape:
    modes, attributes = group["modes"], group.attrs
    return FieldShape(
        name=name,
        dims=tuple(modes.metadata.dimension_names[1:]),
        shape=tuple(modes.shape[1:]),
        panel=cut.box,
        location=str(attributes.get("location", "node")),
        components=tuple(attributes.get("components", ())),
        units=str(attributes.get("units", "")),
    )


def _wanted(name: str, request: ReduceSection) -> str:
    wanted = request.inner_product
    return wanted.get(name, "identity") if isinstance(wanted, dict) else wanted


def _product(
    name: str, columns: FieldColumns, shape: FieldShape, cut: Cut, request: ReduceSection, scratch: Path
) -> dict[str, Any]:
    """The arguments of a `FieldSource` that stand for the inner product."""
    wanted = _wanted(name, request)
    if wanted == "identity":
        return {}
    if wanted == "mass":
        mesh = next((model.mesh for model in columns.models if model.mesh is not None), None)
        if mesh is None:
            raise ConfigError(f'field {name!r} has the inner product "mass", and no model holds its mesh; run its study again')
        components = shape.shape[-1] if shape.components else 1
        return cut_mass(mesh, cut.panels, components, scratch).arguments
    return _product_of_a_store(name, wanted, columns, cut, request, scratch)


def _product_of_a_store(
    name: str, wanted: str, columns: FieldColumns, cut: Cut, request: ReduceSection, scratch: Path
) -> dict[str, Any]:
    tried = []
    for model in columns.models:
        url = (model.manifest.get("store") or {}).get("url")
        if url is None:
            continue
        try:
            store = open_store(url)
            return stored_product(store, store.schema(), store.schema().fields[name], request, cut, scratch)
        except (NwidthError, KeyError) as error:
            tried.append(f"{url}: {error}")
    reason = f" ({'; '.join(tried)})" if tried else ""
    raise StoreError(
        f"the inner product {wanted!r} of field {name!r} lies in the store of a run, and none of the stores can be read{reason}; "
        "bring one to where its model says that it lies"
    )
