"""The atlas as a reduction: POD and dictionary in the same two reads.

sources ──factor pass──> factors ──┬─> truncation of the global basis ──┐
              ^                    └─> coordinates ──> chart ───────────┴──dictionary pass──> bases, certificates, errors
              └── floor bites, route auto: once more by TSQR
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from nwidth.config import AtlasSection, ReduceSection
from nwidth.errors import ConfigError
from nwidth.models.atlas import Atlas, reading_time
from nwidth.stages.atlas.assembling import Assembling
from nwidth.stages.atlas.chart import Chart, Wanted, chart
from nwidth.stages.atlas.coordinates import Coordinates, coordinates_of
from nwidth.stages.atlas.lifting import DictionaryLifting, Lifted
from nwidth.stages.gappy import filled
from nwidth.stages.pod import Reducing
from nwidth.stages.problem import BasisParts, Passes, PodResult, Problem
from nwidth.stages.route import REDUCTIONS, Route, choose_route, fallback_reason
from nwidth.stages.sinks import ModesSink
from nwidth.workers import Executor, Progress
from nwidth_graphs.kernels.transitions import switch_loss
from nwidth_graphs.truncation import Truncation

Floats = NDArray[np.float64]


def local_request(section: AtlasSection, request: ReduceSection) -> AtlasSection:
    """The section with `rank` and `rtol` of the local bases: its own, or those of the global one."""
    if section.rank is not None or section.rtol is not None:
        return section
    return section.model_copy(update={"rank": request.rank, "rtol": request.rtol})


@dataclass(frozen=True)
class AtlasReduction:
    """Reduces a problem to a global basis and a dictionary of local ones."""

    wanted: Wanted

    def reduce(
        self,
        problem: Problem,
        request: ReduceSection,
        executor: Executor,
        sink: ModesSink,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> PodResult:
        """As `nwidth.stages.pod.reduce_problem`: two reads of the data, one more where a floor bites.

        Raises
        ------
        ConfigError
            The route keeps no factor of all snapshots, there are several bases, or the snapshots do not allow what is asked for.
        FieldError
            A field holds NaN or infinite values, or is zero.
        CertificateError
            The modes of a basis cannot be made orthonormal.
        """
        refuse_route(problem, request)
        with threadpool_limits(1):
            passes = Passes(executor, progress)
            with filled(problem, request, passes, sink, device) as (whole, filling):
                return filling.certified(self._reduce(Reducing(whole, request, passes, sink, device)))

    def _reduce(self, run: Reducing) -> PodResult:
        section = self.wanted.section
        gram_only = any(source.gram_only for source in run.problem.sources.values())
        route = choose_route(tightest(run.request, section), gram_only=gram_only)
        found = self._charted(run, route)
        bitten = found.cut.floor_bites or any(cut.floor_bites for cut in found.chart.cuts)
        if bitten and route.fallback is not None:
            cut = found.cut
            reason = (
                fallback_reason(run.request, cut.floor, cut.rank, cut.rank_for_rtol or run.request.rank or cut.rank)
                if cut.floor_bites
                else "the Gram floor left fewer modes in a cluster than its tolerance asks for, so the data were read once more "
                "by TSQR, which has no such floor"
            )
            route = Route(route.fallback, reason)
            found = self._charted(run, route)
        lifting = DictionaryLifting(
            run.problem, run.request, run.passes, run.sink, run.device, found.scaling, found.norms, route, section.normalise
        )
        lifted = lifting.lift(found.cut, found.chart.cuts)
        return PodResult(
            bases=lifted.bases,
            factors=found.factors,
            route=route.reduction.name,
            reason=route.reason,
            passes=tuple(run.passes.measures),
            notes={parts.name: _notes(parts, lifted.members[parts.name], section) for parts in lifted.bases[1:]},
            atlas=atlas_of(found.chart, lifted, section),
        )

    def _charted(self, run: Reducing, route: Route) -> _Charted:
        reduction = route.reduction
        factors = run.factor_pass(reduction)
        scaling = run.field_scaling(factors, reduction)
        (cut,) = run.truncations(factors, reduction).values()
        rows = sum(source.rows for source in run.problem.sources.values())
        coordinates = coordinates_of(factors, scaling, reduction, rows)
        norms = {name: np.asarray(reduction.column_norms(factor)) for name, factor in factors.items()}
        return _Charted(
            factors, scaling, norms, cut, coordinates, chart(coordinates, self.wanted, Assembling(run.passes, run.sink))
        )


@dataclass(frozen=True)
class _Charted:
    """What follows from one factor pass."""

    factors: dict[str, Floats]
    scaling: dict[str, float]
    norms: dict[str, Floats]
    cut: Truncation
    coordinates: Coordinates
    chart: Chart


def tightest(request: ReduceSection, section: AtlasSection) -> ReduceSection:
    """The request with the smaller of the two tolerances: what the route is chosen by."""
    tolerances = [rtol for rtol in (request.rtol, section.rtol) if rtol is not None]
    return request.model_copy(update={"rtol": min(tolerances)}) if tolerances else request


def refuse_route(problem: Problem, request: ReduceSection) -> None:
    """Refuse what an atlas cannot be made by.

    Raises
    ------
    ConfigError
        The route keeps no factor of all snapshots, or the fields are to have a basis each.
    """
    route = problem.route if request.route == "auto" else request.route
    if route not in (*REDUCTIONS, "auto"):
        raise ConfigError(
            f'an atlas needs a factor of all snapshots, which route = "{route}" does not keep; use "gram" or "tsqr", with more '
            "workers.memory if need be"
        )
    if len(problem.sources) > 1 and request.basis != "joint":
        raise ConfigError(
            f"an atlas needs one basis over the {len(problem.sources)} fields {', '.join(problem.sources)}; set reduce.basis to "
            '"joint", or reduce.fields to one of them'
        )


def atlas_of(chart: Chart, lifted: Lifted, section: AtlasSection) -> Atlas:
    """The record of a dictionary whose bases were lifted."""
    items, first = chart.items, lifted.bases[0]
    ranks = np.array([cut.rank for cut in chart.cuts], np.int64)
    reading = str(section.time) if items.of == "simulations" and chart.space.vectors is not None else ""
    time = reading_time(reading)
    return Atlas(
        of=items.of,
        dissimilarity=chart.space.name,
        reading=reading,
        method=section.method,
        items=items.names,
        item_of=items.item_of,
        labels=chart.labels,
        item_labels=chart.partition.labels,
        second=chart.partition.second,
        medoids=chart.parts.representatives,
        medoid_snapshots=items.at(math.inf if time is None else time)[chart.parts.representatives],
        dissimilarities=chart.to_items,
        silhouettes=chart.silhouettes,
        loss=chart.parts.loss,
        errors=lifted.errors,
        global_errors=first.certificate.relative_errors,
        ranks=ranks,
        transitions=lifted.transitions,
        switch_losses=_switch_losses(lifted, ranks),
        gain=chart.gain,
        widths=chart.widths,
        pays=chart.choice.pays,
        reason=chart.choice.reason,
        notes=chart.notes,
    )


def _notes(parts: BasisParts, members: NDArray[np.int64], section: AtlasSection) -> dict[str, Any]:
    """What the manifest says of a local basis beside the usual: its snapshots are numbered as those of the whole set."""
    summary = parts.certificate.summary()
    return {
        "snapshot_scaling": "unit" if section.normalise else "none",
        "certificate": summary | {"worst_snapshot": int(members[summary["worst_snapshot"]])},
        "snapshots": len(members),
    }


def _switch_losses(lifted: Lifted, ranks: NDArray[np.int64]) -> Floats:
    """(K, K): root mean square over the members of l of what changing to basis k loses."""
    ends = np.cumsum([0, *ranks])
    found = np.zeros((len(ranks), len(ranks)))
    for start in range(len(ranks)):
        own = lifted.bases[1 + start].coefficients
        for to in range(len(ranks)):
            if to != start:
                across = lifted.transitions[ends[to] : ends[to + 1], ends[start] : ends[start + 1]]
                found[to, start] = np.sqrt(np.mean(switch_loss(across, own) ** 2))
    return found
