"""gRPC errors of Triton as errors of ours: the one place that reads its codes and words."""

from __future__ import annotations

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
_GIVEN_UP = re.compile(r"[Ss]tub process .*(?:not healthy|unhealthy)|health mutex")
#: A Python stub that is gone: its server goes on calling itself ready.
_STUB_GONE = re.compile(_GIVEN_UP.pattern + r"|Failed to process the request")
_REGION = re.compile(r"[Uu]nable to (?:find|open) .*shared memory region|[Ii]nvalid args.*shared memory")
_QUEUE_FULL = re.compile(r"[Ee]xceeds? max(?:imum)? queue size")
_QUEUE_TIMEOUT = re.compile(r"[Rr]equest timeout expired|timeout in queue")


class RegionLost(Exception):
    """Triton does not have the shared memory that a request points at: it was restarted, or cannot see ours."""


def gave_up(error: grpc.aio.AioRpcError) -> bool:
    """Whether Triton has given up a Python stub that did not say for a second that it lives.

    It may only have been late. Then it goes on with what its server has taken back: their shared memory gets spoilt,
    one of them crashes, or the next request gets the answer to this one.
    """
    return _GIVEN_UP.search(error.details() or "") is not None


def from_grpc(error: grpc.aio.AioRpcError, engine: str) -> AtelierError | RegionLost:
    """The error to raise for a failed call about ``engine``. Triton's words on bad inputs are kept, others logged."""
    code, details = error.code(), error.details() or ""
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
