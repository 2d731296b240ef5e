"""The POD stage: whichever way the plan chose; by default factor pass, truncation, lifting pass with its certificate.

    route   gram, tsqr       here                 two reads, a factor of all snapshots
            wide             `wide.py`            two reads, a factor of all unknowns
            hapod            `hapod.py`           two or three reads, factors of groups of snapshots
            sketch, nystrom  `sketch.py`          one or more reads, samples of the range

    sources ──pass 1──> factors ──truncate──> T, Q ──pass 2──> modes (in the sink) + certificate
                 ^                    │ floor bites, route auto: once more by TSQR
                 └────────────────────┘

Whoever calls gives the sources (a store, an array), the sink (a folder, memory) and the executor (threads, a cluster).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from nwidth.config import ReduceSection
from nwidth.errors import FieldError
from nwidth.stages.gappy import filled
from nwidth.stages.lifting import Lifting
from nwidth.stages.problem import Floats, Passes, PodResult, Problem, basis_groups
from nwidth.stages.refusals import describe_bad, describe_zero, refuse_indefinite
from nwidth.stages.route import Route, choose_route, fallback_reason
from nwidth.stages.sinks import ModesSink, NodeSink
from nwidth.workers import Executor, Progress
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.leaves import Partial
from nwidth_graphs.reduction import Reduction
from nwidth_graphs.truncation import Truncation, truncate, unit_field_scaling


def reduce_problem(
    problem: Problem,
    request: ReduceSection,
    executor: Executor,
    sink: ModesSink,
    device: str = "cpu",
    progress: Progress | None = None,
) -> PodResult:
    """Reduce all fields of a problem by the route that was asked for, or that its plan chose.

    By ``gram`` two reads of the data, one more where its floor bites.

    Raises
    ------
    FieldError
        A field holds NaN or infinite values, or is zero.
    CertificateError
        The modes cannot be made orthonormal.
    """
    # The small problems, too: on m x m matrices a second BLAS thread spins more than it computes.
    with threadpool_limits(1):
        passes = Passes(executor, progress)
        with filled(problem, request, passes, sink, device) as (whole, filling):
            return filling.certified(_reduce_by_route(whole, request, passes, sink, device))


def _reduce_by_route(problem: Problem, request: ReduceSection, passes: Passes, sink: ModesSink, device: str) -> PodResult:
    route = problem.route if request.route == "auto" else request.route
    if route == "wide":
        from nwidth.stages.wide import reduce_wide

        return reduce_wide(problem, request, passes, sink)
    if route == "hapod":
        from nwidth.stages.hapod import reduce_hapod

        if not isinstance(sink, NodeSink):
            raise TypeError(f"a {type(sink).__name__} has no room for the nodes of a tree")
        return reduce_hapod(problem, request, passes, sink, device)
    if route in ("sketch", "nystrom"):
        from nwidth.stages.sketch import reduce_sketch

        return reduce_sketch(problem, request, passes, sink, device)
    return _reduce(Reducing(problem, request, passes, sink, device), request)


def _reduce(run: Reducing, request: ReduceSection) -> PodResult:
    route = choose_route(request, gram_only=any(source.gram_only for source in run.problem.sources.values()))
    factors = run.factor_pass(route.reduction)
    truncations = run.truncations(factors, route.reduction)
    bitten = next((t for t in truncations.values() if t.floor_bites), None)
    if bitten is not None and route.fallback is not None:
        asked = bitten.rank_for_rtol or request.rank or bitten.rank
        route = Route(route.fallback, fallback_reason(request, bitten.floor, bitten.rank, asked))
        factors = run.factor_pass(route.reduction)
        truncations = run.truncations(factors, route.reduction)
    norms = {field: route.reduction.column_norms(factor) for field, factor in factors.items()}
    lifting = Lifting(run.problem, request, run.passes, run.sink, run.device)
    bases = lifting.run(truncations, run.field_scaling(factors, route.reduction), norms, route)
    return PodResult(bases, factors, route.reduction.name, route.reason, tuple(run.passes.measures))


@dataclass(frozen=True)
class Reducing:
    """A reduction at work by a factor of all snapshots: its factor pass, and what follows from that without a read."""

    problem: Problem
    request: ReduceSection
    passes: Passes
    sink: ModesSink
    device: str

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """Basis name -> its fields."""
        return basis_groups(tuple(self.problem.sources), self.request)

    def factor_pass(self, reduction: Reduction) -> dict[str, Floats]:
        """Field -> factor (m, m); one read.

        Raises
        ------
        FieldError
            A field holds NaN or infinite values, or is zero.
        """
        sources = list(self.problem.sources.values())
        graph = factor_graph(sources, reduction, f"{self.problem.token}-{reduction.name}", self.device)
        results: dict[str, Partial] = self.passes.run(reduction.name, graph)
        partials = {source.name: results[factor_root(source.name, reduction)] for source in sources}
        bad = [value for partial in partials.values() for value in partial.bad]
        if bad:
            raise FieldError(describe_bad(bad[0], self.problem))
        for name, partial in partials.items():
            if not np.any(reduction.column_norms(partial.factor) > 0):
                raise FieldError(describe_zero(name, self.problem.sources[name], partial.tally.masked_rows))
            if self.problem.sources[name].gram_only:
                refuse_indefinite(name, partial.factor)
        return {name: partial.factor for name, partial in partials.items()}

    def field_scaling(self, factors: Mapping[str, Floats], reduction: Reduction) -> dict[str, float]:
        """Field -> scaling in its basis."""
        asked = self.request.field_scaling
        if isinstance(asked, dict):
            return {name: asked.get(name, 1.0) for name in factors}
        joint = any(len(fields) > 1 for fields in self.groups.values())
        return unit_field_scaling(factors, reduction) if joint and asked == "unit" else dict.fromkeys(factors, 1.0)

    def truncations(self, factors: Mapping[str, Floats], reduction: Reduction) -> dict[str, Truncation]:
        """Basis name -> its truncated spectrum."""
        scaling = self.field_scaling(factors, reduction)
        return {
            name: truncate(
                {field: factors[field] for field in fields},
                scaling,
                reduction,
                rows=sum(self.problem.sources[field].rows for field in fields),
                rtol=self.request.rtol,
                rank=self.request.rank,
                snapshot_scaling=self.request.snapshot_scaling,
                beyond_floor=self.request.beyond_floor,
            )
            for name, fields in self.groups.items()
        }
