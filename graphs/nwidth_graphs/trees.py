"""The only file that knows how Dask tasks are made.

A reduction becomes one task per block and a tree above them (`topology.py` has its shape):

    leaf-0   leaf-1   ...   leaf-7   leaf-8 ...      {method}-leaf-{field}         reads and reduces one block
       └───────┴──── merge ───┘        └── ...       {method}-merge-l1-{field}     FAN_IN results into one, in a fixed order
                       └───────┬────────┘
                             root                    {method}-root-{field}         closes: what needs all blocks, once

In a pool of CPU and GPU workers a leaf may be two tasks, the first half on another worker than the second:

    read-0 ──block──> leaf-0 ──> ticket-0 ──> read-4         {method}-read-{field}, {method}-ticket-{field}

A block is read for shipping only when the ticket of an earlier one is there, so that few are on their way at once.

The tasks of a pass are made window by window, when an executor asks for the next one: 100 000 blocks are a list of panels, and
never 100 000 task objects. What windows give, `Gathered` merges above them.

Names are for the dashboard, which groups by the leading words without digits: method and step come first, because a field may
be called anything. Tasks are `dask.task_spec` values in materialised
layers and are never fused by Dask, so leaf annotations (a GPU, say) are kept by every scheduler.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from nwidth_graphs import topology
from nwidth_graphs.keeping import kept
from nwidth_graphs.pool import DEVICE_SLOT, HOST_SLOT, Placement, Way
from nwidth_graphs.sequence import adds_up, reduce_in_sequence
from nwidth_graphs.source import FieldSource, as_sent
from nwidth_graphs.topology import FAN_IN, Piece, Upward, tree_tasks

__all__ = ["FAN_IN", "Gathered", "SHARED_TASKS", "Key", "TaskGraph", "Tree", "Window", "Work", "build", "tree_tasks"]

Key = Any
"""A Dask key: (name, index)."""


@dataclass(frozen=True)
class Tree:
    """One reduction tree, without a word of Dask."""

    method: str
    field: str
    leaf: Callable[..., Any]
    """``leaf(block, **shared)``, and ``reading=values`` where `array` is given."""
    blocks: Sequence[Any]
    merge: Callable[[Sequence[Any]], Any]
    """Merges at most `FAN_IN` results, in the order given."""
    close: Callable[..., Any]
    """``close(result, **shared)`` at the root."""
    shared: Mapping[str, Any]
    """Values that every leaf takes; one task holds them, and they are sent once to a worker and not once per block."""
    array: Any = None
    """A Dask array whose blocks, in order, are the leaves' readings; None where leaves read for themselves."""
    read: Callable[..., Any] | None = None
    """``read(block, **shared)``: the leaf's `reading`, made on another worker; None where only the leaf itself can read."""
    in_turn: bool = False
    """A node merges its children two at a time, from the first to the last, as soon as they are there: for results so large that
    eight of them, and their copies in transit, would be what a worker's memory is needed for. `merge` must be a sum from left to
    right, so that no bit changes."""

    @property
    def name(self) -> str:
        """Name of the root."""
        return f"{self.method}-{self.field}"


@dataclass(frozen=True)
class Work:
    """What all leaves of a tree, and its root, have in common: a task of theirs is a block and a reference to this."""

    leaf: Callable[..., Any]
    merge: Callable[[Sequence[Any]], Any]
    close: Callable[..., Any]
    shared: Mapping[str, Any]
    in_turn: bool = False


@dataclass(frozen=True)
class Window:
    """A part of a pass that a scheduler gets at once: its graph, the keys asked for, and what to watch while it runs."""

    graph: Any
    keys: tuple[Key, ...]
    """One for each of `pieces`: the top of the piece, closed where it is a whole tree."""
    pieces: tuple[Piece, ...]
    leaf_names: tuple[str, ...]
    """First parts of the leaves' keys."""
    per_task: int = 1
    """Blocks of one leaf task."""

    @property
    def n_leaves(self) -> int:
        """Blocks of this window."""
        return sum(piece.n_leaves for piece in self.pieces)


@dataclass(frozen=True)
class TaskGraph:
    """The tasks of one pass over all fields, made window by window."""

    trees: tuple[Tree, ...]
    token: str
    annotations: Mapping[str, Any] = field(default_factory=dict)
    """Of the leaves alone."""
    placement: Placement | None = None
    """Which way every block goes in a pool of workers; None lets whoever is free take it."""

    def windows(self, leaves: int = topology.MIN_WINDOW_LEAVES, per_task: int = 1) -> Iterator[Window]:
        """The pass in windows of at most `leaves` blocks, each made when it is asked for; a task takes `per_task` blocks.

        Both are powers of `FAN_IN`, and neither changes a bit of the result.

        A tree over a Dask array is never divided: its blocks are fused with the tasks that make them, all in one graph.
        """
        undivided = [tree.array is not None for tree in self.trees]
        if self.placement is not None or any(undivided):
            per_task = 1
        if all(undivided) or (self.n_leaves <= leaves and per_task == 1):
            yield self.whole
            return
        for number, pieces in enumerate(topology.windows([len(tree.blocks) for tree in self.trees], undivided, leaves)):
            yield _window(self, number, pieces, per_task)

    @cached_property
    def whole(self) -> Window:
        """The pass as one window, for those who want to see it all: tests, and pictures of graphs."""
        sizes = [len(tree.blocks) for tree in self.trees]
        (pieces,) = topology.windows(sizes, [True] * len(sizes), sum(sizes))
        return _window(self, 0, pieces)

    @property
    def graph(self) -> Any:
        """All tasks at once, as a Dask graph."""
        return self.whole.graph

    @property
    def roots(self) -> Mapping[str, Key]:
        """Root name -> key in `graph`."""
        return dict(zip((tree.name for tree in self.trees), self.whole.keys, strict=True))

    @property
    def n_leaves(self) -> int:
        """Blocks of the pass."""
        return sum(len(tree.blocks) for tree in self.trees)

    @cached_property
    def n_tasks(self) -> int:
        """Tasks of the pass, those that make the blocks of a Dask array among them; pure arithmetic where there is none."""
        if any(tree.array is not None for tree in self.trees):
            return len(self.graph)
        shipped = 0 if self.placement is None else self.placement.count()["shipped"]
        return sum(tree_tasks(len(tree.blocks), in_turn=tree.in_turn) + SHARED_TASKS for tree in self.trees) + 2 * shipped

    def placed(self, placement: Placement) -> TaskGraph:
        """The same pass, with its blocks where a pool's split wants them: no result changes but by rounding."""
        return replace(self, placement=placement)

    def probe(self, tree: int, count: int, leaves: int) -> tuple[Any, list[Key]] | None:
        """The first window, of `leaves` leaves, and the keys of the first `count` leaves of one tree; None if they are not in it.

        Whoever asks for these keys alone, and keeps their results on the cluster until the pass has run, reads nothing twice.
        """
        window = next(self.windows(leaves))
        for piece, name in zip(window.pieces, window.leaf_names, strict=True):
            if piece.tree == tree and piece.start == 0 and piece.stop >= count:
                keys: list[Key] = [(name, index) for index in range(count)]
                return window.graph, keys
        return None


SHARED_TASKS = 1
"""Tasks of a tree beside `tree_tasks`: the one that holds what its leaves share. """


def build(trees: Sequence[Tree], token: str, annotations: Mapping[str, Any] | None = None) -> TaskGraph:
    """The graph of some trees; no task is made yet, and nothing is read.

    `token` names the content, for people. Keys carry a mark of this very graph, too: a scheduler never takes a task of another
    client, or of a driver that was killed a second ago and wrote elsewhere, for one of ours.
    """
    kept_trees = tuple(kept(tree, token) for tree in trees)
    return TaskGraph(kept_trees, f"{token}-{secrets.token_hex(4)}", dict(annotations or {}))


class Gathered:
    """Takes the values of windows, or of single blocks, in any order, and gives the values of the roots.

    Whoever executes a graph runs this beside it; results are merged as they come.
    """

    def __init__(self, graph: TaskGraph) -> None:
        self._trees = graph.trees
        self._upward = [
            Upward(len(tree.blocks), tree.merge, in_turn=tree.in_turn or adds_up(tree.shared)) for tree in graph.trees
        ]
        self._roots: dict[int, Any] = {}

    @property
    def held(self) -> int:
        """Results in memory: roots, and what waits to be merged."""
        return len(self._roots) + sum(upward.held for upward in self._upward)

    def add(self, window: Window, values: Sequence[Any]) -> None:
        """Take the values of a window's keys."""
        for piece, value in zip(window.pieces, values, strict=True):
            if piece.whole:
                self._roots[piece.tree] = value
            else:
                self._add(piece.tree, piece.level, piece.index, value)

    def add_leaf(self, tree: int, block: int, value: Any) -> None:
        """Take the value of one block, or what hands it over, from any thread."""
        self._add(tree, 0, block, value)

    def _add(self, number: int, level: int, index: int, value: Any) -> None:
        tree, upward = self._trees[number], self._upward[number]
        if upward.add(level, index, value):
            self._roots[number] = tree.close(upward.top.pop(), **tree.shared)

    def roots(self) -> dict[str, Any]:
        """Root name -> value, when all windows have come."""
        return {tree.name: self._roots[index] for index, tree in enumerate(self._trees)}


def _window(graph: TaskGraph, number: int, pieces: tuple[Piece, ...], per_task: int = 1) -> Window:
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    keys: list[Key] = []
    for piece in pieces:
        tree = graph.trees[piece.tree]
        names = _Names(tree, graph.token, number)
        asked: Mapping[str, Any] = graph.annotations
        if tree.array is not None:
            leaves, level = _array_leaves(tree, names.leaf)
        elif graph.placement is not None and piece.tree in graph.placement.ways:
            leaves, level, placed = _placed_layer(tree, piece, names, graph.placement)
            asked = {**graph.annotations, **placed}
        else:
            leaves, level = _leaf_layer(tree, piece, names, per_task)
        merges, top = _merge_layer(tree, level, names, topology.height(per_task))
        if piece.whole:
            merges[names.root] = _closing(names, top)
        keys.append(names.root if piece.whole else top)
        layers |= {
            names.work[0]: MaterializedLayer(_work_layer(tree, names.work)),
            names.leaf: MaterializedLayer(leaves, annotations=dict(asked) or None),
            names.step("merge"): MaterializedLayer(merges),
        }
        dependencies |= {
            names.work[0]: set(),
            names.leaf: {names.work[0]},
            names.step("merge"): {names.work[0], names.leaf},
        }
    leaf_names = tuple(_Names(graph.trees[piece.tree], graph.token, number).leaf for piece in pieces)
    return Window(HighLevelGraph(layers, dependencies), tuple(keys), pieces, leaf_names, per_task)


@dataclass(frozen=True)
class _Names:
    """How the tasks of one tree are called in one window."""

    tree: Tree
    token: str
    window: int

    def step(self, step: str) -> str:
        """First part of the keys of one step."""
        return f"{self.tree.method}-{step}-{self.tree.field}-{self.token}-w{self.window}"

    @property
    def leaf(self) -> str:
        return self.step("leaf")

    @property
    def work(self) -> Key:
        # The same in all windows: what workers hold of it serves the next window, too.
        return (f"{self.tree.method}-shared-{self.tree.field}-{self.token}", 0)

    @property
    def root(self) -> Key:
        return (self.step("root"), 0)


def _work_layer(tree: Tree, key: Key) -> dict[Key, Any]:
    from dask.task_spec import DataNode

    # Every window carries it: a list of 100 000 panels, of which no task needs more than its own, stays behind.
    shared = {label: as_sent(value) if isinstance(value, FieldSource) else value for label, value in tree.shared.items()}
    return {key: DataNode(key, Work(tree.leaf, tree.merge, tree.close, shared, tree.in_turn))}


def _leaf_layer(tree: Tree, piece: Piece, names: _Names, per_task: int) -> tuple[dict[Key, Any], list[Key]]:
    """One task per block of a piece, or per `per_task` neighbours.

    They are marked as producers of data: the scheduler then hands out one at a time to whoever is free, and never a queue to a
    slow worker. Unmarked, that would depend on how many values they share and on how many threads the cluster has.
    """
    from dask.task_spec import Task, TaskRef

    work = TaskRef(names.work)
    tasks: dict[Key, Any] = {}
    for start in range(piece.start, piece.stop, per_task):
        key: Key = (names.leaf, start // per_task)
        if per_task == 1:
            tasks[key] = Task(key, _run_leaf, tree.blocks[start], work, _data_producer=True)
        else:
            blocks = tuple(tree.blocks[index] for index in range(start, min(start + per_task, piece.stop)))
            tasks[key] = Task(key, _run_leaves, blocks, work, _data_producer=True)
    return tasks, list(tasks)


def _placed_layer(
    tree: Tree, piece: Piece, names: _Names, placement: Placement
) -> tuple[dict[Key, Any], list[Key], Mapping[str, Any]]:
    """The leaves of a piece where a pool's split wants them, and what they ask of their workers.

    Annotations belong to layers, and the leaves of one layer ask for different workers: Dask takes a function of the key, too.
    """
    from dask.task_spec import Task, TaskRef

    work = TaskRef(names.work)
    keys: list[Key] = []
    tickets: list[Key] = []
    tasks: dict[Key, Any] = {}
    asked: dict[Key, Mapping[str, int]] = {}
    for index in range(piece.start, piece.stop):
        key, way, block = (names.leaf, index), placement.ways[piece.tree][index], tree.blocks[index]
        keys.append(key)
        asked[key] = {HOST_SLOT if way == Way.HOST else DEVICE_SLOT: 1}
        if way != Way.SHIPPED:
            tasks[key] = Task(key, _run_leaf, block, work, _data_producer=True)
            continue
        read, ticket = (names.step("read"), index), (names.step("ticket"), index)
        asked[read] = {HOST_SLOT: 1}
        first = [TaskRef(tickets[-placement.in_transit])] if len(tickets) >= placement.in_transit else []
        tasks[read] = Task(read, _run_read, block, tree.read, work, *first)
        tasks[key] = Task(key, _run_shipped, block, TaskRef(read), work)
        tasks[ticket] = Task(ticket, _give_ticket, TaskRef(key))
        tickets.append(ticket)
    return tasks, keys, {"resources": asked.get}


def _run_leaf(block: Any, work: Work) -> Any:
    return work.leaf(block, **work.shared)


def _run_leaves(blocks: Sequence[Any], work: Work) -> Any:
    return reduce_in_sequence(work.leaf, blocks, work.shared, work.merge, in_turn=work.in_turn)


def _run_read(block: Any, read: Callable[..., Any], work: Work, *_: None) -> Any:
    return read(block, **work.shared)


def _run_shipped(block: Any, reading: Any, work: Work) -> Any:
    return work.leaf(block, **work.shared, reading=reading)


def _give_ticket(_: Any) -> None:
    """Says that a block has arrived and been reduced, and weighs nothing itself."""


def _run_close(result: Any, work: Work) -> Any:
    return work.close(result, **work.shared)


def _array_leaves(tree: Tree, name: str) -> tuple[dict[Key, Any], list[Key]]:
    """Leaves over a Dask array: `map_blocks` lets Dask fuse each with whatever makes its block (a store's read, say)."""
    import numpy as np
    from dask.base import optimize
    from dask.core import flatten

    leaf = partial(_leaf_on_block, leaf=partial(tree.leaf, **tree.shared), blocks=tuple(tree.blocks))
    results = tree.array.map_blocks(leaf, name=name, dtype=object, meta=np.empty((0,) * tree.array.ndim, dtype=object))
    (fused,) = optimize(results)
    return dict(fused.__dask_graph__()), list(flatten(fused.__dask_keys__()))


def _leaf_on_block(values: Any, *, leaf: Callable[..., Any], blocks: tuple[Any, ...], block_info: Any = None) -> Any:
    import numpy as np

    location, counts = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    return leaf(blocks[int(np.ravel_multi_index(location, counts))], reading=values)


def _merge_layer(tree: Tree, level: list[Key], names: _Names, depth: int) -> tuple[dict[Key, Any], Key]:
    """The merges above some leaves, up to one result, and its key; `topology.Upward` does the same beyond a window."""
    tasks: dict[Key, Any] = {}
    while len(level) > 1:
        depth += 1
        groups = [level[start : start + FAN_IN] for start in range(0, len(level), FAN_IN)]
        level = []
        for index, group in enumerate(groups):
            merges = _merges(tree, group, (names.step(f"merge-l{depth}"), index))
            tasks |= merges
            level.append(next(reversed(merges), group[0]))
    return tasks, level[0]


def _merges(tree: Tree, children: list[Key], key: Key) -> dict[Key, Any]:
    """The tasks of one node, the last of which is its result; none where there is one child, which is its own parent."""
    from dask.task_spec import List, Task, TaskRef

    if len(children) == 1:
        return {}
    if not tree.in_turn:
        return {key: Task(key, tree.merge, List(*map(TaskRef, children)))}
    tasks: dict[Key, Any] = {}
    so_far, *others = children
    for place, child in enumerate(others, start=1):
        after: Key = (*key, place) if child != others[-1] else key
        tasks[after] = Task(after, tree.merge, List(TaskRef(so_far), TaskRef(child)))
        so_far = after
    return tasks


def _closing(names: _Names, top: Key) -> Any:
    from dask.task_spec import Task, TaskRef

    return Task(names.root, _run_close, TaskRef(top), TaskRef(names.work))
