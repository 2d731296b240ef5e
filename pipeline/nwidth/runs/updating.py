"""Update a study's last model with the simulations that its store has gained.

growth ──exact──> the run as planned, its factor pass shortened to the border
       └─fast───> a run over [modes | new snapshots], planned, published and resumed like any other
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.config import Study
from nwidth.errors import ConfigError, PlanError
from nwidth.problems.options import content_token
from nwidth.runs.growth import Growth, growth_since, why_not
from nwidth.runs.plan import Plan, prepare
from nwidth.stacking import Reader, stacked
from nwidth.stages.appending import ExactAppend, FastAppend
from nwidth.stages.parents import content_key, lineage, stored_factor
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import PodResult, Problem
from nwidth_graphs.budget import PROCESS_BYTES, PassCost, factor_cost, lift_cost
from nwidth_graphs.reduction import TSQR
from nwidth_graphs.source import FieldSource

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore, StoreSchema

Reduce = Callable[..., PodResult]
Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Offer:
    """What can be done with a store that grew, and what to say about it."""

    how: str = "full"
    """``full``, ``exact``, ``fast``, or ``none`` where the last model is of all that the store has."""
    growth: Growth | None = None
    words: str = ""


def offer_of(study: Study, schema: StoreSchema, model: Path) -> Offer:
    """What the study asks for, where the store only grew since the last model; a full run otherwise, and why."""
    if study.atlas is not None:
        return Offer()  # new snapshots change who belongs together
    request = study.reduce
    growth = growth_since(model, schema, request)
    if isinstance(growth, str):
        asked = request.update != "full" and (model / "manifest.json").is_file()
        return Offer(words=f'update = "{request.update}": {growth}, so a full run is done' if asked else "")
    if growth.snapshots == 0:
        return Offer("none" if request.update == "fast" else "full", growth)
    gained = f"the store has gained {growth.snapshots} snapshots ({', '.join(growth.simulations[:5])}"
    gained += f" and {len(growth.simulations) - 5} more)" if len(growth.simulations) > 5 else ")"
    if request.update == "full":
        return Offer(
            "full",
            growth,
            f'{gained} since the last run; reduce.update = "fast" would read these only, and bound the errors of the others, '
            '"exact" would save most of the work of the factor pass',
        )
    reason = why_not(growth, request)
    if reason is not None:
        return Offer("full", growth, f'{gained}; update = "{request.update}" is not possible, so a full run is done: {reason}')
    return Offer(request.update, growth, f"{gained}; the last model is updated ({request.update})")


@dataclass(frozen=True)
class Prepared:
    """A run that is planned: in full, or as an update."""

    plan: Plan
    problem: Problem
    ranges: Ranges
    reduce: Reduce = reduce_problem
    provenance: Mapping[str, Any] | None = None
    """What the provenance says of the last model, where it is updated."""


def prepared(study: Study, store: SnapshotStore, offer: Offer, scratch: Path) -> Prepared:
    """Plan what an offer says; patches of a mass matrix are written under `scratch`.

    Raises
    ------
    PlanError, ConfigError, StoreError
        As `prepare`.
    """
    if study.atlas is not None:
        from nwidth.runs.dictionary import prepared_atlas

        return prepared_atlas(study, store, scratch)
    if offer.how == "fast" and offer.growth is not None:
        return _prepared_fast(study, store, offer.growth, scratch)
    made, problem, ranges = prepare(study, store, scratch)
    if offer.how != "exact" or offer.growth is None:
        return Prepared(made, problem, ranges)
    append = ExactAppend({name: _factor(offer.growth, name) for name in problem.sources})
    if _border_peak(made, problem, offer.growth.snapshots, study) > study.workers.memory:
        return Prepared(made, problem, ranges)
    return Prepared(made, problem, ranges, append.reduce, _provenance(offer.growth, "exact update"))


def _factor(growth: Growth, field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    stored = stored_factor(growth.parent, field)
    if stored is None:
        raise ConfigError(f'the last model keeps no factor of field {field!r}; run with reduce.update = "full"')
    return stored[1]


def _border_peak(made: Plan, problem: Problem, new: int, study: Study) -> int:
    """Lifting the border makes as many "modes" as there are new snapshots, more than the plan may have counted on."""
    largest = max(source.largest_panel for source in problem.sources.values())
    rank = study.reduce.rank or made.snapshots
    return made.peak_bytes_per_worker + study.workers.threads * largest * 16 * max(0, new - rank)


def _provenance(growth: Growth, made_by: str) -> dict[str, Any]:
    return {"made_by": made_by, "parents": [lineage(growth.parent)]}


# --- fast -----------------------------------------------------------------------------------------------------------------


def _prepared_fast(study: Study, store: SnapshotStore, growth: Growth, scratch: Path) -> Prepared:
    schema = store.schema()
    columns = growth.snapshots + max(basis.rank for basis in growth.parent.bases.values())
    made, problem = _cut_for(study, store, growth, columns, scratch)
    readers: dict[str, Reader] = {name: source.read for name, source in problem.sources.items() if source.read is not None}
    append = FastAppend(growth.parent, readers, growth.snapshots, study.reduce.field_scaling)
    sources = {
        name: replace(problem.sources[name], read=stacked(field.parts), snapshots=field.count, itemsize=8)
        for name, field in append.columns().items()
    }
    token = content_token("fast", content_key(growth.parent), schema.url, schema.version, study.reduce.model_dump_json())
    return Prepared(
        plan=_plan_of_columns(made, sources, study, schema, growth),
        problem=replace(problem, sources=sources, token=token),
        ranges=((0, schema.n_snapshots),),
        reduce=append.reduce,
        provenance=_provenance(growth, "fast update"),
    )


def _cut_for(study: Study, store: SnapshotStore, growth: Growth, columns: int, scratch: Path) -> tuple[Plan, Problem]:
    """The new snapshots as a problem, in blocks that leave room for the stack, and for the modes as they are read."""
    share = growth.snapshots / (growth.snapshots + 2 * columns)
    memory = int(PROCESS_BYTES + share * max(0, study.workers.memory - PROCESS_BYTES))
    request = study.reduce.model_copy(update={"simulations": growth.simulations, "route": TSQR.name})
    workers = study.workers.model_copy(update={"memory": memory})
    try:
        made, problem, _ = prepare(study.model_copy(update={"reduce": request, "workers": workers}), store, scratch)
    except PlanError as error:
        raise PlanError(
            f"a fast update of {growth.snapshots} snapshots beside the modes does not fit the "
            f"{study.workers.memory / 2**20:.0f} MiB of workers.memory (share of the snapshots: {share:.2f}): {error}"
        ) from None
    return made, problem


def _plan_of_columns(made: Plan, sources: Mapping[str, FieldSource], study: Study, schema: StoreSchema, growth: Growth) -> Plan:
    """The plan of the new snapshots, with what the modes beside them cost."""
    listed, threads = list(sources.values()), study.workers.threads
    chunks = [schema.fields[name] for name in sources]
    decode = max(8 * math.prod(info.chunks) * info.dtype.itemsize for info in chunks)
    # Beside the stack, which counts as the block: the new snapshots, and the modes, as each was read.
    decode += max(source.largest_panel * source.snapshots * 8 for source in listed)
    modes = sum(source.rows * (source.snapshots - growth.snapshots) * 8 for source in listed)
    stored = sum(field.stored_bytes for field in made.fields.values()) + modes
    bound = min(study.reduce.rank or listed[0].snapshots, listed[0].snapshots)
    common: dict[str, Any] = {"stored_bytes": stored, "decode_bytes": decode, "threads": threads, "rank_bound": bound}
    passes: tuple[PassCost, ...] = (factor_cost(listed, TSQR, **common), lift_cost(listed, **common))
    needed = max(cost.peak_bytes for cost in passes)
    if needed > study.workers.memory:
        raise PlanError(
            f"a fast update would take up to {needed / 2**20:.0f} MiB in a worker, and workers.memory is "
            f"{study.workers.memory / 2**20:.0f} MiB; raise it, or lower workers.threads"
        )
    return replace(
        made,
        snapshots=schema.n_snapshots,
        route=TSQR.name,
        reason=f"fast update: {growth.snapshots} new snapshots beside the modes of the last run",
        passes=passes,
        memory_bytes=study.workers.memory,
    )
