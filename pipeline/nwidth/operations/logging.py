"""JSON logs: one object per line, with the ids of run, stage and block, from the driver and, forwarded, from workers.

    {"time": "2026-03-01T12:00:00.125Z", "level": "info", "logger": "nwidth.runs", "message": "finished",
     "run": "blade", "run_id": "5f0c...", "stage": "gram", "seconds": 12.5}

The records are the standard library's, on the logger ``nwidth``: a program that has a logging of its own gets them there, and
attaches `JsonFormatter` if it likes. Nothing is written unless somebody asks: a study's ``operations.log``, ``--log-json``, or
``NWIDTH_LOG=json``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError
from nwidth.operations.context import current
from nwidth.operations.redaction import clean, redacted

ROOT = "nwidth"
STDERR = "-"
VARIABLE = "NWIDTH_LOG"
"""``NWIDTH_LOG=json``: a JSON log on stderr, in drivers and in workers that others started."""
FIELDS = "nwidth_fields"
"""Attribute of a record that holds what `log` was given beside the message."""

# A library is silent where nobody listens; without this, Python prints warnings of such loggers on stderr.
logging.getLogger(ROOT).addHandler(logging.NullHandler())


def log(logger: str, message: str, fields: Mapping[str, Any] | None = None, *, level: int = logging.INFO) -> None:
    """Log an event of ours with its fields; ids come from the context.

    Parameters
    ----------
    logger : name below ``nwidth``, as in ``"runs"``
    """
    logging.getLogger(f"{ROOT}.{logger}").log(level, message, extra={FIELDS: dict(fields or {})})


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        return json.dumps(as_fields(record), default=str)


def as_fields(record: logging.LogRecord) -> dict[str, Any]:
    """What a record says, ready for JSON; every text in it is `redacted`."""
    context, time = current(), datetime.fromtimestamp(record.created, UTC)
    ids = {"run": context.run, "run_id": context.run_id, "stage": context.stage}
    said: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": redacted(record.getMessage()),
        **{name: value for name, value in ids.items() if value},
        **clean(getattr(record, FIELDS, {})),
    }
    if record.exc_info and record.exc_info[1] is not None:
        said["error"] = redacted(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
        said["traceback"] = redacted(logging.Formatter().formatException(record.exc_info))
    return said


def wanted(target: str) -> str:
    """Where a log goes: as asked, else as the environment says; empty for nowhere.

    Raises
    ------
    ConfigError
        The environment asks for another format.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", "json"):
        raise ConfigError(f"{VARIABLE} = {asked!r} is no format of logs; set it to json, or unset it")
    return target or (STDERR if asked else "")


@contextmanager
def json_log(target: str, level: str = "info") -> Iterator[None]:
    """Write what is logged in the block, by any thread, to a file (appended), or to stderr (`target` is ``-``); empty: nowhere.

    Raises
    ------
    ConfigError
        The file cannot be written.
    """
    if not target:
        yield
        return
    logger, handler = logging.getLogger(ROOT), _handler(target)
    handler.setFormatter(JsonFormatter())
    handler.setLevel(level.upper())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(handler.level, before or handler.level))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()


def _handler(target: str) -> logging.Handler:
    if target == STDERR:
        return logging.StreamHandler(sys.stderr)
    try:
        return logging.FileHandler(Path(target), encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"the log {target!r} cannot be written: {error.strerror}; give a file in a folder that exists, or - for stderr"
        ) from None
