"""Errors as answers: RFC 9457 problem bodies, for every path that has no vocabulary of its own."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from serve.api.http.models import invalid_request
from serve.errors import AtelierError, EngineFailure, InvalidRequest, NotFound


def as_problem(request: Request, error: AtelierError) -> Response:
    """``type`` names the class of the error, ``detail`` the reason, ``field`` the input at fault (if one is).

    ``success``, ``error`` and ``fallback_used`` repeat it in the words of D-060.
    """
    body: dict[str, Any] = {
        "type": f"urn:atelier:problem:{kind_of(error)}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "field": error.field,
        "request_id": request.scope.get("request_id"),
        "success": False,
        "error": str(error),
        "fallback_used": False,
        **error.extra_fields,
    }
    return render(body, error.status, error.retry_after_s, "application/problem+json")


def kind_of(error: AtelierError) -> str:
    """Its own name for clients, or that of its class in lower case with hyphens."""
    return error.kind or re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()


def render(body: Any, status: int, retry_after_s: int | None, media_type: str = "application/json") -> Response:
    """Pure ASCII JSON: a lone surrogate in an echoed name must not break the answer that reports it."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Response(json.dumps(body), status, headers, media_type)


def as_atelier_error(error: Exception) -> AtelierError:
    """Any error as an `AtelierError`: Starlette's 404 and 405, FastAPI's validation errors, and unexpected ones."""
    if isinstance(error, AtelierError):
        return error
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__, AtelierError):  # FastAPI wraps what is raised while it reads a body
            return error.__cause__
        known = _BY_STATUS.get(error.status_code, AtelierError)
        return known(str(error.detail))
    if isinstance(error, RequestValidationError):
        return invalid_request(error.errors(), skip=1)  # its locations begin with body, query, path or header
    return EngineFailure("an internal error; the log has it under this request id")


_TEXT = {"type": "string"}
_PROBLEM: dict[str, Any] = {
    "type": _TEXT,
    "title": _TEXT,
    "status": {"type": "integer"},
    "detail": _TEXT,
    "field": {"type": ["string", "null"]},
    "request_id": {"type": ["string", "null"]},
    "success": {"type": "boolean", "const": False},
    "error": _TEXT,
    "fallback_used": {"type": "boolean", "const": False},
}


def described(
    media_type: str = "application/problem+json", properties: dict[str, Any] = _PROBLEM
) -> dict[int | str, dict[str, Any]]:
    """What a router's OpenAPI says of errors, in its vocabulary."""
    required = [name for name in properties if name != "request_id"]  # HAProxy's own problems have none
    schema = {"type": "object", "required": required, "properties": properties}
    content = {media_type: {"schema": schema}}
    client = "400: what is wrong, and in which field. 408, 413, 415, 422: the body or the picture cannot be used."
    server = "503 and 504 with Retry-After: come again. 500: the log has it under the request id."
    return {"4XX": {"description": client, "content": content}, "5XX": {"description": server, "content": content}}


class MethodNotAllowed(AtelierError):
    status = 405
    title = "Method not allowed"
    grpc_code = "UNIMPLEMENTED"


_BY_STATUS: dict[int, type[AtelierError]] = {400: InvalidRequest, 404: NotFound, 405: MethodNotAllowed}
