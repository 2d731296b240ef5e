"""Cubature over chunks: both ways against the serial one, any chunking, the table of subdomains, held-out errors, bad days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.threaded
import numpy as np
import pytest
from dask.utils import key_split
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nwidth_graphs.cubature import (
    IntegrandSource,
    PointBlock,
    Visit,
    error_graph,
    integrals_graph,
    integrals_root,
    local_graph,
    local_root,
    price_graph,
    price_root,
)
from nwidth_graphs.cubature_search import measured_error, one_level_rule, two_level_rule
from nwidth_graphs.kernels.cubature import nnomp
from nwidth_graphs.kernels.integrands import StoredIntegrands, WorkIntegrands
from nwidth_graphs.kernels.rule import integration_error
from nwidth_graphs.layout import Panel
from nwidth_graphs.trees import TaskGraph
from tests import cube
from tests.asserts import backward_error
from tests.clusters import real_cluster
from tests.graphs.problems import compute, refuse_to_read, row_panels
from tests.kernels.cubature.cases import cube_integrands, mixtures

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Stored:
    """``read(panel)`` of integrands in memory."""

    G: Floats
    weights: Floats

    def __call__(self, panel: Panel) -> PointBlock:
        part = panel.selection[0]
        return PointBlock(StoredIntegrands(self.G[:, part]), self.weights[part], self.G[:, part].nbytes)


@dataclass(frozen=True)
class Work:
    """``read(panel)`` of strains and stresses."""

    strains: Floats
    stress: Floats
    weights: Floats

    def __call__(self, panel: Panel) -> PointBlock:
        part = panel.selection[0]
        return PointBlock(WorkIntegrands(self.strains[part], self.stress[part]), self.weights[part])


def source(G: Floats, weights: Floats, cuts: Sequence[int]) -> IntegrandSource:
    """Integrands in chunks of these lengths."""
    return IntegrandSource("cube", row_panels(cuts), Stored(G, weights))


def threads(graph: TaskGraph) -> Mapping[str, Any]:
    """A run on two threads."""
    return compute(graph, dask.threaded.get, num_workers=2)


@pytest.mark.parametrize(
    ("count", "local", "ratio"),
    [(2, (93, 92), 1.2), (4, (84, 78, 85, 80), 6.0), (8, (73, 79, 79, 63, 77, 78, 78, 67), 7.2)],
)
def test_two_levels_come_back_to_the_serial_count(count: int, local: tuple[int, ...], ratio: float) -> None:
    """V10: slabs of the cube have the tabulated local counts, and the second level about the 93 points of a serial search."""
    G, weights = cube_integrands(10)
    found = two_level_rule(source(G, weights, [1728 // count] * count), 1e-5, threads)
    for here, expected in zip(found.counts, local, strict=True):
        assert here == pytest.approx(expected, rel=0.1)
    assert len(found.rule.points) == pytest.approx(93, rel=0.1)
    assert found.rule.ended == "tolerance"
    assert integration_error(G, weights, found.rule.points, found.rule.weights).relative <= 1.001e-5
    assert found.integrals.norms / np.linalg.norm(found.integrals.values) == pytest.approx(ratio, abs=0.05)
    assert found.passes == 1
    assert found.bytes_read == G.nbytes
    assert found.peak_process_bytes > 0


def test_one_level_is_the_serial_method() -> None:
    """A point per pass chooses the points of the serial search, in their order, and reads everything at every step."""
    G, weights = cube_integrands(5)
    serial = nnomp(G, weights, 1e-3)
    found = one_level_rule(source(G, weights, [432] * 4), 1e-3, compute, pool=1)
    assert found.rule.points.tolist() == serial.points.tolist()
    np.testing.assert_allclose(found.rule.weights, serial.weights, rtol=1e-6)
    assert found.passes == serial.iterations + 1
    assert found.bytes_read == found.passes * G.nbytes


def test_a_pool_saves_passes() -> None:
    """With a pool of points for each pass a third of the passes suffice on the small cube, for as many points within a tenth."""
    G, weights = cube_integrands(10)
    classic, pooled = (one_level_rule(source(G, weights, [432] * 4), 1e-4, compute, pool=pool) for pool in (1, 200))
    assert pooled.passes <= classic.passes / 3
    assert len(pooled.rule.points) == pytest.approx(len(classic.rule.points), rel=0.1)
    assert pooled.rule.error <= 1e-4


def test_chunks_in_turn_save_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Visits of every eighth of 64 chunks read less than a third of what visits of all do, for as many points within a tenth."""
    G, weights = cube_integrands(10)
    chunks = source(G, weights, [27] * 64)
    in_turn = one_level_rule(chunks, 1e-4, compute, pool=200)
    monkeypatch.setattr("nwidth_graphs.cubature_search.PARTS", 1)
    of_all = one_level_rule(chunks, 1e-4, compute, pool=200)
    assert in_turn.rule.error <= 1e-4
    assert in_turn.passes <= of_all.passes / 3
    assert in_turn.bytes_read <= in_turn.passes * G.nbytes
    assert len(in_turn.rule.points) == pytest.approx(len(of_all.rule.points), rel=0.1)


@pytest.mark.parametrize("useful", [0, 5, 15])
def test_the_one_chunk_that_helps_is_found(useful: int) -> None:
    """Whichever of 16 chunks holds the only points that help, its turn comes; what nothing helps ends as the optimum."""
    weights = np.ones(32)
    G = np.zeros((2, 32))
    G[:, 2 * useful : 2 * useful + 2] = np.eye(2)
    found = one_level_rule(source(G, weights, [2] * 16), 1e-6, compute, pool=200)
    assert sorted(found.rule.points.tolist()) == [2 * useful, 2 * useful + 1]
    assert found.rule.ended == "tolerance"
    # Full weights of both signs, and an integral that no non-negative rule has.
    signed = np.where(np.arange(32) == 0, -1.0, 1e-3)
    nothing = one_level_rule(source(np.ones((1, 32)), signed, [2] * 16), 1e-6, compute, pool=200)
    assert (nothing.rule.ended, len(nothing.rule.points)) == ("optimum", 0)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=70), normalised=st.booleans(), seed=st.integers(0, 2**32 - 1))
def test_any_chunking_gives_the_same_rule(cuts: list[int], normalised: bool, seed: int) -> None:
    """Passes over chunks of any lengths find the serial rule's points; two levels meet the tolerance with a few points more."""
    G, weights = mixtures(8, sum(cuts), seed, rank=8)
    serial = nnomp(G, weights, 1e-3, normalised=normalised)
    passes = one_level_rule(source(G, weights, cuts), 1e-3, compute, normalised=normalised, pool=1)
    levels = two_level_rule(source(G, weights, cuts), 1e-3, compute, normalised=normalised)
    assert set(passes.rule.points.tolist()) == set(serial.points.tolist())
    for found in (passes, levels):
        assert found.rule.error <= 1e-3
        assert len(found.rule.points) <= 8
        np.testing.assert_allclose(found.integrals.values, G @ weights, atol=backward_error(G.shape) * np.abs(G).max())


def test_points_of_an_earlier_rule_come_first() -> None:
    """A rule that is enriched keeps more of its points than one made anew; chunks that have no use for them propose them, too."""
    G, weights = cube_integrands(7)
    fewer = G.reshape(7, 10, -1)[:5, :8].reshape(40, -1)
    before = two_level_rule(source(np.ascontiguousarray(fewer), weights, [432] * 4), 1e-4, threads).rule.points
    anew, found = (
        two_level_rule(source(G, weights, [432] * 4), 1e-4, threads, initial=first).rule for first in ((), before.tolist())
    )
    assert integration_error(G, weights, found.points, found.weights).relative <= 1.001e-4
    kept, again = (len(np.intersect1d(rule.points, before)) for rule in (found, anew))
    assert kept > again
    assert len(found.points) <= 1.1 * len(anew.points)


def test_strains_and_stresses_are_enough() -> None:
    """Chunks of strains and stresses, whose matrix is never made, give the integrals and a rule as good as the matrix does."""
    G, weights = cube_integrands(5)
    run = cube.reference_run()
    values, vectors = np.linalg.eigh(run.u @ (run.mass @ run.u.T))
    leading = np.argsort(-values)[:5]
    strains = cube.CubeGrid(6).mode_strains(run.u.T @ vectors[:, leading] / np.sqrt(values[leading]))
    stress = np.ascontiguousarray(np.moveaxis(run.sigma[1:], 0, 2))
    chunks = IntegrandSource("cube", row_panels([4] * 432), Work(strains, stress, weights))  # most have no point of the rule
    found = two_level_rule(chunks, 1e-3, compute)
    assert measured_error(chunks, found.rule.points, found.rule.weights, compute).relative <= 1.001e-3
    np.testing.assert_allclose(found.integrals.values, G @ weights, atol=1e-12 * np.linalg.norm(G @ weights))
    assert integration_error(G, weights, found.rule.points, found.rule.weights).relative <= 1.001e-3
    assert len(found.rule.points) == pytest.approx(35, rel=0.1)


def test_a_rule_is_measured_on_states_that_it_has_not_seen() -> None:
    """Made of every other stress state, measured on the others in one read: the error of the kernel, and no small one."""
    G, weights = cube_integrands(7)
    states = G.reshape(7, 10, -1)
    seen, unseen = (np.ascontiguousarray(states[:, start::2].reshape(35, -1)) for start in (1, 0))
    rule = two_level_rule(source(seen, weights, [864] * 2), 1e-4, compute).rule
    errors = [
        measured_error(source(part, weights, [500, 1000, 228]), rule.points, rule.weights, compute) for part in (seen, unseen)
    ]
    assert errors[0].relative == pytest.approx(rule.error, rel=1e-6)
    assert errors[1].relative == pytest.approx(integration_error(unseen, weights, rule.points, rule.weights).relative, rel=1e-9)
    assert 1e-4 < errors[1].relative < 0.1


@pytest.mark.parametrize("search", [two_level_rule, one_level_rule])
def test_the_volume_is_kept(search: Any) -> None:
    """With the volume among the integrands the weights add up to it, in both forms, and so do rules of zero integrals."""
    G, weights = cube_integrands(5)
    assert search(source(G, weights, [432] * 4), 1e-4, compute, volume=True).rule.volume_ratio == pytest.approx(1.0, abs=2e-4)
    odd, ones = np.array([[1.0, -1.0, 2.0, -2.0]]), np.ones(4)
    assert search(source(odd, ones, [2, 2]), 1e-6, compute, volume=True).rule.volume_ratio == pytest.approx(1.0, abs=2e-6)
    with pytest.raises(ValueError, match="all integrals are zero"):
        search(source(odd, ones, [2, 2]), 1e-6, compute)


def test_further_passes_bring_what_the_union_lacks() -> None:
    """Where chunks cancel and leave what each found negligible, the union alone misses it, and a pass finds it."""
    G, weights = np.array([[1.0, 0.0, -1.0], [0.0, 0.05, 0.0]]), np.ones(3)
    found = two_level_rule(source(G, weights, [2, 1]), 0.1, compute)
    assert found.counts == (1, 1)
    assert found.passes > 1
    assert found.rule.points.tolist() == [1]
    assert found.rule.error <= 0.1


def test_a_chunk_without_work_proposes_nothing() -> None:
    """A chunk whose integrals are zero has no point in the first level, and does not hurt the others."""
    G, weights = mixtures(5, 40, 0, rank=5)
    G[:, :20] = 0.0
    found = two_level_rule(source(G, weights, [20, 20]), 1e-6, compute)
    assert found.counts[0] == 0
    assert found.rule.points.min() >= 20
    assert found.rule.error <= 1e-6


def test_bad_days() -> None:
    """A NaN in one chunk and a reader that gives other points are told in one sentence; no rule at the tolerance is a field."""
    G, weights = mixtures(5, 40, 0, rank=5)
    G[2, 30] = np.nan
    for search in (two_level_rule, one_level_rule):
        with pytest.raises(ValueError, match="the integral of row 2 is not finite"):
            search(source(G, weights, [20, 20]), 1e-6, compute)
    short = IntegrandSource("cube", row_panels([20, 20]), lambda panel: PointBlock(StoredIntegrands(G[:, :3]), weights[:3]))
    with pytest.raises(ValueError, match=r"a block of 3 points .* for a panel of 20 points"):
        one_level_rule(short, 1e-6, compute)
    signed = one_level_rule(source(np.array([[1.0, 1.0]]), np.array([-1.0, 0.5]), [1, 1]), 1e-6, compute)
    assert (signed.rule.ended, len(signed.rule.points), signed.rule.error) == ("optimum", 0, 1.0)


def test_graphs_are_trees_that_read_nothing_early() -> None:
    """Builders touch no reader; names group by method and step; a task carries its panel and not the list of all."""
    many = IntegrandSource("cube", row_panels([1] * 200), refuse_to_read)
    visit = Visit(np.ones(3), np.zeros(0, np.int64), 10)
    graphs = {
        "integrals": integrals_graph(many, "aa"),
        "price": price_graph(many, visit, "aa"),
        "local": local_graph(many, 1e-3, "aa"),
        "check": error_graph(many, np.array([3]), np.ones(1), "aa"),
    }
    for method, graph in graphs.items():
        groups = {key_split(key).removesuffix("-cube-aa") for key in dict(graph.graph)}
        assert groups == {f"{method}-shared", f"{method}-leaf", f"{method}-merge", f"{method}-root"}
        (shared,) = [task for key, task in dict(graph.graph).items() if "shared" in key[0]]
        assert shared.value.shared["integrands"].panels == ()
        with pytest.raises(AssertionError, match="while the graph was built"):
            compute(graph)


def test_few_columns_come_up() -> None:
    """A pass brings as many columns as were asked for, one alone with a pool of one, and a residual is all that goes down."""
    G, weights = mixtures(6, 2000, 0)
    chunks = source(G, weights, [20] * 100)
    found = compute(integrals_graph(chunks, "aa"))[integrals_root("cube")]
    for pool, most in ((1, 1), (50, 100), (500, 500)):
        visit = Visit(found.values, np.array([5, 700]), pool)
        best = compute(price_graph(chunks, visit, "aa"))[price_root("cube")]
        assert 0 < len(best.numbers) <= most
        assert not {5, 700} & set(best.numbers.tolist())
        np.testing.assert_array_equal(best.columns, G[:, best.numbers])
    scores = found.values @ G
    scores[[5, 700]] = -np.inf
    one = compute(price_graph(chunks, Visit(found.values, np.array([5, 700]), 1), "aa"))[price_root("cube")]
    assert one.numbers.tolist() == [int(np.argmax(scores))]


def test_threads_change_no_bit() -> None:
    """The first level on one thread and on two gives the same integrals, points and columns."""
    G, weights = cube_integrands(3)
    chunks = source(G, weights, [108] * 16)
    one, two = (run(local_graph(chunks, 1e-3, "aa"))[local_root("cube")] for run in (compute, threads))
    for left, right in ((one.integrals.values, two.integrals.values), (one.candidates.columns, two.candidates.columns)):
        np.testing.assert_array_equal(left, right)
    assert one.counts == two.counts


@pytest.mark.slow
def test_processes_find_the_same_rule() -> None:
    """On a cluster of two worker processes both forms find the rule that they find here."""
    from distributed import Client

    G, weights = cube_integrands(5)
    chunks = source(np.array(G), weights, [432] * 4)
    with real_cluster() as cluster, Client(cluster) as client:

        def run(graph: TaskGraph) -> Mapping[str, Any]:
            return compute(graph, client.get)

        for search in (two_level_rule, one_level_rule):
            here, there = search(chunks, 1e-3, compute), search(chunks, 1e-3, run)
            assert here.rule.points.tolist() == there.rule.points.tolist()
