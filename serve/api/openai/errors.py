"""Errors in OpenAI's shape: every key is always there, for its clients read them all."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from serve.api.problems import kind_of, render
from serve.errors import AtelierError, NotFound

SCHEMA: dict[str, Any] = {
    "error": {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string", "enum": ["invalid_request_error", "server_error"]},
            "param": {"type": ["string", "null"]},
            "code": {"type": ["string", "null"]},
        },
    }
}


def body_of(error: AtelierError) -> dict[str, Any]:
    kind = "invalid_request_error" if error.status < 500 else "server_error"
    unknown_model = isinstance(error, NotFound) and error.field == "model"
    code = "model_not_found" if unknown_model else kind_of(error).replace("-", "_")
    return {"error": {"message": str(error), "type": kind, "param": error.field, "code": code, **error.more}}


def as_error(request: Request, error: AtelierError) -> Response:
    """OpenAI's own clients repeat what failed with 5xx unless they are told not to: what would fail again is not."""
    response = render(body_of(error), error.status, error.retry_after_s)
    response.headers["x-request-id"] = str(request.scope.get("request_id", ""))
    if error.status >= 500 and error.retry_after_s is None:
        response.headers["x-should-retry"] = "false"
    return response
