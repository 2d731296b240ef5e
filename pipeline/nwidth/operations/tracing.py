"""OpenTelemetry spans of a run and its passes, where a study asks for them; off by default, and then nothing is imported.

    nwidth.run {nwidth.run}  >  nwidth.stage gram {nwidth.stage, nwidth.blocks, nwidth.read_bytes, ...}

`exporter` says where spans go:  ``provider``  to the process's own tracer provider (a program, ``opentelemetry-instrument``);
``file`` to ``traces.jsonl`` in the folder of results;  ``otlp`` to a collector, as the variables ``OTEL_EXPORTER_OTLP_*`` say.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError
from nwidth.operations.redaction import redacted

NAME = "nwidth"
FILE = "traces.jsonl"

_TRACER: ContextVar[Any] = ContextVar("nwidth_tracer", default=None)


@contextmanager
def tracing(exporter: str, folder: Path) -> Iterator[None]:
    """Let `span` make spans within the block.

    Raises
    ------
    ConfigError
        The extra, or the package of the exporter, is not installed.
    """
    if exporter == "off":
        yield
        return
    with contextlib.ExitStack() as stack:
        provider = _provider(exporter, folder, stack)
        token = _TRACER.set(provider.get_tracer(NAME))
        stack.callback(_TRACER.reset, token)
        yield


def _provider(exporter: str, folder: Path, stack: contextlib.ExitStack) -> Any:
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError:
        raise ConfigError(
            f'operations.traces = "{exporter}" needs OpenTelemetry; pip install "nwidth[telemetry]", or set it to "off"'
        ) from None
    if exporter == "provider":
        return trace.get_tracer_provider()
    provider: Any = TracerProvider(resource=Resource.create({"service.name": NAME}))
    stack.callback(provider.shutdown)  # the last spans are sent
    if exporter == "otlp":
        provider.add_span_processor(BatchSpanProcessor(_otlp()))
        return provider
    folder.mkdir(parents=True, exist_ok=True)
    stream = stack.enter_context((folder / FILE).open("a", encoding="utf-8"))
    stack.callback(provider.shutdown)  # before the file is closed; a second one does nothing
    provider.add_span_processor(
        SimpleSpanProcessor(ConsoleSpanExporter(out=stream, formatter=lambda one: one.to_json(indent=None) + "\n"))
    )
    return provider


def _otlp() -> Any:
    """The exporter of the protocol; each of its two packages will do."""
    from importlib import import_module

    for kind in ("grpc", "http"):
        try:
            return import_module(f"opentelemetry.exporter.otlp.proto.{kind}.trace_exporter").OTLPSpanExporter()
        except ImportError:
            continue
    raise ConfigError(
        'operations.traces = "otlp" needs an exporter; pip install opentelemetry-exporter-otlp, or set it to "file"'
    )


class Span:
    """A span that may not be there: attributes are set on it either way."""

    def __init__(self, inner: Any = None) -> None:
        self.inner = inner

    def tell(self, attributes: Mapping[str, str | int | float | bool]) -> None:
        """Set attributes, under the prefix ``nwidth.``."""
        if self.inner is not None:
            for name, value in attributes.items():
                self.inner.set_attribute(f"{NAME}.{name}", redacted(value) if isinstance(value, str) else value)


@contextmanager
def span(name: str, **attributes: str | int | float | bool) -> Iterator[Span]:
    """A span around the block, child of the one that is open in this thread; one that fails says with what."""
    tracer = _TRACER.get()
    if tracer is None:
        yield Span()
        return
    from opentelemetry.trace import Status, StatusCode

    # The exception is recorded here, and not by the library, which would write its text as it is.
    with tracer.start_as_current_span(name, record_exception=False, set_status_on_exception=False) as inner:
        made = Span(inner)
        made.tell(attributes)
        try:
            yield made
        except BaseException as error:
            inner.set_status(Status(StatusCode.ERROR, redacted(f"{type(error).__name__}: {error}")))
            raise
