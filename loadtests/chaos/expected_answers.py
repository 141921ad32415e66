"""Requests with known answers, at every door."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtests.chaos.attempts_log import AttemptResult
from loadtests.chaos.client import AttemptOutcome, of_http
from loadtests.load.callers import ANEW
from loadtests.load.drawings import encoded
from serve.api.inference.grpc_messages import set_parameters
from serve.api.inference.tensors import bytes_array, from_binary, to_binary
from serve.ensembles.vectorizer.vectorization import is_lasting

Pixels = NDArray[np.uint8]

PROMPT = "red apple, flat"
STEPS = 4
ROUNDING = 2
"""Of 255: what shares a batch with other pictures may differ in the last bits of its floats."""
PICTURES = (("simple", 128), ("text", 128), ("complex", 128))
_RECONNECT = [("grpc.max_reconnect_backoff_ms", 1000), ("grpc.initial_reconnect_backoff_ms", 100)]
DRAWING = {"prompt": PROMPT, "steps": STEPS}


@dataclass
class ExpectedAnswers:
    """What the requests are answered when nothing is amiss: what an engine was missing for is no such answer."""

    svgs: dict[str, str] = field(default_factory=dict)
    pictures: dict[int, Pixels] = field(default_factory=dict)

    def judge_svg(self, name: str, svg: str, degraded: bool) -> AttemptOutcome:
        if degraded and svg != self.svgs.get(name):
            return AttemptOutcome(AttemptResult.DEGRADED, "an engine was missing")
        if svg == self.svgs.setdefault(name, svg):
            return AttemptOutcome(AttemptResult.RIGHT)
        return AttemptOutcome(AttemptResult.WRONG, f"another SVG of {name}")

    def judge_picture(self, seed: int, pixels: Pixels) -> AttemptOutcome:
        known = self.pictures.setdefault(seed, pixels)
        if known.shape == pixels.shape and int(np.abs(known.astype(int) - pixels).max()) <= ROUNDING:
            return AttemptOutcome(AttemptResult.RIGHT)
        return AttemptOutcome(AttemptResult.WRONG, f"another picture of seed {seed}")


def as_pixels(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


async def convert(http: httpx.AsyncClient, known: ExpectedAnswers, number: int) -> AttemptOutcome:
    """The native form."""
    name, size = PICTURES[number % len(PICTURES)]
    files = {"image": ("picture.png", encoded(name, size))}
    answer = await http.post("/api/convert-ai", files=files, data={"tier": "1"}, headers=ANEW)
    if (mismatch := of_http(answer)) is not None:
        return mismatch
    content = answer.json()
    return known.judge_svg(name, content["svg_content"], not is_lasting(content["ai_metadata"]["degraded"]))


async def generate(http: httpx.AsyncClient, known: ExpectedAnswers, number: int) -> AttemptOutcome:
    """OpenAI's."""
    seed = number % 4
    asked = {**DRAWING, "seed": seed, "response_format": "b64_json"}
    answer = await http.post("/v1/images/generations", json=asked, headers=ANEW)
    if (mismatch := of_http(answer)) is not None:
        return mismatch
    return known.judge_picture(seed, as_pixels(base64.b64decode(answer.json()["data"][0]["b64_json"])))


class GrpcClient:
    """The open inference protocol over one connection."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[*_RECONNECT, ("grpc.enable_http_proxy", 0)])
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def close(self) -> None:
        await self._channel.close()

    async def vectorize(self, known: ExpectedAnswers, number: int) -> AttemptOutcome:
        name, size = PICTURES[number % len(PICTURES)]
        outputs = await self._infer("vectorize", "image", encoded(name, size), {"tier": "1"})
        degraded = not is_lasting(json.loads(outputs["metadata"][0])["degraded"])
        return known.judge_svg(name, outputs["svg"][0].decode(), degraded)

    async def illustrate(self, known: ExpectedAnswers, number: int) -> AttemptOutcome:
        seed = number % 4
        options = {"seed": seed, "num_inference_steps": STEPS}
        outputs = await self._infer("illustrate", "prompt", PROMPT.encode(), options)
        return known.judge_picture(seed, outputs["image"][0])

    async def _infer(self, model: str, name: str, data: bytes, options: Mapping[str, Any]) -> dict[str, Any]:
        request = service_pb2.ModelInferRequest(model_name=model)
        request.inputs.add(name=name, datatype="BYTES", shape=[1])
        request.raw_input_contents.append(to_binary(bytes_array([data], (1,), name)))
        set_parameters(request, dict(options))
        answer = await self._stub.ModelInfer(request)
        pairs = zip(answer.outputs, answer.raw_output_contents, strict=True)
        return {one.name: from_binary(raw, one.datatype, tuple(one.shape), one.name) for one, raw in pairs}
