"""Errors in the words of AUTOMATIC1111's API: its clients show ``detail``."""

from __future__ import annotations

from typing import Any

from fastapi import Response

from serve.api.http.problems import render
from serve.errors import AtelierError, Unauthorized

_TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = {name: _TEXT for name in ("error", "detail", "body", "errors")}
_OF_THE_REQUEST = "HTTPException"
"""The class of every error there that is the client's."""


def as_error(error: AtelierError) -> Response:
    kind = _OF_THE_REQUEST if error.status < 500 else error.label()
    body = {"error": kind, "detail": str(error), "body": "", "errors": str(error)}
    response = render(body, error.status, error.retry_after_s)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = error.basic_challenge
    return response
