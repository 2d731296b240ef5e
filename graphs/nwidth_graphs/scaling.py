"""How long a pass takes on many workers: the largest of what it needs from storage, from threads, and from the one scheduler.

    T = start + max(read, compute, schedule) + tree

    read      stored bytes / rate of the storage                                    shared by all
    compute   ceil(tasks / threads) x blocks per task x (decode + arithmetic of one block)
    schedule  tasks x seconds of driver and scheduler per task + tops of windows / rate of the driver's link
    tree      levels x (FAN_IN results over a link + one merge)                     the way up of the last block

docs/explanation/scale.md has the constants as they were measured, and predictions. Pure arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass

from nwidth_graphs.topology import FAN_IN, blocks_per_task, height, window_leaves


@dataclass(frozen=True)
class Machine:
    """Rates of a cluster. The defaults are measured ones (docs/explanation/scale.md); storage and links are its own."""

    storage_rate: float
    """Bytes per second that the storage gives to all workers together."""
    link_rate: float = 1.25e9
    """Bytes per second from one worker to another, or to the driver."""
    decode_rate: float = 1.2e9
    """Decoded bytes per second of one thread, reading from a warm cache included."""
    flop_rate: float = 4.5e10
    """Floating-point operations per second of one thread."""
    task_seconds: float = 1.2e-3
    """Driver and scheduler, per leaf task with its share of the merges."""
    start_seconds: float = 3.0
    """Opening, planning, and the first connections."""


@dataclass(frozen=True)
class PassWork:
    """What a pass has to do."""

    blocks: int
    stored_bytes: float
    decoded_bytes: float
    flops: float
    result_bytes: float
    """Of one leaf or merge."""
    merge_flops: float = 0.0
    """Of one merge."""


@dataclass(frozen=True)
class PassSeconds:
    """A prediction, by its parts."""

    start: float
    read: float
    compute: float
    schedule: float
    tree: float

    @property
    def total(self) -> float:
        """Seconds of the pass."""
        return self.start + max(self.read, self.compute, self.schedule) + self.tree

    @property
    def limit(self) -> str:
        """Which of the three is the largest."""
        return max(("read", self.read), ("compute", self.compute), ("schedule", self.schedule), key=lambda part: part[1])[0]


def pass_seconds(work: PassWork, machine: Machine, threads: int) -> PassSeconds:
    """Predict one pass on `threads` threads."""
    per_task = blocks_per_task(work.blocks, threads)
    tasks = -(-work.blocks // per_task)
    block_seconds = work.decoded_bytes / work.blocks / machine.decode_rate + work.flops / work.blocks / machine.flop_rate
    windows = -(-work.blocks // (window_leaves(threads) * per_task))
    levels = height(work.blocks)
    return PassSeconds(
        start=machine.start_seconds,
        read=work.stored_bytes / machine.storage_rate,
        compute=-(-tasks // threads) * min(per_task, work.blocks) * block_seconds,
        schedule=tasks * machine.task_seconds + windows * work.result_bytes / machine.link_rate,
        tree=levels * (FAN_IN * work.result_bytes / machine.link_rate + work.merge_flops / machine.flop_rate),
    )
