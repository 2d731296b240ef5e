"""The model of a pass on many workers: its parts by hand, its limits, and what it says of a thousand workers."""

from __future__ import annotations

import pytest

from nwidth_graphs.scaling import Machine, PassWork, pass_seconds
from nwidth_graphs.topology import FAN_IN

MACHINE = Machine(storage_rate=1e9, link_rate=1e9, decode_rate=1e9, flop_rate=1e10, task_seconds=1e-3, start_seconds=2.0)


def test_a_pass_by_hand() -> None:
    """100 blocks of 1e8 bytes on 8 threads: 13 rounds of a tenth of a second and of half a second, and two levels to go up."""
    work = PassWork(100, stored_bytes=5e9, decoded_bytes=1e10, flops=5e11, result_bytes=1e6, merge_flops=1e8)
    made = pass_seconds(work, MACHINE, threads=8)
    assert made.read == 5.0
    assert made.compute == pytest.approx(13 * (0.1 + 0.5))
    assert made.schedule == pytest.approx(0.1 + 1e-3)  # one window, one result
    assert made.tree == pytest.approx(3 * (FAN_IN * 1e-3 + 1e-2))
    assert made.total == made.start + made.compute + made.tree
    assert made.limit == "compute"


@pytest.mark.parametrize(("threads", "limit"), [(1, "compute"), (10_000, "read")])
def test_few_threads_compute_and_many_wait_for_the_storage(threads: int, limit: str) -> None:
    """With more threads computing shrinks, and reading does not."""
    work = PassWork(100_000, stored_bytes=1e12, decoded_bytes=1e12, flops=1e14, result_bytes=1e5)
    assert pass_seconds(work, MACHINE, threads).limit == limit


def test_many_small_blocks_wait_for_the_scheduler() -> None:
    """Blocks of a millisecond on 100 threads are the scheduler's limit: more threads change nothing."""
    work = PassWork(100_000, stored_bytes=1e9, decoded_bytes=1e9, flops=1e12, result_bytes=1e3)
    made = [pass_seconds(work, MACHINE, threads) for threads in (100, 128)]
    assert [one.limit for one in made] == ["schedule", "schedule"]
    assert made[0].schedule == made[1].schedule


def test_tasks_of_several_blocks_move_the_limit() -> None:
    """On a thousand threads the scheduler of a large pass has an eighth of the tasks, and is not the limit."""
    work = PassWork(60_000, stored_bytes=1e12, decoded_bytes=4e12, flops=2.4e14, result_bytes=5e6)
    made = pass_seconds(work, Machine(storage_rate=1e12), threads=1000)
    assert made.limit == "compute"
    assert made.schedule < 60_000 * Machine(1.0).task_seconds / 7
