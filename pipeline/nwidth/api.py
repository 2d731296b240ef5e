"""The reductions as Python functions: xarray objects in, xarray objects out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nwidth.config import ReduceSection, RouteName, first_problem, parse_bytes
from nwidth.errors import ConfigError
from nwidth.models.basis import Basis
from nwidth.problems import COMPONENT, SPARSE, Memory, inner_product_of, problem_from_arrays
from nwidth.sparse_products import GivenMatrix, MatrixRows, StoredMatrix, compressed_rows
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import BasisParts
from nwidth.stages.sinks import FolderSink, MemorySink, ModesSink
from nwidth.workers import Executor, Progress, ThreadExecutor, executor_of

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.mesh import Mesh

Snapshots = Any
"""A DataArray, a Dataset, or an array of shape (snapshot, *space)."""


def pod(
    snapshots: Snapshots,
    *,
    rtol: float | None = None,
    rank: int | None = None,
    inner_product: Any = "identity",
    centre: bool = False,
    snapshot_scaling: Literal["none", "unit"] = "none",
    field_scaling: Literal["unit", "none"] | Mapping[str, float] = "unit",
    route: RouteName = "auto",
    seed: int = 0,
    oversampling: int | None = None,
    power_iterations: int = 0,
    tree: Literal["distributed", "incremental"] = "distributed",
    omega: float = 0.75,
    beyond_floor: bool = False,
    missing: Literal["refuse", "gappy"] = "refuse",
    gappy_iterations: int = 50,
    gappy_tolerance: float = 1e-6,
    snapshot_dim: str = "snapshot",
    mesh: Mesh | None = None,
    memory: str | int = "2 GiB",
    client: Any = None,
    progress: Progress | None = None,
) -> Basis:
    """Proper orthogonal decomposition: the subspace of dimension N that is closest to the snapshots.

    Minimises ``sum_j ||s_j - Phi Phi^T W s_j||_W^2`` over ``Phi^T W Phi = I``, with N the smallest rank for which the relative
    projection error ``sqrt(sum_{i>N} s_i^2 / sum_i s_i^2)`` is at most `rtol`, and at most `rank`.

    Parameters
    ----------
    snapshots : xarray.DataArray, xarray.Dataset or array
        Shape (snapshot, *space[, component]); the fields of a Dataset are reduced jointly. Dask arrays are reduced block by
        block, without loading them.
    rtol, rank
        Relative projection error (Frobenius over all snapshots), largest number of modes, or both; ``rtol = 1e-4`` if neither.
    inner_product : str, mapping or array
        ``"identity"``, ``"mass"`` (needs `mesh`; space is (node,) or (node, component)), a table of these by field, diagonal
        weights over the space dimensions (not the component), or a sparse symmetric positive definite scipy matrix with a row per
        unknown or per place (components are then not coupled); it is never factorized, so its route is Gram's.
    centre
        Remove the mean over the snapshots; it is removed block by block, where nothing cancels.
    snapshot_scaling
        ``"unit"`` gives every snapshot the same weight.
    field_scaling
        Scaling of the fields of a Dataset: ``"unit"`` gives every field the same Frobenius norm.
    route
        ``"gram"`` (fastest, floor at 4.5e-8 s_1), ``"tsqr"`` (no such floor), ``"sketch"`` (a few modes of very many snapshots),
        ``"nystrom"`` (the same from one read), or ``"auto"``.
    seed, oversampling, power_iterations
        Of the random routes: samples beyond `rank`, and reads that sharpen the sample of ``"sketch"``.
    tree, omega
        Route ``"hapod"``: a tree or a chain of small PODs over groups of snapshots, and the share of the tolerance that is left
        to its root.
    beyond_floor
        Return modes below the trustworthy floor, too.
    missing, gappy_iterations, gappy_tolerance
        ``"gappy"`` fills isolated NaN from `rank` modes, iteratively (two reads each), until the relative change of the filling
        is below the tolerance; its measured error is in the certificate. NaN in every snapshot are a mask and need no filling.
    snapshot_dim
        Name of the dimension that counts snapshots; the first dimension where there is none of that name.
    memory
        What one worker (or this process) may use; blocks are sized for it.
    client : distributed.Client, optional
        Where Dask arrays are computed; threads of this process by default. Its workers must see this process's temporary
        folder (``TMPDIR``), where they leave the modes.

    Returns
    -------
    Basis
        ``.modes`` (mode, *space), ``.singular_values``, ``.coefficients`` (mode, snapshot), ``.certificate``, ``.spectrum``.

    Raises
    ------
    ConfigError
        Contradictory options, or weights that do not fit.
    FieldError
        NaN, infinite or all-zero fields; the text names the place.
    PlanError
        A block does not fit the memory.

    Notes
    -----
    Two reads of the data (three where the Gram floor bites under ``route="auto"``). Method of snapshots: Sirovich 1987; TSQR:
    Demmel, Grigori, Hoemmen and Langou 2012.

    Examples
    --------
    >>> import numpy as np, nwidth as nw
    >>> x = np.linspace(0, 1, 1000)
    >>> basis = nw.pod(np.array([np.sin(x * k) for k in range(1, 9)]), rtol=1e-3)
    >>> basis.rank, bool(basis.certificate.frobenius_error < 1e-3)
    (5, True)
    """
    fields = _as_fields(snapshots, snapshot_dim)
    inner_product, mesh = _from_store(inner_product, mesh, fields)
    named = isinstance(inner_product, str | Mapping)
    weights, name = (None, inner_product) if named else (_aligned(inner_product, fields), "identity")
    options: dict[str, Any] = {"rtol": rtol, "rank": rank}
    request = _request(
        basis="joint",
        inner_product=name,
        centre=centre,
        snapshot_scaling=snapshot_scaling,
        field_scaling=field_scaling if isinstance(field_scaling, str) else dict(field_scaling),
        route=route,
        seed=seed,
        oversampling=oversampling,
        power_iterations=power_iterations,
        tree=tree,
        omega=omega,
        beyond_floor=beyond_floor,
        missing=missing,
        gappy_iterations=gappy_iterations,
        gappy_tolerance=gappy_tolerance,
        **{key: value for key, value in options.items() if value is not None},
    )
    budget = Memory(_bytes(memory))
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        plain = {name: _plain_component(array) for name, array in fields.items()}
        problem = problem_from_arrays(plain, request, budget, weights=weights, mesh=mesh, scratch=Path(scratch))
        with _executor(fields, client) as executor:
            sink: ModesSink = MemorySink() if isinstance(executor, ThreadExecutor) else FolderSink(Path(scratch) / "modes")
            result = reduce_problem(problem, request, executor, sink, progress=progress)
        parts = result.bases[0]
        collected = {name: sink.collect(parts.name, problem.shapes[name]) for name in fields}
    label = None if weights is None else SPARSE if isinstance(weights, MatrixRows) else "weights"
    return _basis(parts, fields, collected, request, label)


def _request(**options: Any) -> ReduceSection:
    from pydantic import ValidationError

    try:
        return ReduceSection(**options)
    except ValidationError as error:
        raise ConfigError(first_problem(error)) from None


def _bytes(memory: str | int) -> int:
    try:
        return parse_bytes(memory)
    except ValueError as error:
        raise ConfigError(f"memory: {error}") from None


def _aligned(weights: Any, fields: Mapping[str, xr.DataArray]) -> Any:
    """Weights with dimension names, in the order of the first field's dimensions; a matrix in rows; other arrays as they are."""
    import xarray as xr
    from scipy.sparse import issparse

    if issparse(weights):
        return GivenMatrix(compressed_rows(weights))

    if not isinstance(weights, xr.DataArray):
        return weights
    space = [dim for dim in next(iter(fields.values())).dims[1:] if dim in weights.dims]
    return weights.transpose(*space, ...).values


def _as_fields(snapshots: Snapshots, snapshot_dim: str) -> dict[str, xr.DataArray]:
    import xarray as xr

    if isinstance(snapshots, xr.Dataset):
        named = {str(name): array for name, array in snapshots.data_vars.items()}
        if not named:
            raise ConfigError("the dataset has no fields; select some variables that have a snapshot dimension")
    elif isinstance(snapshots, xr.DataArray):
        named = {str(snapshots.name or "field"): snapshots}
    else:
        values = snapshots if hasattr(snapshots, "dask") else np.asarray(snapshots)
        dims = ("snapshot", *(f"dim_{axis}" for axis in range(1, values.ndim)))
        named = {"field": xr.DataArray(values, dims=dims[: values.ndim], name="field")}
    return {name: _snapshot_first(name, array, snapshot_dim) for name, array in named.items()}


def _snapshot_first(name: str, array: xr.DataArray, snapshot_dim: str) -> xr.DataArray:
    if array.ndim == 0:
        raise ConfigError(f"field {name!r} is a single value; a field has snapshots and at least one space dimension")
    dim = snapshot_dim if snapshot_dim in array.dims else str(array.dims[0])
    last = [d for d in array.dims if _is_component(d)]
    space = [d for d in array.dims if d != dim and d not in last]
    return array.transpose(dim, *space, *last)


def _is_component(dim: Any) -> bool:
    """``component``, or ``stress_component`` where the fields of a dataset have different ones."""
    return dim == COMPONENT or str(dim).endswith(f"_{COMPONENT}")


def _plain_component(array: xr.DataArray) -> xr.DataArray:
    last = array.dims[-1]
    return array.rename({last: COMPONENT}) if _is_component(last) else array


def _from_store(inner_product: Any, mesh: Mesh | None, fields: Mapping[str, xr.DataArray]) -> tuple[Any, Mesh | None]:
    """Look up, in the store that the fields were opened from, the mesh or the weights that an inner product's name stands for."""
    if not isinstance(inner_product, str | Mapping):
        return inner_product, mesh
    names = {inner_product} if isinstance(inner_product, str) else set(inner_product.values())
    if names <= {"identity"} or (names <= {"identity", "mass"} and mesh is not None):
        return inner_product, mesh
    from nwidth.stores import open_store
    from nwidth.stores.origin import store_of

    place = next(filter(None, (store_of(array) for array in fields.values())), None)
    if place is None:
        return inner_product, mesh
    url, options = place
    store = open_store(url, options=options)
    if names <= {"identity", "mass"}:
        return inner_product, store.mesh()
    if isinstance(inner_product, str) and inner_product in store.schema().inner_products:
        if store.schema().inner_products[inner_product] == SPARSE:
            return StoredMatrix(store.reference(), inner_product), mesh
        return np.asarray(store.read_inner_product(inner_product)[1]["weights"]), mesh
    return inner_product, mesh


@contextmanager
def _executor(fields: Mapping[str, xr.DataArray], client: Any) -> Iterator[Executor]:
    # Arrays in this process's memory are reduced here: sending them to workers would cost more than reducing them.
    if client is not None and all(array.chunks is not None for array in fields.values()):
        yield executor_of(client)
    else:
        yield ThreadExecutor(len(os.sched_getaffinity(0)))


def _basis(
    parts: BasisParts,
    fields: Mapping[str, xr.DataArray],
    collected: Mapping[str, tuple[Any, Any]],
    request: ReduceSection,
    weights_label: str | None,
) -> Basis:
    import xarray as xr

    first = next(iter(fields.values()))
    dim = str(first.dims[0])
    along = {str(name): coord for name, coord in first.coords.items() if coord.dims == (dim,)}
    return Basis(
        name=parts.name,
        spectrum=parts.spectrum,
        certificate=parts.certificate,
        modes_by_field={name: _like_space(array, collected[name][0], "mode") for name, array in fields.items()},
        mean_by_field={name: _like_space(array, collected[name][1], None) for name, array in fields.items()}
        if request.centre
        else {},
        coefficients=xr.DataArray(parts.coefficients, dims=("mode", dim), coords=along, name="coefficients"),
        inner_products={name: weights_label or inner_product_of(name, request) for name in fields},
        field_scaling=parts.field_scaling,
        snapshot_scaling=request.snapshot_scaling,
        truncation=parts.truncation,
    )


def _like_space(array: xr.DataArray, values: Any, lead: str | None) -> xr.DataArray:
    import xarray as xr

    space = array.dims[1:]
    coords = {name: coord for name, coord in array.coords.items() if array.dims[0] not in coord.dims}
    return xr.DataArray(values, dims=(lead, *space) if lead else space, coords=coords, name=array.name, attrs=array.attrs)
