"""Errors in OpenAI's shape: every key is always there, for its clients read them all.

Its own clients, and those that build on them, repeat by themselves what failed with 408, 409, 429 or 5xx, twice and
without asking anybody, unless ``x-should-retry`` says otherwise; after more than two minutes they do not come again.
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

LONGEST_WAIT_S = 120
"""Of OpenAI's own package (`MAX_RETRY_AFTER_DELAY`)."""

_INVALID, _SERVER, _QUOTA = "invalid_request_error", "server_error", "insufficient_quota"
_BY_STATUS = {401: "authentication_error", 403: "permission_error", 429: "requests"}
"""Types of their own: litellm takes all that is called an invalid request for a 400, whatever the status."""
_CODES: Mapping[type[AtelierError], str] = {
    Unauthorized: "invalid_api_key",
    Forbidden: "insufficient_permissions",
    TooManyRequests: "rate_limit_exceeded",
    TooManyAttempts: "rate_limit_exceeded",
    TooManyJobs: "rate_limit_exceeded",
    QuotaExceeded: "insufficient_quota",
    ModerationBlocked: "content_policy_violation",
}
"""Words of OpenAI's that clients look for; of all else it is the name of the error's class."""

_IN_VAIN = (TooManyAttempts, EngineLost)
"""Another key is needed; whoever worked on it died of it as often as it was tried."""

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
    """Whether the same request may get another answer soon; 408 is of a body that came too slowly."""
    if error.status == 408:
        return True
    wait_s = error.retry_after_s
    return wait_s is not None and wait_s <= LONGEST_WAIT_S and not isinstance(error, _IN_VAIN)


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
