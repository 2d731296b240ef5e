"""Train one reduced body on bases that a model has: cubature, dual fields, strains at the reduced points, loads, indicator.

    stress of the store, displacement modes ──integrands, in blocks──> rule
    dual modes ──tournament──> interpolation points          rule + these = points of the body
    mesh, modes at the points' cells only ──> strains (n, 6, N), interpolation of nodal values
    case ──> load vectors, projected once
    the body, run on its own training inputs ──> pairs (residual, true error) ──> calibration        no field is read for it

Source  F. Casenave et al., Int. J. Numer. Methods Eng. 121 (2020) 32-53
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, InputError
from nwidth.mechanics.body import Interpolation, ReducedBody, RuleErrors
from nwidth.mechanics.calibrating import calibrated
from nwidth.mechanics.case import Case
from nwidth.mechanics.dual_fields import DualBasis, dual_field, interpolation_points, places_of, with_interpolation_points
from nwidth.mechanics.integrands import MoreStates, StoreMesh, Strains, WorkReader
from nwidth.mechanics.meshes import LocalPoints, rules_of
from nwidth.mechanics.options import MechanicsOptions
from nwidth.mechanics.regressing import regressed
from nwidth.mechanics.rules import CubatureData, found_rule
from nwidth.mechanics.unseen import unseen_errors
from nwidth.models.basis import Basis
from nwidth.problems.stored import snapshot_ranges
from nwidth.sources import StoreReader
from nwidth.workers import Executor, Progress
from nwidth_graphs.cubature import IntegrandSource
from nwidth_graphs.cubature_search import DistributedRule
from nwidth_graphs.kernels.materials import Law, law_record
from nwidth_graphs.kernels.strains import voigt_order
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.source import Reading
from nwidth_graphs.trees import TaskGraph

if TYPE_CHECKING:
    from nwidth.stores.protocol import FieldInfo, SnapshotStore

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

BLOCK_BYTES = 64 * 2**20
"""Of the strains and stresses of a block of points."""


@dataclass(frozen=True)
class Added:
    """What single full-order steps have brought to a training; see `nwidth.mechanics.adaptive`."""

    folder: Path
    """Holds ``<field>/modes``, which take the place of those of the bases, and ``states/modes``."""
    states: int
    """Stress states (states, points, 6) in ``states/modes``, their components as the store has them."""
    first: Indices
    """Points of the rule so far, which the new search tries before all others."""


@dataclass(frozen=True)
class Training:
    """What one body is trained on."""

    store: SnapshotStore
    model: Path
    """Folder of the whole model, in which all folders of modes lie."""
    bases: Path
    """Folder ``bases`` of this body, inside of the model."""
    named: Mapping[str, Basis]
    """Field -> its basis."""
    simulations: tuple[str, ...]
    """Of the training."""
    case: Case
    law: Law
    options: MechanicsOptions
    executor: Executor
    token: str
    progress: Progress | None = None
    added: Added | None = None

    def run(self, graph: TaskGraph, name: str) -> Mapping[str, Any]:
        """Execute a graph on the workers."""
        return self.executor.run(graph, name, self.progress)

    def folder(self, field: str) -> Path:
        """Folder of a field's modes."""
        return self.bases / self.named[field].name / field if self.added is None else self.added.folder / field

    def relative(self, field: str) -> str:
        """The same, inside of the model; absolute where it is not there."""
        folder = self.folder(field)
        return str(folder.relative_to(self.model) if folder.is_relative_to(self.model) else folder)


def train_body(training: Training) -> ReducedBody:
    """Train a body; one read of the stress, and one of everything of the simulations that are held out.

    Raises
    ------
    ConfigError
        The store lacks a mesh, integration points or a field, or the model a basis.
    InputError
        The mesh is inverted, integrals are zero, or a mask does not determine its modes.
    """
    check_training(training)
    return finished_body(training, assembled_body(training))


def finished_body(training: Training, body: ReducedBody) -> ReducedBody:
    """The body with what it learns from its own runs, and with its errors on simulations that it has not seen."""
    body = _taught(training, body)
    held_out = _held_out(training)
    if not held_out:
        return body
    folders = {name: training.folder(name) for name in (body.displacement, *(dual.name for dual in body.duals))}
    ranges = _ranges(training.store, held_out)
    unseen = unseen_errors(
        body, training.store, ranges, training.case, folders, training.token, lambda graph: training.run(graph, "held-out runs")
    )
    return replace(body, unseen=unseen)


def _taught(training: Training, body: ReducedBody) -> ReducedBody:
    """The body with its calibration, and with regressions where these are asked for."""
    options = training.options
    if not options.indicator:
        return body
    body = replace(body, calibration=calibrated(body, training.case, training.named[options.indicator], options))
    if options.reconstruction == "gappy":
        return body
    return regressed(body, training.case, training.named, options.reconstruction)


def assembled_body(training: Training) -> ReducedBody:
    """The body without its calibration; errors as `train_body`, but that nothing is checked before the work."""
    chosen = chosen_points(training, np.zeros(0, np.int64) if training.added is None else training.added.first)
    return body_at(training, chosen, chosen.found.rule.points, chosen.points)


@dataclass(frozen=True)
class ChosenPoints:
    """Points that one body needs, and why."""

    found: DistributedRule
    held_out: float | None
    """Relative error of the rule on what it has not seen."""
    search: str
    rows: Mapping[str, Indices]
    """Dual field -> rows that determine it."""
    points: Indices
    """Those of the rule, and then those of the dual fields that are new."""


def chosen_points(training: Training, first: Indices) -> ChosenPoints:
    """The rule, which tries the points `first` before all others, and the interpolation points of the dual fields."""
    options, bases = training.options, _dual_bases(training)
    data = _cubature_data(training, strains_of(training))
    found, held_out = found_rule(data, options, training.run, first)
    rows = interpolation_points(bases, training.token, lambda graph: training.run(graph, "interpolation points")) if bases else {}
    search = "two-level" if len(first) else options.search
    return ChosenPoints(found, held_out, search, rows, with_interpolation_points(found.rule.points, bases, rows))


def body_at(training: Training, chosen: ChosenPoints, masked: Indices, points: Indices) -> ReducedBody:
    """The body at these points, its own among them; dual fields take all components of theirs at the points `masked`."""
    options, strains, found = training.options, strains_of(training), chosen.found
    rule, smallest = found.rule, training.options.smallest_norm
    duals = tuple(dual_field(basis, masked, chosen.rows[basis.name], points, smallest) for basis in _dual_bases(training))
    local = strains.points(points)
    weights = np.zeros(len(points))
    weights[places_of(rule.points, points)] = rule.weights
    names, loads = _loads(training)
    return ReducedBody(
        displacement=options.displacement,
        modes=training.relative(options.displacement),
        points=points,
        weights=weights,
        strains=strains(local),
        interpolation=interpolation_of(local, len(points)),
        load_names=names,
        loads=loads,
        law_record=json.dumps(law_record(training.law)),
        duals=duals,
        indicating=options.indicator,
        calibration=None,
        rule=RuleErrors(
            search=chosen.search,
            asked=options.tolerance,
            points=int(np.count_nonzero(rule.weights)),
            training=rule.error,
            held_out=chosen.held_out,
            volume_ratio=rule.volume_ratio,
            ended=rule.ended,
            proposed=sum(found.counts),
            # Where all integrals are zero, and the volume alone is kept, nothing is left to cancel.
            cancellation=found.integrals.norms / (float(np.linalg.norm(found.integrals.values)) or 1.0),
        ),
        tolerance=options.newton_tolerance,
    )


def check_training(training: Training) -> None:
    """Refuse, before any work, what cannot be trained on; see `train_body`."""
    options = training.options
    check_store(training.store, training.law, options)
    for name in (options.displacement, *options.duals):
        if name not in training.named:
            raise ConfigError(f'mechanics: the model has no basis of {name!r} alone; reduce it with basis = "each"')
        if training.named[name].centred:
            raise ConfigError(
                f"mechanics: the basis of {name!r} is centred, and its modes alone carry no load; reduce without centre"
            )


def check_store(store: SnapshotStore, law: Law, options: MechanicsOptions) -> None:
    """Refuse a store without what a body needs, or a law that knows no such dual field; see `train_body`."""
    schema = store.schema()
    if store.mesh() is None or store.integration_points() is None:
        raise ConfigError(
            f"the store {schema.url} has no mesh with integration points, on which strains could be formed; ingest the solver's "
            "own files with their integration-point results"
        )
    for name in (options.stress, *options.duals):
        if name not in schema.fields:
            raise ConfigError(f"mechanics: {name!r} is not in the store; it has {', '.join(schema.fields)}")
        if schema.fields[name].location != "point":
            raise ConfigError(
                f"mechanics: {name!r} lies at {schema.fields[name].location}s, and a cubature needs it at integration points; "
                "ask the solver for it there"
            )
    known = {"flux", *law.state_shapes}
    for name, variable in options.duals.items():
        if variable not in known:
            raise ConfigError(f"mechanics: the law has no {variable!r} for {name!r}; it has {', '.join(sorted(known))}")


def strains_of(training: Training) -> Strains:
    """Strains of the displacement modes, anywhere."""
    store = training.store
    mesh, points = store.mesh(), store.integration_points()
    if mesh is None or points is None:
        raise ConfigError("the store has no integration points")
    try:
        rules = rules_of(mesh.cell_types, points.cell)
    except ValueError as error:
        raise InputError(f"the integration points of {store.schema().url}: {error}") from None
    return Strains(StoreMesh(store.reference()), str(training.folder(training.options.displacement)), rules)


def _cubature_data(training: Training, strains: Strains) -> CubatureData:
    """The integrands of training, and of what is held out, in blocks of points."""
    options, store = training.options, training.store
    info = store.schema().fields[options.stress]
    held = _held_out(training)
    seen = tuple(name for name in training.simulations if name not in options.held_out)
    if not seen:
        raise ConfigError("mechanics: all training simulations are held out; leave some to train on")
    unseen = replace(training, added=None)
    return CubatureData(_source(training, strains, info, seen), _source(unseen, strains, info, held) if held else None)


def _held_out(training: Training) -> tuple[str, ...]:
    return tuple(name for name in training.simulations if name in training.options.held_out)


def _source(training: Training, strains: Strains, info: FieldInfo, simulations: Sequence[str]) -> IntegrandSource:
    """Integrands in chunks of points as wide as those of the store, so that every chunk is read once."""
    reader = StoreReader(training.store.reference(), info.name, _ranges(training.store, simulations))
    modes = training.named[training.options.displacement].rank
    snapshots = sum(stop - start for start, stop in reader.ranges)
    stress: Callable[[Panel], Reading] = reader
    name, added = "work", training.added
    if added is not None:
        # No basis has more modes than states: each state brought one of them at most.
        modes, snapshots, name = modes + added.states, snapshots + added.states, f"work-{added.states}"
        stress = MoreStates(reader, str(added.folder / "states"))
    width = _block_points(info, 6 * 8 * (modes + 2 * snapshots))
    return IntegrandSource(name, panels(info.shape[1:2], (width,)), WorkReader(strains, stress, tensor_order(info)))


def _block_points(info: FieldInfo, point_bytes: int) -> int:
    """Points of a block: whole shards where they fit `BLOCK_BYTES`, whole chunks otherwise, at least one. Pure."""
    fitting = BLOCK_BYTES // point_bytes
    granule = info.shards[1] if info.shards and info.shards[1] <= fitting else info.chunks[1]
    return max(1, fitting // granule) * granule


def _ranges(store: SnapshotStore, simulations: Sequence[str]) -> tuple[tuple[int, int], ...]:
    from nwidth.config import ReduceSection

    return snapshot_ranges(store.schema(), ReduceSection(simulations=tuple(simulations)))


def tensor_order(info: FieldInfo) -> Indices:
    """(6,) that brings the stored components of a tensor to 11, 22, 33, 12, 23, 13."""
    try:
        return voigt_order(info.components)
    except ValueError as error:
        raise ConfigError(f"mechanics: {info.name!r}: {error}") from None


def _dual_bases(training: Training) -> list[DualBasis]:
    return [dual_basis(training, name, variable) for name, variable in training.options.duals.items()]


def dual_basis(training: Training, name: str, variable: str) -> DualBasis:
    """The modes of one dual field, and how its components are those of the law's variable."""
    return DualBasis(name, variable, training.folder(name), training.relative(name), dual_order(training, name, variable))


def dual_order(training: Training, name: str, variable: str) -> Indices:
    """(c,): place of each stored component of a dual field among those of the law's variable; (1,) zero for a scalar.

    Raises
    ------
    ConfigError
        One of them is a tensor and the other is not, or the components have no known names.
    """
    info = training.store.schema().fields[name]
    shape = (6,) if variable == "flux" else training.law.state_shapes[variable]
    if bool(info.components) != bool(shape):
        raise ConfigError(
            f"mechanics: {name!r} has the components {', '.join(info.components) or 'of a scalar'}, and the law's {variable!r} "
            f"has the shape {shape}; name the variable that it is"
        )
    # Stored component -> its place among 11, 22, 33, 12, 23, 13.
    return np.argsort(tensor_order(info)) if shape else np.zeros(1, np.int64)


def interpolation_of(local: LocalPoints, count: int) -> Interpolation:
    """Nodal values at `count` integration points, cut out of the mesh."""
    corners = max(group.nodes.shape[1] for group in local.groups)
    places, shape = np.zeros((count, corners), np.int64), np.zeros((count, corners))
    for group in local.groups:
        width = group.nodes.shape[1]
        places[group.rows, :width], shape[group.rows, :width] = group.nodes, group.shape
    return Interpolation(local.coordinates, places, shape)


def _loads(training: Training) -> tuple[tuple[str, ...], Floats]:
    """Names of the loads, and ``Phi^T F_l`` (L, N), summed over blocks of nodes."""
    import zarr

    mesh = training.store.mesh()
    if mesh is None:
        raise ConfigError("the store has no mesh")
    vectors = training.case.load_vectors(mesh.points)
    stored: Any = zarr.open_array(str(training.folder(training.options.displacement) / "modes"), mode="r")
    names = tuple(sorted(vectors))
    for name in names:
        if np.shape(vectors[name]) != stored.shape[1:] or not np.isfinite(vectors[name]).all():
            raise InputError(
                f"the load {name!r} of the case has the shape {np.shape(vectors[name])}, or values that are not finite; "
                f"expected forces at all nodes, {stored.shape[1:]}"
            )
    projected = np.zeros((len(names), stored.shape[0]))
    for start in range(0, stored.shape[1], stored.chunks[1]):
        part = slice(start, start + stored.chunks[1])
        modes = np.asarray(stored[:, part]).reshape(stored.shape[0], -1)
        for number, name in enumerate(names):
            projected[number] += modes @ np.asarray(vectors[name][part], np.float64).ravel()
    return names, projected
