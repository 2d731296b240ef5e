"""The graphs themselves: how many tasks, what they are called, that nothing runs early, and that the schedule changes no bit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import dask.threaded
import numpy as np
import pytest
import zarr
from dask.utils import key_split

from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.lifting import Lift, lift_graph
from nwidth_graphs.reduction import GRAM, TSQR, Reduction, reduction_named
from nwidth_graphs.source import FieldSource
from nwidth_graphs.trees import FAN_IN, SHARED_TASKS, Gathered, TaskGraph, Tree, build, tree_tasks
from tests.graphs.problems import compute, refuse_to_read, row_panels, source_of
from tests.oracles.pod import matrix_with_spectrum


def sum_tree(n_blocks: int, method: str = "sum", *, in_turn: bool = False) -> Tree:
    def merge(parts: Sequence[list[int]]) -> list[int]:
        return [block for part in parts for block in part]

    return Tree(
        method,
        "field_2",
        lambda block, **_: [block],
        range(n_blocks),
        merge,
        lambda result, **_: result,
        {"a": 1},
        in_turn=in_turn,
    )


@pytest.mark.parametrize("n_blocks", [1, 2, 8, 9, 64, 73, 512, 1000])
def test_merges_in_turn_take_two_at_a_time(n_blocks: int) -> None:
    """For results that are large: the same order, at most two operands, a merge for each leaf but the first, in windows, too."""
    graph = build([sum_tree(n_blocks, in_turn=True)], "0123456789abcdef")
    assert graph.n_tasks == len(graph.graph) == tree_tasks(n_blocks, in_turn=True) + SHARED_TASKS
    assert compute(graph)["sum-field_2"] == list(range(n_blocks))
    widths = [len(task.dependencies) for key, task in dict(graph.graph).items() if "merge" in key[0]]
    assert widths == [2] * (n_blocks - 1)
    gathered = Gathered(graph)
    for window in graph.windows(FAN_IN, 1):
        gathered.add(window, dask.threaded.get(window.graph, list(window.keys)))
    assert gathered.roots()["sum-field_2"] == list(range(n_blocks))


@pytest.mark.parametrize("n_blocks", [1, 2, 7, 8, 9, 63, 64, 65, 73, 512, 1000])
def test_tasks_are_counted_beforehand(n_blocks: int) -> None:
    """`tree_tasks` is the number of tasks; merges take at most FAN_IN; results arrive in order; 1.2 tasks per block suffice."""
    graph = build([sum_tree(n_blocks)], "0123456789abcdef")
    assert graph.n_tasks == len(graph.graph) == tree_tasks(n_blocks) + SHARED_TASKS
    assert compute(graph)["sum-field_2"] == list(range(n_blocks))
    widths = [len(task.dependencies) for key, task in dict(graph.graph).items() if "merge" in key[0]]
    assert max(widths, default=0) <= FAN_IN
    if n_blocks >= 64:
        assert graph.n_tasks <= 1.2 * n_blocks


def test_names_group_on_the_dashboard() -> None:
    """Whatever a field is called, the dashboard's groups begin with method and step, and the names of the leaves find them."""
    graph = build([sum_tree(70)], "0123456789abcdef")
    keys = list(dict(graph.graph))
    assert {key_split(key) for key in keys} == {"sum-shared", "sum-leaf", "sum-merge", "sum-root"}
    assert sum(key[0] in graph.whole.leaf_names for key in keys) == graph.n_leaves == 70
    levels = {key[0].split("-")[2] for key in keys if "merge" in key[0]}
    assert levels == {"l1", "l2", "l3"}  # 70 leaves -> 9 -> 2 -> 1


def test_other_content_never_shares_a_key() -> None:
    """Graphs of two tokens, or of two methods, have no key in common."""
    graphs = [build([sum_tree(9, method)], token) for method, token in (("sum", "aa"), ("sum", "bb"), ("lift", "aa"))]
    keys = [set(dict(graph.graph)) for graph in graphs]
    assert keys[0].isdisjoint(keys[1] | keys[2])


def test_builders_compute_nothing() -> None:
    """Neither a reader nor a Dask array is touched while either graph is built."""
    lazy = da.map_blocks(refuse_to_read, chunks=((3,), (5, 5)), dtype=float, meta=np.empty((0, 0)))
    for blocks in ({"read": refuse_to_read}, {"array": lazy}):
        source = FieldSource("u", row_panels((5, 5)), 3, 8, **blocks)
        graphs = [factor_graph([source], reduction, "aa") for reduction in (GRAM, TSQR)]
        graphs.append(lift_graph([Lift(source, np.eye(3), None, print)], "aa"))
        for graph in graphs:
            with pytest.raises(AssertionError, match="while the graph was built"):
                compute(graph)


def test_leaves_are_fused_with_the_reads_of_a_zarr_array(tmp_path: Path) -> None:
    """Over a stored Dask array, each block costs one task (read and reduced together), beside the tree and what is shared."""
    store = zarr.create_array(tmp_path / "a.zarr", shape=(4, 640), chunks=(4, 10), dtype="float64")
    store[:] = np.arange(2560.0).reshape(4, 640)
    array = da.from_zarr(tmp_path / "a.zarr")
    source = FieldSource("u", row_panels([10] * 64), 4, 8, array=array)
    graph = factor_graph([source], GRAM, "aa")
    assert graph.n_tasks <= tree_tasks(64) + SHARED_TASKS + 2  # the array itself is one or two more
    values = np.arange(2560.0).reshape(4, 640)
    np.testing.assert_allclose(compute(graph)["gram-u"].factor, values @ values.T, rtol=1e-13)


@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda r: r.name)
@pytest.mark.parametrize("lazy", [False, True])
def test_threads_change_no_bit(reduction: Reduction, lazy: bool) -> None:
    """One plan gives the same bits with one, two and four threads."""
    source = source_of(matrix_with_spectrum(3000, 12, 0.5 ** np.arange(12), 0), [300] * 10, lazy=lazy)
    results = []
    for threads in (1, 2, 4):
        graph = factor_graph([source], reduction, "aa")
        results.append(compute(graph, dask.threaded.get, num_workers=threads)[factor_root("u", reduction)].factor)
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_tallies_and_bytes_add_up() -> None:
    """The root knows how many blocks were read, and every byte of them, once."""
    matrix = matrix_with_spectrum(100, 4, np.ones(4), 1)
    partial = compute(factor_graph([source_of(matrix, [30, 30, 30, 10])], TSQR, "aa"))["tsqr-u"]
    assert (partial.tally.blocks, partial.tally.bytes_read) == (4, matrix.nbytes)
    assert partial.tally.peak_process_bytes > 0


def test_a_source_without_blocks_is_a_mistake() -> None:
    """A source with neither reader nor array says so when it runs."""
    with pytest.raises(TypeError, match="neither a reader nor a Dask array"):
        compute(factor_graph([FieldSource("u", row_panels((5,)), 3, 8)], GRAM, "aa"))


def test_reductions_travel_by_name() -> None:
    """A reduction unpickles as the very value of the module, and an unknown one is refused."""
    import pickle  # the interpreter's own copies travel so; no file is ever loaded this way

    for reduction in (GRAM, TSQR):
        assert pickle.loads(pickle.dumps(reduction)) is reduction  # noqa: S301 - bytes made in this line
    with pytest.raises(KeyError):
        reduction_named("sketch")


def test_leaf_annotations_are_on_the_leaves_alone() -> None:
    """For a GPU, the leaf layers ask for the resource, and no other layer does."""
    for window in factor_graph([source_of(np.ones((40, 2)), [2] * 20)], GRAM, "aa", device="cuda").windows(8):
        asked = {name: layer.annotations for name, layer in window.graph.layers.items()}
        assert {name for name, found in asked.items() if found} == {name for name in asked if "-leaf-" in name}
        assert all(found == {"resources": {"GPU": 1}} for found in asked.values() if found)
    plain: Any = factor_graph([source_of(np.ones((4, 2)), (2, 2))], GRAM, "aa").graph
    assert not any(layer.annotations for layer in plain.layers.values())


def in_windows(graph: TaskGraph, leaves: int, per_task: int, threads: int) -> dict[str, Any]:
    """The roots of a graph that is computed in windows of so many leaves, of which a task takes several."""
    gathered = Gathered(graph)
    for window in graph.windows(leaves, per_task):
        gathered.add(window, dask.threaded.get(window.graph, list(window.keys), num_workers=threads))
    return gathered.roots()


@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda r: r.name)
@pytest.mark.parametrize("lazy", [False, True])
def test_windows_change_no_bit(reduction: Reduction, lazy: bool) -> None:
    """Windows of 8 to 512 leaves, and tasks of several blocks, give the bits and the tallies of the whole graph."""
    field = matrix_with_spectrum(2700, 6, 0.5 ** np.arange(6), 0)
    sources = [source_of(field, [20] * 135, lazy=lazy), source_of(field[:100], [25] * 4, name="v", lazy=lazy)]
    graph = factor_graph(sources, reduction, "aa")
    whole = compute(graph)
    for leaves, per_task, threads in ((8, 1, 1), (8, 1, 2), (8, 8, 1), (64, 8, 2), (64, 64, 2), (512, 8, 2)):
        roots = in_windows(graph, leaves, per_task, threads)
        assert list(roots) == list(whole)
        for name, partial in roots.items():
            assert np.array_equal(partial.factor, whole[name].factor)
            assert partial.tally.blocks == whole[name].tally.blocks


def test_windows_are_made_one_at_a_time() -> None:
    """Passes over 10 000 and over 100 000 blocks hold the tasks of a window or two, and counting makes none."""
    peaks = []
    for n_blocks in (10_000, 100_000):
        graph = build([sum_tree(n_blocks)], "aa")
        before = sys.getallocatedblocks()
        assert graph.n_tasks == tree_tasks(n_blocks) + SHARED_TASKS
        seen = [(window.n_leaves, sys.getallocatedblocks() - before) for window in graph.windows()]
        assert sum(leaves for leaves, _ in seen) == n_blocks
        peaks.append(max(blocks for _, blocks in seen))
    # 585 tasks of a few objects each, perhaps twice (the window before); all tasks of the smaller pass would be 60 000.
    assert max(peaks) < 20_000


def test_two_graphs_of_one_content_share_no_key() -> None:
    """A second run of the same content, whose leaves write elsewhere, is never served by the tasks of the first."""
    first, second = (set(dict(build([sum_tree(9)], "aa").graph)) for _ in range(2))
    assert first.isdisjoint(second)


def test_tasks_of_several_blocks_are_fewer() -> None:
    """A task of eight blocks stands for eight leaves and their merge, and keeps the order of all blocks."""
    graph = build([sum_tree(1000)], "aa")
    tasks = [task for window in graph.windows(512, 8) for task in dict(window.graph)]
    assert sum("leaf" in name for name, _ in tasks) == 1000 // 8
    assert not any("merge-l1" in name for name, _ in tasks)
    assert in_windows(graph, 512, 8, 1) == {"sum-field_2": list(range(1000))}


def test_a_list_of_panels_does_not_travel() -> None:
    """What a window of a large field sends is its own panels: the list of all of them is not among the shared values."""
    source = FieldSource("u", row_panels([1] * 2000), 3, 8, read=refuse_to_read)
    window = next(factor_graph([source], GRAM, "aa").windows(8))
    (shared,) = [task for key, task in dict(window.graph).items() if "shared" in key[0]]
    assert shared.value.shared["source"].panels == ()


def test_windows_share_one_copy_of_what_leaves_share() -> None:
    """The key of the shared values is the same in all windows, and no other is."""
    graph = build([sum_tree(100)], "aa")
    keys = [set(dict(window.graph)) for window in graph.windows(64)]
    assert len(keys) == 2
    assert [key_split(key) for key in keys[0] & keys[1]] == ["sum-shared"]
