"""Errors as answers: RFC 9457 problem bodies, for every path that has no vocabulary of its own."""

from __future__ import annotations

import json
import re
from typing import Any

from fastapi import Request, Response
from starlette.exceptions import HTTPException

from serve.errors import AtelierError, InvalidRequest, NotFound


def as_problem(request: Request, error: AtelierError) -> Response:
    """``type`` names the class of the error, ``detail`` the reason, ``field`` the input at fault (if one is).

    ``success``, ``error`` and ``fallback_used`` repeat it in the words of D-060.
    """
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    body: dict[str, Any] = {
        "type": f"urn:atelier:problem:{kebab}",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "field": error.field,
        "request_id": request.scope.get("request_id"),
        "success": False,
        "error": str(error),
        "fallback_used": False,
    }
    return render(body, error.status, error.retry_after_s, "application/problem+json")


def render(body: Any, status: int, retry_after_s: int | None, media_type: str = "application/json") -> Response:
    """Pure ASCII JSON: a lone surrogate in an echoed name must not break the answer that reports it."""
    headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Response(json.dumps(body), status, headers, media_type)


def from_http_exception(error: HTTPException) -> AtelierError:
    """Starlette's own 404 and 405 as an error of ours."""
    known = _BY_STATUS.get(error.status_code, AtelierError)
    return known(str(error.detail))


class MethodNotAllowed(AtelierError):
    status = 405
    title = "Method not allowed"
    grpc_code = "UNIMPLEMENTED"


_BY_STATUS: dict[int, type[AtelierError]] = {400: InvalidRequest, 404: NotFound, 405: MethodNotAllowed}
