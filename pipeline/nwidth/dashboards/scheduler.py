"""What a Dask scheduler says of its tasks: how many of each name are waiting, at work, done; asked without a client.

The tasks of a pass are named for people, ``gram-leaf``, ``gram-merge-l1``: their counts say how far it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class TaskGroup:
    """The tasks of one name."""

    name: str
    waiting: int
    processing: int
    done: int
    """In memory, or released again."""
    erred: int


@dataclass(frozen=True)
class SchedulerView:
    """What a scheduler answered, or why it did not."""

    address: str
    groups: tuple[TaskGroup, ...] = ()
    words: str = ""
    """Why there are no groups; empty where there are."""


async def ask_scheduler(address: str, seconds: float = ANSWER_SECONDS) -> SchedulerView:
    """Ask a scheduler for its task groups; one that does not answer in time is said to be away."""
    from distributed.core import rpc

    try:
        async with asyncio.timeout(seconds), rpc(address) as scheduler:
            states = await scheduler.get_task_prefix_states()
    except (OSError, ValueError, TimeoutError):  # away, no address, or slow
        return SchedulerView(address, words="the scheduler does not answer")
    return SchedulerView(address, groups_of(states), "" if states else "the scheduler has no tasks")


def groups_of(states: Mapping[str, Mapping[str, int]]) -> tuple[TaskGroup, ...]:
    """Groups of tasks, those at work first. Pure."""
    groups = [
        TaskGroup(
            str(name),
            waiting=int(counts.get("waiting", 0)),
            processing=int(counts.get("processing", 0)),
            done=int(counts.get("memory", 0)) + int(counts.get("released", 0)),
            erred=int(counts.get("erred", 0)),
        )
        for name, counts in states.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-group.processing, -group.waiting, group.name)))
