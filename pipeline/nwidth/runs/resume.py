"""What makes a run resumable: partials on a shelf of its attempt, and the store still being the one that it began with.

problem ──on_shelf──> problem whose passes keep their partials        decided by the plan, from shapes and the study alone
executor ──Guarded──> executor that asks after every pass whether the store changed
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nwidth.errors import StoreError
from nwidth.shelf import FolderShelf
from nwidth.stages.problem import Problem
from nwidth.workers import Executor, Progress
from nwidth_graphs.keeping import grain
from nwidth_graphs.reduction import FLOAT, Reduction, reduction_named
from nwidth_graphs.strips import block_bytes, blocks_of_factor, panels_of

if TYPE_CHECKING:
    from pathlib import Path

    from nwidth.config import Study
    from nwidth.stores.protocol import SnapshotStore
    from nwidth_graphs.source import FieldSource
    from nwidth_graphs.trees import TaskGraph

# Some seconds of one worker's time: less is sooner read again than looked after.
KEEP_FROM_BYTES = 2**30


def keeps(study: Study, sources: Mapping[str, FieldSource]) -> bool:
    """Whether the passes of a study keep their partials: always, never, or where they read a GiB or more. Pure."""
    if study.study.keep != "auto":
        return study.study.keep == "always"
    return sum(source.rows * source.snapshots * source.itemsize for source in sources.values()) >= KEEP_FROM_BYTES


def kept_words(study: Study, problem: Problem) -> str:
    """What the plan says of it: which partials outlive a kill. Pure."""
    sources = problem.sources
    if study.study.keep == "never":
        return 'nothing, as study.keep = "never" asks'
    if not keeps(study, sources):
        return "nothing: a pass reads less than 1 GiB"
    if problem.route == "hapod":
        return "the result of every node, and its modes until its parent has them"
    if study.study.keep == "always" or problem.route not in ("gram", "tsqr"):
        return "the result of every block"
    reduction = reduction_named(problem.route)
    sizes = {_kept_together(source, reduction) for source in sources.values()}
    if sizes == {0}:
        return "nothing of the factor pass: a factor is too large beside a block, and the blocks are few"
    return "the result of every block" if sizes == {1} else f"results of up to {max(sizes)} blocks, merged"


def factors_kept(study: Study, sources: Mapping[str, FieldSource], reduction: Reduction) -> bool:
    """Whether a factor pass keeps what it makes. Pure."""
    if not keeps(study, sources):
        return False
    return study.study.keep == "always" or any(_kept_together(source, reduction) for source in sources.values())


def _kept_together(source: FieldSource, reduction: Reduction) -> int:
    """Panels of a field whose factor is kept as one, at most; 0 where none is."""
    blocks = blocks_of_factor(source, reduction)
    size = grain(FLOAT * source.snapshots**2, block_bytes(source, blocks), len(blocks))
    return size * max(len(panels_of(block)) for block in blocks)


def on_shelf(study: Study, problem: Problem, folder: Path) -> tuple[Problem, FolderShelf | None]:
    """The problem with its partials kept in `folder`; as it is, and None, where keeping does not pay."""
    if not keeps(study, problem.sources):
        return problem, None
    shelf = FolderShelf(str(folder), always=study.study.keep == "always")
    sources = {name: replace(source, shelf=shelf) for name, source in problem.sources.items()}
    return replace(problem, sources=sources), shelf


def kept_passes(shelf: FolderShelf | None, problem: Problem) -> dict[str, tuple[int, int]]:
    """Pass and field, as in ``"gram of T"`` -> blocks whose partials lie on the shelf, and blocks in all."""
    found: dict[str, tuple[int, int]] = {}
    for folder, blocks in (shelf.kept_blocks() if shelf is not None else {}).items():
        label, total = _told(folder.rpartition("-")[0], problem)
        before, _ = found.get(label, (0, 0))
        # A tree has nodes above those of its groups, and begins them when all of these are there.
        found[label] = (min(before + blocks, total or blocks), total or blocks)
    return found


def _told(folder: str, problem: Problem) -> tuple[str, int]:
    """What people are told of a pass whose partials lie in such a folder, and its blocks in all; 0 where that is not known."""
    method, field, part = _parsed(folder, problem)
    if not field:
        return folder, 0
    panels = len(problem.sources[field].panels)
    if problem.route != "hapod" or problem.grouping is None:
        return f"{method} of {field}", panels
    groups = len(problem.grouping.groups)
    if part:  # passes over the panels of one node, or of one group
        return f"{'measure' if part == 'g' else f'{method} (nodes)'} of {field}", groups * panels
    return f"{method} of {field}", groups if method in ("node", "measure") else panels


def _parsed(folder: str, problem: Problem) -> tuple[str, str, str]:
    """Method and field of a pass, and n or g where it is over one node or one group of the route hapod; no field if none fits."""
    part = re.fullmatch(r"(.+)-([ng])\d+", folder)
    for name, kind in ((folder, ""), (part[1], part[2]) if part else (folder, "")):  # a field may be called "T-n1" itself
        for field in problem.sources:
            if name.endswith(f"-{field}"):
                return name.removesuffix(f"-{field}"), field, kind
    return folder, "", ""


@dataclass(frozen=True)
class Guarded:
    """An executor that refuses to go on from one pass to the next when the store is no longer the one that was planned."""

    inner: Executor
    store: SnapshotStore
    planned: Any
    """The store's reference when the run was planned."""

    @property
    def description(self) -> str:
        """Who computes, for the provenance."""
        return self.inner.description

    @property
    def n_workers(self) -> int:
        """Worker processes."""
        return self.inner.n_workers

    def addresses(self) -> dict[str, str]:
        """As of the executor within."""
        return self.inner.addresses()

    def place(self, graph: TaskGraph, name: str) -> TaskGraph:
        """As the executor within."""
        return self.inner.place(graph, name)

    def run(self, graph: TaskGraph, name: str, progress: Progress | None = None) -> dict[str, Any]:
        """Run the graph, then look at the store.

        Raises
        ------
        StoreError
            The store was removed, made anew or taken back to an earlier commit.
        """
        result = self.inner.run(graph, name, progress)
        check_unchanged(self.store, self.planned, name)
        return result


def check_unchanged(store: SnapshotStore, planned: Any, name: str) -> None:
    """Refuse a store whose pinned version is not what it was.

    An Icechunk snapshot never changes, and a plain Zarr store that has grown still holds the commit that was pinned: both go on
    serving a run. A plain Zarr store that was made anew, or put back from an older copy, does not.

    Raises
    ------
    StoreError
        Names both versions.
    """
    if store.kind == "icechunk":
        return
    now: Any = store.reference()
    if now.store_id == planned.store_id and _commit(now) >= _commit(planned) and now.n_snapshots >= planned.n_snapshots:
        return
    raise StoreError(
        f"the store {store.url} was changed under the run: pass {name!r} began with version {planned.version}, and it is "
        f"{now.version} now; nothing was published, run again to reduce what is there now"
    )


def _commit(reference: Any) -> int:
    return int(str(reference.version).rpartition("-")[2])
