"""The layers around a gRPC call, as middleware is for HTTP: authentication, span and log record."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import grpc

from serve.api.middleware.authentication import Authentication
from serve.api.middleware.request_metrics import GRPC, RequestRecord, measured
from serve.api.middleware.response_headers import new_request_id
from serve.observability import tracing
from serve.observability.logs.formats import log_values
from serve.security.identity.roles import INFERENCE, LOCAL, READ, Principal
from serve.security.limits.addresses import ClientAddresses
from serve.security.limits.limiter import Client, Work
from serve.settings import Settings

LOGGER = logging.getLogger("serve.requests")

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_PROBES = frozenset(["ServerLive", "ServerReady", "ModelReady"])
_PUBLIC = frozenset(["ServerLive", "ServerReady"])
_REPOSITORY = frozenset(["RepositoryModelLoad", "RepositoryModelUnload"])
_PEER = re.compile(r"ipv[46]:(?:%5B|\[)?(?P<address>[^\]%]+?)(?:%5D|\])?:\d+", re.IGNORECASE)
_SERVER_FAULTS = frozenset(["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"])
"""Codes that are the server's fault by the semantic conventions; the others are the client's."""


class Caller(Protocol):
    """The part of grpc.aio's and Ray Serve's contexts that identifies the client."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None: ...
    def peer(self) -> str: ...


class Call(Protocol):
    """The part of grpc.aio's and Ray Serve's contexts that a span needs."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None: ...
    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    def code(self) -> Any: ...


class Context(Caller, Call, Protocol):
    """What grpc.aio's context and Ray Serve's have in common."""

    def set_code(self, code: grpc.StatusCode) -> None: ...
    def set_details(self, details: str) -> None: ...
    def trailing_metadata(self) -> Any: ...


# --- authentication ---------------------------------------------------------------------------------------------------


class GrpcAuthentication:
    """Authentication and rate limits of calls. ``draws``: whether a model draws, which has another rate limit."""

    def __init__(self, entrance: Authentication, settings: Settings, draws: Callable[[str], bool]) -> None:
        self._entrance = entrance
        self._origins = ClientAddresses(settings)
        self._draws = draws

    async def enter(self, method: str, call: Caller) -> tuple[Principal, Client | None]:
        """The principal, and the client for rate limits; no client for methods that need no key.

        Raises Unauthorized, Forbidden, TooManyAttempts, TooManyRequests.
        """
        if method in _PUBLIC:
            return LOCAL, None
        headers = headers_of(call)
        address = self._origins.address_of(address_of(call.peer()), headers)
        infers = method in _REPOSITORY or method.endswith("Infer")
        principal, client = await self._entrance.authorize(headers, address, INFERENCE if infers else READ)
        if not method.endswith("Infer"):
            await self._entrance.limiter.check(client, "write" if method in _REPOSITORY else "read")
        return principal, client

    async def count(self, client: Client | None, model: str) -> None:
        """Counts one inference. Raises TooManyRequests."""
        work: Work = "draw" if self._draws(model) else "vectorize"
        if client is not None:
            await self._entrance.limiter.check(client, work)


def headers_of(call: Caller) -> list[tuple[bytes, bytes]]:
    """The metadata in the form of HTTP's headers: lower-case names and values as bytes."""
    return [(_bytes(name).lower(), _bytes(value)) for name, value in call.invocation_metadata() or ()]


def address_of(peer: str) -> str:
    """The IP address in gRPC's name of a peer, such as ipv4:127.0.0.1:4242; empty for other sockets."""
    match = _PEER.fullmatch(peer)
    return match["address"] if match else ""


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


# --- span and log record ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def observed(service: str, method: str, call: Call, requests: bool) -> Iterator[None]:
    """A span, a log record and a metric of one call (C-093), as `serve.api.middleware.request_trace` has for HTTP.

    The ids of the request and of its trace are returned in the trailing metadata. ``requests``: whether to log it.
    """
    metadata = _tracing_metadata(call)
    request_id = metadata.get(REQUEST_ID, "")
    carrier = {tracing.REQUEST_ID: request_id if _REQUEST_ID.fullmatch(request_id) else new_request_id()}
    if probe := method in _PROBES:
        metadata.clear()
    carrier |= {name: metadata[name] for name in (tracing.TRACEPARENT,) if name in metadata}
    began, full_name = time.perf_counter(), f"{service}/{method}"
    start_span = tracing.continued_span if probe else tracing.entry_span
    record = RequestRecord(method)
    counted = contextlib.nullcontext() if probe else measured(GRPC, record)
    with counted, start_span(full_name, carrier, rpc__system__name="grpc", rpc__method=full_name) as span:
        trailing = [(REQUEST_ID, carrier[tracing.REQUEST_ID])]
        if (traced := tracing.response()) is not None:
            trailing.append((tracing.RESPONSE, traced))
        call.set_trailing_metadata(trailing)
        raised = None
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            raised = "CANCELLED"
            raise
        except BaseException:  # gRPC answers any other exception with this code
            raised = "UNKNOWN"
            raise
        finally:
            code = record.status = raised or _code_name(call.code())
            span.note(rpc__response__status_code=code)
            if code in _SERVER_FAULTS:
                span.failed(code)
            if requests and not probe:
                _log(full_name, code, time.perf_counter() - began)


def _log(method: str, code: str, took_s: float) -> None:
    fields = {"method": "GRPC", "route": f"/{method}", "status": code, "duration_ms": round(took_s * 1000, 2)}
    log_values(LOGGER, "GRPC /%s %s %.1f ms", method, code, took_s * 1000, fields=fields)


def _tracing_metadata(call: Call) -> dict[str, str]:
    """The request id and the trace parent in the metadata. A name that occurs twice is ignored."""
    values: dict[str, str] = {}
    names = [name for name, _ in call.invocation_metadata() or ()]
    for name, value in call.invocation_metadata() or ():
        if name in (REQUEST_ID, tracing.TRACEPARENT) and isinstance(value, str) and names.count(name) == 1:
            values[name] = value
    return values


def _code_name(code: Any) -> str:
    """gRPC's own context has None or 0 until a code is set."""
    return code.name if isinstance(code, grpc.StatusCode) else "OK"
