"""What a block costs driver and scheduler: little, and the same however many blocks there are."""

from __future__ import annotations

import pytest

from nwidth.windows import IN_FLIGHT
from nwidth.workers import executor_of, local_cluster
from nwidth_graphs.topology import MIN_WINDOW_LEAVES, tree_tasks
from nwidth_graphs.trees import SHARED_TASKS
from tests.scale.__main__ import line
from tests.scale.hive import simulated_cluster
from tests.scale.simulation import measure

TARGET_SECONDS = 5e-3
"""Of driver and scheduler, per block."""
MOST_TASKS = (IN_FLIGHT + 1) * tree_tasks(MIN_WINDOW_LEAVES) + SHARED_TASKS
"""Windows in flight, and one that is being forgotten."""
MIB = 2**20


def test_a_simulated_cluster_computes_a_pass() -> None:
    """Eight sleeping workers in one process share a pass of two windows: its line of the table, and few tasks at a time."""
    with simulated_cluster(8) as client:
        made = measure(executor_of(client), 2 * MIN_WINDOW_LEAVES, 0.0)
    assert (made.workers, made.blocks) == (8, 1024)
    assert made.cpu_per_block < TARGET_SECONDS
    assert 0 < made.most_tasks <= MOST_TASKS
    assert line(made).startswith("| 8 | 1,024 | 0 |")


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("blocks", [10_000, 100_000])
def test_many_blocks_cost_what_few_do(blocks: int) -> None:
    """On two real workers: below 5 ms of driver and scheduler per block, flat, with few tasks at a time and little memory."""
    with local_cluster(2, 1, 2**30) as executor:
        few = measure(executor, 1_000, 0.0)
        many = measure(executor, blocks, 0.0)
    assert many.cpu_per_block < TARGET_SECONDS
    # Processor time of one program on a machine that others use varies by half.
    assert many.cpu_per_block < 2 * few.cpu_per_block
    assert many.most_tasks <= MOST_TASKS
    # The list of panels, 0.6 kB each, and the scheduler's logs of bounded length.
    assert many.peak_growth_bytes < 32 * MIB + 1000 * blocks


@pytest.mark.slow
def test_workers_share_a_pass_evenly() -> None:
    """Four times as many workers take at most 0.4 times as long, where a block takes much longer than its scheduling."""
    seconds = {}
    for workers in (2, 8):
        with simulated_cluster(workers) as client:
            executor = executor_of(client)
            measure(executor, 2 * workers, 0.0)
            seconds[workers] = measure(executor, 64, 0.3).seconds
    assert seconds[8] < 0.4 * seconds[2]
