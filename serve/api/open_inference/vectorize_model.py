"""The Vectorizer as a model of the open inference protocol: named tensors in, named tensors out."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from serve.api.open_inference.codec import InferRequest
from serve.api.open_inference.tensors import Array, Tensor, decode_base64
from serve.api.options import parse_options
from serve.ensembles.vectorization import Vectorization, VectorizeOptions
from serve.errors import InvalidRequest, TooLarge
from serve.settings import ImageLimitsSettings

NAME = "vectorize"
VERSION = "1"

# Parameters of the protocol and of Triton itself: they are not ours, and not a mistake either.
_PROTOCOL_PARAMETERS = frozenset(
    [
        "binary_data_output",
        "headers",
        "priority",
        "timeout",
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "triton_enable_empty_final_response",
    ]
)

_OUTPUTS: dict[str, str] = {
    "svg": "BYTES",
    "logo_type": "BYTES",
    "confidence": "FP32",
    "tier": "BYTES",
    "tracer": "BYTES",
    "predicted_quality": "FP32",
    "actual_quality": "FP32",
    "bytes": "INT64",
    "paths": "INT64",
    "processing_time_ms": "FP32",
    "metadata": "BYTES",
}
"""``predicted_quality`` and ``actual_quality`` (SSIM) are left out when there is none; ``metadata`` is JSON."""


def metadata() -> dict[str, Any]:
    outputs = [{"name": name, "datatype": datatype, "shape": [1]} for name, datatype in _OUTPUTS.items()]
    image = {"name": "image", "datatype": "BYTES", "shape": [1]}
    return {
        "name": NAME,
        "versions": [VERSION],
        "platform": "atelier_vectorizer",
        "inputs": [image],
        "outputs": outputs,
    }


def config() -> dict[str, Any]:
    def tensor(name: str, datatype: str) -> dict[str, Any]:
        return {"name": name, "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}", "dims": [1]}

    return {
        "name": NAME,
        "platform": "atelier_vectorizer",
        "backend": "atelier",
        "max_batch_size": 0,
        "input": [tensor("image", "BYTES")],
        "output": [tensor(name, datatype) for name, datatype in _OUTPUTS.items()],
    }


def read_options(request: InferRequest, **fixed: Any) -> VectorizeOptions:
    """Options from the request's parameters. Asking for the output ``actual_quality`` validates the result."""
    values = {name: value for name, value in request.parameters.items() if name not in _PROTOCOL_PARAMETERS}
    if any(output.name == "actual_quality" for output in request.outputs):
        values["validate"] = True
    for output in request.outputs:
        if output.name not in _OUTPUTS:
            raise InvalidRequest(f"is not an output of {NAME}; known: {', '.join(_OUTPUTS)}", output.name[:64])
    return parse_options(values, **fixed)


def read_image(request: InferRequest, limits: ImageLimitsSettings) -> bytes:
    """The encoded picture of the input ``image``: BYTES [1] as it is (base64 in JSON), UINT8 [H, W, 3 or 4] as PNG."""
    if [tensor.name for tensor in request.inputs] != ["image"]:
        raise InvalidRequest("takes exactly one input, named image", "inputs")
    tensor = request.inputs[0]
    if tensor.datatype == "BYTES":
        return _encoded(tensor)
    if tensor.datatype == "UINT8":
        return _to_png(tensor.array, limits)
    raise InvalidRequest(f"must be BYTES [1] or UINT8 [height, width, 3 or 4], not {tensor.datatype}", "image")


def _encoded(tensor: Tensor) -> bytes:
    if tensor.array.shape not in ((1,), (1, 1)):  # the second is a batch of one
        raise InvalidRequest(f"BYTES must have the shape [1], not {list(tensor.array.shape)}", "image")
    data: bytes = tensor.array.ravel()[0]
    return decode_base64(data.rpartition(b",")[2], "image") if tensor.from_text else data


def _to_png(array: Array, limits: ImageLimitsSettings) -> bytes:
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise InvalidRequest(f"UINT8 must have the shape [height, width, 3 or 4], not {list(array.shape)}", "image")
    if max(array.shape[:2]) > limits.max_side_px or array.shape[0] * array.shape[1] > limits.max_pixels:
        raise TooLarge(f"has more than {limits.max_side_px} px on a side or {limits.max_pixels} pixels", "image")
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def to_outputs(result: Vectorization, request: InferRequest) -> dict[str, Array]:
    """The outputs that were asked for, or all that there are; each of shape [1]."""
    values: dict[str, Any] = {name: getattr(result, name, None) for name in _OUTPUTS}
    details = {key: value for key, value in dataclasses.asdict(result).items() if key != "svg"}
    values |= {"processing_time_ms": result.processing_time_s * 1000.0, "metadata": json.dumps(details)}
    wanted = [output.name for output in request.outputs] or list(_OUTPUTS)
    return {name: _one(values[name], _OUTPUTS[name]) for name in wanted if values[name] is not None}


def _one(value: Any, datatype: str) -> Array:
    if datatype == "BYTES":
        return np.array([str(value).encode()], object)
    return np.array([value], np.float32 if datatype == "FP32" else np.int64)
