"""OpenAPI fragments of requests and responses, for arguments of route decorators such as `openapi_extra`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from serve.api.openapi.samples import inlined

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
FLAG = {"type": "boolean"}
JSON = "application/json"
CONFLICT: dict[int | str, dict[str, Any]] = {"409": {"description": "It does not fit the state that it is in"}}
UNKNOWN: dict[int | str, dict[str, Any]] = {"404": {"description": "There is none, or it is another user's"}}
"""`serve.api.openapi.finish` adds the bodies, as of every error."""


def answer(
    what: str, schema: Mapping[str, Any], status: int = 200, example: Any = None, **more: Mapping[str, Any]
) -> dict[str, Any]:
    """``responses`` with one of ``status``; ``more`` has others, by "r" and their status."""
    return {"responses": {str(status): said(what, schema, example), **{name[1:]: one for name, one in more.items()}}}


def said(what: str, schema: Mapping[str, Any], example: Any = None) -> dict[str, Any]:
    """One response."""
    content = {"schema": dict(schema), **({} if example is None else {"example": example})}
    return {"description": what, "content": {JSON: content}}


def event_stream(example: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of an answer of server-sent events. By the convention of OpenAPI 3.1 its schema is that of one event;
    ``data`` is the schema of the JSON in it, if it is always JSON."""
    inner = {} if data is None else {"contentMediaType": JSON, "contentSchema": dict(data)}
    properties = {"event": TEXT, "id": TEXT, "retry": {**WHOLE, "description": "ms"}, "data": {**TEXT, **inner}}
    schema = {"type": "object", "description": "Of each event.", "required": ["data"], "properties": properties}
    return {"text/event-stream": {"schema": schema, "example": dict(example)}}


def body(
    schema: Mapping[str, Any], example: Any = None, media_type: str = JSON, required: bool = True
) -> dict[str, Any]:
    content = {"schema": dict(schema), **({} if example is None else {"example": example})}
    return {"requestBody": {"required": required, "content": {media_type: content}}}


def bodies(models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """A request body of several media types, which the route parses itself."""
    return {
        "requestBody": {"required": True, "content": {kind: {"schema": schema_of(one)} for kind, one in models.items()}}
    }


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema without references, for a place where FastAPI does not resolve them."""
    schema = model.model_json_schema()
    inlined_schema: dict[str, Any] = inlined(schema, schema.pop("$defs", {}))
    return inlined_schema


def header(name: str, schema: Mapping[str, Any], what: str) -> dict[str, Any]:
    return parameter("header", name, schema, what)


def parameter(where: str, name: str, schema: Mapping[str, Any], what: str, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": where, "required": required, "schema": dict(schema), "description": what}
