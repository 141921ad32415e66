"""The Vectorizer as a model of the open inference protocol: named tensors in, named tensors out."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import json
from typing import Any

import numpy as np
from PIL import Image

from serve.api.inference.codec import InferRequest
from serve.api.inference.description import (
    Answer,
    ModelDescription,
    TensorSpec,
    own_parameters,
    to_tensors,
    versions_parameter,
)
from serve.api.inference.tensors import Array, Tensor, decode_base64
from serve.api.inference.usage import Recorder
from serve.api.native.conversion_models import vectorize_options
from serve.ensembles.requests import VectorizeRequest
from serve.ensembles.vectorizer.vectorization import VECTORIZE, Vectorization, VectorizeOptions, VectorizerService
from serve.errors import InvalidRequest, TooLarge, rename_fields
from serve.jobs.direct.direct_request import assignment_unit
from serve.releases.rollouts.version_selector import VersionSelector
from serve.settings import ImageLimitsSettings
from serve.state.objects.names import media_type_of, name_of

DESCRIPTION = ModelDescription(
    name="vectorize",
    platform="atelier_vectorizer",
    inputs=[TensorSpec("image", "BYTES")],
    outputs=[
        TensorSpec("svg", "BYTES"),
        TensorSpec("logo_type", "BYTES"),
        TensorSpec("confidence", "FP32"),
        TensorSpec("tier", "BYTES"),
        TensorSpec("tracer", "BYTES"),
        TensorSpec("predicted_quality", "FP32"),
        TensorSpec("actual_quality", "FP32"),
        TensorSpec("bytes", "INT64"),
        TensorSpec("paths", "INT64"),
        TensorSpec("processing_time_ms", "FP32"),
        TensorSpec("metadata", "BYTES"),
    ],
)
"""``predicted_quality`` and ``actual_quality`` (SSIM) are left out when there is none; ``metadata`` is JSON."""


class VectorizeModel:
    description = DESCRIPTION

    def __init__(
        self,
        service: VectorizerService,
        limits: ImageLimitsSettings,
        version_selector: VersionSelector | None,
        recorder: Recorder,
    ) -> None:
        """Without a ``version_selector`` the ensemble selects the versions of its engines."""
        self._service = service
        self._recorder = recorder
        self._limits = limits
        self._version_selector = version_selector

    async def ready(self) -> bool:
        return True  # it converts without engines too

    async def config(self) -> dict[str, Any]:
        return DESCRIPTION.config()

    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer:
        # In a thread: packing ten megabytes of pixels would block the event loop.
        image = await asyncio.to_thread(read_image, request, self._limits)
        options = await self._versioned(image, read_options(request, timeout_s=timeout_s), user_id)
        result = await self._service.vectorize(image, options)
        await self._recorder.keep(user_id, VECTORIZE, None, result.processing_time_s, result.cost)
        return Answer(DESCRIPTION.version, to_outputs(result, request), versions_parameter(result.model_versions))

    async def _versioned(self, image: bytes, options: VectorizeOptions, user_id: str) -> VectorizeOptions:
        if self._version_selector is None:
            return options
        conversion = VectorizeRequest(await asyncio.to_thread(name_of, image, media_type_of(image)), options)
        return (await self._version_selector.assign(conversion, assignment_unit(conversion, user_id))).options


def read_options(request: InferRequest, **fixed: Any) -> VectorizeOptions:
    """Options from the request's parameters. A request for the output ``actual_quality`` validates the result."""
    values = own_parameters(request)
    DESCRIPTION.requested_outputs(request)
    if any(output.name == "actual_quality" for output in request.outputs):
        values["validate"] = True
    with rename_fields({"timeout_s": "timeout"}):
        return vectorize_options(values, **fixed)


def read_image(request: InferRequest, limits: ImageLimitsSettings) -> bytes:
    """The encoded picture of the input ``image``: BYTES [1] as it is (base64 in JSON), UINT8 [H, W, 3 or 4] as PNG."""
    if [tensor.name for tensor in request.inputs] != ["image"]:
        raise InvalidRequest("takes exactly one input, named image", "inputs")
    return read_picture(request.inputs[0], limits)


def read_picture(tensor: Tensor, limits: ImageLimitsSettings) -> bytes:
    """The encoded picture in ``tensor``: BYTES [1] as it is (base64 in JSON), UINT8 [H, W, 3 or 4] as PNG."""
    if tensor.datatype == "BYTES":
        return _encoded(tensor)
    if tensor.datatype == "UINT8":
        return _to_png(tensor.array, tensor.name, limits)
    raise InvalidRequest(f"must be BYTES [1] or UINT8 [height, width, 3 or 4], not {tensor.datatype}", tensor.name)


def _encoded(tensor: Tensor) -> bytes:
    if tensor.array.shape not in ((1,), (1, 1)):  # the second is a batch of one
        raise InvalidRequest(f"BYTES must have the shape [1], not {list(tensor.array.shape)}", tensor.name)
    data: bytes = tensor.array.ravel()[0]
    return decode_base64(data.rpartition(b",")[2], tensor.name) if tensor.from_text else data


def _to_png(array: Array, name: str, limits: ImageLimitsSettings) -> bytes:
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or array.shape[2] not in (3, 4) or 0 in array.shape:
        raise InvalidRequest(f"UINT8 must have the shape [height, width, 3 or 4], not {list(array.shape)}", name)
    if max(array.shape[:2]) > limits.max_side_px or array.shape[0] * array.shape[1] > limits.max_pixels:
        raise TooLarge(f"has more than {limits.max_side_px} px on a side or {limits.max_pixels} pixels", name)
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def to_outputs(result: Vectorization, request: InferRequest) -> dict[str, Array]:
    """The outputs that ``request`` names, or all that there are; each of shape [1]."""
    details = {key: value for key, value in dataclasses.asdict(result).items() if key != "svg"}
    values = {spec.name: getattr(result, spec.name, None) for spec in DESCRIPTION.outputs}
    values |= {"processing_time_ms": result.processing_time_s * 1000.0, "metadata": json.dumps(details)}
    return to_tensors(values, DESCRIPTION.requested_outputs(request))
