"""Spans of runs and passes, collected by the SDK's own in-memory exporter; none unless asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.config import Study
from nwidth.errors import ConfigError, RunError
from nwidth.operations.tracing import span, tracing
from nwidth.runs import run
from tests.runs.studies import add_run, snapshots_of, study_of

pytest.importorskip("opentelemetry.sdk")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    add_run(tmp_path / "store.zarr", "a", {"T": snapshots_of(2000, 8, decades=3)})
    return tmp_path / "store.zarr"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The process's tracer provider, with an exporter that keeps what it is given."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, kept = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    # A process has one provider for good; this one is for the test.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield kept
    provider.shutdown()


def traced(folder: Path, store: Path, address: str, traces: str) -> Study:
    found = study_of(folder, store, address, reduce={"rank": 3, "route": "gram"})
    return found.model_copy(update={"operations": found.operations.model_copy(update={"traces": traces})})


def test_a_run_is_a_span_and_its_passes_are_its_children(tmp_path: Path, store: Path, scheduler: str, exporter: Any) -> None:
    """With the process's own provider: one trace, the passes below the run in their order, with what they cost."""
    result = run(traced(tmp_path, store, scheduler, "provider"))
    gram, lift, whole = exporter.get_finished_spans()
    assert [made.name for made in (gram, lift, whole)] == ["nwidth.stage gram", "nwidth.stage lift", "nwidth.run"]
    assert gram.parent.span_id == lift.parent.span_id == whole.context.span_id
    assert whole.parent is None
    assert whole.attributes["nwidth.run"] == "s"
    assert whole.attributes["nwidth.outcome"] == "done"
    measure = result.measured["passes"][0]
    assert gram.attributes["nwidth.bytes_read"] == measure["bytes_read"]
    assert gram.attributes["nwidth.blocks"] == measure["blocks"]
    assert whole.start_time <= gram.start_time <= gram.end_time <= lift.start_time <= whole.end_time


def test_no_span_unless_asked_for(tmp_path: Path, store: Path, scheduler: str, exporter: Any) -> None:
    """A provider alone brings no spans: the study says so, and by default it does not."""
    run(traced(tmp_path, store, scheduler, "off"))
    assert exporter.get_finished_spans() == ()


def test_a_failure_is_told_without_secrets(tmp_path: Path, exporter: Any) -> None:
    """The span of what failed has the error's words, its parent too, and no credential of theirs."""
    from opentelemetry.trace import StatusCode

    with (
        tracing("provider", tmp_path),
        pytest.raises(RunError),
        span("nwidth.run"),
        span("nwidth.stage lift", store="s3://u:hidden-secret@b/s"),
    ):
        raise RunError("password=hidden-secret was refused")
    found = exporter.get_finished_spans()
    assert [made.status.status_code for made in found] == [StatusCode.ERROR] * 2
    assert found[0].status.description == "RunError: password=*** was refused"
    assert "hidden-secret" not in "".join(made.to_json() for made in found)


def test_spans_in_a_file(tmp_path: Path, store: Path, scheduler: str) -> None:
    """With "file" every span is a line of JSON beside the results, of earlier runs, too."""
    study = traced(tmp_path, store, scheduler, "file")
    run(study)
    run(study, force=True)
    lines = [json.loads(line) for line in (study.run_folder / "traces.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == ["nwidth.stage gram", "nwidth.stage lift", "nwidth.run"] * 2
    assert len({line["context"]["trace_id"] for line in lines}) == 2
    assert {line["resource"]["attributes"]["service.name"] for line in lines} == {"nwidth"}


@pytest.mark.skipif(find_spec("opentelemetry.exporter") is not None, reason="an exporter is installed here")
def test_a_collector_needs_an_exporter(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Where the exporter's package is not installed, the sentence names it, before any work."""
    with pytest.raises(
        ConfigError, match=r'"otlp" needs an exporter; pip install opentelemetry-exporter-otlp, or set it to "file"'
    ):
        run(traced(tmp_path, store, scheduler, "otlp"))


def test_a_span_that_is_not_there_takes_attributes() -> None:
    """Without tracing the same code runs, and nothing is imported for it."""
    with span("nwidth.run") as made:
        made.tell({"rank": 3, "error": float(np.pi)})
    assert made.inner is None
