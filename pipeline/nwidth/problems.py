"""Make a `Problem` of what a user has: fields of a store, or xarray objects in memory or on Dask.

store schema + request + memory ──> Problem     readers that run inside the workers
DataArrays   + request + memory ──> Problem     views of memory, or blocks of the array's own Dask graph
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, FieldError, PlanError
from nwidth.inner_products import cut_mass
from nwidth.models.files import FieldShape
from nwidth.sources import GivenWeights, StoredWeights, StoreReader
from nwidth.stages.pod import Problem
from nwidth.stages.route import choose_route
from nwidth.stores.origin import origin_of
from nwidth_graphs.budget import block_bytes_for, max_rows, row_bytes
from nwidth_graphs.layout import Panel, panel_shape, panels
from nwidth_graphs.reduction import TSQR
from nwidth_graphs.source import FieldSource, Reading, as_rows

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.mesh import Mesh
    from nwidth.stores.protocol import FieldInfo, SnapshotStore, StoreSchema

COMPONENT = "component"


@dataclass(frozen=True)
class Memory:
    """What a worker may use."""

    bytes: int
    threads: int = 1


@dataclass(frozen=True)
class Cut:
    """How one field is cut: its panels, and the bytes that reading one takes beyond the panel itself."""

    panels: tuple[Panel, ...]
    box: tuple[int, ...]
    decode_bytes: int


def rank_bound(request: ReduceSection, snapshots: int) -> int:
    """The most modes that a request can lead to."""
    return min(snapshots, request.rank or snapshots)


def cut_field(
    name: str,
    space: Sequence[int],
    granules: Sequence[Sequence[int]],
    snapshots: int,
    itemsize: int,
    request: ReduceSection,
    memory: Memory,
    decode_bytes: int,
) -> Cut:
    """Cut one field into panels that fit the memory; `granules` are the boxes that may be read alone, best first.

    The cut depends on shapes and on the memory of a worker only, never on how many workers there are.

    Raises
    ------
    PlanError
        Not even one granule fits; the text says how much memory would.
    """
    bound = rank_bound(request, snapshots)
    # A fallback may turn Gram into TSQR in mid-run: the cut must serve both, or the second pass would not fit.
    reduction = TSQR if request.route != "gram" else choose_route(request).reduction
    fit = max_rows(snapshots, itemsize, bound, memory.bytes, memory.threads, decode_bytes, reduction)
    target = block_bytes_for(math.prod(space) * snapshots * itemsize) // (snapshots * itemsize)
    for granule in granules:
        smallest = math.prod(min(g, n) for g, n in zip(granule, space, strict=True))
        box = panel_shape(space, granule, min(fit, max(target, smallest)))
        if box is not None:
            return Cut(panels(space, box), box, decode_bytes)
    least = math.prod(min(g, n) for g, n in zip(granules[-1], space, strict=True))
    short = (least - max(fit, 0)) * row_bytes(snapshots, itemsize, bound) * memory.threads
    if fit < 0:
        short += -fit * row_bytes(snapshots, itemsize, bound) * memory.threads
    needed = math.ceil((memory.bytes + short) / 2**20)
    raise PlanError(
        f"field {name!r}: one column of its chunks with all {snapshots} snapshots does not fit the "
        f"{memory.bytes / 2**20:.0f} MiB of a worker; set workers.memory to at least {needed} MiB"
        + (", or workers.threads to 1" if memory.threads > 1 else "")
        + (", or ask for a rank" if request.rank is None else "")
    )


# ----------------------------------------------------------------------------------------------------------------- stores


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
    sources: dict[str, FieldSource] = {}
    cuts: dict[str, Cut] = {}
    for name in names:
        info = schema.fields[name]
        cut = cuts[name] = _cut_stored(info, snapshots, request, memory)
        product, interface = _stored_product(store, schema, info, request, cut, scratch / name)
        sources[name] = FieldSource(
            name=name,
            panels=cut.panels,
            snapshots=snapshots,
            itemsize=info.dtype.itemsize,
            read=StoreReader(reference, name, ranges),
            centre=request.centre,
            **({"product": product, "interface": interface} if product is not None else {}),
        )
    shapes = {name: _stored_shape(schema.fields[name], cuts[name]) for name in names}
    token = content_token(schema.url, schema.version, request.model_dump_json(), memory.bytes, memory.threads)
    return Problem(sources, shapes, token, lambda index: _stored_label(store, ranges, index)), cuts, ranges


def _known_fields(schema: StoreSchema, request: ReduceSection) -> tuple[str, ...]:
    if not schema.fields or schema.n_snapshots == 0:
        raise ConfigError(f"the store {schema.url} is empty: nothing to reduce; ingest a run first")
    for name in request.fields:
        if name not in schema.fields:
            raise ConfigError(f"reduce.fields: {name!r} is not in the store; it has {', '.join(schema.fields)}")
    names = request.fields or tuple(schema.fields)
    _check_tables(names, request, "reduce.")
    return names


def _check_tables(names: Sequence[str], request: ReduceSection, prefix: str = "") -> None:
    for option in ("inner_product", "field_scaling"):
        table = getattr(request, option)
        unknown = [name for name in table if name not in names] if isinstance(table, dict) else []
        if unknown:
            raise ConfigError(f"{prefix}{option}: {unknown[0]!r} is not among the fields that are reduced: {', '.join(names)}")


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


def _cut_stored(info: FieldInfo, snapshots: int, request: ReduceSection, memory: Memory) -> Cut:
    if info.dtype.kind != "f":
        raise FieldError(
            f"field {info.name!r} has dtype {info.dtype}, not a floating-point one; leave it out, or ingest it as float64"
        )
    space, chunk = info.shape[1:], info.chunks[1:]
    shard = chunk if info.shards is None else info.shards[1:]
    chunk_bytes = math.prod(info.chunks) * info.dtype.itemsize
    # Zarr has up to four chunks in flight (workers.ZARR_SETTINGS), each as stored and as decoded.
    decode_bytes = 8 * chunk_bytes
    granules = [_whole_components(info, shard), _whole_components(info, chunk)]
    return cut_field(info.name, space, granules, snapshots, info.dtype.itemsize, request, memory, decode_bytes)


def _whole_components(info: FieldInfo, granule: Sequence[int]) -> tuple[int, ...]:
    """Panels are never cut between the components of a node: an inner product may couple nodes, not components."""
    return (*granule[:-1], info.shape[-1]) if info.components else tuple(granule)


def _stored_shape(info: FieldInfo, cut: Cut) -> FieldShape:
    return FieldShape(info.name, info.dims[1:], info.shape[1:], cut.box, info.location, info.components, info.units)


def _stored_product(
    store: SnapshotStore, schema: StoreSchema, info: FieldInfo, request: ReduceSection, cut: Cut, scratch: Path
) -> tuple[Any, Any]:
    wanted = inner_product_of(info.name, request)
    components = info.shape[-1] if info.components else 1
    if wanted == "identity":
        return None, None
    if wanted == "mass":
        mesh = store.mesh()
        if mesh is None or info.location != "node":
            raise ConfigError(
                f'inner_product = "mass" needs a field at the nodes of a mesh, and {info.name!r} lies at {info.location}s'
                f'{"" if mesh is not None else " of a store without a mesh"}; use "identity"'
                + (f" or one of {', '.join(schema.inner_products)}" if schema.inner_products else "")
            )
        return cut_mass(mesh, cut.panels, components, scratch)
    if wanted not in schema.inner_products:
        known = ", ".join(["identity", "mass", *schema.inner_products])
        raise ConfigError(f"reduce.inner_product: {wanted!r} is not in the store; known: {known}")
    _, arrays, _ = store.read_inner_product(wanted)
    check_weights(wanted, np.asarray(arrays["weights"]), info.shape[1:-1] if info.components else info.shape[1:])
    return StoredWeights(store.reference(), wanted, components), None


def inner_product_of(field: str, request: ReduceSection) -> str:
    """Name of the inner product of one field."""
    wanted = request.inner_product
    return wanted.get(field, "identity") if isinstance(wanted, dict) else wanted


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


# ----------------------------------------------------------------------------------------------------------------- arrays


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
    _check_tables(tuple(arrays), request)
    for name, array in arrays.items():
        _check_array(name, array)
        cut = _cut_array(name, array, request, memory)
        components = array.shape[-1] if array.dims[-1] == COMPONENT else 1
        extra: dict[str, Any] = {}
        if weights is not None:
            space = array.shape[1:-1] if components > 1 or array.dims[-1] == COMPONENT else array.shape[1:]
            extra["product"] = GivenWeights(check_weights("inner_product", np.asarray(weights, np.float64), space), components)
        elif _wants_mass(name, request):
            extra["product"], extra["interface"] = cut_mass(
                _mesh_of(name, array, mesh), cut.panels, components, (scratch or Path()) / name
            )
        sources[name] = FieldSource(
            name=name, panels=cut.panels, snapshots=array.shape[0], itemsize=array.dtype.itemsize, centre=request.centre,
            **extra, **_blocks(array, cut),
        )  # fmt: skip
        shapes[name] = FieldShape(
            name, tuple(map(str, array.dims[1:])), array.shape[1:], cut.box, str(array.attrs.get("location", "node")),
            tuple(map(str, array[COMPONENT].values)) if COMPONENT in array.coords else (), str(array.attrs.get("units", "")),
        )  # fmt: skip
    first = next(iter(arrays.values()))
    # Arrays in memory never leave this process, so nothing can mistake their keys, and hashing them would cost as much as a pass.
    contents = [array.data if array.chunks is not None else uuid.uuid4().hex for array in arrays.values()]
    token = content_token(*contents, request.model_dump_json(), memory.bytes, memory.threads)
    return Problem(sources, shapes, token, lambda index: _array_label(first, index))


def _wants_mass(name: str, request: ReduceSection) -> bool:
    wanted = inner_product_of(name, request)
    if wanted not in ("identity", "mass"):
        raise ConfigError(f'inner_product = {wanted!r} is not known; give "identity", "mass", or an array of weights')
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


def _cut_array(name: str, array: xr.DataArray, request: ReduceSection, memory: Memory) -> Cut:
    space = array.shape[1:]
    whole = (*[1] * (len(space) - 1), space[-1]) if array.dims[-1] == COMPONENT else (1,) * len(space)
    granules: list[tuple[int, ...]] = [whole]
    if array.chunks is not None:
        # Panels of whole chunks leave each chunk in one piece; single rows are the last resort and cost reads of parts.
        chunk = tuple(max(sizes) for sizes in array.chunks[1:])
        granules.insert(0, (*chunk[:-1], space[-1]) if array.dims[-1] == COMPONENT else chunk)
    return cut_field(name, space, granules, array.shape[0], array.dtype.itemsize, request, memory, 0)


def _blocks(array: xr.DataArray, cut: Cut) -> dict[str, Any]:
    if array.chunks is None:
        return {"read": MemoryReader(array.values)}
    origin = origin_of(array)
    if origin is not None:
        return {"read": StoreReader(origin.reference, origin.field, ((0, array.shape[0]),))}
    return {"array": array.data.rechunk((array.shape[0], *cut.box))}


@dataclass(frozen=True)
class MemoryReader:
    """Views of an array in this process's memory."""

    values: NDArray[Any]

    def __call__(self, panel: Panel) -> Reading:
        return Reading(as_rows(self.values[(slice(None), *panel.selection)]))


def check_weights(name: str, weights: NDArray[np.float64], space: Sequence[int]) -> NDArray[np.float64]:
    """Refuse weights of a wrong shape, or that are not positive and finite.

    Raises
    ------
    ConfigError
        Says what was found, where, and what was expected.
    """
    if weights.shape != tuple(space):
        raise ConfigError(
            f"weights {name!r} have shape {weights.shape}, and the field's space has {tuple(space)}; give one weight per place"
        )
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ConfigError(f"weight {weights[place]} of {name!r} at {place} is not allowed; weights are finite and not negative")
    if not (weights > 0).any():
        raise ConfigError(f"all weights of {name!r} are zero; at least one must be positive")
    return weights


def _array_label(array: xr.DataArray, index: int) -> str:
    parts = [
        f"{key} {array[key].values[index]}" for key in ("simulation", "time") if key in array.coords and array[key].ndim == 1
    ]
    return ", ".join(parts) or f"{array.dims[0]} {index}"


def content_token(*parts: Any) -> str:
    """A short key of the content of `parts` (Dask's tokens for arrays), with the code's version."""
    import hashlib

    from dask.base import tokenize

    from nwidth import __version__

    return hashlib.blake2b(f"{__version__}:{tokenize(*parts)}".encode(), digest_size=8).hexdigest()
