"""The plan of a study: passes, bytes, flops, tasks and memory, before a field is read; refused here, in words, if it cannot fit.

    study + store schema ──> Problem (panels, readers) ──> Plan (what it will cost)

Planning reads the store's metadata, and the mesh where the inner product needs it; never a field.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import Study
from nwidth.errors import PlanError
from nwidth.problems import Cut, Memory, inner_product_of, problem_from_store, rank_bound
from nwidth.problems.comparing import with_reads
from nwidth.runs.beyond import beyond
from nwidth.runs.budgets import with_memory
from nwidth.runs.mechanics import refuse_mechanics
from nwidth.runs.resume import factors_kept, kept_words
from nwidth.stages.problem import Problem
from nwidth.stages.route import REDUCTIONS, RouteCost, choose_route
from nwidth.stores import open_store
from nwidth_graphs.budget import PassCost, factor_cost, interface_bytes, lift_cost
from nwidth_graphs.gappy import gappy_costs
from nwidth_graphs.layout import chunks_touched
from nwidth_graphs.pool import blocks_held
from nwidth_graphs.reduction import reduction_named
from nwidth_graphs.source import FieldSource

if TYPE_CHECKING:
    from nwidth.stores.protocol import FieldInfo, SnapshotStore, StoreSchema

# More of a worker's memory than this for interface rows means that the mesh numbering couples everything with everything.
MAX_INTERFACE_SHARE = 0.5


@dataclass(frozen=True)
class FieldPlan:
    """How one field is cut and weighed."""

    unknowns: int
    dtype: str
    blocks: int
    block_bytes: int
    bytes: int
    """Logical bytes of the selection."""
    stored_bytes: int
    """Bytes that one pass fetches from the store."""
    inner_product: str
    interface_rows: int


@dataclass(frozen=True)
class Plan:
    """What a study will cost."""

    study: str
    store: str
    store_version: str
    snapshots: int
    fields: Mapping[str, FieldPlan]
    route: str
    reason: str
    floor: str
    truncation: str
    passes: tuple[PassCost, ...]
    workers: str
    memory_bytes: int
    seconds: float = 0.0
    """Predicted wall time from rates that are stated with `nwidth.stages.route.RouteCost`: within a factor of a few."""
    comparison: tuple[Mapping[str, Any], ...] = ()
    """Every route that was considered."""
    kept: str = ""
    """Which partials a run that is killed leaves to the next, in words."""
    beyond: Mapping[str, str] = field(default_factory=dict)
    """Table of the study -> what it will do that is not among the passes, as far as it is known, in words."""

    @property
    def bytes_to_read(self) -> int:
        """Bytes fetched from the store, all passes."""
        return sum(cost.bytes_to_read for cost in self.passes)

    @property
    def peak_bytes_per_worker(self) -> int:
        """Upper bound of a worker's resident size."""
        return max(cost.peak_bytes for cost in self.passes)

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import plan_html

        return plan_html(self)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **asdict(self),
            "bytes_to_read": self.bytes_to_read,
            "tasks": sum(cost.tasks for cost in self.passes),
            "flops": sum(cost.flops for cost in self.passes),
            "reads": sum(cost.reads for cost in self.passes),
            "peak_bytes_per_worker": self.peak_bytes_per_worker,
        }


def plan(study: Study) -> Plan:
    """Plan a study.

    Raises
    ------
    PlanError
        It does not fit the configured memory; the text says what to change.
    ConfigError, StoreError
        The study names something that the store does not have, or the store cannot be read.
    """
    study = with_memory(study)
    store = open_store(study.store_url, options=study.store_options)
    refuse_mechanics(study, store)
    with tempfile.TemporaryDirectory(prefix="nwidth-") as scratch:
        return replace(_planned(study, store, Path(scratch)), beyond=beyond(study, store))


def _planned(study: Study, store: SnapshotStore, scratch: Path) -> Plan:
    if study.atlas is not None:
        from nwidth.runs.dictionary import prepared_atlas

        return prepared_atlas(study, store, scratch).plan
    return prepare(study, store, scratch)[0]


def prepare(study: Study, store: SnapshotStore, scratch: Path) -> tuple[Plan, Problem, tuple[tuple[int, int], ...]]:
    """The plan, and the problem that it is the plan of; patches of a mass matrix are written under `scratch`."""
    schema = store.schema()
    memory = Memory(study.workers.memory, blocks_held(study.workers.threads, study.workers.device))
    problem, cuts, ranges = problem_from_store(store, study.reduce, memory, scratch)
    made = replace(_plan(study, store, schema, problem, cuts), kept=kept_words(study, problem))
    _refuse(made, problem)
    return made, problem, ranges


def _plan(
    study: Study,
    store: SnapshotStore,
    schema: StoreSchema,
    problem: Problem,
    cuts: Mapping[str, Cut],
) -> Plan:
    fields = {name: _field_plan(store, schema, problem, cuts[name], name, study) for name in problem.sources}
    stored = sum(field.stored_bytes for field in fields.values())
    compression = stored / sum(field.bytes for field in fields.values())
    chosen = next(cost for cost in problem.comparison if cost.route == problem.route)
    factor = choose_route(study.reduce, gram_only=any(source.gram_only for source in problem.sources.values()))
    floor = f"{chosen.floor:.1e} s_1"
    if problem.route == factor.reduction.name and factor.fallback is not None:
        floor += "; should it cut off modes that were asked for, the data are read once more by TSQR"
    workers = study.workers
    return Plan(
        study=study.study.name,
        store=schema.url,
        store_version=schema.version,
        snapshots=next(iter(problem.sources.values())).snapshots,
        fields=fields,
        route=problem.route,
        reason=problem.reason,
        floor=floor,
        truncation=_truncation(study),
        passes=_with_filling(study, problem, _passes(study, problem, cuts, chosen, stored, compression)),
        workers=workers.description,
        memory_bytes=workers.memory,
        seconds=chosen.seconds(workers.count * workers.threads),
        comparison=tuple(cost.as_dict(workers.count * workers.threads, compression) for cost in problem.comparison),
    )


def _with_filling(study: Study, problem: Problem, passes: tuple[PassCost, ...]) -> tuple[PassCost, ...]:
    """The passes with those that fill gaps before them, where gaps are to be filled."""
    if study.reduce.missing != "gappy":
        return passes
    sources = list(problem.sources.values())
    rank = rank_bound(study.reduce, sources[0].snapshots)
    return gappy_costs(sources, passes, study.reduce.gappy_iterations, study.workers.threads, rank)


def _passes(
    study: Study, problem: Problem, cuts: Mapping[str, Cut], chosen: RouteCost, stored: int, compression: float
) -> tuple[PassCost, ...]:
    """What the passes cost, with the bytes that the store holds and, for the routes of panels, the inner products as cut."""
    if problem.route not in REDUCTIONS:
        return tuple(replace(cost, bytes_to_read=round(cost.bytes_to_read * compression)) for cost in chosen.passes)
    sources = list(problem.sources.values())
    common: dict[str, Any] = {
        "stored_bytes": stored,
        "decode_bytes": max(cut.decode_bytes for cut in cuts.values()),
        "threads": blocks_held(study.workers.threads, study.workers.device),
        "rank_bound": rank_bound(study.reduce, sources[0].snapshots),
    }
    reduction = reduction_named(problem.route)
    kept = factors_kept(study, problem.sources, reduction)
    passes = (factor_cost(sources, reduction, **common, kept=kept), lift_cost(sources, **common))
    return tuple(with_reads(passes, chosen.passes[0].reads))


def _field_plan(
    store: SnapshotStore,
    schema: StoreSchema,
    problem: Problem,
    cut: Cut,
    name: str,
    study: Study,
) -> FieldPlan:
    source, info = problem.sources[name], schema.fields[name]
    per_row = source.snapshots * source.itemsize
    return FieldPlan(
        unknowns=source.rows,
        dtype=str(info.dtype),
        blocks=len(source.panels),
        block_bytes=source.largest_panel * per_row,
        bytes=source.rows * per_row,
        stored_bytes=_stored_bytes(store, source, info),
        inner_product=inner_product_of(name, study.reduce),
        interface_rows=0 if source.interface is None else source.interface.n_rows,
    )


def _stored_bytes(store: SnapshotStore, source: FieldSource, info: FieldInfo) -> int:
    """Bytes that a pass fetches for the selection; a store that cannot tell counts as uncompressed."""
    from zarr.core.sync import sync

    array: Any = store.reference().open()[f"fields/{info.name}"]
    try:
        # Zarr counts the array's own metadata, which is read once per process and not per pass.
        chunks = array.nbytes_stored() - sync(array.store.getsize(f"{array.path}/zarr.json"))
    except (NotImplementedError, AttributeError):
        return source.rows * source.snapshots * source.itemsize
    return int((chunks + _repeated_index_bytes(source, info)) * source.snapshots / info.shape[0])


def _repeated_index_bytes(source: FieldSource, info: FieldInfo) -> int:
    """Bytes of shard indexes beyond the first reading: every panel that takes part of a shard reads its index. Pure."""
    if info.shards is None:
        return 0
    # Zarr's sharding: 16 bytes for each chunk of the shard, and a checksum of 4.
    index = 16 * math.prod(shard // chunk for shard, chunk in zip(info.shards, info.chunks, strict=True)) + 4
    shards = math.prod(-(-extent // shard) for extent, shard in zip(info.shape[1:], info.shards[1:], strict=True))
    touched = sum(chunks_touched(panel.selection, info.shards[1:]) for panel in source.panels)
    return index * (touched - shards) * -(-info.shape[0] // info.shards[0])


def _truncation(study: Study) -> str:
    wanted = [
        f"{label} = {value:g}" for label, value in (("rtol", study.reduce.rtol), ("rank", study.reduce.rank)) if value is not None
    ]
    return " and ".join(wanted)


def _refuse(made: Plan, problem: Problem) -> None:
    has = f"workers.memory is {made.memory_bytes / 2**20:.0f} MiB"
    for name, source in problem.sources.items():
        needed, limit = interface_bytes(source), MAX_INTERFACE_SHARE * made.memory_bytes
        if source.interface is not None and needed > limit:
            raise PlanError(
                f"field {name!r}: {source.interface.n_rows} of its {source.rows} unknowns lie in cells that straddle blocks, "
                f"their rows take {needed / 2**20:.0f} MiB, and {has}; raise it to "
                f"{needed / MAX_INTERFACE_SHARE / 2**20:.0f} MiB, renumber the mesh for a small bandwidth, or use "
                "diagonal weights"
            )
    if made.peak_bytes_per_worker > made.memory_bytes:
        peak = made.peak_bytes_per_worker / 2**20
        raise PlanError(
            f"study {made.study!r} would take up to {peak:.0f} MiB in a worker, and {has}; raise it, or lower workers.threads or "
            "reduce.rank"
        )
