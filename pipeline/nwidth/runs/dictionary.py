"""The plan of a run with an atlas: as that of its global basis, with room for the modes of all clusters.

    modes that a block lifts at once  =  rank of the global basis + sum of the ranks of the clusters

How many clusters there will be, and of what rank, is known only after the first read; the plan takes the most that the section
allows, and cuts blocks that fit with these.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import AtlasSection, Study
from nwidth.errors import PlanError
from nwidth.problems import rank_bound
from nwidth.problems.options import content_token
from nwidth.runs.plan import Plan, prepare
from nwidth.runs.updating import Prepared
from nwidth.stages.atlas import AtlasReduction, Wanted, local_request, refuse_route, table_of
from nwidth.stages.atlas.reduction import tightest
from nwidth.stages.atlas.trials import MOST_CLUSTERS
from nwidth.stages.problem import Problem
from nwidth.stages.route import REDUCTIONS, choose_route
from nwidth.stores.coordinates import read_coordinates
from nwidth_graphs.budget import PROCESS_BYTES, factor_cost, lift_cost, row_bytes
from nwidth_graphs.pool import blocks_held
from nwidth_graphs.reduction import Reduction

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore


def prepared_atlas(study: Study, store: SnapshotStore, scratch: Path) -> Prepared:
    """Plan a study with an atlas; patches of a mass matrix are written under `scratch`.

    Raises
    ------
    PlanError
        The modes of all clusters do not fit beside a block.
    ConfigError, StoreError
        As `nwidth.runs.plan.prepare`, and where the route or the fields do not allow an atlas.
    """
    if study.atlas is None:
        raise TypeError("the study has no table [atlas]")
    section = local_request(study.atlas, study.reduce)
    made, problem, ranges = _cut(study, store, section, scratch)
    refuse_route(problem, study.reduce)
    wanted = Wanted(section, table_of(read_coordinates(store, ranges), made.snapshots))
    return Prepared(
        plan=_plan(made, problem, study, store, section),
        problem=replace(problem, token=content_token(problem.token, section.model_dump_json(), *_told(wanted))),
        ranges=ranges,
        reduce=AtlasReduction(wanted).reduce,
    )


def planned_problem(study: Study, store: SnapshotStore, scratch: Path) -> Problem:
    """The problem of a study's fields, by a route that keeps a factor of all snapshots; as `prepared_atlas` without a plan."""
    problem = _prepare(study, store, study.workers.memory, scratch)[1]
    refuse_route(problem, study.reduce)
    return problem


def local_bound(section: AtlasSection, snapshots: int) -> int:
    """The most modes that all local bases can have together: of `rank` each, or as many as they have members. Pure."""
    asked = section.clusters
    most = MOST_CLUSTERS if asked == "auto" else asked if isinstance(asked, int) else max(asked, default=1)
    if section.method == "tree" and asked == "auto":
        most = snapshots
    most = min(most, snapshots)
    # Borrowed members are rounded up, once for each pair of neighbours.
    members = min(math.ceil((1.0 + section.overlap) * snapshots) + most * most, most * snapshots)
    return members if section.rank is None else min(members, most * section.rank)


def _cut(study: Study, store: SnapshotStore, section: AtlasSection, scratch: Path) -> tuple[Plan, Problem, Any]:
    """The global basis as a plan, in blocks that leave room for the local modes beside its own."""
    _, problem, _ = _prepare(study, store, study.workers.memory, scratch)
    source = max(problem.sources.values(), key=lambda source: source.itemsize)
    bound = rank_bound(study.reduce, source.snapshots)
    total = bound + local_bound(section, source.snapshots)
    share = row_bytes(source.snapshots, source.itemsize, bound) / row_bytes(source.snapshots, source.itemsize, total)
    memory = int(PROCESS_BYTES + share * max(0, study.workers.memory - PROCESS_BYTES))
    try:
        return _prepare(study, store, memory, scratch)
    except PlanError as error:
        raise PlanError(
            f"a dictionary of up to {total} modes does not fit the {study.workers.memory / 2**20:.0f} MiB of workers.memory "
            f"(share of the snapshots: {share:.2f}); set atlas.rank, ask for fewer clusters, or: {error}"
        ) from None


def _prepare(study: Study, store: SnapshotStore, memory: int, scratch: Path) -> tuple[Plan, Problem, Any]:
    """As `prepare` with so much memory, by a route that keeps a factor of all snapshots."""
    smaller = study.model_copy(update={"workers": study.workers.model_copy(update={"memory": memory})})
    made, problem, ranges = prepare(smaller, store, scratch)
    if study.reduce.route == "auto" and problem.route not in REDUCTIONS:
        route = choose_route(study.reduce).reduction.name
        request = smaller.reduce.model_copy(update={"route": route})
        made, problem, ranges = prepare(smaller.model_copy(update={"reduce": request}), store, scratch)
    return made, problem, ranges


def _plan(made: Plan, problem: Problem, study: Study, store: SnapshotStore, section: AtlasSection) -> Plan:
    sources, chunks = list(problem.sources.values()), [store.schema().fields[name] for name in problem.sources]
    local = local_bound(section, made.snapshots)
    reduction = _reduction(study, problem, section)
    common: dict[str, Any] = {
        "stored_bytes": sum(field.stored_bytes for field in made.fields.values()),
        "decode_bytes": max(8 * math.prod(info.chunks) * info.dtype.itemsize for info in chunks),
        "threads": blocks_held(study.workers.threads, study.workers.device),
        "rank_bound": rank_bound(study.reduce, made.snapshots) + local,
    }
    # Filling gaps comes before, and costs what it costs without an atlas.
    passes = (*made.passes[:-2], factor_cost(sources, reduction, **common), lift_cost(sources, **common))
    needed = max(cost.peak_bytes for cost in passes)
    if needed > study.workers.memory:
        raise PlanError(
            f"a dictionary of up to {local} local modes would take up to {needed / 2**20:.0f} MiB in a worker, and "
            f"workers.memory is {study.workers.memory / 2**20:.0f} MiB; raise it, set atlas.rank, or ask for fewer clusters"
        )
    return replace(
        made,
        truncation=f"{made.truncation}; atlas: {_words(section)}, up to {local} modes in all",
        route=reduction.name,
        passes=passes,
        memory_bytes=study.workers.memory,
    )


def _reduction(study: Study, problem: Problem, section: AtlasSection) -> Reduction:
    gram_only = any(source.gram_only for source in problem.sources.values())
    return choose_route(tightest(study.reduce, section), gram_only=gram_only).reduction


def _words(section: AtlasSection) -> str:
    limits = [f"{name} = {value:g}" for name, value in (("rtol", section.rtol), ("rank", section.rank)) if value is not None]
    asked = "clusters chosen by their gain" if section.clusters == "auto" else f"clusters = {section.clusters}"
    return ", ".join([asked, *limits])


def _told(wanted: Wanted) -> tuple[Any, ...]:
    """What the partition depends on beside the fields."""
    table = wanted.table
    return table.simulations, table.times, table.parameters, table.parameter_names
