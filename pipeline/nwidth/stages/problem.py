"""What a reduction takes and gives, whichever route it goes, and the passes in between, each measured.

Problem ──a route: passes over the data──> PodResult
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.config import ReduceSection
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import Certificate
from nwidth.models.files import FieldShape
from nwidth.operations.observing import observed_pass
from nwidth.stages.route import RouteCost
from nwidth.workers import Executor, Progress
from nwidth_graphs.layout import Group
from nwidth_graphs.leaves import Tally
from nwidth_graphs.source import FieldSource

if TYPE_CHECKING:
    from nwidth.models.atlas import Atlas
    from nwidth_graphs.trees import TaskGraph

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Grouping:
    """How snapshots are cut, for the routes that never hold all of them."""

    groups: tuple[Group, ...]
    whole: bool
    """Whether all rows of a group fit one task."""
    columns: int
    """Most columns of a node that the memory of a worker holds."""


@dataclass(frozen=True)
class Problem:
    """Fields that are reduced together in one pass."""

    sources: Mapping[str, FieldSource]
    shapes: Mapping[str, FieldShape]
    token: str
    """Content key of the inputs; part of every task key."""
    snapshot_label: Callable[[int], str]
    """Names a snapshot for people: ``"simulation run-3, t = 0.25 s"``."""
    route: str = "auto"
    """The route that the plan chose, for which panels and groups are cut; ``auto`` where nothing was compared."""
    reason: str = ""
    """Why that one."""
    grouping: Grouping | None = None
    comparison: tuple[RouteCost, ...] = ()
    """All routes that were considered."""


@dataclass(frozen=True)
class PassMeasure:
    """What one pass cost, as measured."""

    name: str
    bytes_read: int
    seconds: float
    tasks: int
    peak_bytes: int
    read_seconds: float
    compute_seconds: float
    blocks: int = 0
    blocks_reused: int = 0
    """Blocks among them that an interrupted run had done."""
    blocks_unkept: int = 0
    """Blocks whose partials found no room."""
    blocks_on_device: int = 0
    """Blocks that were reduced on a device."""
    blocks_shipped: int = 0
    """Blocks among them that a CPU worker had read."""
    split: Mapping[str, Any] | None = None
    """Where a pool was to compute the blocks, and the measured seconds that this follows from."""


@dataclass(frozen=True)
class BasisParts:
    """One basis, but for its modes, which lie in the sink."""

    name: str
    fields: tuple[str, ...]
    spectrum: Spectrum
    coefficients: Floats
    certificate: Certificate
    field_scaling: Mapping[str, float]
    truncation: str


@dataclass(frozen=True)
class PodResult:
    """All bases of a problem, the small factors, and what the passes cost."""

    bases: tuple[BasisParts, ...]
    factors: Mapping[str, Floats]
    """(m, m) by field; none where the route has no such factor."""
    route: str
    reason: str
    passes: tuple[PassMeasure, ...]
    field_norms: Mapping[str, Floats] = field(default_factory=dict)
    """Field -> norms (m,) of its unscaled snapshots, where no factor tells them: of a model that was updated."""
    notes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Basis -> what its entry in the manifest says beside the usual."""
    atlas: Atlas | None = None
    """The partition that the local bases belong to, where one was asked for."""


def basis_groups(fields: Sequence[str], request: ReduceSection) -> dict[str, tuple[str, ...]]:
    """Basis name -> its fields: one basis each, named as the field, or one named ``joint``."""
    if request.basis == "joint" and len(fields) > 1:
        return {"joint": tuple(fields)}
    return {name: (name,) for name in fields}


@dataclass(frozen=True)
class Passes:
    """Runs the graphs of a reduction, and remembers what each pass cost."""

    executor: Executor
    progress: Progress | None
    measures: list[PassMeasure] = field(default_factory=list)

    def run(self, name: str, graph: TaskGraph) -> dict[str, Any]:
        """Values of the graph's roots, each with a `tally`; `name` labels the pass for people."""
        with observed_pass(name) as passing:
            started = time.perf_counter()
            graph = self.executor.place(graph, name)
            results = self.executor.run(graph, name, self.progress)
            tally = Tally.merge([result.tally for result in results.values()])
            measure = _measure(name, graph, tally, time.perf_counter() - started)
            self.measures.append(measure)
            passing.done(asdict(measure))
        return results


def _measure(name: str, graph: TaskGraph, tally: Tally, seconds: float) -> PassMeasure:
    return PassMeasure(
        name=name,
        bytes_read=tally.bytes_read,
        seconds=seconds,
        tasks=graph.n_tasks,
        peak_bytes=tally.peak_process_bytes,
        read_seconds=tally.read_seconds,
        compute_seconds=tally.compute_seconds,
        blocks=tally.blocks,
        blocks_reused=tally.blocks_reused,
        blocks_unkept=tally.blocks_unkept,
        blocks_on_device=tally.blocks_on_device,
        blocks_shipped=tally.blocks_shipped,
        split=None if graph.placement is None else graph.placement.as_dict(),
    )
