"""OpenAPI fragments of requests and responses, for arguments of route decorators such as `openapi_extra`; and examples
generated from schemas: a property's sample value is defined once, by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

EXAMPLE_ID = "5f0c6f3f0b7e4f6f9c7d2a1b3e4d5c6f"
_URL = "https://art.example/v1/results/7d1e0f"
SAMPLES: Mapping[str, Any] = {
    "id": EXAMPLE_ID, "job_id": EXAMPLE_ID, "batch_id": EXAMPLE_ID, "generation_id": EXAMPLE_ID,
    "generationId": EXAMPLE_ID, "prompt_id": EXAMPLE_ID, "request_id": EXAMPLE_ID, "result_id": "7d1e0f",
    "key_id": "k7d1e0f3a", "user_id": "ada", "userId": "ada", "name": "mini",
    "model": "mini", "model_name": "mini", "version": "1", "model_version": "1", "versions": ["1"],
    "prompt": "red apple, flat", "engine": "quality",
    "width": 512, "height": 512, "seed": 7, "bytes": 48_213, "kind": "illustrate", "lane": "illustrate",
    "status": "completed", "priority": 0, "progress": 1.0, "step": 20, "steps": 20, "score": 0.93, "rating": 4.5,
    "confidence": 0.87, "media_type": "image/png", "mediaType": "image/png", "format": "png", "reason": "",
    "subject_name": "Bella", "file_name": "bella.png", "md5": "9e107d9d372bb6826bd81d3542a419d6", "place": 0,
    "sha256": "d7a8fbb307d7809469ca9abcb0082e4f8d5651e46d3cdb762d02d0bf37c9e592", "role": "user",
    "title": "Invalid request", "detail": "must be from 1 to 4", "message": "must be from 1 to 4", "field": "n",
    "generation_time_s": 1.8, "processing_time": 0.42, "latency_ms": 3.1, "position": 1, "estimated_s": 12.5,
    "attempt": 1, "last_event": 6, "created": 1_777_636_800, "sampler": "euler", "num_inference_steps": 20,
    "guidance_scale": 5.0, "address": "203.0.113.9", "action": "key.create", "seq": 42, "datatype": "FP32",
    "shape": [1, 4], "platform": "onnxruntime_onnx", "state": "READY", "quality": "standard", "size": "512x512",
}  # fmt: skip
"""Sample values by the name of a property or parameter."""
_BY_FORMAT = {"date-time": "2026-05-01T12:00:00+00:00", "uri": _URL, "binary": "the bytes of picture.png"}
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


def example_of(schema: Mapping[str, Any], name: str = "", known: Mapping[str, Any] = SAMPLES) -> Any:
    """A value that ``schema`` allows; ``known`` has values by name, which are taken where they fit."""
    for said in ("example", "const"):
        if said in schema:
            return schema[said]
    if schema.get("examples"):
        return schema["examples"][0]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return example_of(schema[several][0], name, known)
    if name in known and fits(known[name], schema):
        return known[name]
    if schema.get("default") is not None:
        return schema["default"]
    if "enum" in schema:
        return schema["enum"][0]
    if "null" in schema.get("type", ()) and "format" not in schema:
        return None
    return _of_type(_type_of(schema), schema, name, known)


def inlined(schema: Any, schemas: Mapping[str, Any]) -> Any:
    """``schema`` with each reference to one of ``schemas`` replaced by it. None of them contains itself."""
    if isinstance(schema, list):
        return [inlined(one, schemas) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref", "").startswith(("#/components/schemas/", "#/$defs/")):
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return inlined({**schemas[schema["$ref"].rpartition("/")[2]], **beside}, schemas)
    return {name: inlined(one, schemas) for name, one in schema.items()}


def has_content(schema: Mapping[str, Any]) -> bool:
    """Whether ``schema`` has enough information for an example."""
    if "example" in schema or "examples" in schema:
        return True
    if "anyOf" in schema or "oneOf" in schema:
        return all(has_content(one) for one in schema.get("anyOf", schema.get("oneOf", ())))
    kind = _type_of(schema)
    if kind == "object":
        return bool(schema.get("properties")) or isinstance(schema.get("additionalProperties"), dict)
    if kind == "array":
        return bool(schema.get("items"))
    return bool(schema)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether ``schema`` allows ``value``, checked as far as a sample by its name may be wrong."""
    types = schema.get("type", ())
    names = [types] if isinstance(types, str) else types
    kinds = tuple(kind for one in names for kind in _KINDS[one])
    if (isinstance(value, bool) and bool not in kinds) or (kinds and not isinstance(value, kinds)):
        return False
    if "enum" in schema:
        return value in schema["enum"]
    if isinstance(value, int | float):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return not isinstance(value, dict | list) or (not schema.get("properties") and fits_items(value, schema))


def fits_items(value: Any, schema: Mapping[str, Any]) -> bool:
    items = schema.get("items")
    return not (isinstance(value, list) and isinstance(items, dict)) or all(fits(one, items) for one in value)


def _type_of(schema: Mapping[str, Any]) -> str:
    types = schema.get("type", "object" if "properties" in schema else "")
    return types if isinstance(types, str) else next(one for one in types if one != "null")


def _of_type(kind: str, schema: Mapping[str, Any], name: str, known: Mapping[str, Any]) -> Any:
    if kind == "object":
        properties = {own: example_of(one, own, known) for own, one in schema.get("properties", {}).items()}
        more = schema.get("additionalProperties")
        return properties or ({"mini": example_of(more, "", known)} if isinstance(more, dict) else {})
    if kind == "array":
        return [] if schema.get("maxItems") == 0 else [example_of(schema.get("items", {}), name[:-1], known)]
    if kind == "integer":
        return max(1, schema.get("minimum", 1))
    if kind == "number":
        return max(0.5, schema.get("minimum", 0.5), schema.get("exclusiveMinimum", 0.5))
    if kind == "boolean":
        return True
    return _BY_FORMAT.get(schema.get("format", ""), "red apple, flat") if kind == "string" else None


TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
JSON = "application/json"
CONFLICT: dict[int | str, dict[str, Any]] = {"409": {"description": "It does not fit the state that it is in"}}
UNKNOWN: dict[int | str, dict[str, Any]] = {"404": {"description": "There is none, or it is another user's"}}
"""`serve.api.openapi.finish` adds the bodies, as of every error."""


def event_stream(example: Mapping[str, Any], data: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of an answer of server-sent events. By the convention of OpenAPI 3.1 its schema is that of one event;
    ``data`` is the schema of the JSON in it, if it is always JSON."""
    inner = {} if data is None else {"contentMediaType": JSON, "contentSchema": dict(data)}
    properties = {"event": TEXT, "id": TEXT, "retry": {**WHOLE, "description": "ms"}, "data": {**TEXT, **inner}}
    schema = {"type": "object", "description": "Of each event.", "required": ["data"], "properties": properties}
    return {"text/event-stream": {"schema": schema, "example": dict(example)}}


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
    return {"name": name, "in": "header", "required": False, "schema": dict(schema), "description": what}
