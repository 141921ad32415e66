"""What OpenAPI says of the routes that take pictures as forms."""

from __future__ import annotations

from typing import Any

from serve.api.http.drawing_schema import ASKING, CACHE_HEADER
from serve.api.openapi.operation import (
    FLAG,
    MAYBE_NUMBER,
    NUMBER,
    OBJECT,
    TEXT,
    WHOLE,
    answer,
    body,
    json_object,
    list_of,
    mapping_of,
    query,
    said,
)

FORMATS = ("json", "svg")
_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><path d="M8 8h48v48H8z" fill="#c0392b"/></svg>'
_IMAGE = {
    "type": "string",
    "format": "binary",
    "description": "PNG, JPEG, WebP, GIF, BMP or TIFF, of 2 px a side or more",
}
_OPTIONS: dict[str, Any] = {
    "tier": {"type": "string", "enum": ["auto", "basic", "1", "2", "3"], "default": "auto"},
    "target_quality": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.9},
    "time_budget": {"type": "number", "exclusiveMinimum": 0, "description": "seconds"},
    "max_bytes": {"type": "integer", "minimum": 100},
    "max_paths": {"type": "integer", "minimum": 1},
    "validate": {"type": "boolean", "default": False},
}
_AI_METADATA = {
    **dict.fromkeys(("logo_type", "selected_tier", "tracer", "input_sha256"), TEXT),
    **dict.fromkeys(("confidence", "processing_time"), NUMBER),
    **dict.fromkeys(("predicted_quality", "actual_quality"), MAYBE_NUMBER),
    **dict.fromkeys(("bytes", "paths", "width", "height"), WHOLE),
    "parameters_used": {**OBJECT, "example": {"color_precision": 6, "corner_threshold": 60}},
    "model_versions": mapping_of(TEXT),
    "timings_s": mapping_of(NUMBER),
    "cost": {**mapping_of(NUMBER), "description": "cpu_seconds, gpu_seconds; not of answers from the cache"},
    "degraded": {**list_of(TEXT), "example": [], "description": "what could not be done as asked"},
    "generation_id": TEXT,
    "cached": FLAG,
}
_MODEL_INFO = json_object({"versions": mapping_of(TEXT), "inference_engine": {**TEXT, "example": "exported_models"}})
_CONVERSION = json_object(
    {
        "success": {"const": True},
        "svg_content": {**TEXT, "example": _SVG},
        "ai_metadata": json_object(_AI_METADATA, optional=("timings_s", "cost")),
        "processing_time": NUMBER,
        "fallback_used": FLAG,
        "model_info": _MODEL_INFO,
    }
)
_ANALYSIS = json_object(
    {
        "success": {"const": True},
        "features": mapping_of(NUMBER),
        **dict.fromkeys(("logo_type", "recommended_tier", "input_sha256", "processing_method"), TEXT),
        **dict.fromkeys(("confidence", "processing_time"), NUMBER),
        **dict.fromkeys(("width", "height"), WHOLE),
        "cached": FLAG,
    }
)
_ENGINE = json_object({"ready": FLAG, "latency_ms": NUMBER, "version": TEXT, "reason": TEXT})
HEALTH = answer(
    "How the engines are",
    json_object(
        {
            "status": {"enum": ["healthy", "degraded", "unavailable"]},
            "models_ready": WHOLE,
            "models_total": WHOLE,
            "models": mapping_of(_ENGINE),
            "asleep": {"type": "array", "items": TEXT, "description": "Ensembles that the first request wakes"},
            "model_info": _MODEL_INFO,
        }
    ),
)


def conversion(*options: str) -> dict[str, Any]:
    """Of a route whose form takes ``options`` beside the picture."""
    what = "The kind of answer; without it the Accept header decides, and JSON is the default."
    done = said("The picture, alone or with what was done", _CONVERSION) | {"headers": CACHE_HEADER}
    done["content"]["image/svg+xml"] = {"schema": TEXT, "example": _SVG}
    kind = query("format", {"type": "string", "enum": list(FORMATS)}, what)
    return {**_form(*options), "parameters": [kind, *ASKING], "responses": {"200": done}}


def analysis() -> dict[str, Any]:
    done = said("What the picture is like", _ANALYSIS) | {"headers": CACHE_HEADER}
    return {**_form(), "parameters": ASKING, "responses": {"200": done}}


def _form(*options: str) -> dict[str, Any]:
    properties = {"image": _IMAGE, **{name: _OPTIONS[name] for name in options}}
    schema = {"type": "object", "required": ["image"], "properties": properties, "additionalProperties": False}
    example = {"image": "the bytes of logo.png", **({"max_paths": 500} if options else {})}
    return body(schema, example, "multipart/form-data")
