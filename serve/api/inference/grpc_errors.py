"""Errors of calls as status codes and messages of gRPC."""

from __future__ import annotations

import logging
from typing import Any

import grpc
from google.protobuf.message import Message

from serve.api.inference.grpc_calls import Context
from serve.api.inference.grpc_messages import (
    ascii_text,
    stream_error,
)
from serve.api.middleware.request_metrics import GRPC, count_refusal
from serve.errors import AtelierError, EngineFailure, Overloaded, Unsupported

log = logging.getLogger(__name__)

_RAY_SERVE_ID = "request_id"
"""Ray Serve's context adds this name to the metadata that is set."""


def as_known(error: Exception) -> AtelierError:
    """``error`` if it is an `AtelierError`; else a failure with a fixed text, and the error itself is logged."""
    if isinstance(error, AtelierError):
        return error
    log.error("an unexpected error in a gRPC call", exc_info=error)
    return EngineFailure("an internal error; the log has it")


def set_error(context: Context, error: AtelierError) -> None:
    count_refusal(GRPC, error)
    if error.status >= 500 and not isinstance(error, Overloaded | Unsupported):
        log.warning("answered %s %s: %s", error.grpc_code, error.label(), error)
    context.set_code(getattr(grpc.StatusCode, error.grpc_code))
    context.set_details(ascii_text(error))
    if error.retry_after_s is not None:
        others = [one for one in context.trailing_metadata() or () if one[0] != _RAY_SERVE_ID]
        context.set_trailing_metadata([*others, ("retry-after", str(error.retry_after_s))])


def failure_message(error: AtelierError, request: Any = None, flagged: bool = False) -> Message:
    count_refusal(GRPC, error)
    return stream_error(error, request, flagged)
