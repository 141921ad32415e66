"""Maps Triton's errors over gRPC and HTTP to `serve.errors`: the only place that reads its codes and messages."""

from __future__ import annotations

import json
import logging
import re

import grpc

from serve.errors import (
    AtelierError,
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Overloaded,
    TooLarge,
    Unsupported,
)

LOGGER = logging.getLogger(__name__)

_FIELD = re.compile(r"(?:inference )?(?:input|output) '([^']+)'")
_NOISE = re.compile(r"^\[request id: [^\]]*\] | NOTE: .*$")
_STUB_LOST = re.compile(r"[Ss]tub process .*(?:not healthy|unhealthy)|health mutex")
#: A Python stub is gone; its server still reports ready.
_STUB_GONE = re.compile(_STUB_LOST.pattern + r"|Failed to process the request")
_REGION = re.compile(r"[Uu]nable to (?:find|open) .*shared memory region|[Ii]nvalid args.*shared memory")
_QUEUE_FULL = re.compile(r"[Ee]xceeds? max(?:imum)? queue size")
_QUEUE_TIMEOUT = re.compile(r"[Rr]equest timeout expired|timeout in queue")


class RegionLost(Exception):
    """Triton does not have the shared memory region of a request: it was restarted, or cannot open ours."""


def is_stub_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether Triton has given up a Python stub that missed its heartbeat for a second.

    The stub may only have been late. It then continues to use memory that its server has reclaimed: shared memory is
    corrupted, one of them crashes, or the next request gets this one's response.
    """
    return says_stub_lost(error.details() or "")


def says_stub_lost(text: str) -> bool:
    """`is_stub_lost` of an error's text."""
    return _STUB_LOST.search(text) is not None


def from_grpc(error: grpc.aio.AioRpcError, engine: str) -> AtelierError | RegionLost:
    """The error of a failed call to ``engine``. Triton's messages about invalid inputs are kept, others logged."""
    return _from_status(error.code(), error.details() or "", engine)


def from_http(status: int, body: bytes, engine: str) -> AtelierError | None:
    """The error of a failed inference over HTTP, as `from_grpc`; None if ``body`` is not an error of Triton's."""
    try:
        details = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return None
    if status not in _HTTP_CODES or not isinstance(details, str):
        return None
    error = _from_status(_HTTP_CODES[status], details, engine)
    return error if isinstance(error, AtelierError) else None


_HTTP_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""What Triton answers over gRPC where it answers an inference over HTTP with the status."""


def _from_status(code: grpc.StatusCode, details: str, engine: str) -> AtelierError | RegionLost:
    if _REGION.search(details):
        return RegionLost(details)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        field = _FIELD.search(details)
        return InvalidRequest(_NOISE.sub("", details).strip(), field.group(1) if field else None)
    if code is grpc.StatusCode.NOT_FOUND or "unknown model" in details:
        return NotFound(f"engine '{engine}' is not served here")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or _QUEUE_TIMEOUT.search(details):
        return DeadlineExceeded(f"engine '{engine}' did not answer in time")
    if code is grpc.StatusCode.CANCELLED:
        return Cancelled(f"the request to engine '{engine}' was cancelled")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return TooLarge(f"the tensors for or from engine '{engine}' are too large for one message")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return Unsupported(f"engine '{engine}' does not support this request")
    if _QUEUE_FULL.search(details):
        return Overloaded(f"the queue of engine '{engine}' is full")
    LOGGER.warning("engine '%s': %s: %s", engine, code.name, details)
    if code is grpc.StatusCode.UNAVAILABLE or _STUB_GONE.search(details):
        return EngineUnavailable(f"engine '{engine}' does not answer")
    return EngineFailure(f"engine '{engine}' failed")
