"""`HotInference`: inference of an engine over HTTP as one of the `serve.api.middleware.hot_routes`.

Ensembles and models that are not yet known take the way of all routes.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any

from fastapi import Response
from starlette.types import Scope

from serve.api.inference.codec import HEADER_LENGTH, as_response, decode_request, encode_response, json_bytes_of
from serve.api.inference.models import Models
from serve.api.middleware.authentication import principal_of_scope
from serve.api.middleware.hot_routes import HotMatch
from serve.settings import Settings

_LENGTH = HEADER_LENGTH.lower().encode()
_PATH = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
_ROUTES = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")
THREAD_MIN_BYTES = 64 * 1024
"""Answers from this size are encoded in a thread: JSON of pixels takes long enough to block the event loop."""


class HotInference:
    def __init__(self, models: Models, settings: Settings) -> None:
        self._models = models
        self._max_tensors = settings.limits.max_tensors

    def match(self, scope: Scope) -> HotMatch | None:
        path: str = scope["path"]
        if not path.startswith("/v2/models/"):
            return None
        parts = _PATH.fullmatch(path)
        if parts is None or not self._models.is_known_engine(parts["name"]):
            return None
        version = parts["version"] or ""
        return HotMatch(_ROUTES[bool(version)], partial(self._infer, parts["name"], version))

    async def _infer(self, name: str, version: str, scope: Scope, body: bytes) -> Response:
        decoded = decode_request(body, json_bytes_of(_header(scope)), max_tensors=self._max_tensors)
        answer = await self._models.infer(name, version, decoded, principal_of_scope(scope).user_id)
        parts: Any = (name, answer.version, decoded, answer.outputs, answer.parameters)
        if sum(array.nbytes for array in answer.outputs.values()) < THREAD_MIN_BYTES:
            return as_response(*encode_response(*parts))
        return as_response(*await asyncio.to_thread(encode_response, *parts))


def _header(scope: Scope) -> str | None:
    """The first value of the header, as FastAPI reads it."""
    values = [value for name, value in scope["headers"] if name == _LENGTH]
    return values[0].decode("latin-1") if values else None
