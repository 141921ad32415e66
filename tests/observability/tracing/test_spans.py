"""Spans, context propagation, and the cost of a collector that is down."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from otlp_collector import Collector, collecting, tree

from serve.errors import EngineFailure, InvalidRequest
from serve.observability import tracing
from serve.observability.tracing import export
from serve.settings import Settings, TracingSettings

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-2] + "00"
TRACE = PARENT.split("-")[1]


def test_child_spans_have_their_parents_id(traced: Collector) -> None:
    with tracing.entry_span("request", {"request_id": "r1", "traceparent": PARENT}, atelier__place=3):
        with tracing.span("part"), tracing.span("smaller"):
            tracing.note(atelier__rows=2)
        carried = tracing.carrier()
        with tracing.step("step", step=1), tracing.span("folded away"):
            assert tracing.metadata() == (("traceparent", carried["traceparent"]),)
    export.stop()
    assert tree(traced.spans) == {"smaller": "part", "part": "request", "request": PARENT.split("-")[2]}
    first = next(one for one in traced.spans if one.name == "request")
    assert {one.trace for one in traced.spans} == {TRACE}
    assert carried == {"request_id": "r1", "traceparent": f"00-{TRACE}-{first.id}-01"}
    ((name, attributes),) = first.events
    assert (name, attributes["step"]) == ("step", 1)
    assert attributes["duration_ms"] >= 0
    assert first.attributes == {"atelier.place": 3}
    assert first.service == "atelier-tests"
    assert tracing.current() == tracing.TraceContext()


def test_trace_continues_in_another_process(traced: Collector) -> None:
    with tracing.entry_span("gateway", {"request_id": "r1"}):
        context = tracing.carrier()
    with tracing.continued_span("replica", context):
        assert tracing.current().request_id == "r1"
    with tracing.continued_span("probe", {"request_id": "r2"}), tracing.span("none"):
        assert tracing.carrier() == {"request_id": "r2"}
    export.stop()
    assert tree(traced.spans) == {"gateway": "", "replica": "gateway"}


@pytest.mark.parametrize(
    ("error", "kind", "failed"),
    [
        (InvalidRequest("not a word of it", "prompt"), "InvalidRequest", False),
        (asyncio.CancelledError(), "CancelledError", False),
        (EngineFailure("not a word of it"), "EngineFailure", True),
        (RuntimeError("not a word of it"), "RuntimeError", True),
    ],
)
def test_error_span_has_the_error_type_only(traced: Collector, error: BaseException, kind: str, failed: bool) -> None:
    with pytest.raises(type(error)), tracing.entry_span("request", None):
        raise error
    export.stop()
    (span,) = traced.spans
    assert (span.attributes["error.type"], span.failed) == (kind, failed)
    assert b"word" not in traced.raw


def test_unsampled_request_passes_its_ids_on(traced: Collector) -> None:
    with tracing.entry_span("request", {"request_id": "r", "traceparent": UNSAMPLED}), tracing.span("part"):
        carried = tracing.carrier()
        assert tracing.metadata() is None
    assert carried["traceparent"].startswith(f"00-{TRACE}-")
    assert carried["traceparent"].endswith("-00")
    export.stop()
    assert traced.spans == []


def test_sampled_share_equals_the_setting(collector: Collector) -> None:
    export.start(TracingSettings(endpoint=collector.url, sample_ratio=0.25), "Tests")
    for _ in range(400):
        with tracing.entry_span("request", None):
            pass
    export.stop()
    assert 50 < len(collector.spans) < 160


@pytest.mark.parametrize("traceparent", ["", "junk", "00-0-0-01", f"ff-{TRACE}-b7ad6b7169203331-01", "x" * 10_000, "ü"])
def test_invalid_parent_begins_a_new_trace(traced: Collector, traceparent: str) -> None:
    with tracing.entry_span("request", {"traceparent": traceparent, "tracestate": "a=secret", "baggage": "b=secret"}):
        pass
    export.stop()
    (span,) = traced.spans
    assert span.parent == ""
    assert b"secret" not in traced.raw


async def test_generator_closed_in_another_context(traced: Collector) -> None:
    async def items() -> AsyncIterator[int]:
        with tracing.entry_span("stream", {"request_id": "r"}):
            yield 1
            yield 2

    stream = items()
    assert await asyncio.create_task(anext(stream)) == 1  # type: ignore[arg-type]
    await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]
    assert tracing.current() == tracing.TraceContext()
    await asyncio.to_thread(export.stop)
    assert [one.name for one in traced.spans] == ["stream"]


def test_without_collector_no_span_is_made() -> None:
    export.start(TracingSettings(), "Tests")
    with tracing.entry_span("request", {"request_id": "r", "traceparent": PARENT}), tracing.span("part"):
        assert tracing.carrier() == {"request_id": "r"}
        assert tracing.response() is None
    assert tracing.current() == tracing.TraceContext()


def test_collector_that_is_down_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []
    export_batch = export.BoundedExporter.export

    def counted(self: export.BoundedExporter, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = export_batch(self, spans)
        if result is not SpanExportResult.SUCCESS:
            failures.append(len(spans))
        return result

    monkeypatch.setattr(export.BoundedExporter, "export", counted)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    export.start(TracingSettings(endpoint=f"http://127.0.0.1:{port}", queue=64, timeout_s=0.2), "Tests")
    with caplog.at_level(logging.DEBUG):
        began = time.perf_counter()
        for _ in range(2000):
            with tracing.entry_span("request", None):
                pass
        took_s = time.perf_counter() - began
        _until(lambda: bool(_messages(caplog)))
        seen = len(failures)
        for _ in range(300):
            with tracing.entry_span("request", None):
                pass
        _until(lambda: len(failures) > max(seen, 1))
        assert len(_messages(caplog)) == 1
        with collecting(port) as collector:
            with tracing.entry_span("again", None):
                pass
            collector.until(lambda spans: any(one.name == "again" for one in spans))
            _until(lambda: len(_messages(caplog)) == 2)
        export.stop()
    assert took_s < 20, "no request waits for the collector"
    assert "takes traces again" in _messages(caplog)[1]


def _messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith(("serve", "opentelemetry"))]


def _until(is_so: object) -> None:
    end = time.monotonic() + 60
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_shutdown_does_not_wait_for_the_collector() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        export.start(TracingSettings(endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=30), "Tests")
        with tracing.entry_span("request", None):
            pass
        began = time.perf_counter()
        export.stop(0.5)
        assert time.perf_counter() - began < 20


def test_headers_are_sent_but_hidden_from_triton_and_settings(collector: Collector) -> None:
    export.start(TracingSettings(endpoint=collector.url, headers={"x-token": "s3cret"}, triton=True), "Tests")
    assert export.for_triton() is None
    with tracing.entry_span("request", None):
        pass
    export.stop()
    assert collector.headers[0]["x-token"] == "s3cret"
    assert "s3cret" not in str(Settings(tracing={"headers": {"x-token": "s3cret"}}))


@pytest.mark.parametrize("url", ["collector:4318", "ftp://a", "http://", "http://ada:secret@collector:4318"])
def test_invalid_endpoints_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint") as caught:
        TracingSettings(endpoint=url)
    assert "secret" not in str(caught.value)


def test_endpoint_path_is_completed() -> None:
    assert TracingSettings(endpoint="http://a:4318").endpoint == "http://a:4318/v1/traces"
    assert TracingSettings(endpoint="https://a/otlp/v1/traces").endpoint == "https://a/otlp/v1/traces"
