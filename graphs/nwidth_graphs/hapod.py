"""Nodes of a hierarchical approximate POD that fit one task each: all rows of some snapshots are read once, and stay in memory
while they are factored, truncated and lifted.

    group (n, b) ──read──> X_a ──> s, V ──truncate──> X_a V_N  written panel by panel       one task, one read
                                                └──> s_N, V_N, norms, what was discarded

    group (n, b) ──read──> X_g, with the modes panel by panel ──> sums for the certificate  one task, one more read

The modes never travel: they are written by the worker that made them, and their parent reads them panel by panel. Where the
rows of a group do not fit one task, a node is a factor pass and a lifting pass over its panels (`factor.py`, `lifting.py`), and
a group is read twice for it.

A node's result may be kept on a shelf, as other partials are. It is true of its modes as they lie on disk (`NodeResult.modes`)
and of those of its children as they were then (`NodeResult.below`), so that a result answers for the whole tree below it.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from nwidth_graphs.budget import PassCost, merge_bytes, peak_bytes, process_bytes, scratch_bytes
from nwidth_graphs.kernels.hapod import Node, Spectral, cut_node
from nwidth_graphs.kernels.lift import LiftSums, merge_lift_sums
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Group, Panel, whole_panel
from nwidth_graphs.leaves import MAX_BAD_VALUES, BadValue, Tally, find_bad_values, peak_process_bytes, read_block, tally_of
from nwidth_graphs.missing import with_mask, without_masked_rows
from nwidth_graphs.reduction import FLOAT, Reduction
from nwidth_graphs.source import FieldSource, Reading
from nwidth_graphs.topology import reduced
from nwidth_graphs.trees import SHARED_TASKS, TaskGraph, Tree, build, tree_tasks

Read = Callable[[Panel], Reading]
Write = Callable[[int, int, Panel, Array], None]
"""``write(node, rank, panel, scaled modes (rank, rows))``: called in the worker, panel by panel."""


@dataclass(frozen=True)
class NodeInput:
    """One node of one field: its columns, and its part of the tolerance."""

    node: int
    source: FieldSource
    """Its panels cut the whole space into what is lifted and written at a time."""
    raw_columns: int
    """Its last columns, which are snapshots; those before them are scaled modes of its children."""
    energy_below: float
    """``|S|^2`` of the snapshots below its children."""
    tolerance: float
    """``e_a / |S_a|``."""
    below: str = ""
    """Content of its children, see `NodeResult.content`."""


@dataclass(frozen=True)
class NodeResult:
    """What a node says beside its modes."""

    node: int
    spectral: Spectral
    norms: Array
    """(raw columns,) of the snapshots that entered here."""
    below: str = ""
    """Content of its children."""
    modes: str = ""
    """Checksum of its scaled modes on disk; empty where nobody asked, or where they are gone."""

    @property
    def content(self) -> str:
        """What its parent is made of: these modes, and all that they are made of."""
        return joined([self.below, self.modes])


class NodeKeeper(Protocol):
    """Where results of a field's nodes are kept; travels to the workers."""

    def load(self, node: int) -> NodeResult | None:
        """What was kept of a node, whatever became of its modes since."""
        ...

    def save(self, result: NodeResult) -> bool:
        """Keep it whole or not at all; False where there is no room."""
        ...

    def proof(self, node: int, rank: int, panel: Panel) -> str:
        """Checksum of one panel of a node's modes on disk; empty where they are not there."""
        ...


@dataclass(frozen=True)
class ModesProof:
    """Checksum of a node's modes, `joined` up the tree of its panels, and what it cost."""

    checksum: str
    tally: Tally


@dataclass(frozen=True)
class NodesPartial:
    """Results of some nodes, and what they cost."""

    nodes: tuple[NodeResult, ...]
    tally: Tally
    bad: tuple[tuple[int, BadValue], ...] = ()
    """(node, bad value), the latter counted in the node's own columns."""


@dataclass(frozen=True)
class GroupInput:
    """The snapshots of one group, and their coefficients as the tree predicts them."""

    group: int
    source: FieldSource
    predicted: Array
    """(N, b)."""


@dataclass(frozen=True)
class GroupsPartial:
    """The certificate's sums, group by group, and what they cost."""

    sums: tuple[tuple[int, LiftSums], ...]
    tally: Tally


def nodes_graph(
    field: str, inputs: Sequence[NodeInput], reduction: Reduction, write: Write, token: str, keep: NodeKeeper | None = None
) -> TaskGraph:
    """One task per node of one level; the root, named by `nodes_root`, is a `NodesPartial`.

    With `keep`, results outlive a kill. It is not the way of `keeping.kept`, by the number of a block in its pass: the pass of a
    run that resumes has only the nodes that are missing.
    """
    shared = {"reduction": reduction, "write": write, "keep": keep}
    own = tuple(replace(given, source=replace(given.source, shelf=None)) for given in inputs)
    return build([Tree("node", field, node_leaf, own, merge_nodes, close, shared)], token)


def nodes_root(field: str) -> str:
    """Name of a level's root."""
    return f"node-{field}"


def groups_graph(field: str, inputs: Sequence[GroupInput], modes: Read, token: str) -> TaskGraph:
    """One task per group, which measures given modes on it; the root, named by `groups_root`, is a `GroupsPartial`."""
    return build([Tree("measure", field, group_leaf, tuple(inputs), merge_groups, close, {"modes": modes})], token)


def groups_root(field: str) -> str:
    """Name of the measuring pass's root."""
    return f"measure-{field}"


def proofs_graph(proofs: Mapping[str, Callable[[Panel], str]], panels: Mapping[str, Sequence[Panel]], token: str) -> TaskGraph:
    """Checksums of several nodes' modes, one task per panel; roots, named by `proofs_root`, are `ModesProof` values.

    Parameters
    ----------
    proofs : label of a node -> checksum of one panel of its modes
    panels : label of a node -> its panels
    """
    trees = [Tree("proof", label, proof_leaf, panels[label], merge_proofs, close, {"prove": proofs[label]}) for label in proofs]
    return build(trees, token)


def proofs_root(label: str) -> str:
    """Name of a node's root in `proofs_graph`."""
    return f"proof-{label}"


def node_leaf(given: NodeInput, *, reduction: Reduction, write: Write, keep: NodeKeeper | None = None) -> NodesPartial:
    """One node: POD of its columns to its tolerance, or what another worker kept of it before it was lost."""
    kept = None if keep is None else _kept_node(given, keep)
    if kept is not None:
        return NodesPartial((kept,), Tally(blocks=1, blocks_reused=1, peak_process_bytes=peak_process_bytes()))
    started = time.perf_counter()
    reading = _read_whole(given.source)
    read_done = time.perf_counter()
    product = given.source.product(_whole(given.source))
    with np.errstate(over="ignore", invalid="ignore"):  # seen in the norms, and said in words
        factor = np.asarray(reduction.leaf(product, reading.values, False))
        norms = np.asarray(reduction.column_norms(factor))
        finite = bool(np.isfinite(np.sum(norms**2)))
    if not finite:
        found = find_bad_values(given.source.name, _whole(given.source), np.asarray(reading.values))
        return NodesPartial((), tally_of(reading, started, read_done), tuple((given.node, bad) for bad in found))
    raw = norms[len(norms) - given.raw_columns :]
    cut = cut_node(reduction.finish(factor), given.energy_below + float(np.sum(raw**2)), given.tolerance)
    transform = np.ascontiguousarray(cut.right.T)
    for panel, block, masked in _slabs(given.source, reading):
        # Whatever the inner product is, X V does not depend on it.
        columns = block.T.astype(np.float64, copy=False)
        write(given.node, len(transform), panel, with_mask(masked, transform @ columns, None)[0])
    result = NodeResult(given.node, cut, raw, given.below)
    if keep is None:
        return NodesPartial((result,), tally_of(reading, started, read_done))
    result = replace(result, modes=_checksum(given, len(transform), keep))
    saved = bool(result.modes) and keep.save(result)
    return NodesPartial((result,), replace(tally_of(reading, started, read_done), blocks_unkept=int(not saved)))


def proof_leaf(panel: Panel, *, prove: Callable[[Panel], str]) -> ModesProof:
    """The checksum of one panel of a node's modes; of a store nothing is read, and no block counts."""
    started = time.perf_counter()
    checksum = prove(panel)
    seconds = time.perf_counter() - started
    return ModesProof(checksum, Tally(compute_seconds=seconds, peak_process_bytes=peak_process_bytes()))


def merge_proofs(parts: Sequence[ModesProof]) -> ModesProof:
    """Checksums of neighbours as one; empty where one of them is."""
    checksums = [part.checksum for part in parts]
    return ModesProof(joined(checksums) if all(checksums) else "", Tally.merge([part.tally for part in parts]))


def joined(contents: Sequence[str]) -> str:
    """Content of several contents, in their order, 32 hexadecimal digits; empty for none."""
    return hashlib.blake2b(" ".join(contents).encode(), digest_size=16).hexdigest() if contents else ""


def group_leaf(given: GroupInput, *, modes: Read) -> GroupsPartial:
    """What given modes (rows, N) make of one group: overlap, coefficients and residual."""
    started = time.perf_counter()
    reading = _read_whole(given.source)
    read_done = time.perf_counter()
    transform, predicted = beside(given.predicted)
    parts: list[LiftSums] = []
    for panel, block, _ in _slabs(given.source, reading):
        basis = without_masked_rows(modes(panel)).values
        columns = np.concatenate([block.T, basis.T], axis=0).T
        _, sums = given.source.product(panel).lift(columns, transform, predicted, centre=False)
        parts = [merge_lift_sums([*parts, first_columns(sums, block.shape[1])])]
    return GroupsPartial(((given.group, parts[0]),), tally_of(reading, started, read_done))


def beside(predicted: Array) -> tuple[Array, Array]:
    """(T, Q) with which lifting ``[X | Phi]`` measures given modes Phi: ``T = [0; I]``, ``Q = [predicted | I]``.

    The lift of such a block is Phi itself, its coefficients on the first columns are ``Phi^T W X``, its residual there
    ``X - Phi predicted``: so that any inner product that can lift can also measure.
    """
    rank, columns = predicted.shape
    return np.concatenate([np.zeros((columns, rank)), np.eye(rank)]), np.concatenate([predicted, np.eye(rank)], axis=1)


def first_columns(sums: LiftSums, columns: int) -> LiftSums:
    """The sums without the columns of the modes themselves."""
    squares: Array = sums.residual_squares
    return LiftSums(sums.overlap, sums.coefficients[:, :columns], None if squares is None else squares[:columns])


def merge_nodes(parts: Sequence[NodesPartial]) -> NodesPartial:
    """Collect the results, in the order given."""
    return NodesPartial(
        tuple(node for part in parts for node in part.nodes),
        Tally.merge([part.tally for part in parts]),
        tuple(bad for part in parts for bad in part.bad)[:MAX_BAD_VALUES],
    )


def merge_groups(parts: Sequence[GroupsPartial]) -> GroupsPartial:
    """Collect the sums, in the order given."""
    return GroupsPartial(tuple(sums for part in parts for sums in part.sums), Tally.merge([part.tally for part in parts]))


def close(partial: Any, **_: Any) -> Any:
    """Nothing is left to do at the root."""
    return partial


def _kept_node(given: NodeInput, keep: NodeKeeper) -> NodeResult | None:
    found = keep.load(given.node)
    if found is None or found.below != given.below or not found.modes:
        return None
    return found if _checksum(given, len(found.spectral.singular_values), keep) == found.modes else None


def _checksum(given: NodeInput, rank: int, keep: NodeKeeper) -> str:
    """As the root of `proofs_graph` gives it."""
    proofs = [ModesProof(keep.proof(given.node, rank, panel), Tally()) for panel in given.source.panels]
    checksum: str = reduced(proofs, merge_proofs).checksum
    return checksum


def _whole(source: FieldSource) -> Panel:
    return whole_panel([max(panel.selection[axis].stop for panel in source.panels) for axis in range(_dimensions(source))])


def _dimensions(source: FieldSource) -> int:
    return len(source.panels[0].selection)


def _read_whole(source: FieldSource) -> Reading:
    return read_block(source, _whole(source), None)


def _slabs(source: FieldSource, reading: Reading) -> Iterator[tuple[Panel, Array, Array | None]]:
    """(panel, its block (rows, columns), its masked rows) of a reading of the whole space, panel by panel."""
    shape = _whole(source).shape
    values = reading.values.T.reshape(-1, *shape)
    mask = None
    if reading.masked is not None:
        mask = np.zeros(int(np.prod(shape)), bool)
        mask[reading.masked] = True
        mask = mask.reshape(shape)
    for panel in source.panels:
        rows = values[(slice(None), *panel.selection)].reshape(len(values), -1)
        yield panel, rows.T, None if mask is None else np.flatnonzero(mask[panel.selection])


# --- what it costs: pure arithmetic, as in `budget` -----------------------------------------------------------------------------


def hapod_costs(
    sources: Sequence[FieldSource],
    groups: Sequence[Group],
    nodes: Sequence[Node],
    reduction: Reduction,
    *,
    whole: bool,
    columns: int,
    rank_bound: int,
    stored_bytes: int,
    decode_bytes: int,
    threads: int,
) -> tuple[PassCost, ...]:
    """Nodes below the root, root, its lifting, and the measuring read.

    Parameters
    ----------
    sources : fields, cut into the panels of upper nodes
    whole : whether a node of the first level is one task
    columns : columns of a node for which room is made
    rank_bound : modes of the result
    """
    largest = max(group.size for group in groups)
    entries = sum(float(source.rows) * source.snapshots for source in sources)
    chain = any(node.children and node.groups for node in nodes)
    upper = [replace(source, snapshots=columns, itemsize=FLOAT) for source in sources]
    in_panels = peak_bytes(upper, reduction, decode_bytes=decode_bytes, threads=threads, rank_bound=columns)
    peak = (
        _whole_peak(sources, reduction, groups, columns, rank_bound, decode_bytes, threads, chain=chain) if whole else in_panels
    )
    panels = sum(tree_tasks(len(source.panels)) + SHARED_TASKS for source in sources)
    # Nodes that are one task form a tree level by level, the last of a chain among them; others are two passes over panels.
    if whole:
        per_level = Counter(node.level for node in (nodes if nodes[-1].groups else nodes[:-1]))
        node_tasks = sum(tree_tasks(count) + SHARED_TASKS for count in per_level.values())
    else:
        node_tasks = 2 * len(nodes[:-1]) * panels
    scratch = PassCost("root", 0, 0, sum(reduction.flops(s.rows, columns) for s in sources), panels, in_panels)
    lift = PassCost("lift", 0, 0, sum(6.0 * s.rows * columns * rank_bound for s in sources), panels, in_panels)
    return (
        PassCost(
            "nodes",
            1 if whole else 2,
            stored_bytes * (1 if whole else 2),
            entries * (reduction.flops(1, largest) / largest + 2.0 * rank_bound),
            node_tasks,
            peak,
        ),
        scratch,
        lift,
        PassCost(
            "measure",
            1,
            stored_bytes,
            8.0 * entries * rank_bound,
            tree_tasks(len(groups)) + SHARED_TASKS if whole else len(groups) * panels,
            peak,
        ),
    )


def whole_rows_bytes(rows: int, group: int, itemsize: int, stack: int = 0) -> int:
    """Bytes of all rows of a group in one task; a chain stacks them in float64 with earlier modes, `stack` columns in all."""
    return rows * (group * itemsize + FLOAT * stack)


def _whole_peak(
    sources: Sequence[FieldSource],
    reduction: Reduction,
    groups: Sequence[Group],
    columns: int,
    rank_bound: int,
    decode_bytes: int,
    threads: int,
    *,
    chain: bool,
) -> int:
    """A node of the first level, or a measured group: all rows once, and one panel of modes beside them."""
    largest = max(group.size for group in groups)
    entering = columns if chain else largest
    # A node: a panel's columns and its modes, as made and as written; in a chain no more modes than columns.
    stack, in_node = _stacked_columns(groups) if chain else 0, 3 * entering if chain else 4 * largest
    node = reduction.scratch_bytes(entering) + FLOAT * 6 * entering * entering
    # A measured group: a panel's columns beside the modes, as read and as one block.
    in_group, measured = 2 * (largest + rank_bound), scratch_bytes(None, largest + rank_bound, rank_bound)

    def task(source: FieldSource) -> int:
        one, panel = whole_rows_bytes(source.rows, largest, source.itemsize), FLOAT * source.largest_panel
        carried = whole_rows_bytes(source.rows, 0, source.itemsize, stack)
        return one + max(carried + panel * in_node + node, panel * in_group + measured)

    largest_task = max(task(source) for source in sources)
    process = process_bytes(coupled=any(source.mass_entries for source in sources))
    return process + threads * (largest_task + decode_bytes) + merge_bytes(largest, rank_bound, factors=False)


def _stacked_columns(groups: Sequence[Group]) -> int:
    """Columns that a node of a chain stacks in float64; the first one stacks none.

    Its group, and modes as many as there are snapshots in the largest group, if there were as many before: what a chain carries
    is not known beforehand.
    """
    largest = max(group.size for group in groups)
    return max((min(largest, group.start - groups[0].start) + group.size for group in groups[1:]), default=0)
