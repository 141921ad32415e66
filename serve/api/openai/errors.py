"""Errors in OpenAI's shape: every key is always present, as its clients read all of them.

OpenAI's clients, and those built on them, retry a request twice after 408, 409, 429 or 5xx unless ``x-should-retry``
says otherwise; they do not retry when the wait is longer than two minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from serve.api.http.problems import kind_of, render
from serve.errors import (
    AtelierError,
    EngineLost,
    Forbidden,
    ModerationBlocked,
    NotFound,
    QuotaExceeded,
    TooManyAttempts,
    TooManyJobs,
    TooManyRequests,
    Unauthorized,
)

MAX_RETRY_WAIT_S = 120
"""`MAX_RETRY_AFTER_DELAY` of OpenAI's own package."""

_INVALID, _SERVER, _QUOTA = "invalid_request_error", "server_error", "insufficient_quota"
_BY_STATUS = {401: "authentication_error", 403: "permission_error", 429: "requests"}
"""Types by status: litellm treats every ``invalid_request_error`` as a 400, whatever the status."""
_CODES: Mapping[type[AtelierError], str] = {
    Unauthorized: "invalid_api_key",
    Forbidden: "insufficient_permissions",
    TooManyRequests: "rate_limit_exceeded",
    TooManyAttempts: "rate_limit_exceeded",
    TooManyJobs: "rate_limit_exceeded",
    QuotaExceeded: "insufficient_quota",
    ModerationBlocked: "content_policy_violation",
}
"""OpenAI's codes that clients check; other errors have the name of their class as the code."""

_NO_RETRY = (TooManyAttempts, EngineLost)
"""Errors that a retry cannot solve: a wrong key, and a request that has ended its engine at each attempt."""

SCHEMA: dict[str, Any] = {
    "error": {
        "type": "object",
        "required": ["message", "type", "param", "code"],
        "properties": {
            "message": {"type": "string"},
            "type": {"type": "string", "enum": [_INVALID, _SERVER, _QUOTA, *_BY_STATUS.values()]},
            "param": {"type": ["string", "null"]},
            "code": {"type": ["string", "null"]},
        },
    }
}


def body_of(error: AtelierError) -> dict[str, Any]:
    unknown_model = isinstance(error, NotFound) and error.field == "model"
    code = "model_not_found" if unknown_model else _CODES.get(type(error), kind_of(error).replace("-", "_"))
    return {
        "error": {
            "message": str(error),
            "type": _type_of(error),
            "param": error.field,
            "code": code,
            **error.extra_fields,
        }
    }


def _type_of(error: AtelierError) -> str:
    if isinstance(error, QuotaExceeded):
        return _QUOTA
    return _BY_STATUS.get(error.status, _INVALID if error.status < 500 else _SERVER)


def may_succeed_again(error: AtelierError) -> bool:
    """Whether a retry of the same request may succeed soon. 408 is about a body that arrived too slowly."""
    if error.status == 408:
        return True
    wait_s = error.retry_after_s
    return wait_s is not None and wait_s <= MAX_RETRY_WAIT_S and not isinstance(error, _NO_RETRY)


def as_error(request: Request, error: AtelierError) -> Response:
    if isinstance(error, NotFound) and "endpoint" not in request.scope:
        body = _unknown_address(request)
    else:
        body = body_of(error)
    response = render(body, error.status, error.retry_after_s)
    response.headers["x-request-id"] = str(request.scope.get("request_id", ""))
    if error.status in (408, 409, 429) or error.status >= 500:
        response.headers["x-should-retry"] = "true" if may_succeed_again(error) else "false"
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def _unknown_address(request: Request) -> dict[str, Any]:
    message = f"Invalid URL ({request.method} {ascii(request.url.path[:128])[1:-1]})"
    return {"error": {"message": message, "type": _INVALID, "param": None, "code": "unknown_url"}}
