"""Reduced runs between those of training, whose fields join the snapshots that bases are made of.

    all simulations ──finer displacement basis, cubature──> a body that marches ──D inputs in the box of training──> q (D, T, N)
    bases of a body  =  POD of [ its simulations | sampled runs that its cluster is asked for ]

Displacement varies smoothly with the inputs, and a basis of few runs is good for many others. Dual fields do not: where plastic
flow begins moves with the inputs, and a basis of few runs leaves out some per cent of a new one, however many modes it keeps.
But what the law makes of the reduced displacement is as good as the displacement, at all points: so sampled runs tell the dual
bases what no full-order run has told, for the price of a march each.

Coefficients, norms and errors that a basis keeps are those of the store's snapshots alone; cubature and indicator know no others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, InputError
from nwidth.mechanics.body import ReducedBody
from nwidth.mechanics.calibrating import training_inputs
from nwidth.mechanics.case import Case
from nwidth.mechanics.integrands import Strains
from nwidth.mechanics.sampled_columns import DualColumns, NodalColumns
from nwidth.mechanics.surrogate import MechanicsSurrogate
from nwidth.mechanics.training import Training, assembled_body, dual_order, strains_of
from nwidth.models.learned import Learned
from nwidth.models.predicting import choose
from nwidth.problems import Memory, content_token
from nwidth.stacking import Columns, stacked
from nwidth.stages.problem import BasisParts, Problem
from nwidth.stores.protocol import FieldInfo
from nwidth_graphs.draws import DRAWS_ROOT, Answers, draws_graph
from nwidth_graphs.source import FieldSource

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FINER = 0.5
"""Tolerance of the sampling body's displacement in terms of the bodies': what they learn of has to be better than they are."""
BATCH = 20
"""Runs that march together."""
SEED = 0
ROWS = 2**15
"""Integrals, modes by stress states, that the sampling body's rule is found with: its basis is finer than any other, and of all
simulations, so that the memory and the time of its search would exceed those of all bodies; some simulations do for a rule."""


@dataclass(frozen=True)
class SampledRuns:
    """D runs in reduced coordinates, and what makes fields of them."""

    displacement: str
    modes: str
    """Folder of the displacement's modes."""
    strains: Strains
    training: Training
    inputs: Mapping[str, Floats]
    """(D,) by name."""
    q: Floats
    """(D, T, N)."""
    failed: int = 0
    """Runs that did not reach their end, and are not among the D."""

    @property
    def count(self) -> int:
        """D."""
        return len(self.q)

    @property
    def columns(self) -> int:
        """Snapshots: all times but the first, of all runs."""
        return self.count * int(self.q.shape[1] - 1)

    def some(self, rows: Indices) -> SampledRuns:
        """Some of the runs."""
        return replace(self, inputs={name: values[rows] for name, values in self.inputs.items()}, q=self.q[rows])

    def of_field(self, info: FieldInfo) -> Columns:
        """The columns of one field."""
        if info.name == self.displacement:
            return Columns(NodalColumns(self.modes, self.q[:, 1:]), self.columns)
        training = self.training
        variable = training.options.duals[info.name]
        order = dual_order(training, info.name, variable)
        return Columns(DualColumns(self.strains, training.law, training.case, self.inputs, self.q, variable, order), self.columns)


def sampled_runs(training: Training, count: int) -> SampledRuns:
    """March `count` runs at inputs drawn uniformly, and always the same, from the box of the training's inputs.

    Parameters
    ----------
    training : Training
        Of all simulations, with a basis of the displacement; its options name the dual fields, of which it needs no bases.

    Raises
    ------
    ConfigError, InputError
        As `training.train_body`; or no run reached its end.
    """
    options = training.options
    settings = replace(options, duals={}, indicating="", held_out=(), rtol=None, rank=None)
    body = assembled_body(replace(training, simulations=_some_simulations(training), options=settings))
    inputs = _drawn(training, count)
    march = March(body, training.case, inputs)
    answers: Answers = training.run(draws_graph(march, count, BATCH, f"{training.token}-sampled"), "sampled runs")[DRAWS_ROOT]
    good = np.flatnonzero(~answers.failed)
    if not good.size:
        raise InputError(
            f"mechanics.sampled_runs: none of the {count} sampled runs reached its end, the first because: {answers.words[0]}; "
            "give a smaller rtol, or a smaller tolerance of the cubature"
        )
    runs = SampledRuns(
        displacement=options.displacement,
        modes=str(training.folder(options.displacement)),
        strains=strains_of(training),
        training=training,
        inputs=inputs,
        q=answers.coefficients[options.displacement],
        failed=count - len(good),
    )
    return runs.some(good)


@dataclass(frozen=True)
class March:
    """``ask(start, stop)``: marches some of the runs; travels to the workers."""

    body: ReducedBody
    case: Case
    inputs: Mapping[str, Floats]

    def __call__(self, start: int, stop: int) -> Answers:
        return MechanicsSurrogate(self.case, (self.body,)).ask({name: values[start:stop] for name, values in self.inputs.items()})


def _some_simulations(training: Training) -> tuple[str, ...]:
    """Every k-th simulation: no more states of them than `ROWS` allows, and one simulation at least."""
    basis = training.named[training.options.displacement]
    of_each = basis.rank * basis.coefficients.shape[1] / len(training.simulations)
    return training.simulations[:: max(1, math.ceil(len(training.simulations) * of_each / ROWS))]


def _drawn(training: Training, count: int) -> dict[str, Floats]:
    known, _, _ = training_inputs(training.named[training.options.displacement], training.case)
    generator = np.random.default_rng(SEED)
    return {name: generator.uniform(values.min(), values.max(), count) for name, values in known.items()}


def chosen_clusters(learned: Learned, inputs: Mapping[str, Floats]) -> Indices:
    """(D,) the cluster that the classifier chooses for each run: the body that such a draw will be asked of."""
    names = getattr(learned.features, "names", tuple(inputs))
    lacking = [name for name in names if name not in inputs]
    if lacking:
        raise ConfigError(
            f"mechanics.sampled_runs: the classifier takes {', '.join(lacking)}, which the case does not; sampled runs have the "
            "inputs of the case alone"
        )
    count = len(next(iter(inputs.values())))
    rows = ({name: float(inputs[name][row]) for name in names} for row in range(count))
    return np.array([choose(learned, row).nearest for row in rows], np.int64)


# --- in a reduction ---------------------------------------------------------------------------------------------------


def room_for(runs: SampledRuns, request: ReduceSection, snapshots: int, memory: Memory) -> tuple[ReduceSection, Memory]:
    """What a reduction of the store's snapshots is planned with, so that the runs' columns fit into the same memory."""
    share = snapshots / (snapshots + runs.columns)
    return request.model_copy(update={"route": "tsqr"}), replace(memory, bytes=int(memory.bytes * share))


def with_runs(problem: Problem, runs: SampledRuns) -> Problem:
    """The problem with the runs' columns behind the store's."""
    schema = runs.training.store.schema()
    sources = {name: _stacked(source, runs.of_field(schema.fields[name])) for name, source in problem.sources.items()}
    known = next(iter(problem.sources.values())).snapshots

    def label(index: int) -> str:
        return problem.snapshot_label(index) if index < known else f"state {index - known} of the sampled runs"

    return replace(problem, sources=sources, token=content_token(problem.token, runs.training.token), snapshot_label=label)


def _stacked(source: FieldSource, more: Columns) -> FieldSource:
    if source.read is None:
        raise TypeError(f"the source of {source.name!r} has no reader")
    reader = stacked([Columns(source.read, source.snapshots), more])
    return replace(source, read=reader, snapshots=reader.columns, itemsize=8)


def without_runs(parts: BasisParts, snapshots: int) -> BasisParts:
    """The basis with coefficients, norms and errors of the store's snapshots alone; its Frobenius error is that of all."""
    certificate = replace(
        parts.certificate,
        relative_errors=parts.certificate.relative_errors[:snapshots],
        snapshot_norms=parts.certificate.snapshot_norms[:snapshots],
    )
    return replace(parts, coefficients=parts.coefficients[:, :snapshots], certificate=certificate)
