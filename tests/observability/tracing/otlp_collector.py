"""An OpenTelemetry collector: an HTTP server that accepts spans as protobuf or JSON, and keeps them."""

from __future__ import annotations

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class ReceivedSpan:
    """One span. ``parent`` is empty for the root of a trace; ``service`` is the sender."""

    name: str
    trace: str
    id: str
    parent: str
    service: str
    kind: int
    failed: bool
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    took_ms: float


@dataclass
class Collector:
    url: str = ""
    status: int = 200
    """What is answered."""
    spans: list[ReceivedSpan] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    raw: bytes = b""
    """All that came, as it came."""

    def until(self, is_so: Callable[[list[ReceivedSpan]], bool], limit_s: float = 60.0) -> list[ReceivedSpan]:
        end = time.monotonic() + limit_s
        while not is_so(self.spans):
            assert time.monotonic() < end, f"not so: {[(one.service, one.name) for one in self.spans]}"
            time.sleep(0.05)
        return list(self.spans)

    def of(self, trace: str, *names: str) -> list[ReceivedSpan]:
        """The spans of ``trace``, once all of ``names`` have arrived."""

        def so_far(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
            return [one for one in spans if one.trace == trace]

        return so_far(self.until(lambda spans: {one.name for one in so_far(spans)} >= set(names)))


@contextlib.contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collector.headers.append(dict(self.headers))
            if collector.status == 200 and self.path == "/v1/traces":
                collector.raw += body
                json_text = self.headers["Content-Type"].startswith("application/json")
                collector.spans += _spans_of_json(body) if json_text else _spans(body)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _spans(body: bytes) -> list[ReceivedSpan]:
    found = []
    for sent in ExportTraceServiceRequest.FromString(body).resource_spans:
        service = str(_values(sent.resource.attributes).get("service.name"))
        found += [_span(span, service) for scope in sent.scope_spans for span in scope.spans]
    return found


def _spans_of_json(body: bytes) -> list[ReceivedSpan]:
    """As Triton sends them: ids in hexadecimal, empty fields left out."""
    found = []
    for sent in json.loads(body)["resourceSpans"]:
        service = str(_values_of_json(sent["resource"]["attributes"]).get("service.name"))
        for span in (one for scope in sent["scopeSpans"] for one in scope["spans"]):
            took_ms = (int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])) / 1e6
            ids = (span["traceId"], span["spanId"], span.get("parentSpanId", ""))
            values = _values_of_json(span.get("attributes", ()))
            found.append(
                ReceivedSpan(span["name"], *ids, service, int(span.get("kind", 0)), False, values, [], took_ms)
            )
    return found


def _values_of_json(attributes: Any) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values()), None) for one in attributes}


def _span(span: Any, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        service=service,
        kind=span.kind,
        failed=span.status.code == 2,
        attributes=_values(span.attributes),
        events=[(event.name, _values(event.attributes)) for event in span.events],
        took_ms=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value") for one in attributes}


def tree(spans: Sequence[ReceivedSpan]) -> dict[str, str]:
    """Maps each span's name to its parent's name; the root's value is its parent's id."""
    names = {one.id: one.name for one in spans}
    return {one.name: names.get(one.parent, one.parent) for one in spans}
