"""Which run and pass this is: context variables of the driver, which travel to workers as annotations of the blocks' tasks.

driver: working(run) > in_stage(stage)  ──annotation──>  leaf task ──> metrics and log lines of the worker that computes it
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from typing import Any

ANNOTATION = "nwidth"
"""Key of a task's annotations under which the context of its block stands."""


@dataclass(frozen=True)
class Context:
    """Where something happened."""

    run: str = ""
    """Name of the study; empty outside of runs (``nw.pod`` in a notebook)."""
    run_id: str = ""
    """Of this very run, for log lines: two drivers of one study on one cluster are told apart."""
    stage: str = ""
    """Name of the pass."""
    forward: int = 0
    """Least level of log records that the driver wants from workers, as in `logging`; 0: none."""

    def as_annotation(self) -> dict[str, Any]:
        """What travels with every block."""
        return asdict(self)


_CONTEXT: ContextVar[Context] = ContextVar("nwidth_context", default=Context())  # noqa: B039 (never changed in place)


def current() -> Context:
    """The context of this thread."""
    return _CONTEXT.get()


def from_annotations(annotations: Mapping[str, Any] | None) -> Context | None:
    """The context that a task's annotations carry; None where it is no block of ours."""
    found = (annotations or {}).get(ANNOTATION)
    if not isinstance(found, Mapping):
        return None
    known = {name: found[name] for name in Context.__dataclass_fields__ if name in found}
    return Context(**known)


@contextmanager
def working(run: str, forward: int = 0) -> Iterator[Context]:
    """The block is a run of the study `run`; `forward` as in `Context`."""
    with _within(Context(run, uuid.uuid4().hex[:12], forward=forward)) as context:
        yield context


@contextmanager
def in_stage(stage: str) -> Iterator[Context]:
    """The block is a pass of the run that is at work."""
    with _within(replace(current(), stage=stage)) as context:
        yield context


@contextmanager
def _within(context: Context) -> Iterator[Context]:
    token = _CONTEXT.set(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)
