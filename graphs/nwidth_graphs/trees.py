"""The only file that knows how Dask tasks are made.

A reduction becomes one task per block and a tree above them:

    leaf-0   leaf-1   ...   leaf-7   leaf-8 ...      {method}-leaf-{field}         reads and reduces one block
       └───────┴──── merge ───┘        └── ...       {method}-merge-l1-{field}     FAN_IN results into one, in a fixed order
                       └───────┬────────┘
                             root                    {method}-root-{field}         closes: what needs all blocks, once

The shape of the tree is a function of the number of blocks alone, never of the schedule: the same plan gives the same bits on
any number of workers. With a fan-in of 8 there are 1.14 tasks per block.

Names are for the dashboard, which groups by the leading words without digits: method and step come first, because a field may
be called anything. Tasks are `dask.task_spec` values in materialised
layers and are never fused by Dask, so leaf annotations (a GPU, say) are kept by every scheduler.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

# 8 keeps a merge small (8 factors at once) and the tree flat: 10 000 blocks are 5 levels and 14 % more tasks.
FAN_IN = 8
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
    """Values that every leaf takes; each is one task, sent once to a worker and not once per block."""
    array: Any = None
    """A Dask array whose blocks, in order, are the leaves' readings; None where leaves read for themselves."""

    @property
    def name(self) -> str:
        """Name of the root."""
        return f"{self.method}-{self.field}"

    def key_name(self, step: str, token: str) -> str:
        """First part of the keys of one step."""
        return f"{self.method}-{step}-{self.field}-{token}"


@dataclass(frozen=True)
class TaskGraph:
    """A graph ready for a scheduler, the keys asked for, and what to watch while it runs."""

    graph: Any
    roots: Mapping[str, Key]
    leaf_prefixes: tuple[str, ...]
    n_leaves: int

    @property
    def n_tasks(self) -> int:
        """Tasks in the graph, those that make the blocks of a Dask array among them."""
        return len(self.graph)


def build(trees: Sequence[Tree], token: str, annotations: Mapping[str, Any] | None = None) -> TaskGraph:
    """Turn trees into one graph; `token` names the content, so that equal work has equal keys and other work never shares one."""
    from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

    layers: dict[str, Any] = {}
    dependencies: dict[str, set[str]] = {}
    roots: dict[str, Key] = {}
    for tree in trees:
        names = {step: tree.key_name(step, token) for step in ("shared", "leaf", "merge")}
        shared, references = _shared_layer(tree, names["shared"])
        leaves, keys = (
            _array_leaves(tree, names["leaf"]) if tree.array is not None else _leaf_layer(tree, names["leaf"], references)
        )
        layers[names["shared"]] = MaterializedLayer(shared)
        layers[names["leaf"]] = MaterializedLayer(leaves, annotations=dict(annotations) if annotations else None)
        merges, roots[tree.name] = _merge_layer(tree, token, keys, references)
        layers[names["merge"]] = MaterializedLayer(merges)
        dependencies |= {
            names["shared"]: set(),
            names["leaf"]: {names["shared"]},
            names["merge"]: {names["shared"], names["leaf"]},
        }
    return TaskGraph(
        graph=HighLevelGraph(layers, dependencies),
        roots=roots,
        leaf_prefixes=tuple(tree.key_name("leaf", token) for tree in trees),
        n_leaves=sum(len(tree.blocks) for tree in trees),
    )


def tree_tasks(n_blocks: int) -> int:
    """Tasks of a tree over `n_blocks` leaves, without what is shared: leaves, merges and the root. Pure arithmetic, for plans."""
    tasks, level = n_blocks + 1, n_blocks
    while level > 1:
        whole, rest = divmod(level, FAN_IN)
        tasks += whole + (rest > 1)
        level = whole + (rest > 0)
    return tasks


def _shared_layer(tree: Tree, name: str) -> tuple[dict[Key, Any], dict[str, Any]]:
    from dask.task_spec import DataNode, TaskRef

    keys: dict[str, Key] = {label: (name, index) for index, label in enumerate(tree.shared)}
    tasks = {key: DataNode(key, tree.shared[label]) for label, key in keys.items()}
    return tasks, {label: TaskRef(key) for label, key in keys.items()}


def _leaf_layer(tree: Tree, name: str, references: Mapping[str, Any]) -> tuple[dict[Key, Any], list[Key]]:
    from dask.task_spec import Task

    keys: list[Key] = [(name, index) for index in range(len(tree.blocks))]
    return {key: Task(key, tree.leaf, block, **references) for key, block in zip(keys, tree.blocks, strict=True)}, keys


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


def _merge_layer(tree: Tree, token: str, level: list[Key], references: Mapping[str, Any]) -> tuple[dict[Key, Any], Key]:
    from dask.task_spec import List, Task, TaskRef

    tasks: dict[Key, Any] = {}
    depth = 0
    while len(level) > 1:
        depth += 1
        groups = [level[start : start + FAN_IN] for start in range(0, len(level), FAN_IN)]
        level = []
        for index, group in enumerate(groups):
            key: Key = group[0] if len(group) == 1 else (tree.key_name(f"merge-l{depth}", token), index)
            if len(group) > 1:
                tasks[key] = Task(key, tree.merge, List(*(TaskRef(child) for child in group)))
            level.append(key)
    root: Key = (tree.key_name("root", token), 0)
    tasks[root] = Task(root, tree.close, TaskRef(level[0]), **references)
    return tasks, root
