"""Fields with gaps, filled by gappy POD before they are reduced by whatever route: `missing = "gappy"`.

    scan ──> snapshots with gaps ──> means of rows ──> [ factor pass ──> T ──> gappy pass ──> a_j ] until the filling rests
                                                                                                └──> fields that fill themselves

The filling of iteration k is ``x_ij = mean_i + phi_i . a_j``, with phi the modes of iteration k - 1 and a_j the coefficients of
snapshot j by least squares on its observed values (`nwidth_graphs.kernels.gappy`, Everson and Sirovich 1995). The number of modes
is `rank`; a tolerance alone would be met by a basis that reproduces the first, crude filling.

**Its error is measured.** About 1 % of the observed values of the snapshots that have gaps (64 at least, a fifth at most) are
hidden during the iterations, drawn by `seed` and place. What is reported is

    fill_error = sqrt( sum_hidden w (filling - x)^2 / sum_hidden w x^2 ),     x centred where the basis is

In the fields that are reduced at last they are themselves again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, FieldError, PlanError
from nwidth.models.files import FieldShape
from nwidth.stages.problem import Floats, Passes, PodResult, Problem, basis_groups
from nwidth.stages.refusals import describe_bad
from nwidth.stages.scratch import Scratch
from nwidth.stages.sinks import ModesSink, NodeSink
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.gappy import MAX_SUMS_BYTES, Fill, GapCount, GappyLift, GappyPartial, Hidden, gappy_graph, scan_graph
from nwidth_graphs.kernels.gappy import filling_change, observed_coefficients
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import Partial
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource
from nwidth_graphs.truncation import Truncation, truncate, unit_field_scaling

HIDDEN_SHARE, LEAST_HIDDEN, MOST_SHARE = 0.01, 64, 0.2


@dataclass(frozen=True)
class Filling:
    """What was filled."""

    fraction: float = 0.0
    """Share of the valid values that were missing."""
    error: float | None = None
    """fill_error of the module."""
    iterations: int = 0

    def certified(self, result: PodResult) -> PodResult:
        """The result with the filling in the certificate of every basis."""
        if self.error is None:
            return result
        bases = [
            replace(basis, certificate=replace(basis.certificate, filled_fraction=self.fraction, fill_error=self.error))
            for basis in result.bases
        ]
        return replace(result, bases=tuple(bases))


@contextmanager
def filled(
    problem: Problem, request: ReduceSection, passes: Passes, sink: ModesSink, device: str
) -> Iterator[tuple[Problem, Filling]]:
    """The problem with fields that fill their gaps when they are read; itself where nothing is to be filled.

    The modes that fill lie in the sink's scratch until the block ends.

    Raises
    ------
    ConfigError
        The inner product couples unknowns.
    FieldError
        A snapshot has no value at all, or a field holds infinite values.
    PlanError
        The normal equations of all snapshots with gaps are too large.
    """
    if request.missing != "gappy":
        yield problem, Filling()
        return
    for name, source in problem.sources.items():
        if source.mass_entries:
            raise ConfigError(
                f'missing = "gappy" needs an inner product that does not couple unknowns, and that of field {name!r} does; use '
                '"identity" or diagonal weights'
            )
    if not isinstance(sink, NodeSink):
        raise TypeError(f"a {type(sink).__name__} has no room for the modes of an iteration")
    scratch = sink.scratch()
    work = _Work(_unkept(problem), request, passes, scratch, device)
    try:
        yield work.run()
    finally:
        work.clear()


def _unkept(problem: Problem) -> Problem:
    # Partials of an iteration are of no use without its modes, which are scratch.
    return replace(problem, sources={name: replace(source, shelf=None) for name, source in problem.sources.items()})


@dataclass(frozen=True)
class _Write:
    """``write(panel, columns)`` of one field and iteration; travels to the workers."""

    scratch: Scratch
    label: str
    shape: FieldShape

    def __call__(self, panel: Panel, columns: Floats) -> None:
        self.scratch.write(self.label, self.shape, len(columns), panel, columns)


@dataclass(frozen=True)
class _Work:
    problem: Problem
    request: ReduceSection
    passes: Passes
    scratch: Scratch
    device: str

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return basis_groups(tuple(self.problem.sources), self.request)

    def run(self) -> tuple[Problem, Filling]:
        counts = self._scan()
        missing = sum(int(count.missing.sum()) for count in counts.values())
        if missing == 0:
            return self.problem, Filling()
        gappy = tuple(int(j) for j in np.flatnonzero(np.sum([count.missing for count in counts.values()], axis=0)))
        self._refuse_large(len(gappy))
        hidden = self._hidden(counts, gappy)
        fills = {name: Fill(hidden=hidden[name]) for name in self.problem.sources}
        iteration, error = 0, 0.0
        for iteration in range(1, self.request.gappy_iterations + 1):
            fills, change, error = self._iterate(iteration, fills, gappy)
            if change <= self.request.gappy_tolerance:
                break
        sources = {name: replace(s, fill=replace(fills[name], hidden=None)) for name, s in self.problem.sources.items()}
        values = sum(count.rows * len(count.missing) for count in counts.values())
        return replace(self.problem, sources=sources), Filling(missing / values, error, iteration)

    def clear(self) -> None:
        for name in self.problem.sources:
            for iteration in (0, 1):
                self.scratch.drop(_label(name, iteration))

    def _scan(self) -> dict[str, GapCount]:
        graph = scan_graph(list(self.problem.sources.values()), f"{self.problem.token}-gaps")
        results = self.passes.run("gappy scan", graph)
        counts: dict[str, GapCount] = {name: results[f"gappy-scan-{name}"] for name in self.problem.sources}
        for name, count in counts.items():
            empty = np.flatnonzero((count.missing == count.rows) & (count.rows > 0))
            if empty.size:
                raise FieldError(
                    f"field {name!r} has no value in snapshot {empty[0]} ({self.problem.snapshot_label(int(empty[0]))}): there "
                    "is nothing to fill it from; leave out that simulation"
                )
        return counts

    def _refuse_large(self, n_gappy: int) -> None:
        rank = min(self.request.rank or 1, next(iter(self.problem.sources.values())).snapshots)
        needed = 8 * n_gappy * rank**2
        if needed > MAX_SUMS_BYTES:
            most = int((MAX_SUMS_BYTES / 8 / n_gappy) ** 0.5)
            raise PlanError(
                f"{n_gappy} snapshots have gaps, and with {rank} modes their normal equations take {needed / 2**20:.0f} MiB in "
                f"every merge (limit {MAX_SUMS_BYTES / 2**20:.0f} MiB); set reduce.rank to at most {most}"
            )

    def _hidden(self, counts: Mapping[str, GapCount], gappy: tuple[int, ...]) -> dict[str, Hidden]:
        observed = sum(int((count.rows - count.missing[list(gappy)]).sum()) for count in counts.values())
        share = min(MOST_SHARE, max(HIDDEN_SHARE, LEAST_HIDDEN / max(1, observed)))
        return {
            name: Hidden(self.problem.shapes[name].shape, gappy, share, self.request.seed + number)
            for number, name in enumerate(self.problem.sources)
        }

    def _iterate(self, iteration: int, fills: Mapping[str, Fill], gappy: tuple[int, ...]) -> tuple[dict[str, Fill], float, float]:
        """One iteration: (the next fillings, relative change of the filling, fill_error of the filling that was used)."""
        sources = {name: replace(source, fill=fills[name]) for name, source in self.problem.sources.items()}
        token = f"{self.problem.token}-gappy{iteration}"
        factors = self._factors(sources, token)
        scaling = self._scaling(factors)
        cuts = {name: self._truncated(fields, factors, scaling) for name, fields in self.groups.items()}
        lifts = []
        for name, fields in self.groups.items():
            for field in fields:
                label = _label(field, iteration)
                self.scratch.drop(label)
                write = _Write(self.scratch, label, self.problem.shapes[field])
                lifts.append(GappyLift(sources[field], cuts[name].transform, gappy, write))
        results = self.passes.run("gappy lift", gappy_graph(lifts, token, self.device))
        partials: dict[str, GappyPartial] = {field: results[f"gappy-{field}"] for field in sources}
        following: dict[str, Fill] = {}
        changes = []
        for fields in self.groups.values():
            coefficients, change = _coefficients([(partials[field], scaling[field] ** 2) for field in fields], gappy)
            changes.append(change)
            for field in fields:
                columns = coefficients
                if self.request.centre:
                    columns = np.vstack([coefficients, np.ones(coefficients.shape[1])])
                following[field] = replace(
                    fills[field], columns=self.scratch.reader(_label(field, iteration)), coefficients=columns
                )
        return following, max(changes), _fill_error(partials, scaling)

    def _factors(self, sources: Mapping[str, FieldSource], token: str) -> dict[str, Floats]:
        graph = factor_graph(list(sources.values()), GRAM, f"{token}-gram", self.device)
        results: dict[str, Partial] = self.passes.run("gappy gram", graph)
        partials = {name: results[factor_root(name, GRAM)] for name in sources}
        for partial_sums in partials.values():
            if partial_sums.bad:
                raise FieldError(describe_bad(partial_sums.bad[0], self.problem))
        return {name: found.factor for name, found in partials.items()}

    def _scaling(self, factors: Mapping[str, Floats]) -> dict[str, float]:
        asked = self.request.field_scaling
        if isinstance(asked, dict):
            return {name: asked.get(name, 1.0) for name in factors}
        joint = any(len(fields) > 1 for fields in self.groups.values())
        return unit_field_scaling(factors, GRAM) if joint and asked == "unit" else dict.fromkeys(factors, 1.0)

    def _truncated(self, fields: tuple[str, ...], factors: Mapping[str, Floats], scaling: Mapping[str, float]) -> Truncation:
        return truncate(
            {field: factors[field] for field in fields},
            scaling,
            GRAM,
            rows=sum(self.problem.sources[field].rows for field in fields),
            rtol=None,
            rank=self.request.rank,
        )


def _label(field: str, iteration: int) -> str:
    # Two in turn: the modes of one iteration are read where those of the next are written.
    return f"gappy-{field}-{iteration % 2}"


def _coefficients(parts: list[tuple[GappyPartial, float]], gappy: tuple[int, ...]) -> tuple[Floats, float]:
    """(coefficients (r, m) of all snapshots, relative change of the filling) of one basis; each part with its field's square."""
    overlap = sum(square * part.sums.overlap for part, square in parts)
    inner = sum(square * part.sums.coefficients for part, square in parts)
    gaps = parts[0][0].gaps.scaled(parts[0][1])
    for part, square in parts[1:]:
        gaps = gaps + part.gaps.scaled(square)
    coefficients = np.linalg.solve(overlap, inner)
    found = observed_coefficients(overlap, inner[:, list(gappy)], gaps)
    coefficients[:, list(gappy)] = found
    return coefficients, filling_change(found, gaps)


def _fill_error(partials: Mapping[str, GappyPartial], scaling: Mapping[str, float]) -> float:
    error = sum(scaling[field] ** 2 * part.hidden_error for field, part in partials.items())
    square = sum(scaling[field] ** 2 * part.hidden_square for field, part in partials.items())
    return float(np.sqrt(error / square)) if square > 0 else 0.0
