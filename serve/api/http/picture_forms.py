"""Forms of the native drawing routes: the fields of their JSON as parts, with pictures as files.

A form becomes the JSON body that says the same, its files as ``data:`` URLs, so that one model serves both.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from serve.api.http.bodies import CappedRequest, read_parts
from serve.api.openapi.operation import schema_of
from serve.ensembles.illustrator.illustration import MAX_PROMPT_CHARACTERS
from serve.errors import InvalidRequest

FILES = ("image", "mask", "style_image")
MULTIPART = "multipart/form-data"
_OBJECTS = (
    "stylePreferences",
    "memoryContext",
    "styles",
    "regions",
    "subjects",
    "relationships",
    "controls",
    "references",
    "loras",
    "subjectReferences",
    "hires",
    "turns",
    "models",
    "weights",
)
"""Fields whose text in a form may be JSON, with pictures in it."""
_MAX_FILES = 4
_MAX_CHARACTERS = MAX_PROMPT_CHARACTERS


class PictureRequest(CappedRequest):
    """A request whose form is read as JSON."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body") and self.headers.get("content-type", "").lower().startswith(MULTIPART):
            # A text may be a picture, as a data: URL: it has the cap of the whole body.
            parts = await read_parts(self, self._limits, _MAX_FILES, self._limits.max_body_bytes)
            self._body = await asyncio.to_thread(_as_json, parts)
        return await super().body()


class PictureRoute(APIRoute):
    """The route class of the routers whose requests may carry pictures."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_pictures(request: Request) -> Response:
            return await handle(PictureRequest(request.scope, request.receive))

        return handle_pictures


def _as_json(parts: list[tuple[str, str | bytes]]) -> bytes:
    """Raises InvalidRequest for a repeated part, and for a file in place of text."""
    values: dict[str, Any] = {}
    for name, value in parts:
        if name in values:
            raise InvalidRequest("was sent twice", name)
        if isinstance(value, bytes):
            if name not in FILES:
                raise InvalidRequest(f"must be text; files are {', '.join(FILES)}", name[:64])
            values[name] = f"data:application/octet-stream;base64,{base64.b64encode(value).decode()}"
        elif name not in (*FILES, *_OBJECTS) and len(value) > _MAX_CHARACTERS:
            raise InvalidRequest(f"must have at most {_MAX_CHARACTERS} characters, not {len(value)}", name[:64])
        elif name in _OBJECTS and value[:1] in ("{", "["):
            values[name] = _parsed(value, name)
        else:
            values[name] = value
    return json.dumps(values).encode()


def _parsed(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("is not valid JSON", name) from None


def with_form(model: type[BaseModel], files: Sequence[str] = FILES) -> dict[str, Any]:
    """``openapi_extra`` of a route with a JSON body of ``model``: the same fields as a form, ``files`` as files."""
    schema = schema_of(model)
    schema.pop("examples", None)
    for name in files:
        schema["properties"][name] = {"type": "string", "format": "binary"}
    return {"requestBody": {"content": {MULTIPART: {"schema": schema}}}}
