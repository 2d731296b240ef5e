"""The problem of some fields of a store: readers and inner products that travel to the workers.

schema, request, memory ──> Problem        nothing is read here but metadata, the mesh and the weights
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, FieldError
from nwidth.inner_products import cut_mass
from nwidth.models.files import FieldShape
from nwidth.problems.comparing import FieldLayout, choose, compare_routes
from nwidth.problems.cutting import SPARSE, Cut, Memory, chunks_ahead
from nwidth.problems.options import check_tables, check_weights, content_token, inner_product_of
from nwidth.sources import StoredWeights, StoreReader
from nwidth.sparse_products import StoredMatrix, cut_sparse
from nwidth.stages.problem import Problem
from nwidth_graphs.source import FieldSource

if TYPE_CHECKING:
    from nwidth.stores.protocol import FieldInfo, SnapshotStore, StoreSchema


def problem_from_store(
    store: SnapshotStore, request: ReduceSection, memory: Memory, scratch: Path
) -> tuple[Problem, dict[str, Cut], tuple[tuple[int, int], ...]]:
    """The problem of some fields of a store; patches of a mass matrix are written under `scratch`.

    Raises
    ------
    ConfigError
        An unknown field, simulation or inner product (the known ones are named), or an empty selection.
    PlanError
        A field does not fit the memory.
    """
    schema = store.schema()
    names = _known_fields(schema, request)
    ranges = snapshot_ranges(schema, request)
    snapshots = sum(stop - start for start, stop in ranges)
    reference = store.reference()
    layouts = [_layout(schema, schema.fields[name], snapshots, request, memory) for name in names]
    layout_of = {layout.name: layout for layout in layouts}
    candidates = compare_routes(layouts, request, memory)
    chosen, reason = choose(candidates, layouts, request)
    sources = {
        name: FieldSource(
            name=name,
            panels=cut.panels,
            snapshots=snapshots,
            itemsize=schema.fields[name].dtype.itemsize,
            read=StoreReader(reference, name, ranges, layout_of[name].ahead),
            centre=request.centre,
            **stored_product(store, schema, schema.fields[name], request, cut, scratch / name),
        )
        for name, cut in chosen.cuts.items()
    }
    shapes = {name: _stored_shape(schema.fields[name], chosen.cuts[name]) for name in names}
    problem = Problem(
        sources=sources,
        shapes=shapes,
        token=content_token(schema.url, schema.version, request.model_dump_json(), memory.bytes, memory.threads),
        snapshot_label=lambda index: _stored_label(store, ranges, index),
        route=chosen.cost.route,
        reason=reason,
        grouping=chosen.grouping,
        comparison=tuple(candidate.cost for candidate in candidates),
    )
    return problem, dict(chosen.cuts), ranges


def _known_fields(schema: StoreSchema, request: ReduceSection) -> tuple[str, ...]:
    if not schema.fields or schema.n_snapshots == 0:
        raise ConfigError(f"the store {schema.url} is empty: nothing to reduce; ingest a run first")
    for name in request.fields:
        if name not in schema.fields:
            raise ConfigError(f"reduce.fields: {name!r} is not in the store; it has {', '.join(schema.fields)}")
    names = request.fields or tuple(schema.fields)
    check_tables(names, request, "reduce.")
    return names


def snapshot_ranges(schema: StoreSchema, request: ReduceSection) -> tuple[tuple[int, int], ...]:
    """Ranges of snapshots that a request uses: all, or those of the simulations named; neighbours are joined."""
    if not request.simulations:
        return ((0, schema.n_snapshots),)
    known = {run.simulation: (run.start, run.stop) for run in schema.runs}
    for name in request.simulations:
        if name not in known:
            raise ConfigError(f"reduce.simulations: {name!r} is not in the store; it has {', '.join(list(known)[:20])}")
    joined: list[tuple[int, int]] = []
    for start, stop in sorted({known[name] for name in request.simulations}):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return tuple(joined)


def _layout(schema: StoreSchema, info: FieldInfo, snapshots: int, request: ReduceSection, memory: Memory) -> FieldLayout:
    if info.dtype.kind != "f":
        raise FieldError(
            f"field {info.name!r} has dtype {info.dtype}, not a floating-point one; leave it out, or ingest it as float64"
        )
    inner_product = inner_product_of(info.name, request)
    sparse = schema.inner_products.get(inner_product) == SPARSE
    layout = FieldLayout(
        name=info.name,
        shape=(snapshots, *info.shape[1:]),
        itemsize=info.dtype.itemsize,
        chunks=info.chunks,
        shards=info.shards,
        components=bool(info.components),
        inner_product=SPARSE if sparse else inner_product,
        panelwise=sparse or inner_product == "mass",
    )
    return replace(layout, ahead=chunks_ahead(layout.chunk_bytes, memory))


def _stored_shape(info: FieldInfo, cut: Cut) -> FieldShape:
    return FieldShape(info.name, info.dims[1:], info.shape[1:], cut.box, info.location, info.components, info.units)


def stored_product(
    store: SnapshotStore, schema: StoreSchema, info: FieldInfo, request: ReduceSection, cut: Cut, scratch: Path
) -> dict[str, Any]:
    """The arguments of a `FieldSource` that stand for the inner product."""
    wanted = inner_product_of(info.name, request)
    components = info.shape[-1] if info.components else 1
    if wanted == "identity":
        return {}
    if wanted == "mass":
        mesh = store.mesh()
        if mesh is None or info.location != "node":
            raise ConfigError(
                f'inner_product = "mass" needs a field at the nodes of a mesh, and {info.name!r} lies at {info.location}s'
                f'{"" if mesh is not None else " of a store without a mesh"}; use "identity"'
                + (f" or one of {', '.join(schema.inner_products)}" if schema.inner_products else "")
            )
        return cut_mass(mesh, cut.panels, components, scratch).arguments
    if wanted not in schema.inner_products:
        known = ", ".join(["identity", "mass", *schema.inner_products])
        raise ConfigError(f"reduce.inner_product: {wanted!r} is not in the store; known: {known}")
    if schema.inner_products[wanted] == SPARSE:
        return cut_sparse(wanted, StoredMatrix(store.reference(), wanted), info.shape[1:], cut.panels, scratch)
    _, arrays, _ = store.read_inner_product(wanted)
    check_weights(wanted, np.asarray(arrays["weights"]), info.shape[1:-1] if info.components else info.shape[1:])
    return {"product": StoredWeights(store.reference(), wanted, components)}


def _stored_label(store: SnapshotStore, ranges: Sequence[tuple[int, int]], index: int) -> str:
    for start, stop in ranges:
        if index < stop - start:
            index += start
            break
        index -= stop - start
    run = next((run for run in store.schema().runs if run.start <= index < run.stop), None)
    group: Any = store.reference().open()
    time = float(group["fields/time"][index]) if "fields/time" in group else float("nan")
    return f"simulation {run.simulation if run else '?'}, t = {time:g}"
