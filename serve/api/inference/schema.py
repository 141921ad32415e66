"""What OpenAPI says of the open inference protocol's routes."""

from __future__ import annotations

from typing import Any

from serve.api.openapi.operation import (
    FLAG,
    OBJECT,
    TEXT,
    WHOLE,
    answer,
    body,
    event_stream,
    header,
    json_object,
    list_of,
    mapping_of,
    said,
)

_NAMED = {"name": {**TEXT, "minLength": 1, "maxLength": 256, "example": "plus_one"}}
_PARAMETERS = {**OBJECT, "example": {}, "description": "Values are text, numbers or flags."}
_SHAPE = {"type": "array", "items": WHOLE, "example": [1, 4]}
_DATA = {"type": "array", "items": {}, "example": [1.0, 2.0, 3.0, 4.0], "description": "Row-major; nested or flat."}
_TENSOR_OPTIONAL = ("parameters", "data")
_TENSOR = json_object(
    {**_NAMED, "datatype": TEXT, "shape": _SHAPE, "parameters": _PARAMETERS, "data": _DATA}, _TENSOR_OPTIONAL
)
_REQUEST = json_object(
    {
        "id": TEXT,
        "parameters": _PARAMETERS,
        "inputs": {**list_of(_TENSOR), "minItems": 1},
        "outputs": list_of(json_object({**_NAMED, "parameters": _PARAMETERS}, ("parameters",))),
    },
    ("id", "parameters", "outputs"),
)
_TENSOR_EXAMPLE = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
_ANSWERED = json_object(
    {"model_name": TEXT, "model_version": TEXT, "id": TEXT, "parameters": _PARAMETERS, "outputs": list_of(_TENSOR)},
    ("id", "parameters"),
)
_DESCRIBED = json_object({"name": TEXT, "datatype": TEXT, "shape": _SHAPE})
_COUNT = json_object({"count": WHOLE, "ns": WHOLE})

SERVER = answer(
    "What is served here, and how", json_object({"name": TEXT, "version": TEXT, "extensions": list_of(TEXT)}),
    example={"name": "atelier", "version": "0.1.0", "extensions": ["binary_tensor_data", "statistics"]},
)  # fmt: skip
_LIVE = json_object({"live": FLAG, "ready": FLAG})
LIVE = answer("It does", _LIVE)
READY = answer("Every engine is", _LIVE, r503=said("An engine is not", _LIVE, {"live": True, "ready": False}))
MODEL = answer(
    "Its tensors; -1 is a free axis",
    json_object(
        {
            "name": TEXT,
            "versions": list_of(TEXT),
            "platform": TEXT,
            "inputs": list_of(_DESCRIBED),
            "outputs": list_of(_DESCRIBED),
        }
    ),
)
_MODEL_READY = json_object({"name": TEXT, "ready": FLAG})
_ERROR = json_object({"error": TEXT})
MODEL_READY = answer(
    "It is",
    _MODEL_READY,
    r503=said("It is not, or cannot be asked", {"anyOf": [_MODEL_READY, _ERROR]}, {"name": "mini", "ready": False}),
)
CONFIG = answer(
    "As Triton's ModelConfig in JSON",
    {**json_object({"name": TEXT}), "additionalProperties": True},
    example={"name": "plus_one", "platform": "onnxruntime_onnx", "max_batch_size": 8},
)
STATISTICS = answer(
    "As Triton's ModelStatistics",
    json_object(
        {
            "model_stats": list_of(
                json_object(
                    {
                        "name": TEXT,
                        "version": TEXT,
                        "last_inference": WHOLE,
                        "inference_count": WHOLE,
                        "execution_count": WHOLE,
                        "inference_stats": mapping_of(_COUNT),
                    },
                    ("last_inference", "inference_count", "execution_count", "inference_stats"),
                )
            )
        }
    ),
)
_NOTHING: dict[str, Any] = {"type": "object", "properties": {"ready": {**FLAG, "description": "without effect"}}}
INDEX = {
    **body(_NOTHING, {}, required=False),
    **answer("Every model", list_of(json_object({"name": TEXT, "version": TEXT, "state": TEXT, "reason": TEXT}))),
}
_EMPTY = {"responses": {"200": {"description": "It is; no body", "content": {}}}}
LOAD = {**body({"type": "object", "properties": {"parameters": _PARAMETERS}}, {}, required=False), **_EMPTY}
UNLOAD = {**LOAD, "responses": {"200": {"description": "Never answered: models stay loaded", "content": {}}}}
INFER: dict[str, Any] = {
    "parameters": [
        header(
            "Inference-Header-Content-Length",
            {"type": "string", "pattern": "^[0-9]{1,12}$"},
            "How many bytes of the body are JSON, where tensors follow it as binary data.",
        )
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _REQUEST, "example": {"inputs": [_TENSOR_EXAMPLE]}},
            "application/octet-stream": {"schema": {**TEXT, "format": "binary"}},
        },
    },
    "responses": {
        "200": {
            "description": "The outputs; as binary data where the request says so",
            "content": {
                "application/json": {
                    "schema": _ANSWERED,
                    "example": {"model_name": "plus_one", "model_version": "1", "outputs": [_TENSOR_EXAMPLE]},
                },
                "application/octet-stream": {"schema": {**TEXT, "format": "binary"}},
            },
        }
    },
}
_GENERATED: dict[str, Any] = {
    **json_object({"model_name": TEXT, "model_version": TEXT}),
    "additionalProperties": True,
    "example": {"model_name": "plus_one", "model_version": "1", "y": [2.0]},
}
_ASKED = body({**OBJECT, "properties": {"parameters": _PARAMETERS}}, {"prompt": "red apple, flat", "seed": 7})
GENERATE = {**_ASKED, **answer("The outputs: single values, or flat lists", _GENERATED)}
_EVENT = event_stream(
    {"data": '{"model_name": "illustrate", "model_version": "1", "image": "iVBORw0KGgo="}'},
    {"anyOf": [_GENERATED, _ERROR]},
)
STREAM: dict[str, Any] = {
    **_ASKED,
    "responses": {
        "200": {
            "description": "Server-sent events",
            "content": _EVENT,
        }
    },
}
