"""What runs and stages call: a run, a pass, a basis, an indicator, each told once to metrics, log and spans.

with observed(study):              the run
    with observed_pass("gram"):    a pass; `passed` says what it cost
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nwidth.operations import metrics
from nwidth.operations.context import ANNOTATION, current, in_stage, working
from nwidth.operations.forwarding import receive
from nwidth.operations.logging import STDERR, json_log, log, wanted
from nwidth.operations.tracing import Span, span, tracing

if TYPE_CHECKING:
    from pathlib import Path

    from nwidth.config import Study
    from nwidth_graphs.trees import TaskGraph


@dataclass
class Observed:
    """A run at work, as operators see it."""

    run: str
    outcome: str = ""
    span: Span = field(default_factory=Span)

    def ended(self, outcome: str, bases: Mapping[str, Mapping[str, Any]]) -> None:
        """The run did what it should: `outcome` as in its result, with the manifest's entries of its bases."""
        self.outcome = outcome
        self.span.tell({"outcome": outcome})
        for basis, entry in bases.items():
            metrics.put("nwidth_basis_rank", entry["rank"], run=self.run, basis=basis)
            error = entry["certificate"]["frobenius_error"]
            metrics.put("nwidth_basis_relative_error", error, run=self.run, basis=basis)

    def indicated(self, statistics: Mapping[str, float] | None) -> None:
        """A prediction has an error indicator: statistics of it by name, ``median``, ``q95``, ``largest``."""
        for name, value in (statistics or {}).items():
            metrics.put("nwidth_indicator", value, run=self.run, statistic=name)


_STANDING: ContextVar[bool] = ContextVar("nwidth_standing", default=False)


@contextmanager
def standing(study: Study) -> Iterator[int]:
    """Log, endpoint and spans of a study for longer than one run (a watch); yields the port of the metrics, 0 without one.

    Raises
    ------
    ConfigError
        As `observed`.
    """
    if _STANDING.get():
        yield 0
        return
    asked = study.operations
    with ExitStack() as stack:
        stack.enter_context(json_log(_log_of(study), asked.log_level))
        stack.enter_context(tracing(asked.traces, study.run_folder))
        port = stack.enter_context(metrics.served(asked.metrics_port)) if asked.metrics_port else 0
        stack.callback(_STANDING.reset, _STANDING.set(True))
        yield port


@contextmanager
def observed(study: Study) -> Iterator[Observed]:
    """A run of a study; what it asks for in ``[operations]`` is there for the duration of the block.

    Raises
    ------
    ConfigError
        Before any work: a package is missing, a port is taken, a file cannot be written.
    """
    asked, run = study.operations, study.study.name
    file = metrics.text_file(study.folder / asked.metrics_folder, run) if asked.metrics_folder else None
    with ExitStack() as stack:
        stack.enter_context(standing(study))
        stack.enter_context(working(run, forward=_level(asked.log_level) if _log_of(study) else 0))
        seen = Observed(run)
        stack.enter_context(_timed(seen, file))
        seen.span = stack.enter_context(span("nwidth.run", run=run, run_id=current().run_id))
        yield seen


def _log_of(study: Study) -> str:
    given = study.operations.log
    return wanted(given if given in ("", STDERR) else str(study.folder / given))


def _level(name: str) -> int:
    return int(logging.getLevelNamesMapping()[name.upper()])


@contextmanager
def _timed(seen: Observed, file: Path | None) -> Iterator[None]:
    """Measure the run, count it by its outcome, and leave the numbers in the file."""
    started = time.perf_counter()
    try:
        yield
    except BaseException:
        seen.outcome = "failed"
        raise
    finally:
        metrics.put("nwidth_run_failed", seen.outcome == "failed", run=seen.run)
        metrics.put("nwidth_run_ended_timestamp_seconds", time.time(), run=seen.run)
        metrics.put("nwidth_run_seconds", time.perf_counter() - started, run=seen.run)
        metrics.add("nwidth_runs_total", 1, run=seen.run, outcome=(seen.outcome or "done").replace(" ", "_"))
        if file is not None:
            _leave(file)


def _leave(file: Path) -> None:
    try:
        metrics.written(file)
    except OSError as error:  # the results are there; only their numbers find no place
        log("metrics", "metrics not written", {"file": str(file), "error": error.strerror}, level=logging.WARNING)


@contextmanager
def observed_pass(name: str) -> Iterator[Passing]:
    """A pass of the run that is at work."""
    with in_stage(name) as context, span(f"nwidth.stage {name}", run=context.run, stage=name) as made:
        log("stages", "pass begins")
        yield Passing(name, made)


@dataclass(frozen=True)
class Passing:
    """A pass at work."""

    name: str
    span: Span

    def done(self, cost: Mapping[str, Any]) -> None:
        """What it cost: seconds, bytes_read, blocks, blocks_reused, blocks_unkept, peak_bytes, ... as `PassMeasure` has them."""
        labels = {"run": current().run, "stage": self.name}
        for metric, name in (
            ("nwidth_pass_seconds", "seconds"),
            ("nwidth_pass_read_bytes", "bytes_read"),
            ("nwidth_pass_blocks", "blocks"),
            ("nwidth_pass_blocks_reused", "blocks_reused"),
            ("nwidth_pass_peak_memory_bytes", "peak_bytes"),
        ):
            metrics.put(metric, cost[name], **labels)
        told = {name: value for name, value in cost.items() if isinstance(value, int | float)}
        self.span.tell(told)
        log("stages", "pass done", told)


def attach(client: Any) -> None:
    """Let the workers and the scheduler of a cluster count and tell; the same cluster twice does no harm."""
    from nwidth.operations.plugins import SchedulerOperations, WorkerOperations

    client.register_plugin(WorkerOperations())
    client.register_plugin(SchedulerOperations())
    receive(client)


def labelled(graph: TaskGraph, name: str) -> TaskGraph:
    """The pass with the context of its run on the tasks of its blocks, so that workers know whose they are."""
    with in_stage(name) as context:
        return replace(graph, annotations={**graph.annotations, ANNOTATION: context.as_annotation()})
