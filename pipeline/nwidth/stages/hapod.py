"""The route ``hapod``: a tree of small PODs over groups of snapshots, then one read that measures the result.

    groups ──nodes, level by level──> scaled modes in scratch ──root──> modes (in the sink)
                                                                           │
    groups ──measure: one more read ───────────────────────────────────────┴──> coefficients + certificate

Nothing is ever held of more snapshots than a group has. Where all rows of a group fit one task, its node is one task and one
read; otherwise it is a factor pass and a lifting pass over panels, two reads. Upper nodes read scaled modes, never the data.

Predicted coefficients come down the tree as the modes came up, so that the residual can be formed in the measuring pass:

    X_a ~ Phi C_a,    C_child = C_a[:, columns of the child] V_child^T,    C_root from the last lifting pass

A run that resumes computes only the nodes that are missing (`kept_nodes.py`): scratch lies in the attempt, and a node's modes are
dropped when their parent's result is kept, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from nwidth.config import ReduceSection
from nwidth.errors import FieldError, PlanError
from nwidth.models.basis import Spectrum
from nwidth.stacking import Columns, stacked
from nwidth.stages.kept_nodes import KeptNodes, NodeRecords, Results, content_of, records_of
from nwidth.stages.lifting import Lifting, frobenius, ratios
from nwidth.stages.problem import BasisParts, Floats, Grouping, Passes, PodResult, Problem, basis_groups
from nwidth.stages.refusals import describe_bad, describe_zero
from nwidth.stages.route import Route
from nwidth.stages.scratch import Scratch
from nwidth.stages.sinks import NodeSink
from nwidth_graphs.cores import all_cores
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.hapod import (
    GroupInput,
    GroupsPartial,
    NodeInput,
    NodeResult,
    NodesPartial,
    beside,
    first_columns,
    groups_graph,
    groups_root,
    nodes_graph,
    nodes_root,
)
from nwidth_graphs.kernels.hapod import Node, Spectral, cut_node, distributed, incremental, levels, node_tolerance
from nwidth_graphs.kernels.lift import LiftSums, field_error_square, merge_lift_sums, projection_errors, scale_lift_sums
from nwidth_graphs.layout import Panel
from nwidth_graphs.leaves import BadValue, LiftPartial, Partial
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.source import FieldSource, part_of
from nwidth_graphs.truncation import Truncation, truncate, unit_field_scaling

# Below, the Gram matrix of a node could not tell what the node may discard from rounding.
GRAM_MIN_TOLERANCE = 1e-5


def reduce_hapod(problem: Problem, request: ReduceSection, passes: Passes, sink: NodeSink, device: str) -> PodResult:
    """Reduce all fields of a problem, one basis after the other.

    Raises
    ------
    FieldError
        A field holds NaN or infinite values, or is zero.
    PlanError
        Nodes keep more modes than a worker holds.
    CertificateError
        The modes cannot be made orthonormal.
    """
    reason = problem.reason or 'route = "hapod" was asked for'
    bases = []
    for name, fields in basis_groups(tuple(problem.sources), request).items():
        part = replace(
            problem,
            sources={key: problem.sources[key] for key in fields},
            shapes={key: problem.shapes[key] for key in fields},
            token=f"{problem.token}-{name}",
        )
        bases.append(_Reduction(name, part, request, passes, sink, device, sink.scratch(), reason).run())
    return PodResult(tuple(bases), {}, "hapod", reason, tuple(passes.measures))


@dataclass
class _Reduction:
    """One basis: the state of its tree while it is climbed."""

    basis: str
    problem: Problem
    request: ReduceSection
    passes: Passes
    sink: NodeSink
    device: str
    scratch: Scratch
    reason: str
    results: dict[int, Spectral] = field(default_factory=dict)
    kept: dict[int, Results] = field(default_factory=dict)
    """Node -> what is kept of it, with the content of its modes."""
    norms: dict[str, dict[int, Floats]] = field(default_factory=dict)
    """Field -> group -> norms of its snapshots."""
    scaling: dict[str, float] = field(default_factory=dict)

    @property
    def grouping(self) -> Grouping:
        if self.problem.grouping is None:
            raise ValueError("the problem's snapshots are not cut into groups")
        return self.problem.grouping

    @property
    def nodes(self) -> tuple[Node, ...]:
        count = len(self.grouping.groups)
        return incremental(count) if self.request.tree == "incremental" else distributed(count)

    @property
    def rtol(self) -> float:
        if self.request.rtol is None:
            raise ValueError("a hierarchical POD needs a tolerance")
        return self.request.rtol

    @property
    def whole(self) -> bool:
        """Whether a node of the first level is one task: its rows fit, and no other field has a say in what it discards."""
        return self.grouping.whole and len(self.problem.sources) == 1

    @cached_property
    def records(self) -> dict[str, NodeRecords]:
        """Field -> where its nodes are kept; empty where none is."""
        return records_of(self.problem, self.basis, self.scratch)

    @property
    def keeping(self) -> KeptNodes:
        panels = {name: source.panels for name, source in self.problem.sources.items()}
        return KeptNodes(self.records, panels, self.passes, self.problem.token)

    def run(self) -> BasisParts:
        nodes = self.nodes
        if self.whole:
            self.scaling = dict.fromkeys(self.problem.sources, 1.0)
        # Where groups are read whole, so is the last one of a chain: the root, too, is one task, and is orthonormalised after.
        below = nodes if self.whole and nodes[-1].groups else nodes[:-1]
        done = self._resume(below)
        for level in range(1, levels(nodes) + 1):
            part = [node for node in below if node.level == level and node.index not in done]
            if part:
                self._level(part)
        parts, cut = self._root(nodes[-1] if len(below) < len(nodes) else None)
        coefficients = self._coefficients(nodes, parts.coefficients, own_root=len(below) < len(nodes))
        return self._measure(parts, cut, coefficients)

    def _resume(self, nodes: Sequence[Node]) -> set[int]:
        """Take what an interrupted run has done; the indices of these nodes."""
        done = self.keeping.done(nodes) if self.records else {}
        for index, results in done.items():
            self._take(index, results)
            self._drop_children(self.nodes[index])
        return set(done)

    def _take(self, index: int, results: Results) -> None:
        """Enter the result of a node, one for each field."""
        self.kept[index] = results
        for name, result in results.items():
            self.results[index] = result.spectral
            self._note_norms(name, self.nodes[index], result.norms)

    # --- columns of a node ------------------------------------------------------------------------------------------------------

    def _label(self, name: str, node: int) -> str:
        return f"{self.basis}-{name}-{node}"

    def _children(self, name: str, children: Sequence[int]) -> list[Columns]:
        return [
            Columns(
                self.scratch.reader(self._label(name, child), self.kept[child][name].content),
                len(self.results[child].singular_values),
            )
            for child in children
        ]

    def _part(self, name: str, group: int) -> FieldSource:
        return part_of(self.problem.sources[name], self.grouping.groups[group])

    def _source(self, name: str, node: Node) -> FieldSource:
        """The columns of one node as a source: scaled modes of its children, then its groups."""
        if not node.children and len(node.groups) == 1:
            return replace(self._part(name, node.groups[0]), name=f"{name}-n{node.index}")
        raw = [self._part(name, group) for group in node.groups]
        columns = [*self._children(name, node.children), *(Columns(_reader(part), part.snapshots) for part in raw)]
        return replace(
            self.problem.sources[name],
            name=f"{name}-n{node.index}",
            snapshots=self._fitting(sum(part.count for part in columns)),
            itemsize=8,
            read=stacked(columns),
        )

    def _fitting(self, columns: int) -> int:
        if columns > self.grouping.columns:
            raise PlanError(
                f"basis {self.basis!r}: a node has {columns} columns, and a worker holds {self.grouping.columns}: at rtol = "
                f"{self.rtol:g} these snapshots hardly compress; raise rtol or workers.memory, or set tree = "
                '"incremental"'
            )
        return columns

    # --- nodes ------------------------------------------------------------------------------------------------------------------

    @property
    def _accurate(self) -> Reduction:
        """Of the root, and of nodes with small tolerances; a matrix that is never factorised offers Gram alone."""
        return GRAM if any(source.gram_only for source in self.problem.sources.values()) else TSQR

    def _reduction(self, tolerance: float) -> Reduction:
        return GRAM if tolerance >= GRAM_MIN_TOLERANCE else self._accurate

    def _tolerance(self, node: Node) -> float:
        return node_tolerance(self.nodes, node, self.rtol, self.request.omega)

    def _energy_below(self, node: Node) -> float:
        return sum(self.results[child].energy for child in node.children)

    def _below(self, node: Node) -> str:
        """Content of a node's children."""
        return content_of([self.kept[child] for child in node.children])

    def _level(self, nodes: Sequence[Node]) -> None:
        if self.whole:
            self._level_in_tasks(nodes)
        else:
            self._level_in_panels(nodes)
        for node in nodes:
            self._drop_children(node)

    def _drop_children(self, node: Node) -> None:
        """Free the modes that a node has taken up."""
        for child in node.children:
            for name in self.problem.sources:
                self.scratch.drop(self._label(name, child))

    def _level_in_tasks(self, nodes: Sequence[Node]) -> None:
        (name,) = self.problem.sources
        for node in nodes:  # of an interrupted run, perhaps half written
            self.scratch.drop(self._label(name, node.index))
        inputs = [
            NodeInput(
                node.index,
                self._source(name, node),
                sum(self.grouping.groups[group].size for group in node.groups),
                self._energy_below(node),
                self._tolerance(node),
                self._below(node),
            )
            for node in nodes
        ]
        write = _Write(self.scratch, f"{self.basis}-{name}", self.problem.shapes[name])
        reduction = self._reduction(min(given.tolerance for given in inputs))
        token = f"{self.problem.token}-l{nodes[0].level}"
        graph = nodes_graph(name, inputs, reduction, write, token, self.records.get(name))
        found: NodesPartial = self.passes.run("nodes", graph)[nodes_root(name)]
        if found.bad:
            self._refuse(name, *found.bad[0])
        for result in found.nodes:
            self._take(result.node, {name: result})

    def _level_in_panels(self, nodes: Sequence[Node]) -> None:
        reduction = self._reduction(min(self._tolerance(node) for node in nodes))
        sources = {(name, node.index): self._source(name, node) for node in nodes for name in self.problem.sources}
        label = f"{self.problem.token}-l{nodes[0].level}"
        graph = factor_graph(list(sources.values()), reduction, f"{label}-{reduction.name}", self.device)
        found: dict[str, Partial] = self.passes.run("nodes", graph)
        factors = {key: found[factor_root(source.name, reduction)] for key, source in sources.items()}
        for (name, index), partial in factors.items():
            if partial.bad:
                self._refuse(name, index, partial.bad[0])
            self._note_norms(name, self.nodes[index], reduction.column_norms(partial.factor))
        self._set_scaling()
        lifts: list[Lift] = []
        computed: dict[int, Results] = {}
        for node in nodes:
            cut = self._cut(node, {name: factors[name, node.index].factor for name in self.problem.sources}, reduction)
            computed[node.index] = {
                name: NodeResult(node.index, cut, self._norms_of(name, node), self._below(node)) for name in self.problem.sources
            }
            lifts += [self._lift(sources[name, node.index], name, node, cut) for name in self.problem.sources]
        self.passes.run("nodes", lift_graph(lifts, label, self.device))
        for index, results in (self.keeping.kept(computed) if self.records else computed).items():
            self._take(index, results)

    def _lift(self, source: FieldSource, name: str, node: Node, cut: Spectral) -> Lift:
        write = _WriteOne(self.scratch, self._label(name, node.index), self.problem.shapes[name], len(cut.singular_values))
        self.scratch.make_room(write.label, write.shape, write.rank)
        return Lift(source, cut.right, None, write)

    def _cut(self, node: Node, factors: Mapping[str, Floats], reduction: Reduction) -> Spectral:
        joint = reduction.merge([reduction.scale(factor, self.scaling[name]) for name, factor in factors.items()])
        raw = sum(
            self.scaling[name] ** 2 * float(np.sum(self.norms[name][group] ** 2))
            for name in self.problem.sources
            for group in node.groups
        )
        with all_cores(len(joint)):
            return cut_node(reduction.finish(joint), self._energy_below(node) + raw, self._tolerance(node))

    def _note_norms(self, name: str, node: Node, norms: Floats) -> None:
        start = len(norms) - sum(self.grouping.groups[group].size for group in node.groups)
        for group in node.groups:
            size = self.grouping.groups[group].size
            self.norms.setdefault(name, {})[group] = norms[start : start + size]
            start += size

    def _norms_of(self, name: str, node: Node) -> Floats:
        """Norms of the snapshots that enter at a node."""
        return np.concatenate([np.zeros(0), *(self.norms[name][group] for group in node.groups)])

    def _set_scaling(self) -> None:
        """Scaling of the fields, fixed before the first node is truncated: every group's norms are known by then."""
        if self.scaling:
            return
        asked = self.request.field_scaling
        names = tuple(self.problem.sources)
        if isinstance(asked, dict):
            self.scaling = {name: asked.get(name, 1.0) for name in names}
        elif asked == "unit" and len(names) > 1:
            diagonals = {name: np.diag(self._all_norms(name)) for name in names}
            self.scaling = unit_field_scaling(diagonals, TSQR)
        else:
            self.scaling = dict.fromkeys(names, 1.0)

    def _all_norms(self, name: str) -> Floats:
        return np.concatenate([self.norms[name][group] for group in sorted(self.norms[name])])

    # --- the root ---------------------------------------------------------------------------------------------------------------

    def _root(self, root: Node | None) -> tuple[BasisParts, Truncation]:
        """Modes in the sink, orthonormal; `root` is None where the last node was computed as the others were."""
        last = self.nodes[-1]
        node = root or Node(last.index + 1, last.level + 1, children=(last.index,))
        sources = {name: replace(self._source(name, node), name=name) for name in self.problem.sources}
        reduction = self._accurate
        graph = factor_graph(list(sources.values()), reduction, f"{self.problem.token}-root", self.device)
        found: dict[str, Partial] = self.passes.run("root", graph)
        factors = {name: found[factor_root(name, reduction)].factor for name in sources}
        for name in sources:
            partial = found[factor_root(name, reduction)]
            if partial.bad:
                self._refuse(name, node.index, partial.bad[0])
            self._note_norms(name, node, reduction.column_norms(partial.factor))
        self._set_scaling()
        for name in sources:
            if not np.any(self._all_norms(name) > 0):
                raise FieldError(describe_zero(name, self.problem.sources[name]))
        cut = self._cut_root(node, factors, reduction, truncates=root is not None)
        norms = {name: reduction.column_norms(factor) for name, factor in factors.items()}
        lifting = Lifting(replace(self.problem, sources=sources), self.request, self.passes, self.sink, self.device)
        (parts,) = lifting.run({self.basis: cut}, self.scaling, norms, Route(reduction, self.reason))
        return parts, cut

    def _cut_root(self, node: Node, factors: Mapping[str, Floats], reduction: Reduction, *, truncates: bool) -> Truncation:
        columns = sum((self.scaling[name] * np.linalg.norm(reduction.column_norms(f))) ** 2 for name, f in factors.items())
        energy = sum((self.scaling[name] * np.linalg.norm(self._all_norms(name))) ** 2 for name in factors)
        # What the root may discard is a share of the snapshots' norm, and `truncate` counts in that of the columns.
        tolerance = self._tolerance(self.nodes[-1]) * float(np.sqrt(energy / columns)) if truncates else 0.0
        cut = truncate(
            factors,
            self.scaling,
            reduction,
            rows=sum(source.rows for source in self.problem.sources.values()),
            rtol=tolerance or None,
            rank=self.request.rank,
            beyond_floor=self.request.beyond_floor or not truncates,
        )
        # In the order of the nodes, whoever was computed first: a run that resumes gives the same bits.
        below = sum(self.results[index].discarded for index in sorted(self.results) if index != node.index)
        discarded = below + cut.expected_error**2 * float(columns)
        return replace(cut, expected_error=float(np.sqrt(discarded / energy)))

    # --- what the modes make of the snapshots -----------------------------------------------------------------------------------

    def _coefficients(self, nodes: Sequence[Node], root: Floats, *, own_root: bool) -> dict[int, Floats]:
        """Group -> predicted coefficients (N, b)."""
        last = nodes[-1]
        columns = {last.index: root if own_root else root @ self.results[last.index].right.T}
        found: dict[int, Floats] = {}
        for node in reversed(nodes):
            held, start = columns.pop(node.index), 0
            for child in node.children:
                right = self.results[child].right
                columns[child] = held[:, start : start + right.shape[1]] @ right.T
                start += right.shape[1]
            for group in node.groups:
                size = self.grouping.groups[group].size
                found[group] = held[:, start : start + size]
                start += size
        return found

    def _measure(self, parts: BasisParts, cut: Truncation, predicted: Mapping[int, Floats]) -> BasisParts:
        sums = self._group_sums(predicted)
        names, scaling = tuple(self.problem.sources), self.scaling
        squares, exact, norms = [], [], []
        field_squares = dict.fromkeys(names, 0.0)
        for group in range(len(self.grouping.groups)):
            total = merge_lift_sums([scale_lift_sums(sums[name, group], scaling[name] ** 2) for name in names])
            own = np.sqrt(sum((scaling[name] * self.norms[name][group]) ** 2 for name in names))
            errors, coefficients = projection_errors(total, predicted[group], own)
            squares.append(errors)
            exact.append(coefficients)
            norms.append(own)
            for name in names:
                field_squares[name] += field_error_square(
                    sums[name, group], predicted[group], coefficients, self.norms[name][group]
                )
        all_squares, all_norms = np.concatenate(squares), np.concatenate(norms)
        certificate = replace(
            parts.certificate,
            relative_errors=ratios(np.sqrt(all_squares), all_norms),
            snapshot_norms=all_norms,
            frobenius_error=frobenius(all_squares, all_norms, np.ones_like(all_norms)),
            field_errors={
                name: float(np.sqrt(square)) / float(np.linalg.norm(self._all_norms(name)))
                for name, square in field_squares.items()
            },
        )
        kept = len(parts.coefficients)
        limit = f"; no more than rank = {self.request.rank} were asked for" if kept == self.request.rank else ""
        return replace(
            parts,
            spectrum=Spectrum(cut.singular_values, cut.floor, "hapod", self.reason),
            coefficients=np.concatenate(exact, axis=1),
            certificate=certificate,
            truncation=f"{kept} modes of a {self.request.tree} tree of {len(self.nodes)} nodes, whose tolerances add up to "
            f"rtol = {self.rtol:g} (omega = {self.request.omega:g}){limit}",
        )

    def _group_sums(self, predicted: Mapping[int, Floats]) -> dict[tuple[str, int], LiftSums]:
        if self.whole:
            (name,) = self.problem.sources
            modes = self.sink.reading(self.basis, self.problem.shapes[name])
            inputs = [GroupInput(group, self._part(name, group), values) for group, values in sorted(predicted.items())]
            graph = groups_graph(name, inputs, modes, f"{self.problem.token}-measure")
            found: GroupsPartial = self.passes.run("measure", graph)[groups_root(name)]
            return {(name, group): sums for group, sums in found.sums}
        lifts: dict[tuple[str, int], Lift] = {}
        for name, shape in self.problem.shapes.items():
            modes = self.sink.reading(self.basis, shape)
            for group, values in predicted.items():
                transform, coefficients = beside(values)
                part = self._part(name, group)
                source = replace(
                    part,
                    name=f"{name}-g{group}",
                    snapshots=part.snapshots + len(values),
                    itemsize=8,
                    read=stacked([Columns(_reader(part), part.snapshots), Columns(modes, len(values))]),
                )
                lifts[name, group] = Lift(source, transform, coefficients, _WriteNothing())
        graph = lift_graph(list(lifts.values()), f"{self.problem.token}-measure", self.device)
        results: dict[str, LiftPartial] = self.passes.run("measure", graph)
        return {
            key: first_columns(results[lift_root(lift.source.name)].sums, self.grouping.groups[key[1]].size)
            for key, lift in lifts.items()
        }

    # --- refusals ---------------------------------------------------------------------------------------------------------------

    def _refuse(self, name: str, node: int, bad: BadValue) -> None:
        """Say where a bad value of a node's columns stands in the field; always raises FieldError."""
        groups = self.nodes[node].groups if node < len(self.nodes) else ()
        sizes = [self.grouping.groups[group].size for group in groups]
        below = sum(len(self.results[child].singular_values) for child in self.nodes[node].children) if groups else 0
        if bad.snapshot < 0:
            raise FieldError(describe_bad(replace(bad, field=name), self.problem))
        if not below <= bad.snapshot < below + sum(sizes):
            raise FieldError(
                f"field {name!r} is NaN at {bad.place} in every snapshot of one group, and has values in another; repair or "
                "leave out the simulations that were not written whole"
            )
        start = self.grouping.groups[groups[0]].start
        raise FieldError(describe_bad(replace(bad, field=name, snapshot=start + bad.snapshot - below), self.problem))


@dataclass(frozen=True)
class _Write:
    """``write(node, rank, panel, modes)`` into scratch."""

    scratch: Scratch
    prefix: str
    shape: Any

    def __call__(self, node: int, rank: int, panel: Panel, modes: Floats) -> None:
        self.scratch.write(f"{self.prefix}-{node}", self.shape, rank, panel, modes)


@dataclass(frozen=True)
class _WriteOne:
    """``write(panel, modes, mean)`` of one node into scratch."""

    scratch: Scratch
    label: str
    shape: Any
    rank: int

    def __call__(self, panel: Panel, modes: Floats, mean: Floats | None) -> None:
        self.scratch.write(self.label, self.shape, self.rank, panel, modes)

    def proof(self, panel: Panel) -> str:
        """See `Scratch.proof`."""
        return self.scratch.proof(self.label, self.shape, self.rank, panel)


@dataclass(frozen=True)
class _WriteNothing:
    """``write(panel, modes, mean)`` of modes that are there already."""

    def __call__(self, panel: Panel, modes: Floats, mean: Floats | None) -> None:
        """Nothing is left to do."""

    def proof(self, panel: Panel) -> str:
        """Nothing to prove."""
        return ""


def _reader(source: FieldSource) -> Callable[[Panel], Any]:
    if source.read is None:
        raise TypeError(f"field {source.name!r} is a Dask array: its groups cannot be read by themselves")
    return source.read
