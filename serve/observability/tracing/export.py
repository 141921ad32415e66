"""Exports spans by OTLP over HTTP, from a thread with a bounded queue.

An unavailable collector does not affect requests. It is logged once, and once more on recovery; spans that do not fit
into the queue are dropped.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from serve.observability import tracing
from serve.settings import TracingSettings

LOGGER = logging.getLogger(__name__)

MAX_EVENTS = 256
"""Per span; older events are dropped."""
_EXPORT_INTERVAL_MS = 1000
_BATCH = 256
_STOP_S = 2.0
_LIBRARY_LOGGERS = (
    "opentelemetry.exporter.otlp",
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.sdk.trace.export",
)
"""Loggers that would report every failed batch and dropped span."""

_provider: TracerProvider | None = None
_triton_endpoint: str | None = None


class BoundedExporter(SpanExporter):
    """Logs once when ``inner`` fails, and once when it recovers."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self._away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._away:
            LOGGER.warning("the collector of traces does not take them; they are lost until it does")
        elif self._away and not failed:
            LOGGER.warning("the collector takes traces again")
        self._away = failed
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


def start(settings: TracingSettings, component: str, instance: str = "") -> None:
    """Start exporting spans of this process; without an endpoint nothing is done."""
    global _provider, _triton_endpoint
    if settings.endpoint is None or _provider is not None:
        return
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    for name in _LIBRARY_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = OTLPSpanExporter(
        endpoint=settings.endpoint,
        headers={name: value.get_secret_value() for name, value in settings.headers.items()},
        timeout=settings.timeout_s,
        compression=Compression.Gzip,
    )
    _provider = provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=_resource(settings, component, instance),
        span_limits=SpanLimits(max_events=MAX_EVENTS),
        shutdown_on_exit=False,  # would wait half a minute for an unavailable collector
    )
    batch = min(_BATCH, settings.queue)
    provider.add_span_processor(
        BatchSpanProcessor(
            BoundedExporter(exporter),
            settings.queue,
            schedule_delay_millis=_EXPORT_INTERVAL_MS,
            max_export_batch_size=batch,
        )
    )
    tracing.set_tracer(provider.get_tracer("atelier", version("atelier")))
    _triton_endpoint = settings.endpoint if settings.triton and not settings.headers else None


def stop(limit_s: float = _STOP_S) -> None:
    """Send pending spans, for at most ``limit_s``. Blocks."""
    global _provider, _triton_endpoint
    provider, _provider, _triton_endpoint = _provider, None, None
    tracing.set_tracer(None)
    if provider is not None:
        ending = threading.Thread(target=provider.shutdown, name="traces-end", daemon=True)
        ending.start()
        ending.join(limit_s)


def for_triton() -> str | None:
    """Endpoint for the spans of an embedded Triton."""
    return _triton_endpoint


def _resource(settings: TracingSettings, component: str, instance: str) -> Any:
    names = {"service.namespace": settings.service_name, "service.name": f"{settings.service_name}-{component.lower()}"}
    more = {"service.instance.id": instance} if instance else {}
    return Resource.create({**names, **more, "service.version": version("atelier")})
