"""Where blocks are computed: devices that copy, leaves that run on foreign arrays, and the split of a pool with its limits."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth_graphs import placement
from nwidth_graphs.factor import factor_graph, factor_root
from nwidth_graphs.kernels.gram import EPS
from nwidth_graphs.lifting import Lift, lift_graph, lift_root
from nwidth_graphs.pool import (
    DEVICE_SLOT,
    HOST_SLOT,
    IN_TRANSIT,
    Placement,
    Rates,
    Split,
    Way,
    blocks_held,
    pass_seconds,
    split_blocks,
    ways,
)
from nwidth_graphs.reduction import GRAM, TSQR, Reduction
from nwidth_graphs.sketch import Sketch, sketch_graph, sketch_root
from tests.graphs.problems import compute, source_of

SECONDS = st.floats(1e-4, 10.0)
RATES = st.builds(Rates, *[SECONDS] * 6)


def matrix(n: int = 3000, m: int = 8) -> Any:
    return np.random.default_rng(3).standard_normal((n, m))


@pytest.mark.parametrize("name", ["cpu", "strict"])
def test_a_device_brings_back_what_it_was_given(name: str) -> None:
    """Either order of memory and either precision survive the way there and back, and `to_host` knows where an array lies."""
    device = placement.device_named(name)
    for given_array in (matrix(), matrix().T, matrix().astype(np.float32), matrix()[::2]):
        there = device.to_device(given_array)
        device.wait()
        np.testing.assert_array_equal(placement.to_host(there), given_array)
        assert isinstance(device.to_host(there), np.ndarray)


def test_the_stand_in_is_foreign_and_a_copy() -> None:
    """Its arrays refuse NumPy's own operations, and do not change when the reader's buffer is used again."""
    values = matrix(4)
    there = placement.device_named("strict").to_device(values)
    values[:] = 0.0
    assert placement.to_host(there).any()
    with pytest.raises(TypeError):
        _ = there @ values


def test_an_unknown_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt device is refused with those that there are."""
    monkeypatch.setenv(placement.DEVICE_VARIABLE, "gpu")
    with pytest.raises(ValueError, match="NWIDTH_DEVICE = 'gpu': write one of cpu, cuda, strict"):
        placement.current_device()


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)
def test_every_leaf_runs_on_foreign_arrays(reduction: Reduction, centre: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Factor, lift and sketch on arrays that are not NumPy's equal those of the host to rounding, masked rows among them."""
    values = matrix()
    values[17] = np.nan
    source = source_of(values, [700] * 4 + [200], centre=centre)
    written: dict[str, dict[int, Any]] = {"cpu": {}, "strict": {}}
    found: dict[str, tuple[Any, Any, Any]] = {}
    for device in ("cpu", "strict"):
        monkeypatch.setenv(placement.DEVICE_VARIABLE, device)

        def write(panel: Any, modes: Any, mean: Any, device: str = device) -> None:
            written[device][panel.index] = (modes, mean)

        factor = compute(factor_graph([source], reduction, "aa"))[factor_root("u", reduction)]
        test = np.eye(8)[:, :3]
        lifted = compute(lift_graph([Lift(source, test, np.ones((3, 8)), write)], "aa"))[lift_root("u")]
        sketched = compute(sketch_graph([Sketch(source, test)], "aa"))[sketch_root("u")]
        found[device] = factor, lifted, sketched
        assert [part.tally.blocks_on_device for part in found[device]] == [5 * (device == "strict")] * 3
    # Sums of n products in another order: n eps |x| |y| for columns x and y.
    bound: Any = {"rtol": 0.0, "atol": 3000 * EPS * float((np.nan_to_num(values) ** 2).sum(axis=0).max())}
    (here, lift_here, sketch_here), (there, lift_there, sketch_there) = found["cpu"], found["strict"]
    np.testing.assert_allclose(there.factor, here.factor, **bound)
    np.testing.assert_allclose(lift_there.sums.coefficients, lift_here.sums.coefficients, **bound)
    np.testing.assert_allclose(lift_there.sums.residual_squares, lift_here.sums.residual_squares, **bound)
    np.testing.assert_allclose(sketch_there.sums.image, sketch_here.sums.image, **bound)
    for panel, (modes, mean) in written["cpu"].items():
        np.testing.assert_allclose(written["strict"][panel][0], modes, **bound)
        assert np.isnan(modes).any() == (panel == 0)
        if centre:
            np.testing.assert_allclose(written["strict"][panel][1], mean, **bound)


def test_without_a_gpu_worker_nothing_leaves_the_host() -> None:
    """No GPU worker: all blocks whole on the host; no CPU worker: all whole on the device."""
    rates = Rates(1.0, 1.0, 1.0, 0.1, 0.1, 0.1)
    assert split_blocks(rates, 4, 0, 100) == Split(100, 0, 0)
    assert split_blocks(rates, 0, 2, 100) == Split(0, 100, 0)


def test_an_infinitely_fast_device_takes_all_products() -> None:
    """Where the host multiplies for ever and the device at once, no product stays on the host."""
    split = split_blocks(Rates(1.0, 1e3, 1.0, 0.0, 0.0, 0.0), 4, 1, 100)
    assert split.host == 0
    # Four threads decode for it, and its own two, each as much as the other.
    assert split.shipped == pytest.approx(400 / 6, abs=1)


def test_a_slow_network_ships_nothing() -> None:
    """Where shipping takes longer than all the rest, or is impossible, blocks are whole on either side."""
    for ship in (1e9, math.inf):
        split = split_blocks(Rates(1.0, 1.0, 1.0, 0.0, 0.0, ship), 2, 1, 90)
        assert (split.host, split.device, split.shipped) == (30, 60, 0)


def test_a_gpu_host_that_decodes_slowly_is_shipped_to() -> None:
    """Where the host of the GPU hardly decodes and products are dear on CPU workers, almost all blocks are shipped."""
    split = split_blocks(Rates(0.1, 100.0, 1e4, 0.01, 0.01, 0.01), 4, 1, 1000)
    assert split.shipped >= 990
    assert split.device == 0


@given(RATES, st.integers(0, 64), st.integers(0, 8), st.integers(1, 500))
def test_no_neighbouring_split_is_faster(rates: Rates, n_cpu: int, n_gpu: int, n_blocks: int) -> None:
    """Blocks add up, and moving a share of them from one way to another never ends the pass sooner than rounding explains."""
    if n_cpu + n_gpu == 0:
        return
    split = split_blocks(rates, n_cpu, n_gpu, n_blocks)
    assert split.n_blocks == n_blocks
    assert min(split.host, split.device, split.shipped) >= 0
    if n_cpu == 0 or n_gpu == 0:
        return
    found = pass_seconds(rates, split, n_cpu, n_gpu)
    counts = [split.host, split.device, split.shipped]
    # Whole blocks: each of the three counts is off by at most one, on the scarcest of what a block needs.
    slack = 3 * max(pass_seconds(rates, Split(*(int(way == w) for w in range(3))), n_cpu, n_gpu) for way in range(3))
    for source in range(3):
        for target in range(3):
            for moved in {1, counts[source] // 4, counts[source] // 2, counts[source]} - {0}:
                other = list(counts)
                other[source] -= moved
                other[target] += moved
                if min(other) >= 0:
                    assert found <= pass_seconds(rates, Split(*other), n_cpu, n_gpu) * (1 + 1e-5) + slack


def test_senseless_rates_are_refused() -> None:
    """No workers, a negative time, or no way at all is said."""
    rates = Rates(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="a split needs workers"):
        split_blocks(rates, 0, 0, 1)
    with pytest.raises(ValueError, match="not negative"):
        split_blocks(Rates(-1.0, 1.0, 1.0, 1.0, 1.0, 1.0), 1, 1, 1)
    with pytest.raises(ValueError, match="no way of a block has finite times"):
        split_blocks(Rates(*[math.inf] * 6), 1, 1, 1)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2))
def test_ways_are_spread_evenly(host: int, device: int, shipped: int, rounds: int) -> None:
    """Every way gets its blocks exactly, the same on every call, and every prefix its share to within two blocks."""
    split = Split(host, device, shipped)
    first = [way for way, count in zip(Way, (host, device, shipped), strict=True) if count >= rounds] * rounds
    found = ways(split, split.n_blocks, first if len(first) <= split.n_blocks else ())
    assert found == ways(split, split.n_blocks, first if len(first) <= split.n_blocks else ())
    counts = Counter(found)
    assert sum(counts.values()) == split.n_blocks
    if rounds == 0:
        assert (counts[Way.HOST], counts[Way.DEVICE], counts[Way.SHIPPED]) == (host, device, shipped)
        for way, count in zip(Way, (host, device, shipped), strict=True):
            for length in range(1, split.n_blocks + 1):
                share = length * count / split.n_blocks
                assert abs(found[:length].count(way) - share) < 2
    else:
        assert found.startswith(bytes(first)) or len(first) > split.n_blocks


@pytest.mark.parametrize("reduction", [GRAM, TSQR], ids=lambda reduction: reduction.name)
def test_a_split_changes_no_bit_on_the_host(reduction: Reduction) -> None:
    """Whichever way its blocks go, a pass reads every byte once and gives the same bits where all arithmetic is the host's."""
    source = source_of(matrix(), [60] * 50)
    plain = factor_graph([source], reduction, "aa")
    placed = plain.placed(Placement({0: ways(Split(15, 15, 20), 50)}, IN_TRANSIT))
    here, there = (compute(graph)[factor_root("u", reduction)] for graph in (plain, placed))
    np.testing.assert_array_equal(there.factor, here.factor)
    assert there.tally.bytes_read == here.tally.bytes_read == matrix().nbytes
    assert (there.tally.blocks, there.tally.blocks_shipped, here.tally.blocks_shipped) == (50, 20, 0)
    assert placed.n_tasks == len(placed.graph)


def test_blocks_ask_for_their_workers() -> None:
    """Whole blocks ask for a slot of their kind, a shipped one for one of each; merges and tickets ask for nothing."""
    graph: Any = factor_graph([source_of(matrix(), [100] * 30)], GRAM, "aa").placed(
        Placement({0: ways(Split(10, 10, 10), 30)}, IN_TRANSIT)
    )
    asked = {
        key: ask
        for layer in graph.graph.layers.values()
        if layer.annotations
        for key in layer
        if (ask := layer.annotations["resources"](key))
    }
    kinds = Counter((key[0].split("-")[1], *ask) for key, ask in asked.items())
    assert kinds == {("leaf", HOST_SLOT): 10, ("leaf", DEVICE_SLOT): 20, ("read", HOST_SLOT): 10}


@pytest.mark.parametrize("in_transit", [1, 2, 4])
def test_few_blocks_are_on_their_way(in_transit: int) -> None:
    """The read of a shipped block waits for the ticket of an earlier one: at most so many are between worker and worker."""
    graph = factor_graph([source_of(matrix(), [100] * 30)], GRAM, "aa").placed(
        Placement({0: bytes([Way.SHIPPED]) * 30}, in_transit)
    )
    tasks = dict(graph.graph)
    reads = sorted((key for key in tasks if "-read-" in key[0]), key=lambda key: key[1])
    for earlier, read in zip(reads, reads[in_transit:], strict=False):
        (ticket,) = [key for key in tasks[read].dependencies if "-ticket-" in key[0]]
        assert ticket[1] == earlier[1]
        (leaf,) = tasks[ticket].dependencies
        assert {key for key in tasks[leaf].dependencies if "-read-" in key[0]} == {earlier}
    assert all(later[1] - earlier[1] == 1 for earlier, later in pairwise(reads))
    assert sum(any("-ticket-" in key[0] for key in tasks[read].dependencies) for read in reads) == 30 - in_transit


def test_memory_counts_what_is_on_its_way() -> None:
    """A worker without a device holds a block per thread; with one, a staged copy of each; in a pool, those in transit, too."""
    assert [blocks_held(2, device) for device in ("cpu", "cuda", "pool")] == [2, 4, 4 + IN_TRANSIT]
