"""Log lines of workers on their way to the driver: Dask events under one topic, of which a driver takes those of its run.

worker: record ──as_fields──> {...} ──log_event──> scheduler ──subscription──> driver: the same record, on its own logger

An event is sent before the end of the task that made it, by the same stream: when a pass has its result, its lines are there.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime
from typing import Any

from nwidth.operations.context import Context, current, from_annotations
from nwidth.operations.logging import FIELDS, ROOT, VARIABLE, as_fields

TOPIC = "nwidth-log"
KEY = "nwidth_key"
"""Attribute of a record that names the task it is about, where that is not the one that its thread computes."""
_OWN = ("time", "level", "logger", "message")


class WorkerLog(logging.Handler):
    """Of a worker: sends records of blocks to the driver that wants them, and writes all to stderr where the environment asks."""

    def __init__(self, worker: Any) -> None:
        super().__init__()
        self.worker = worker
        self.writes = os.environ.get(VARIABLE) == "json"

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        try:
            context, block = self._place(record)
            # By JSON and back: what travels is plain values, whatever a record was given.
            said = json.loads(json.dumps(as_fields(record), default=str))
            ids = {"run": context.run, "run_id": context.run_id, "stage": context.stage}
            line = {**said, **{name: value for name, value in ids.items() if value}, **block, "worker": self.worker.address}
            # What no block said is not sent: where driver and worker are one process, the driver has it already.
            if block and context.forward and record.levelno >= context.forward:
                self.worker.log_event(TOPIC, line)
            if self.writes and record.levelno >= logging.INFO:
                sys.stderr.write(json.dumps(line) + "\n")
        except Exception:
            # A line that cannot be sent must not end a block.
            self.handleError(record)

    def _place(self, record: logging.LogRecord) -> tuple[Context, dict[str, Any]]:
        """Context and block of a record: of the task that the record names, or that this thread is computing."""
        from distributed import worker as module

        thread_state: Any = getattr(module, "thread_state", None)  # of distributed, which exports it without saying so
        key = getattr(record, KEY, getattr(thread_state, "key", None))
        task = self.worker.state.tasks.get(key)
        context = None if task is None else from_annotations(task.annotations)
        return (current(), {}) if context is None else (context, block_ids(key))


def block_ids(key: Any) -> dict[str, Any]:
    """The ids of a block from the key of its task: number of the task in its pass, and the task's name."""
    name, number = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    return {"task": str(name), **({"block": number} if isinstance(number, int) else {})}


def receive(client: Any) -> None:
    """Put the log lines of workers into this process's log, as far as they belong to the run that is at work now."""
    context = current()
    if context.forward:
        client.subscribe_topic(TOPIC, Receiver(context))


class Receiver:
    """Takes the events of one run."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def __call__(self, event: tuple[float, Any]) -> None:
        """One event: (when the scheduler had it, what a worker said)."""
        _, said = event
        if isinstance(said, dict) and said.get("run_id") == self.context.run_id:
            logging.getLogger(ROOT).handle(as_record(said))


def as_record(said: dict[str, Any]) -> logging.LogRecord:
    """The record that a worker had, with its own time."""
    level = logging.getLevelName(str(said["level"]).upper())
    return logging.makeLogRecord(
        {
            "name": said["logger"],
            "msg": said["message"],
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "created": datetime.fromisoformat(said["time"]).timestamp(),
            FIELDS: {name: value for name, value in said.items() if name not in _OWN},
        }
    )
