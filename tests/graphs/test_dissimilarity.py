"""The matrix of sines in blocks of rows, by tasks: every pair as one process would form it, in memory and in a shared file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.stages.atlas import spaces
from nwidth.stages.atlas.assembling import Assembling, MemoryRows, suits
from nwidth.stages.problem import Passes
from nwidth.stages.sinks import FolderSink, MemorySink
from nwidth.workers import ThreadExecutor, connected_cluster
from nwidth_graphs import dissimilarity
from nwidth_graphs.dissimilarity import merge_rows, root, rows_leaf, sine_graph
from nwidth_graphs.kernels.angles import sine
from tests.atlas.bumps import bumps

EPS = {"float32": float(np.finfo(np.float32).eps), "float64": float(np.finfo(np.float64).eps)}


def vectors(count: int = 130, frame: int = 7) -> Any:
    """Columns over twelve decades of amplitude, with duplicates, near duplicates, opposites and a zero."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((frame, count)) * 10.0 ** rng.uniform(-6, 6, count)
    X[:, 5], X[:, 90], X[:, 33] = X[:, 64], -3.0 * X[:, 64], 0.0
    X[:, 70] = X[:, 64] + 1e-9 * np.linalg.norm(X[:, 64]) * rng.standard_normal(frame)
    return X


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [1, 37, 512])
def test_any_blocks_give_the_matrix(dtype: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the blocks, the matrix is that of one process up to the rounding of a product; its diagonal is zero to the bit.

    The rounding of a cosine, (N + 2) eps / 2, changes a sine d by that over d, where d is not formed anew.
    """
    monkeypatch.setattr(dissimilarity, "ROWS", rows)
    X = vectors()
    D = Assembling(Passes(ThreadExecutor(2), None), MemorySink())(X, dtype)
    exact = sine(X)
    far = exact > 0.02
    assert D.dtype == np.dtype(dtype)
    np.testing.assert_allclose(D[far], exact[far], atol=(7 + 2) * EPS[dtype] / 0.02)
    np.testing.assert_allclose(D[~far], exact[~far], atol=10 * EPS[dtype] + 1e-15, rtol=1e-2)
    assert not D.diagonal().any()
    assert D[33, 4] == 1.0


def test_the_graph_is_one_task_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building computes nothing; there is a leaf for every block of rows, and tallies and maxima merge in any grouping."""
    monkeypatch.setattr(dissimilarity, "ROWS", 10)
    X, D = vectors(), np.full((130, 130), np.nan)
    graph = sine_graph(X, MemoryRows(D), "token")
    assert graph.n_leaves == 13
    assert np.isnan(D).all()
    leaves = [rows_leaf(block, vectors=X, write=MemoryRows(D), dtype="float64") for block in graph.trees[0].blocks]
    whole = merge_rows(leaves)
    assert whole == merge_rows([merge_rows(leaves[:4]), merge_rows(leaves[4:])])
    assert whole.greatest == D.max()
    assert list(graph.roots) == [root()]


def test_workers_write_one_file(tmp_path: Path, scheduler: str) -> None:
    """Processes write their rows into one file beside the modes, which is read and removed: the bits of one process."""
    X = vectors(700)
    alone = Assembling(Passes(ThreadExecutor(1), None), MemorySink())(X, "float32")
    with connected_cluster(scheduler) as executor:
        together = Assembling(Passes(executor, None), FolderSink(tmp_path / "model.zarr"))(X, "float32")
    np.testing.assert_array_equal(together, alone)
    assert list(tmp_path.iterdir()) == []


def test_vectors_that_do_not_fit_workers_stay_with_the_driver() -> None:
    """Three copies beyond the limit are not sent."""
    assert suits(np.empty((100, 10_000)))
    assert not suits(np.empty((2000, 10_000)))


def test_a_partition_by_an_assembled_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    """`nwidth.partition` hands a large matrix to the workers, and parts by it as by its own."""
    monkeypatch.setattr(spaces, "SINGLE_FROM", 100)
    with monkeypatch.context() as without:
        without.setattr(spaces, "suits", lambda _: False)
        alone = nw.partition(bumps(), clusters=6, rank=4)
    made: list[int] = []
    call = Assembling.__call__

    def counted(self: Assembling, X: Any, dtype: str) -> Any:
        made.append(X.shape[1])
        return call(self, X, dtype)

    monkeypatch.setattr(Assembling, "__call__", counted)
    together = nw.partition(bumps(), clusters=6, rank=4)
    assert made == [120]
    # In single precision members halfway between two medoids may go either way: losses, and nearly all labels, are equal.
    assert together.loss == pytest.approx(alone.loss, rel=1e-5)
    assert np.mean(together.labels == alone.labels) > 0.95
