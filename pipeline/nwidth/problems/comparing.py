"""The routes beside each other: what each would read, compute and hold, which are feasible, and which one `auto` picks.

    shapes and chunks of the fields, request, memory ──> RouteCost of every route ──> one, with its cuts, and one sentence

Pure arithmetic on shapes: nothing is read. The choice depends on the data, the request and the memory of a worker, never on how
many workers there are: the bits of a result must not depend on who computes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nwidth.config import SKETCH_MIN_RTOL, ReduceSection
from nwidth.errors import PlanError
from nwidth.problems.cutting import LEAST_AHEAD, SPARSE, Cut, Memory, cut_chunks, cut_field, inner_row_bytes, rank_bound
from nwidth.stages.problem import Grouping, basis_groups
from nwidth.stages.route import GRAM_MIN_RTOL, REDUCTIONS, RouteCost, choose_route
from nwidth_graphs.budget import (
    PROCESS_BYTES,
    PassCost,
    block_bytes_for,
    factor_cost,
    lift_cost,
    merge_bytes,
    process_bytes,
    row_bytes,
    scratch_bytes,
)
from nwidth_graphs.hapod import hapod_costs, whole_rows_bytes
from nwidth_graphs.kernels.hapod import distributed, incremental
from nwidth_graphs.layout import groups, panel_reads, whole_panel
from nwidth_graphs.reduction import FLOAT, GRAM, TSQR, Reduction, reduction_named
from nwidth_graphs.sampling import first_sample
from nwidth_graphs.sketch import nystrom_costs, sketch_costs, sketch_merge_bytes, sketch_row_bytes, sketch_scratch_bytes
from nwidth_graphs.source import FieldSource
from nwidth_graphs.wide import wide_costs

# Rows per snapshot up to which the factor of the transpose is considered, and snapshots from which it matters.
WIDE_ASPECT, WIDE_SNAPSHOTS = 0.25, 1000
# Share of the snapshots up to which a rank is small enough to be sampled, and how much faster that must be.
SMALL_RANK, WORTH_SAMPLING = 0.1, 1.3
# Columns of a node above the leaves that a plan counts on, its factor takes 2 MiB; a run may use what its memory holds.
NODE_COLUMNS = 512
# A node of more snapshots than this computes more than it saves.
GROUP_SNAPSHOTS = 512
# Chunks of more snapshots than this are not made groups of, unless all their rows fit a task.
LONG_CHUNK = 4 * GROUP_SNAPSHOTS
# What a hierarchical POD is assumed to keep, where no rank is asked for: only flops depend on it.
ASSUMED_RANK = 64


@dataclass(frozen=True)
class FieldLayout:
    """What the comparison must know of one field."""

    name: str
    shape: tuple[int, ...]
    """(snapshots of the selection, *space[, component])."""
    itemsize: int
    chunks: tuple[int, ...]
    """(snapshots, *space[, component]): what is decoded as one; ones along space where rows are free (an array in memory)."""
    shards: tuple[int, ...] | None = None
    ahead: int = LEAST_AHEAD
    """Chunks that a reader may hold for the next block."""
    stored: bool = True
    """Whether chunks are decoded from a store, and not taken from memory or from a Dask graph."""
    components: bool = False
    inner_product: str = "identity"
    panelwise: bool = False
    """Whether the inner product is made for one cut into panels (a mass, a sparse matrix), and not for any."""
    in_parts: bool = True
    """Whether some snapshots can be read without the others."""
    granules: tuple[tuple[int, ...], ...] = ()
    """Boxes of space that may be read alone, best first, where there is no store."""

    @property
    def gram_only(self) -> bool:
        """Whether the inner product has no factor, which every route but Gram's needs."""
        return self.inner_product == SPARSE

    @property
    def snapshots(self) -> int:
        """m."""
        return self.shape[0]

    @property
    def space(self) -> tuple[int, ...]:
        """Shape without the snapshots."""
        return self.shape[1:]

    @property
    def rows(self) -> int:
        """n."""
        return math.prod(self.space)

    @property
    def bytes(self) -> int:
        """Logical bytes of the selection."""
        return self.rows * self.snapshots * self.itemsize

    @property
    def decode_bytes(self) -> int:
        """Chunks at hand or in flight while a block is read, the one that is decoded and the one that is filled among them."""
        return (self.ahead + 2) * self.chunk_bytes if self.stored else 0

    @property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return math.prod(self.chunks) * self.itemsize

    def source(self, cut: Cut) -> FieldSource:
        """A source that cannot be read: shapes for cost formulas."""
        return FieldSource(self.name, cut.panels, self.snapshots, self.itemsize)


@dataclass(frozen=True)
class Candidate:
    """A route, what it would cost, and the cuts it would work on."""

    cost: RouteCost
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    grouping: Grouping | None = None


def compare_routes(layouts: Sequence[FieldLayout], request: ReduceSection, memory: Memory) -> tuple[Candidate, ...]:
    """Every route with its cost, feasible or with the reason why not, in the order of the documentation."""
    makers: dict[str, Callable[[], Candidate]] = {
        "gram": lambda: _factor_candidate("gram", layouts, request, memory),
        "tsqr": lambda: _factor_candidate("tsqr", layouts, request, memory),
        "wide": lambda: _wide_candidate(layouts, request, memory),
        "hapod": lambda: _hapod_candidate(layouts, request, memory),
        "sketch": lambda: _sketch_candidate("sketch", layouts, request, memory),
        "nystrom": lambda: _sketch_candidate("nystrom", layouts, request, memory),
    }
    sparse = next((layout.name for layout in layouts if layout.gram_only), None)
    if sparse is not None:
        makers |= dict.fromkeys([name for name in makers if name != "gram"], lambda: _refuse_sparse(sparse))
    if request.missing == "gappy":
        makers |= dict.fromkeys(("wide", "hapod"), _refuse_gaps)
    return tuple(_candidate(name, make) for name, make in makers.items())


def _refuse_sparse(field_name: str) -> Candidate:
    raise PlanError(
        f'the inner product of field {field_name!r} is a sparse matrix, which has no factor here; set route = "auto" or "gram"'
    )


def _refuse_gaps() -> Candidate:
    raise PlanError(
        'missing = "gappy" fills rows with all their snapshots, and this route reads some at a time; set route = "auto"'
    )


def choose(candidates: Sequence[Candidate], layouts: Sequence[FieldLayout], request: ReduceSection) -> tuple[Candidate, str]:
    """The candidate that is run, and why, in one sentence.

    Raises
    ------
    PlanError
        The route that was asked for is not feasible, or none is; the text says what to set.
    """
    known = {candidate.cost.route: candidate for candidate in candidates}
    if request.route != "auto":
        asked = known[request.route]
        if not asked.cost.feasible:
            raise PlanError(asked.cost.why_not)
        return asked, f'route = "{request.route}" was asked for'
    own = choose_route(request, gram_only=any(layout.gram_only for layout in layouts))
    preferred = known[own.reduction.name]
    rivals = [known["wide"]] if _is_wide(layouts) else []
    if _is_long(layouts, request):
        rivals.append(known["sketch"])
    if not preferred.cost.feasible:
        # With a tolerance alone the size of a sample is a guess, and so is its cost: it is taken where nothing else fits.
        rivals = [known["wide"], known["hapod"]]
        if request.rank is not None or not any(rival.cost.feasible for rival in rivals):
            rivals.append(known["sketch"])
    feasible = [rival for rival in rivals if rival.cost.feasible]
    if preferred.cost.feasible:
        # Exact factors serve later merges and other ranks: they are given up for a clear win only.
        cheaper = [
            rival
            for rival in feasible
            if rival.cost.core_seconds * (1.0 if rival.cost.guarantee == "exact" else WORTH_SAMPLING)
            < preferred.cost.core_seconds
        ]
        if not cheaper:
            return preferred, own.reason
        best = min(cheaper, key=lambda rival: rival.cost.core_seconds)
        return best, _cheaper_reason(best, preferred, layouts)
    if not feasible:
        raise PlanError(preferred.cost.why_not)
    best = min(feasible, key=_weighed_seconds)
    return best, f"{preferred.cost.route} does not fit: {_first_clause(preferred.cost.why_not)}; {best.cost.route} does"


def _weighed_seconds(candidate: Candidate) -> float:
    return candidate.cost.core_seconds * (1.0 if candidate.cost.guarantee == "exact" else WORTH_SAMPLING)


def _is_wide(layouts: Sequence[FieldLayout]) -> bool:
    snapshots = layouts[0].snapshots
    return snapshots > WIDE_SNAPSHOTS and sum(layout.rows for layout in layouts) <= WIDE_ASPECT * snapshots


def _is_long(layouts: Sequence[FieldLayout], request: ReduceSection) -> bool:
    """Many snapshots, and few modes asked for: where samples of the range beat an m x m factor."""
    snapshots = layouts[0].snapshots
    return snapshots > WIDE_SNAPSHOTS and request.rank is not None and request.rank <= SMALL_RANK * snapshots


def _cheaper_reason(best: Candidate, other: Candidate, layouts: Sequence[FieldLayout]) -> str:
    rows, snapshots = sum(layout.rows for layout in layouts), layouts[0].snapshots
    times = other.cost.core_seconds / best.cost.core_seconds
    return (
        f"{rows} unknowns beside {snapshots} snapshots: {best.cost.route} is predicted to take {times:.2g} times less than "
        f"{other.cost.route}"
    )


def _first_clause(sentence: str) -> str:
    return sentence.split(";")[0]


def _candidate(name: str, make: Callable[[], Candidate]) -> Candidate:
    try:
        return make()
    except PlanError as error:
        return Candidate(RouteCost(name, feasible=False, why_not=str(error)))


# --- gram, tsqr: panels with all snapshots --------------------------------------------------------------------------------------


def _factor_candidate(name: str, layouts: Sequence[FieldLayout], request: ReduceSection, memory: Memory) -> Candidate:
    reduction = reduction_named(name)
    # A fallback may turn Gram into TSQR in mid-run: unless Gram alone was asked for, the cut must serve both.
    asked = request.model_copy(update={"route": name}) if request.route == name else request
    cuts = {layout.name: cut_layout(layout, asked, memory) for layout in layouts}
    snapshots = layouts[0].snapshots
    passes = [
        maker(
            [layout.source(cuts[layout.name]) for layout in layouts],
            stored_bytes=sum(layout.bytes for layout in layouts),
            decode_bytes=max(cut.decode_bytes for cut in cuts.values()),
            threads=memory.threads,
            rank_bound=rank_bound(request, snapshots),
        )
        for maker in (_factor_of(reduction), lift_cost)
    ]
    passes = with_reads(passes, _mean_reads(layouts, cuts))
    unresolved = name == "gram" and request.rtol is not None and request.rtol < GRAM_MIN_RTOL
    why_not = f"rtol = {request.rtol:g} is below what a Gram matrix resolves" if unresolved else ""
    floor = reduction.floor(1.0, snapshots)
    return Candidate(RouteCost.of(name, passes, floor=floor, guarantee="exact", warning=why_not), cuts)


def _factor_of(reduction: Reduction) -> Callable[..., PassCost]:
    return lambda sources, **options: factor_cost(sources, reduction, **options)


def cut_layout(
    layout: FieldLayout, request: ReduceSection, memory: Memory, fit: int | None = None, sample: int | None = None
) -> Cut:
    """Panels with all snapshots; `fit` rows of them, where a route counts what fits by itself, and draws a `sample`.

    Raises
    ------
    PlanError
        Nothing fits; the text says how much memory would.
    """
    if layout.stored:
        return cut_chunks(
            layout.name, layout.shape, layout.chunks, layout.shards, layout.snapshots, layout.itemsize, request, memory,
            components=layout.components, inner_product=layout.inner_product, sample=sample, fit=fit,
        )  # fmt: skip
    extra = inner_row_bytes(layout.inner_product)
    return cut_field(
        layout.name, layout.space, layout.granules, layout.snapshots, layout.itemsize, request, memory, 0, extra, fit=fit
    )


def with_reads(passes: Sequence[PassCost], reads: float) -> list[PassCost]:
    """The passes with every visit of the data counted as often as its chunks are decoded."""
    return [replace(cost, reads=cost.reads * reads, bytes_to_read=round(cost.bytes_to_read * reads)) for cost in passes]


def _mean_reads(layouts: Sequence[FieldLayout], cuts: Mapping[str, Cut]) -> float:
    return sum(layout.bytes * cuts[layout.name].reads for layout in layouts) / sum(layout.bytes for layout in layouts)


# --- sketch, nystrom: panels with all snapshots, samples instead of factors ----------------------------------------------------


def _sketch_candidate(name: str, layouts: Sequence[FieldLayout], request: ReduceSection, memory: Memory) -> Candidate:
    if request.rtol is not None and request.rtol < SKETCH_MIN_RTOL:
        raise PlanError(f'route "{name}" measures errors down to {SKETCH_MIN_RTOL:g}; raise rtol, or set route = "tsqr"')
    if name == "nystrom" and request.rank is None:
        raise PlanError('route "nystrom" reads once, and must know how many modes are wanted; set rank, or route = "sketch"')
    snapshots = layouts[0].snapshots
    directions = min(snapshots, max(layout.rows for layout in layouts))
    sample = first_sample(directions, request.rank, request.rtol, request.samples_beyond(name))
    cuts = {layout.name: cut_layout(layout, request, memory, _sampled_rows(layout, sample, memory), sample) for layout in layouts}
    common: dict[str, int] = {
        "sample": sample, "stored_bytes": sum(layout.bytes for layout in layouts),
        "decode_bytes": max(cut.decode_bytes for cut in cuts.values()), "threads": memory.threads,
    }  # fmt: skip
    sources = [layout.source(cuts[layout.name]) for layout in layouts]
    weighed = request.snapshot_scaling != "none"
    if name == "sketch":
        passes = sketch_costs(sources, sketches=1 + request.power_iterations + weighed, **common)
    else:
        passes = nystrom_costs(sources, **common)
    cost = RouteCost.of(
        name, with_reads(passes, _mean_reads(layouts, cuts)), floor=GRAM.floor(1.0, snapshots), guarantee="measured"
    )
    return Candidate(cost, cuts)


def _sampled_rows(layout: FieldLayout, sample: int, memory: Memory) -> int:
    """Rows that fit one thread, in every pass of these routes."""
    m = layout.snapshots
    inner = inner_row_bytes(layout.inner_product)
    fixed = process_bytes(coupled=inner > 0) + max(sketch_merge_bytes(m, sample), merge_bytes(m, sample, factors=False))
    scratch = max(sketch_scratch_bytes(m, sample), scratch_bytes(None, m, sample))
    row = max(sketch_row_bytes(m, layout.itemsize, sample, kept=True), row_bytes(m, layout.itemsize, sample))
    return ((memory.bytes - fixed) // memory.threads - layout.decode_bytes - scratch) // (row + inner)


# --- wide: all rows of a group, n x n factors -----------------------------------------------------------------------------------


def _wide_candidate(layouts: Sequence[FieldLayout], request: ReduceSection, memory: Memory) -> Candidate:
    if request.basis == "joint" and len(layouts) > 1:  # blocks of one Dask array come through the graph, of several they do not
        _refuse_groups(layouts, "wide")
    if request.snapshot_scaling != "none":
        raise PlanError('route "wide" does not scale snapshots; set snapshot_scaling = "none", or route = "tsqr"')
    snapshots = layouts[0].snapshots
    bases = basis_groups([layout.name for layout in layouts], request)
    rows = max(sum(layout.rows for layout in layouts if layout.name in fields) for fields in bases.values())
    bound = min(rank_bound(request, snapshots), rows)
    granule = max((layout.shards or layout.chunks)[0] for layout in layouts)
    wanted = block_bytes_for(sum(layout.bytes for layout in layouts), memory.bytes // memory.threads)
    target = wanted // max(1, rows * max(x.itemsize for x in layouts))
    sizes = [size for size in (_multiple(target, granule), *(max(layout.chunks[0] for layout in layouts),)) if size]
    reduction = TSQR if request.centre or request.route == "wide" else choose_route(request).reduction
    for size in sizes:
        parts = groups(snapshots, size)
        passes = wide_costs(
            rows, snapshots, parts, reduction,
            itemsize=max(layout.itemsize for layout in layouts), rank_bound=bound,
            likely_rank=min(bound, request.rank or ASSUMED_RANK),
            dense=any(layout.panelwise for layout in layouts), stored_bytes=sum(layout.bytes for layout in layouts),
            decode_bytes=max(layout.decode_bytes for layout in layouts), threads=memory.threads, trees=len(bases),
        )  # fmt: skip
        peak = max(cost.peak_bytes for cost in passes)
        if peak <= memory.bytes:
            break
    else:
        raise PlanError(
            f'route "wide": {rows} unknowns with {size} snapshots, and factors of {rows} x {rows}, do not fit the '
            f"{memory.bytes / 2**20:.0f} MiB of a worker; set workers.memory to at least {math.ceil(peak / 2**20)} MiB"
        )
    passes_read = with_reads(passes, _group_reads(layouts, parts[0].size))
    cuts = {layout.name: Cut((whole_panel(layout.space),), layout.space, layout.decode_bytes) for layout in layouts}
    cost = RouteCost.of("wide", passes_read, floor=reduction.floor(1.0, rows), guarantee="exact")
    return Candidate(cost, cuts, Grouping(parts, True, rows))


def _multiple(size: int, granule: int) -> int:
    return max(1, size // granule) * granule


def _group_reads(layouts: Sequence[FieldLayout], size: int) -> float:
    """How often an average chunk is decoded where the snapshots are cut every `size`."""
    weighted = [
        layout.bytes * panel_reads((layout.snapshots,), (size,), (layout.chunks[0],)) if layout.stored else layout.bytes
        for layout in layouts
    ]
    return sum(weighted) / sum(layout.bytes for layout in layouts)


def _refuse_groups(layouts: Sequence[FieldLayout], route: str) -> None:
    for layout in layouts:
        if not layout.in_parts:
            raise PlanError(
                f'field {layout.name!r} cannot be read some snapshots at a time, as route "{route}" needs; give a store or an '
                'array in memory, or set route = "tsqr"'
            )


# --- hapod: groups, and panels of them ------------------------------------------------------------------------------------------


def _hapod_candidate(layouts: Sequence[FieldLayout], request: ReduceSection, memory: Memory) -> Candidate:
    _refuse_hapod(layouts, request)
    snapshots = layouts[0].snapshots
    granule = max(layout.chunks[0] for layout in layouts)
    chain = request.tree == "incremental"
    single = all(len(fields) == 1 for fields in basis_groups([layout.name for layout in layouts], request).values())
    free = single and not any(layout.panelwise for layout in layouts)
    size = _whole_group(layouts, memory, granule, chain) if free else 0
    if granule > LONG_CHUNK:
        # Chunks along the snapshots are cut through, and read once per group: a group as long as they are would be no group.
        granule = GROUP_SNAPSHOTS
        size = size or (_whole_group(layouts, memory, granule, chain) if free else 0)
    whole = size > 0
    size = _even(snapshots, size or min(snapshots, _multiple(GROUP_SNAPSHOTS, granule)), granule)
    parts = groups(snapshots, size)
    columns = min(snapshots, max(2 * size if chain else size, NODE_COLUMNS))
    cuts = {layout.name: _upper_cut(layout, request, memory, columns, whole=whole) for layout in layouts}
    nodes = incremental(len(parts)) if chain else distributed(len(parts))
    reads = _mean_reads(layouts, {} if whole else cuts) if not whole else 1.0

    def costs(columns: int) -> tuple[PassCost, ...]:
        return hapod_costs(
            [layout.source(cuts[layout.name]) for layout in layouts], parts, nodes, _node_reduction(request),
            whole=whole, columns=columns, rank_bound=min(columns, request.rank or ASSUMED_RANK),
            stored_bytes=sum(layout.bytes for layout in layouts),
            decode_bytes=max(layout.decode_bytes for layout in layouts), threads=memory.threads,
        )  # fmt: skip

    passes = costs(columns)
    peak = max(cost.peak_bytes for cost in passes)
    if peak > memory.bytes:
        raise PlanError(
            f'route "hapod": nodes of {size} snapshots do not fit the {memory.bytes / 2**20:.0f} MiB of a worker; set '
            f"workers.memory to at least {math.ceil(peak / 2**20)} MiB"
        )
    passes_read = with_reads(passes, reads * _group_reads(layouts, size))
    floor = TSQR.floor(1.0, columns)
    cost = RouteCost.of("hapod", passes_read, floor=floor, guarantee="bound, measured")
    most = columns
    while most < snapshots and max(cost.peak_bytes for cost in costs(most + NODE_COLUMNS)) <= memory.bytes:
        most += NODE_COLUMNS
    return Candidate(cost, cuts, Grouping(parts, whole, most))


def _refuse_hapod(layouts: Sequence[FieldLayout], request: ReduceSection) -> None:
    _refuse_groups(layouts, "hapod")
    if request.rtol is None:
        raise PlanError(
            'route "hapod" divides a tolerance among its nodes; set rtol (and rank, if the root shall keep fewer modes)'
        )
    if request.centre:
        raise PlanError('route "hapod" cuts before the mean of all snapshots is known; set centre = false, or route = "tsqr"')
    if request.snapshot_scaling != "none":
        raise PlanError('route "hapod" does not scale snapshots; set snapshot_scaling = "none", or route = "tsqr"')
    joint = request.basis == "joint" and len(layouts) > 1
    if joint and request.tree == "incremental" and request.field_scaling == "unit":
        raise PlanError(
            'a chain cuts before the norms of all snapshots are known; give field_scaling as a table, or set tree = "distributed"'
        )


def _node_reduction(request: ReduceSection) -> Reduction:
    return GRAM if (request.rtol or 0.0) > 1e-4 else TSQR


def _whole_group(layouts: Sequence[FieldLayout], memory: Memory, granule: int, chain: bool) -> int:
    """Snapshots of a group whose rows all fit one task, in whole chunks; 0 where not even one chunk does."""
    best = 0
    for size in range(granule, max(granule, GROUP_SNAPSHOTS) + 1, granule):
        columns = max(2 * size if chain else size, NODE_COLUMNS)
        fixed = PROCESS_BYTES + merge_bytes(columns, columns)
        per_thread = (memory.bytes - fixed) // memory.threads - scratch_bytes(TSQR, columns, columns)
        # A panel of modes beside the rows, which the cut of the panels may make smaller still.
        panel = FLOAT * 4096 * 4 * columns
        stack = 2 * size if chain else 0
        needed = max(whole_rows_bytes(x.rows, size, x.itemsize, stack) + x.decode_bytes for x in layouts)
        if needed + panel > per_thread:
            break
        best = size
    return min(best, layouts[0].snapshots)


def _even(snapshots: int, most: int, granule: int) -> int:
    """Size of groups of whole chunks, no more of them than with `most` snapshots in each, and as even as can be: what a node
    takes is decided by the largest one."""
    share = math.ceil(snapshots / math.ceil(snapshots / most))
    return min(most, math.ceil(share / granule) * granule)


def _upper_cut(layout: FieldLayout, request: ReduceSection, memory: Memory, columns: int, *, whole: bool) -> Cut:
    """Panels of nodes above the leaves, which read scaled modes; where leaves are read whole, any cut will do."""
    request = request.model_copy(update={"rank": None, "route": "tsqr"})
    if whole or not layout.stored:
        one = (*[1] * (len(layout.space) - 1), layout.space[-1]) if layout.components else (1,) * len(layout.space)
        granules: Sequence[Sequence[int]] = [one]
        decode = layout.decode_bytes
    else:
        granules = [
            (*part[1:-1], layout.shape[-1]) if layout.components else tuple(part[1:])
            for part in (layout.shards or layout.chunks, layout.chunks)
        ]
        decode = layout.decode_bytes
    extra = inner_row_bytes(layout.inner_product)
    share = Memory(memory.bytes // 2 if whole else memory.bytes, memory.threads)
    return cut_field(layout.name, layout.space, granules, columns, FLOAT, request, share, decode, extra)


__all__ = ["REDUCTIONS", "Candidate", "FieldLayout", "choose", "compare_routes", "cut_layout", "with_reads"]
