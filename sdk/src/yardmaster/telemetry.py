"""Traces, when OpenTelemetry is installed: nothing here is needed to run.

Each execution is a span `execute {type}` of kind SERVER that continues the caller's trace. With
OTEL_EXPORTER_OTLP_ENDPOINT set and the SDK and its OTLP/HTTP exporter installed, spans are exported.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from yardmaster.call import Call


@contextmanager
def execution_span(call: Call) -> Iterator[None]:
    """The span of one execution; an exception that passes through marks it failed."""
    try:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    except ImportError:
        yield
        return
    carrier = {"traceparent": call.traceparent} if call.traceparent else {}
    attributes: dict[str, str | int] = {
        "yard.task_id": call.task_id,
        "yard.attempt": call.attempt,
        "yard.fence": call.fence,
    }
    with trace.get_tracer("yardmaster").start_as_current_span(
        f"execute {call.type}".rstrip(),
        context=TraceContextTextMapPropagator().extract(carrier),
        kind=trace.SpanKind.SERVER,
        attributes=attributes,
    ):
        yield


def export_traces(service: str) -> Callable[[], None]:
    """Set up export under the name `service` if asked for and possible; returns what flushes it at exit."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return _nothing
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return _nothing
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


def _nothing() -> None:
    return None
