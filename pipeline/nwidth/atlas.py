"""The atlas as a Python function: snapshots in, a partition with certified local bases out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nwidth.api import Snapshots, _aligned, _as_fields, _basis, _bytes, _executor, _from_store, _plain_component, _request
from nwidth.config import AtlasSection, DissimilarityName, ReduceSection, RouteName, first_problem
from nwidth.errors import ConfigError
from nwidth.models.atlas import Atlas
from nwidth.models.basis import Basis
from nwidth.problems import SPARSE, Memory, problem_from_arrays
from nwidth.sparse_products import MatrixRows
from nwidth.stages.atlas import AtlasReduction, Wanted, local_request, table_of
from nwidth.stages.atlas.finished import Finished, finished_basis
from nwidth.stages.problem import BasisParts, PodResult, Problem
from nwidth.stages.route import REDUCTIONS, choose_route
from nwidth.stages.scratch import MemoryScratch, Scratch
from nwidth.stages.sinks import FolderSink, MemorySink, Write
from nwidth.workers import Progress, ThreadExecutor

if TYPE_CHECKING:
    import xarray as xr

    from nwidth.mesh import Mesh
    from nwidth.models.files import FieldShape

Floats = NDArray[np.float64]


def partition(
    snapshots: Snapshots,
    dissimilarity: DissimilarityName | Sequence[DissimilarityName] | Any = "sine",
    clusters: int | Literal["auto"] | Sequence[int] = "auto",
    *,
    of: Literal["snapshots", "simulations"] = "snapshots",
    time: Literal["space-time", "last", "subspaces"] | float = "space-time",
    method: Literal["k-medoids", "tree", "k-means"] = "k-medoids",
    rtol: float | None = None,
    rank: int | None = None,
    local_rtol: float | None = None,
    local_rank: int | None = None,
    max_rank: int = 20,
    overlap: float = 0.1,
    minimum_size: int = 10,
    normalise: bool = True,
    tolerance: float = 0.15,
    seed: int = 0,
    holdout: float | Sequence[str] | NDArray[np.bool_] = 0.2,
    inner_product: Any = "identity",
    centre: bool = False,
    field_scaling: Literal["unit", "none"] | Mapping[str, float] = "unit",
    route: RouteName = "auto",
    snapshot_dim: str = "snapshot",
    mesh: Mesh | None = None,
    memory: str | int = "2 GiB",
    client: Any = None,
    progress: Progress | None = None,
) -> Atlas:
    """Part snapshots or simulations by a dissimilarity, and make a local basis for each part beside the global one.

    With ``delta(u, v) = sqrt(1 - <u, v>^2 / (|u|^2 |v|^2))``, the relative error of one snapshot on another, medoids minimise
    ``sum_i min_k delta(u_i, medoid_k)``, and cluster k is whoever is nearest to medoid k.

    Parameters
    ----------
    snapshots
        As for `nwidth.pod`; or a finished `Basis`, a `Model`, or the path of one, whose coefficients are parted without a read of
        fields: for 100 000 snapshots, and for bases of any route. The coordinates ``simulation``, ``time`` and all other numbers
        along snapshots are used: a simulation is never divided when the gain is measured, parameters guess how well a classifier
        will do.
    dissimilarity
        ``"sine"``, ``"euclidean"``, ``"parameters"``; of simulations as subspaces ``"geodesic"``, ``"chordal"``,
        ``"binet-cauchy"``, ``"fubini-study"``, ``"procrustes"``, ``"martin"``, ``"projection"``, ``"spectral"``,
        ``"bi-projection"``; a list of them, of which the one of largest expected gain is taken; or a symmetric matrix (I, I)
        between the items.
    clusters
        How many; ``"auto"`` or a list takes the number of largest expected gain, and one cluster where a dictionary does not pay.
    of, time
        Part snapshots, or whole simulations, each read as one space-time vector, by its last snapshot, by that at
        a time (a number), or as a subspace.
    method
        ``"k-medoids"``; ``"tree"`` finds anchors with everybody within the sine `tolerance`; ``"k-means"`` to compare.
    rtol, rank
        Of the global basis, as for `nwidth.pod`, and of the local ones unless `local_rtol` or `local_rank` are given. A local
        tolerance holds over the cluster's own members.
    max_rank
        Largest number of modes for which the gain is computed.
    overlap, minimum_size, normalise
        Share of members borrowed from neighbouring clusters; least members; whether all weigh the same in their basis.
    holdout
        What the gain is measured on: a share of the simulations, their names, or a mask of snapshots.
    inner_product, centre, field_scaling, route, snapshot_dim, mesh, memory, client, progress
        As for `nwidth.pod`; the fields of a Dataset are taken jointly.

    Returns
    -------
    Atlas
        ``.labels``, ``.medoids``, ``.bases`` (``global``, ``cluster-0``, ...) with certificates, ``.errors`` of all snapshots on
        all local bases, ``.gain`` (what was tried), ``.widths``, ``.pays`` and ``.reason``.

    Raises
    ------
    ConfigError
        Contradictory options, more clusters than items, or a split that divides a simulation.
    FieldError
        NaN, infinite or all-zero fields.
    PlanError
        A block does not fit the memory.

    Notes
    -----
    Two reads of the data, whatever is tried. Source: T. Daniel, F. Casenave, N. Akkari, D. Ryckelynck, Optimal piecewise linear
    data compression for solutions of parametrized partial differential equations (2021), arXiv:2108.12291.

    Examples
    --------
    >>> import numpy as np, nwidth as nw
    >>> x, places = np.linspace(0, 1, 201), np.linspace(0.1, 0.9, 60)
    >>> bumps = np.exp(-(((x - places[:, None]) / 0.05) ** 2))
    >>> atlas = nw.partition(bumps, clusters=6, rank=4)
    >>> atlas.count, bool(atlas.own_errors.max() < 0.1 * atlas.global_errors.max())
    (6, True)
    """
    named, masked = _are_names(dissimilarity), isinstance(holdout, np.ndarray)
    section = _section(
        dissimilarity=dissimilarity if named else "sine",
        clusters=clusters if isinstance(clusters, int | str) else tuple(clusters),
        holdout=0.2 if masked else holdout if isinstance(holdout, float | int) else tuple(holdout),
        of=of, time=time, method=method, rtol=local_rtol, rank=local_rank, max_rank=max_rank, overlap=overlap,
        minimum_size=minimum_size, normalise=normalise, tolerance=tolerance, seed=seed,
    )  # fmt: skip
    own = _Own(None if named else dissimilarity, np.asarray(holdout, bool) if isinstance(holdout, np.ndarray) else None)
    options: dict[str, Any] = {key: value for key, value in (("rtol", rtol), ("rank", rank)) if value is not None}
    basis = finished_basis(snapshots)
    if basis is not None:
        _refuse_useless(inner_product=inner_product, centre=centre, field_scaling=field_scaling, route=route, mesh=mesh)
        wanted = own.wanted(local_request(section, _request(**options)), basis.coefficients.coords, basis.coefficients.shape[1])
        return Finished(basis).atlas(wanted, _bytes(memory))
    fields = _as_fields(snapshots, snapshot_dim)
    inner_product, mesh = _from_store(inner_product, mesh, fields)
    weights, name = _weights(inner_product, fields)
    scaling = field_scaling if isinstance(field_scaling, str) else dict(field_scaling)
    request = _request(basis="joint", inner_product=name, centre=centre, field_scaling=scaling, route=route, **options)
    first = next(iter(fields.values()))
    along = {key: value for key, value in first.coords.items() if value.ndim == 1}
    wanted = own.wanted(local_request(section, request), along, first.shape[0])
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        plain = {key: _plain_component(array) for key, array in fields.items()}
        problem = _problem(plain, request, Memory(_bytes(memory)), weights=weights, mesh=mesh, scratch=Path(scratch))
        with _executor(fields, client) as executor:
            local = isinstance(executor, ThreadExecutor)
            sink: Any = MemorySinks() if local else FolderSink(Path(scratch) / "modes")
            result = AtlasReduction(wanted).reduce(problem, request, executor, sink, progress=progress)
        return _atlas(result, problem, fields, sink, _Labels(request, section, _label(weights)))


def _problem(fields: Mapping[str, xr.DataArray], request: ReduceSection, memory: Memory, **options: Any) -> Problem:
    """The problem by a route that keeps a factor of all snapshots, whatever else would read less."""
    problem = problem_from_arrays(fields, request, memory, **options)
    if request.route != "auto" or problem.route in REDUCTIONS:
        return problem
    route = choose_route(request).reduction.name
    return problem_from_arrays(fields, request.model_copy(update={"route": route}), memory, **options)


def _are_names(dissimilarity: Any) -> bool:
    if isinstance(dissimilarity, str):
        return True
    return isinstance(dissimilarity, list | tuple) and all(isinstance(name, str) for name in dissimilarity)


@dataclass(frozen=True)
class _Own:
    """What a user gives in arrays, and a study cannot."""

    matrix: Any
    held_out: NDArray[np.bool_] | None

    def wanted(self, section: AtlasSection, coordinates: Mapping[Any, Any], count: int) -> Wanted:
        return Wanted(section, table_of(coordinates, count), self.matrix, self.held_out)


def _refuse_useless(**given: Any) -> None:
    """Refuse options that have no meaning for a finished basis."""
    usual = {"inner_product": "identity", "centre": False, "field_scaling": "unit", "route": "auto", "mesh": None}
    for name, value in given.items():
        if not (isinstance(value, type(usual[name])) and value == usual[name]):
            raise ConfigError(f"{name} has no meaning for a finished basis, which has its own; leave it out")


@dataclass(frozen=True)
class _Labels:
    """What bases say of how they were made."""

    request: ReduceSection
    section: AtlasSection
    weights: str | None


def _weights(inner_product: Any, fields: Mapping[str, xr.DataArray]) -> tuple[Any, Any]:
    """(weights or None, name or table of names)."""
    if isinstance(inner_product, str | Mapping):
        return None, inner_product
    return _aligned(inner_product, fields), "identity"


def _label(weights: Any) -> str | None:
    return None if weights is None else SPARSE if isinstance(weights, MatrixRows) else "weights"


def _section(**options: Any) -> AtlasSection:
    from pydantic import ValidationError

    try:
        return AtlasSection(**options)
    except ValidationError as error:
        raise ConfigError(first_problem(error)) from None


def _atlas(
    result: PodResult,
    problem: Problem,
    fields: Mapping[str, xr.DataArray],
    sink: Any,
    labels: _Labels,
) -> Atlas:
    atlas = result.atlas
    if atlas is None:
        raise TypeError("the reduction has made no atlas")
    bases: dict[str, Basis] = {}
    for number, parts in enumerate(result.bases):
        collected = {name: sink.collect(parts.name, problem.shapes[name]) for name in fields}
        members = None if number == 0 else atlas.members(number - 1)
        bases[parts.name] = _of_members(parts, members, fields, collected, labels)
    return replace(atlas, bases=bases)


def _of_members(
    parts: BasisParts,
    members: NDArray[np.int64] | None,
    fields: Mapping[str, xr.DataArray],
    collected: Mapping[str, tuple[Any, Any]],
    labels: _Labels,
) -> Basis:
    """A basis whose coefficients are of some of the snapshots, with their coordinates."""
    if members is None:
        return _basis(parts, fields, collected, labels.request, labels.weights)
    first = next(iter(fields.values()))
    whole = np.zeros((len(parts.coefficients), first.shape[0]))
    whole[:, members] = parts.coefficients
    basis = _basis(replace(parts, coefficients=whole), fields, collected, labels.request, labels.weights)
    scaling = "unit" if labels.section.normalise else "none"
    return replace(basis, coefficients=basis.coefficients.isel({str(first.dims[0]): members}), snapshot_scaling=scaling)


@dataclass
class MemorySinks:
    """A `MemorySink` for every basis."""

    sinks: dict[str, MemorySink] = field(default_factory=dict)

    def begin(self, basis: str, shape: FieldShape, rank: int, *, centred: bool, read_again: bool = False) -> Write:
        """Allocate."""
        return self.sinks.setdefault(basis, MemorySink()).begin(basis, shape, rank, centred=centred, read_again=read_again)

    def repairing(self, basis: str, shape: FieldShape, transform: Floats) -> Any:
        """Repair into a second array."""
        return self.sinks[basis].repairing(basis, shape, transform)

    def finish_repair(self, basis: str, shape: FieldShape) -> None:
        """Swap the arrays."""
        self.sinks[basis].finish_repair(basis, shape)

    def collect(self, basis: str, shape: FieldShape) -> tuple[Floats, Floats | None]:
        """The arrays themselves."""
        return self.sinks[basis].collect(basis, shape)

    def reading(self, basis: str, shape: FieldShape) -> Any:
        """Views of the array."""
        return self.sinks[basis].reading(basis, shape)

    def scratch(self) -> Scratch:
        """Arrays of this process."""
        return MemoryScratch()
