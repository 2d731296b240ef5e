"""What runs inside workers and the scheduler; a module of its own because it must import distributed at the top.

A block's task carries the context of its run and pass (`context.ANNOTATION`), and its result a tally: what is counted is read off
these when the task ends, so that no kernel and no leaf knows of metrics.
"""

from __future__ import annotations

import logging
from typing import Any

from distributed import SchedulerPlugin, WorkerPlugin

from nwidth.operations import metrics
from nwidth.operations.context import Context, from_annotations
from nwidth.operations.forwarding import KEY, WorkerLog
from nwidth.operations.logging import FIELDS, ROOT
from nwidth_graphs.leaves import Tally


class WorkerOperations(WorkerPlugin):
    """Counts the blocks of a worker, and tells of them."""

    name = "nwidth-operations"
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Called by the worker, in its own process."""
        self.worker = worker
        self.handler = WorkerLog(worker)
        self.logger = logging.getLogger(ROOT)
        self.logger.addHandler(self.handler)
        # Who wants which lines, the blocks' contexts say; a worker that is a thread of the driver shares its logger.
        if self.logger.level == logging.NOTSET:
            self.logger.setLevel(logging.DEBUG)

    def teardown(self, worker: Any) -> None:
        """Called when the worker closes."""
        self.logger.removeHandler(self.handler)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """Called at every change of a task's state; those that interest are few."""
        if start != "executing" or finish not in ("memory", "error"):
            return
        task = self.worker.state.tasks.get(key)
        context = from_annotations(task.annotations) if task is not None else None
        if task is None or context is None:
            return
        if finish == "error":
            self._failed(key, context, str(task.exception_text))
            return
        tally = getattr(self.worker.data.get(key), "tally", None)
        if isinstance(tally, Tally):
            self._done(key, context, tally)

    def _done(self, key: Any, context: Context, tally: Tally) -> None:
        for name, amount in (
            ("nwidth_read_bytes_total", tally.bytes_read),
            ("nwidth_blocks_done_total", tally.blocks),
            ("nwidth_blocks_reused_total", tally.blocks_reused),
            ("nwidth_blocks_unkept_total", tally.blocks_unkept),
            ("nwidth_read_seconds_total", tally.read_seconds),
            ("nwidth_compute_seconds_total", tally.compute_seconds),
        ):
            metrics.add(name, amount, run=context.run, stage=context.stage)
        if tally.blocks_unkept:
            self._tell(key, logging.WARNING, "no room to keep a block's result", blocks=tally.blocks_unkept)
        cost = {"bytes_read": tally.bytes_read, "read_seconds": tally.read_seconds, "compute_seconds": tally.compute_seconds}
        self._tell(key, logging.DEBUG, "block done", blocks=tally.blocks, blocks_reused=tally.blocks_reused, **cost)

    def _failed(self, key: Any, context: Context, error: str) -> None:
        metrics.add("nwidth_blocks_failed_total", 1, run=context.run, stage=context.stage)
        self._tell(key, logging.ERROR, "block failed", error=error)

    def _tell(self, key: Any, level: int, message: str, **fields: Any) -> None:
        logging.getLogger(f"{ROOT}.blocks").log(level, message, extra={FIELDS: fields, KEY: key})


class SchedulerOperations(SchedulerPlugin):
    """Counts the blocks that were given to a worker once more, because theirs had died."""

    name = "nwidth-operations"
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Called by the scheduler."""
        self.scheduler = scheduler
        self.begun: set[Any] = set()

    def transition(self, key: Any, start: Any, finish: Any, *_: Any, stimulus_id: str, **__: Any) -> None:
        """Called at every change of a task's state; a task that moves from worker to worker before it runs makes none."""
        if finish == "forgotten":
            self.begun.discard(key)
        elif finish == "processing":
            task = self.scheduler.tasks.get(key)
            context = from_annotations(getattr(task, "annotations", None))
            if context is None:
                return
            if key in self.begun:
                metrics.add("nwidth_block_retries_total", 1, run=context.run, stage=context.stage)
            self.begun.add(key)
