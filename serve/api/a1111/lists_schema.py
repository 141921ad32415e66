"""What OpenAPI says of the lists of AUTOMATIC1111's vocabulary."""

from __future__ import annotations

from serve.api.a1111.schema import NOTHING
from serve.api.openapi.operation import (
    FLAG,
    MAYBE_TEXT,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    answer,
    json_object,
    list_of,
    mapping_of,
)

_NONE = {"type": "array", "items": OBJECT, "maxItems": 0}
_NO_OBJECT = {"type": "object", "properties": {}, "maxProperties": 0}
NONE_YET = answer("None", _NONE)
UP_TO_DATE = answer("It is up to date", NOTHING)
MODELS = answer(
    "The default first",
    list_of(json_object({
        "title": {**TEXT, "example": "mini"}, "model_name": TEXT, "hash": {**MAYBE_TEXT, "example": "1"},
        "sha256": {"type": "null"}, "filename": {**TEXT, "example": "mini"}, "config": {"type": "null"},
    })),
)  # fmt: skip
SAMPLERS = answer(
    "Their names as clients know them; our own are among the aliases",
    list_of(json_object({
        "name": {**TEXT, "example": "Euler"}, "aliases": {**list_of(TEXT), "example": ["euler"]},
        "options": {**mapping_of(TEXT), "example": {"scheduler": "karras"}},
    })),
)  # fmt: skip
SCHEDULERS = answer(
    "All of them",
    list_of(json_object({
        "name": {**TEXT, "example": "karras"}, "label": {**TEXT, "example": "Karras"}, "aliases": {"type": "null"},
        "default_rho": {**NUMBER, "description": "-1: it has none", "example": 7.0}, "need_inner_model": FLAG,
    })),
)  # fmt: skip
STYLES = answer(
    "By category/name",
    list_of(json_object({"name": {**TEXT, "example": "portrait/studio"}, "prompt": TEXT, "negative_prompt": TEXT})),
)
EMBEDDINGS = answer("There are none yet", json_object({"loaded": _NO_OBJECT, "skipped": _NO_OBJECT}))
SCRIPTS = answer("There are none", json_object({"txt2img": _NONE, "img2img": _NONE}))
CMD_FLAGS = answer("The flags", json_object({"api": FLAG, "nowebui": FLAG, "api_server_stop": FLAG}))
_BYTES = {"type": "integer", "minimum": 0, "example": 8_589_934_592}
MEMORY = answer(
    "Bytes",
    json_object({
        "ram": json_object({"free": _BYTES, "used": _BYTES, "total": _BYTES}),
        "cuda": json_object({"error": {**TEXT, "example": "unavailable"}}),
    }),
)  # fmt: skip
PING = answer("There is", _NO_OBJECT, example={})
CONTROLNET_VERSION = answer("It", json_object({"version": {**WHOLE, "example": 0}}))
CONTROLNET_MODELS = answer("None", json_object({"model_list": _NONE}))
CONTROLNET_MODULES = answer("None", json_object({"module_list": _NONE, "module_detail": _NO_OBJECT}))
CONTROLNET_TYPES = answer("None", json_object({"control_types": _NO_OBJECT}))


def words(name: str) -> str:
    """Of the last part of a path."""
    plain = name.replace("-", " ")
    return plain[0].upper() + plain[1:]
