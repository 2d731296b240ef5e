"""New fields on the bases of a model: coefficients, errors, and the cluster that they belong to.

    G = [Phi_0 | Phi_1 | ... | u]' W [Phi_0 | Phi_1 | ... | u]          one Gram pass over modes and fields, block by block
    q_k = (Phi_k' W Phi_k)^-1 Phi_k' W u          error_k = sqrt(1 - q_k . Phi_k' W u / |u|^2)

The dissimilarity to the medoid of cluster k follows from its coefficients c_k in its own basis, up to what that basis misses:

    <u, medoid_k> = q_k . c_k + <u - P_k u, medoid_k - P_k medoid_k>          the last at most error_k(u) error_k(medoid) |u| |c|

Errors are by Pythagoras: their floor is 1e-8.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.api import _aligned, _as_fields, _bytes, _executor, _from_store, _plain_component, _request
from nwidth.errors import ConfigError, FieldError
from nwidth.models.atlas import GLOBAL, Atlas, cluster_name, reading_time
from nwidth.models.basis import Basis
from nwidth.problems import SPARSE, Memory, problem_from_arrays
from nwidth.sparse_products import StoredMatrix
from nwidth.stages.problem import Passes
from nwidth.stages.refusals import describe_bad
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.reduction import GRAM

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.mesh import Mesh
    from nwidth.models.model import Model

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
NONE = -1
"""Label of what is farther from every medoid than the tolerance."""


@dataclass(frozen=True)
class Projected:
    """Fields (c of them) on some bases."""

    names: tuple[str, ...]
    """Of the bases."""
    coefficients: tuple[Floats, ...]
    """(r, c) for every basis."""
    errors: Floats
    """(bases, c): relative projection errors; 0 for a field of zeros."""
    norms: Floats
    """(c,)."""

    def of(self, name: str) -> tuple[Floats, Floats]:
        """Coefficients (r, c) and errors (c,) on one basis."""
        place = self.names.index(name)
        return self.coefficients[place], self.errors[place]


@dataclass(frozen=True)
class Assignment:
    """Which cluster fields, or one simulation, belong to; c = 1 for a simulation."""

    labels: Indices
    """(c,): the nearest cluster, or -1 where none is within the tolerance."""
    nearest: Indices
    """(c,): whatever the tolerance."""
    second: Indices
    """(c,): the second nearest; -1 where there is only one cluster."""
    dissimilarities: Floats
    """(K, c): to the medoids; projection errors where ``by = "projection"``."""
    uncertainty: Floats
    """(K, c): how much smaller a dissimilarity may be in truth, for what the medoid's basis misses of both; 0 by projection."""
    errors: Floats
    """(K, c): relative projection errors on the local bases: what the answer is worth, whatever the label."""
    tolerance: Floats
    """(K,): of each cluster."""


def project(
    bases: Sequence[Basis],
    fields: Any,
    *,
    inner_product: Any = None,
    mesh: Mesh | None = None,
    snapshot_dim: str = "snapshot",
    memory: str | int = "2 GiB",
) -> Projected:
    """Orthogonal projection of fields on bases that share fields, scaling and mean: one pass over modes and fields.

    Parameters
    ----------
    bases : sequence of Basis
        All of the same fields.
    fields
        As for `nwidth.pod`: (snapshot, *space), or a single one (*space).
    inner_product
        As for `nwidth.pod`; that of the bases by default, which must then be known by name.

    Raises
    ------
    ConfigError
        The fields are not those of the bases, or the inner product cannot be had.
    FieldError
        A field holds NaN where the bases do not, or infinite values.
    """
    first = bases[0]
    given = _like(first, fields, snapshot_dim)
    count = next(iter(given.values())).shape[0]
    stacked = {name: _stack(name, bases, given[name]) for name in first.fields}
    product = first.inner_products if inner_product is None else inner_product
    if inner_product is None and not set(first.inner_products.values()) <= {"identity", "mass"}:
        names = ", ".join(sorted(set(first.inner_products.values())))
        raise ConfigError(f"the bases are orthonormal in {names}, which only their maker knows; give inner_product=")
    gram = _gram(stacked, given, first.field_scaling, product, mesh, memory)
    return _solved(bases, gram, count)


def assign(
    atlas: Atlas,
    projected: Projected,
    *,
    tolerance: float | None = None,
    by: Literal["medoid", "projection"] | None = None,
) -> Assignment:
    """The cluster of projected fields; of an atlas of simulations, of the one simulation whose times they are.

    Parameters
    ----------
    tolerance
        Largest dissimilarity to the medoid; each cluster's own radius by default: what is farther out than every snapshot that
        made the cluster is labelled -1.
    by
        ``"medoid"``, by the atlas's dissimilarity (sine and Euclidean), or ``"projection"``, by the smallest projection error,
        which is defined for every atlas.

    Raises
    ------
    ConfigError
        The atlas's dissimilarity cannot be had from fields, or a simulation of other times.
    """
    errors = np.stack([projected.of(cluster_name(cluster))[1] for cluster in range(atlas.count)])
    whole = atlas.of == "simulations"
    known = atlas.dissimilarity in ("sine", "euclidean") and atlas.reading != "subspaces"
    if by == "medoid" and not known:
        raise ConfigError(
            f"the dissimilarity {atlas.dissimilarity!r} of new fields to the medoids is not known from the model; use by = "
            '"projection"'
        )
    if whole:
        squares = projected.norms**2
        errors = np.sqrt(errors**2 @ squares / max(float(squares.sum()), np.finfo(np.float64).tiny))[:, None]
    if by == "projection" or not known:
        found, uncertainty = errors, np.zeros_like(errors)
        radii = _radii(atlas, atlas.own_errors, atlas.labels)
    else:
        found, uncertainty = _to_medoids(atlas, projected, whole=whole)
        distances = atlas.dissimilarities[atlas.item_labels, np.arange(len(atlas.items))]
        radii = _radii(atlas, distances, atlas.item_labels)
    limits = radii if tolerance is None else np.full(atlas.count, tolerance)
    nearest = np.argmin(found, axis=0)
    second = np.argsort(found, axis=0, kind="stable")[1] if atlas.count > 1 else np.full_like(nearest, NONE)
    least = (found - uncertainty)[nearest, np.arange(found.shape[1])]
    within = least <= limits[nearest] + _rounding(found)
    return Assignment(np.where(within, nearest, NONE), nearest, second, found, uncertainty, errors, limits)


def _rounding(found: Floats) -> float:
    """What a dissimilarity of projected coefficients is rounded to: a sine near zero is known to 1e-7 only."""
    return 1e-7 * max(1.0, float(np.max(found, initial=0.0)))


def _radii(atlas: Atlas, distances: Floats, labels: Indices) -> Floats:
    radii = np.zeros(atlas.count)
    np.maximum.at(radii, labels, distances)
    return radii


def _to_medoids(atlas: Atlas, projected: Projected, *, whole: bool) -> tuple[Floats, Floats]:
    """Dissimilarities (K, c) to the medoids, and how much smaller they may be in truth."""
    found, off = [], []
    for cluster in range(atlas.count):
        basis, (q, error) = atlas.bases[cluster_name(cluster)], projected.of(cluster_name(cluster))
        snapshots = _medoid_snapshots(atlas, cluster)
        places = np.searchsorted(atlas.members(cluster), snapshots)
        c, norms = np.asarray(basis.coefficients.values)[:, places], basis.certificate.snapshot_norms[places]
        missed = basis.certificate.relative_errors[places]
        if whole and reading_time(atlas.reading) is not None:
            place = _place_read(atlas, cluster, q.shape[1])
            q, error, own = q[:, [place]], error[[place]], projected.norms[[place]]
        else:
            own = projected.norms
        if whole and q.shape[1] != c.shape[1]:
            raise ConfigError(f"the simulations of the atlas have {c.shape[1]} times, and {q.shape[1]} fields were given")
        inner, lost = np.sum(q * c, axis=0), error * missed * own * norms
        u, v = own**2, np.broadcast_to(norms**2, own.shape)
        if whole:
            inner, lost, u, v = (np.atleast_1d(values.sum()) for values in (inner, lost, u, v))
        found.append(_dissimilarity(atlas.dissimilarity, inner, u, v))
        nearer = np.where(inner < 0.0, -1.0, 1.0) if atlas.dissimilarity == "sine" else 1.0
        off.append(found[-1] - _dissimilarity(atlas.dissimilarity, inner + nearer * lost, u, v))
    return np.stack(found), np.stack(off)


def _dissimilarity(name: str, inner: Floats, u: Floats, v: Floats) -> Floats:
    if name == "euclidean":
        return np.asarray(np.sqrt(np.maximum(u + v - 2.0 * inner, 0.0)))
    scale = np.where(u * v > 0.0, u * v, 1.0)
    return np.asarray(np.sqrt(np.maximum(1.0 - inner**2 / scale, 0.0)))


def _place_read(atlas: Atlas, cluster: int, given: int) -> int:
    """Which of the fields of a simulation is the one that is compared: that at the medoid's place, or the only one."""
    if given == 1 or atlas.reading == "last":
        return given - 1
    own = np.flatnonzero(atlas.item_of == atlas.medoids[cluster])
    if given != len(own):
        raise ConfigError(f"simulations of the atlas have {len(own)} times, and {given} fields were given; give all, or one")
    return int(np.searchsorted(own, atlas.medoid_snapshots[cluster]))


def _medoid_snapshots(atlas: Atlas, cluster: int) -> Indices:
    """One snapshot, or all of a simulation."""
    if atlas.of == "snapshots" or reading_time(atlas.reading) is not None:
        return atlas.medoid_snapshots[cluster : cluster + 1]
    return np.flatnonzero(atlas.item_of == atlas.medoids[cluster])


def _like(basis: Basis, fields: Any, snapshot_dim: str) -> dict[str, xr.DataArray]:
    """Fields as (snapshot, *space) arrays with the names of the basis."""
    modes = next(iter(basis.modes_by_field.values()))
    if not hasattr(fields, "data_vars") and np.ndim(fields) == modes.ndim - 1:
        fields = fields.expand_dims(snapshot_dim) if hasattr(fields, "expand_dims") else np.asarray(fields)[None]
    named = _as_fields(fields, snapshot_dim)
    if len(named) == 1 and len(basis.fields) == 1:
        named = {basis.fields[0]: next(iter(named.values()))}
    missing = [name for name in basis.fields if name not in named]
    if missing:
        raise ConfigError(f"field {missing[0]!r} is missing; the bases are of {', '.join(basis.fields)}")
    for name in basis.fields:
        wanted, found = basis.modes_by_field[name].shape[1:], named[name].shape[1:]
        if wanted != found:
            raise ConfigError(f"field {name!r} has the shape {found} in space, and the bases have {wanted}")
    return {name: named[name] for name in basis.fields}


def _stack(name: str, bases: Sequence[Basis], given: xr.DataArray) -> xr.DataArray:
    """Modes of all bases and the fields, less the mean, one above the other: in memory, or lazily where one of them is lazy."""
    import xarray as xr

    # Named as the modes are: an array without names does not say which of its dimensions is the component.
    dims = (str(given.dims[0]), *map(str, _plain_component(bases[0].modes_by_field[name]).dims[1:]))
    mean = bases[0].mean_by_field.get(name)
    values = given.data if mean is None else given.data - mean.data
    parts = [*(basis.modes_by_field[name].data for basis in bases), values]
    if any(hasattr(part, "dask") for part in parts):
        import dask.array as da

        return xr.DataArray(da.concatenate([da.asarray(part).astype(np.float64) for part in parts]), dims=dims)
    return xr.DataArray(np.concatenate([np.asarray(part, np.float64) for part in parts]), dims=dims)


def _gram(
    stacked: Mapping[str, xr.DataArray],
    given: Mapping[str, xr.DataArray],
    scaling: Mapping[str, float],
    inner_product: Any,
    mesh: Mesh | None,
    memory: str | int,
) -> Floats:
    """``sum_f a_f^2 X_f' W_f X_f`` of the stacked columns."""
    inner_product, mesh = _from_store(inner_product, mesh, given)
    named = isinstance(inner_product, str | Mapping)
    weights, name = (None, inner_product) if named else (_aligned(inner_product, given), "identity")
    request = _request(basis="joint", inner_product=name if isinstance(name, str) else dict(name), route="gram", rank=1)
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        budget = Memory(_bytes(memory))
        problem = problem_from_arrays(stacked, request, budget, weights=weights, mesh=mesh, scratch=Path(scratch))
        sources = list(problem.sources.values())
        with _executor(stacked, None) as executor:
            results = Passes(executor, None).run("project", factor_graph(sources, GRAM, problem.token))
    partials = {source.name: results[factor_root(source.name, GRAM)] for source in sources}
    for partial in partials.values():
        if partial.bad:
            raise FieldError(describe_bad(partial.bad[0], problem))
    return np.asarray(sum(scaling[name] ** 2 * np.asarray(partial.factor) for name, partial in partials.items()))


def _solved(bases: Sequence[Basis], gram: Floats, count: int) -> Projected:
    ends = np.cumsum([0, *(basis.rank for basis in bases)])
    squares = np.maximum(gram.diagonal()[-count:], 0.0)
    coefficients, errors = [], []
    for start, stop in itertools.pairwise(ends):
        products = gram[start:stop, -count:]
        q = np.linalg.solve(gram[start:stop, start:stop], products)
        missed = np.maximum(squares - np.sum(q * products, axis=0), 0.0)
        coefficients.append(q)
        errors.append(np.sqrt(missed / np.where(squares > 0.0, squares, 1.0)))
    return Projected(tuple(basis.name for basis in bases), tuple(coefficients), np.stack(errors), np.sqrt(squares))


def metric_of(model: Model) -> dict[str, Any]:
    """The inner product of a model's bases, as `project` takes it: by name, with the mesh, or from the store of the run.

    Raises
    ------
    ConfigError
        The fields have several inner products of the store.
    StoreError
        The store is not where the model says.
    """
    from nwidth.stores import open_store

    names = {name for basis in model.bases.values() for name in basis.inner_products.values()}
    if names <= {"identity", "mass"}:
        return {"mesh": model.mesh}
    if len(names) > 1:
        raise ConfigError(f"the fields of {model.path} have the inner products {', '.join(sorted(names))}; give inner_product=")
    (name,) = names
    store = open_store(str(model.manifest["store"]["url"]))
    if store.schema().inner_products[name] == SPARSE:
        return {"inner_product": StoredMatrix(store.reference(), name)}
    return {"inner_product": np.asarray(store.read_inner_product(name)[1]["weights"])}


def local_and_global(atlas: Atlas) -> list[Basis]:
    """The bases in the order of `Projected`."""
    return [atlas.bases[GLOBAL], *atlas.local_bases]
