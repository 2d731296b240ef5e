"""Nodes of a tree that outlive a kill: which of them an interrupted run has done, and which must be computed again.

    node ──write──> scaled modes in scratch ──checksum──┐
         └────────> singular values, V, norms ──────────┴──save──> record on the shelf ──> its children's modes are dropped

A record names its children's contents (`NodeResult.below`), so it answers for the whole tree below it: records are believed from
the leaves up. Modes are looked at from the root down: those of a node whose parent is done are not needed, whatever became of
them, and the others are read once more, by the workers, and compared with the checksum.

    not done   =  no record to believe,  or  modes that are needed and are not what they were
    needed     =  modes of the root's children, and of the children of a node that is not done
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from nwidth.models.files import FieldShape
from nwidth.stages.problem import Passes, Problem
from nwidth.stages.scratch import Scratch
from nwidth_graphs.hapod import ModesProof, NodeResult, joined, proofs_graph, proofs_root
from nwidth_graphs.keeping import Shelf, content_key
from nwidth_graphs.kernels.hapod import Node
from nwidth_graphs.layout import Panel

Results = Mapping[str, NodeResult]
"""Field -> result of one node."""


@dataclass(frozen=True)
class NodeRecords:
    """A `NodeKeeper`: the nodes of one field of one basis, as files of a shelf."""

    shelf: Shelf
    folder: str
    scratch: Scratch
    label: str
    """Scratch has the modes of node i as ``<label>-<i>``."""
    shape: FieldShape

    def load(self, node: int) -> NodeResult | None:
        """What was kept of a node, whatever became of its modes since."""
        found = self.shelf.load(self.folder, _name(node))
        return found if isinstance(found, NodeResult) and found.node == node else None

    def save(self, result: NodeResult) -> bool:
        """Keep it whole or not at all; False where there is no room."""
        return self.shelf.save(self.folder, _name(result.node), result)

    def proof(self, node: int, rank: int, panel: Panel) -> str:
        """Checksum of one panel of a node's modes on disk; empty where they are not there."""
        return self.scratch.proof(f"{self.label}-{node}", self.shape, rank, panel)


def records_of(problem: Problem, basis: str, scratch: Scratch) -> dict[str, NodeRecords]:
    """Field -> the records of its nodes in a basis; empty where nothing is kept: no shelf, or a reader without content."""
    key = content_key((problem.token, basis, list(problem.sources.values())))
    shelves = {name: source.shelf for name, source in problem.sources.items()}
    if key is None or None in shelves.values():
        return {}
    return {
        name: NodeRecords(shelf, f"node-{name}-{key}", scratch, f"{basis}-{name}", problem.shapes[name])
        for name, shelf in shelves.items()
        if shelf is not None
    }


@dataclass(frozen=True)
class KeptNodes:
    """The records of one basis, and what reads the modes that they tell of."""

    records: Mapping[str, NodeRecords]
    panels: Mapping[str, Sequence[Panel]]
    """Field -> its panels."""
    passes: Passes
    token: str

    def done(self, nodes: Sequence[Node]) -> dict[int, Results]:
        """Nodes (children first) that need not be computed, with their results; one read of the modes that are needed."""
        believed = self._believed(nodes)
        needed = {node.index for node in nodes} - {child for node in nodes for child in node.children}
        missing: set[int] = set()
        for level in sorted({node.level for node in nodes}, reverse=True) if believed else ():
            here = [node for node in nodes if node.level == level and node.index in needed]
            whole = self._whole({node.index: believed[node.index] for node in here if node.index in believed})
            for node in here:
                if node.index not in whole:
                    missing.add(node.index)
                    needed.update(node.children)
        done = {index: results for index, results in believed.items() if index not in missing}
        if believed:  # the topmost of them were looked at
            self._count(blocks=len(done), blocks_reused=len(done))
        return done

    def kept(self, computed: Mapping[int, Results]) -> dict[int, Results]:
        """Results of nodes whose modes were written panel by panel, saved with the checksums of these."""
        proofs = self.checksums(computed)
        whole: dict[int, Results] = {
            index: {name: replace(result, modes=proofs[name, index]) for name, result in results.items()}
            for index, results in computed.items()
        }
        saved = [bool(r.modes) and self.records[name].save(r) for results in whole.values() for name, r in results.items()]
        self._count(blocks_unkept=saved.count(False))
        return whole

    def checksums(self, nodes: Mapping[int, Results]) -> dict[tuple[str, int], str]:
        """(field, node) -> checksum of its modes as they lie on disk; a read of scratch, and none of the data."""
        proofs: dict[str, Callable[[Panel], str]] = {}
        panels: dict[str, Sequence[Panel]] = {}
        for index, results in nodes.items():
            for name, result in results.items():
                proofs[f"{name}-n{index}"] = partial(self.records[name].proof, index, len(result.spectral.singular_values))
                panels[f"{name}-n{index}"] = self.panels[name]
        found: Mapping[str, ModesProof] = self.passes.run("nodes", proofs_graph(proofs, panels, f"{self.token}-proof"))
        return {
            (name, index): found[proofs_root(f"{name}-n{index}")].checksum for index, results in nodes.items() for name in results
        }

    def _believed(self, nodes: Sequence[Node]) -> dict[int, Results]:
        """Nodes with records of their own, of all nodes below them, and of the very same ones that they were made of."""
        found: dict[int, Results] = {}
        for node in nodes:
            if any(child not in found for child in node.children):
                continue
            below = content_of([found[child] for child in node.children])
            loaded = {name: records.load(node.index) for name, records in self.records.items()}
            results = {name: r for name, r in loaded.items() if r is not None and r.below == below and r.modes}
            if len(results) == len(self.records):
                found[node.index] = results
        return found

    def _whole(self, nodes: Mapping[int, Results]) -> set[int]:
        """Those of some nodes whose modes are what they were."""
        if not nodes:
            return set()
        proofs = self.checksums(nodes)
        return {index for index, results in nodes.items() if all(proofs[name, index] == r.modes for name, r in results.items())}

    def _count(self, **counts: Any) -> None:
        """Write what the last pass meant in blocks into its measure."""
        self.passes.measures[-1] = replace(self.passes.measures[-1], **counts)


def content_of(children: Sequence[Results]) -> str:
    """Content of some nodes, all their fields; empty for none."""
    return joined([result.content for results in children for result in results.values()])


def _name(node: int) -> str:
    return f"{node:07d}x1"
