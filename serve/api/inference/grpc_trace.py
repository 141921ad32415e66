"""A span, a record and an id for each gRPC call (C-093), as `serve.api.middleware.request_trace` has them for HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import grpc

from serve.api.middleware.request_metrics import GRPC, RequestRecord, measured
from serve.observability import tracing
from serve.observability.logs.formats import FIELDS

LOGGER = logging.getLogger("serve.requests")

REQUEST_ID = "x-request-id"
_PLAIN = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PROBES = frozenset(["ServerLive", "ServerReady", "ModelReady"])
_FAULTS = frozenset(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])
"""Of a server, by the semantic conventions; the others are its client's."""


class Call(Protocol):
    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None: ...
    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    def code(self) -> Any: ...


@contextlib.contextmanager
def observed(service: str, method: str, call: Call, requests: bool) -> Iterator[None]:
    """Its id, and its trace's, go back in the trailing metadata. ``requests``: whether each is a record."""
    given = _given(call)
    request_id = given.get(REQUEST_ID, "")
    carrier = {tracing.REQUEST_ID: request_id if _PLAIN.fullmatch(request_id) else uuid.uuid4().hex}
    if probe := method in _PROBES:
        given.clear()
    carrier |= {name: given[name] for name in (tracing.TRACEPARENT,) if name in given}
    began, named = time.perf_counter(), f"{service}/{method}"
    begun = tracing.continued_span if probe else tracing.entry_span
    note = RequestRecord(method)
    counted = contextlib.nullcontext() if probe else measured(GRPC, note)
    with counted, begun(named, carrier, rpc__system__name="grpc", rpc__method=named) as span:
        told = [(REQUEST_ID, carrier[tracing.REQUEST_ID])]
        if (traced := tracing.response()) is not None:
            told.append((tracing.RESPONSE, traced))
        call.set_trailing_metadata(told)
        ended = None
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            ended = "CANCELLED"
            raise
        except BaseException:  # as gRPC answers it
            ended = "UNKNOWN"
            raise
        finally:
            code = note.status = ended or _name(call.code())
            span.note(rpc__response__status_code=code)
            if code in _FAULTS:
                span.failed(code)
            if requests and not probe:
                _write(named, code, time.perf_counter() - began)


def _write(method: str, code: str, took_s: float) -> None:
    fields = {"method": "GRPC", "route": f"/{method}", "status": code, "duration_ms": round(took_s * 1000, 2)}
    LOGGER.info("GRPC /%s %s %.1f ms", method, code, took_s * 1000, extra={FIELDS: fields})


def _given(call: Call) -> dict[str, str]:
    """Of the metadata what names the call; what comes twice counts not at all."""
    found: dict[str, str] = {}
    names = [name for name, _ in call.invocation_metadata() or ()]
    for name, value in call.invocation_metadata() or ():
        if name in (REQUEST_ID, tracing.TRACEPARENT) and isinstance(value, str) and names.count(name) == 1:
            found[name] = value
    return found


def _name(code: Any) -> str:
    """gRPC's own context tells nothing, or 0, as long as nothing was set."""
    return code.name if isinstance(code, grpc.StatusCode) else "OK"
