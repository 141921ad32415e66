"""The Illustrator as a model of the open inference protocol: a prompt in, pixels out, previews on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np

from serve.api.inference.codec import InferRequest
from serve.api.inference.description import Answer, ModelDescription, TensorSpec, to_tensors, told_versions
from serve.api.inference.illustrate_request import INPUTS, read_options
from serve.api.inference.recording import Recorder
from serve.api.inference.tensors import Array
from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    FamilyInfo,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    Preview,
)
from serve.ensembles.requests import IllustrateRequest
from serve.errors import AtelierError, TooLarge
from serve.jobs.direct.direct_request import assignment_unit
from serve.releases.fallback.serving import serving
from serve.releases.rollouts.version_selector import VersionSelector

DESCRIPTION = ModelDescription(
    name="illustrate",
    platform="atelier_illustrator",
    inputs=INPUTS,
    outputs=[
        TensorSpec("image", "UINT8", (-1, -1, -1, 3)),
        TensorSpec("seed", "INT64", (-1,)),
        TensorSpec("tokens", "INT64"),
        TensorSpec("evaluations", "INT64"),
        TensorSpec("processing_time_ms", "FP32"),
        TensorSpec("parameters", "BYTES"),
        TensorSpec("metadata", "BYTES"),
    ],
    decoupled=True,
)
"""``image`` is [n, height, width, 3] sRGB, ``seed`` [n]: each alone, with n = 1, gives its picture again.

``parameters`` is JSON: what the first picture was made with. ``metadata`` is JSON: that, and all that there is to know.
"""

MAX_ANSWER_BYTES = 60 * 1024 * 1024
"""Pixels of one answer: a gRPC message of the stack holds 64 MiB."""


class IllustrateModel:
    description = DESCRIPTION

    def __init__(self, service: IllustratorService, choosing: VersionSelector | None, recorder: Recorder) -> None:
        """Without ``choosing`` the ensemble chooses the versions of its engines."""
        self._service = service
        self._choosing = choosing
        self._recorder = recorder
        self._known: Sequence[FamilyInfo] = ()

    async def ready(self) -> bool:
        try:
            health = await self._service.health()
            return bool(health.asleep) or (health.ready and bool(await self._families()))
        except AtelierError:
            return False

    async def config(self) -> dict[str, Any]:
        """With the parameter ``models``: JSON of what each family draws, the default first."""
        told = json.dumps([dataclasses.asdict(family) for family in await self._families()])
        return {**DESCRIPTION.config(), "parameters": {"models": {"string_value": told}}}

    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer:
        drawn = await serving(self._service, user_id).draw(await self._options(request, timeout_s, user_id))
        await self._keep(user_id, drawn)
        return _answer(drawn, request)

    async def _keep(self, user_id: str, drawn: Illustration) -> None:
        await self._recorder.keep(user_id, ILLUSTRATE, drawn.parameters.model, drawn.processing_time_s, drawn.cost)

    async def stream(self, request: InferRequest, timeout_s: float | None, user_id: str) -> AsyncGenerator[Answer]:
        """Previews (``preview_every``) with the output ``image`` alone, and where they are; all outputs at last."""
        options = await self._options(request, timeout_s, user_id)
        async with contextlib.aclosing(serving(self._service, user_id).stream(options)) as items:
            async for item in items:
                if isinstance(item, Preview):
                    yield _preview(item, request)
                elif isinstance(item, Illustration):
                    await self._keep(user_id, item)
                    yield _answer(item, request)

    async def _options(self, request: InferRequest, timeout_s: float | None, user_id: str) -> IllustrateOptions:
        DESCRIPTION.wanted(request)
        options = read_options(request, timeout_s)
        await self._check_size(options)
        if self._choosing is None:
            return options
        asked = IllustrateRequest(options)
        return (await self._choosing.assign(asked, assignment_unit(asked, user_id))).options

    async def _check_size(self, options: IllustrateOptions) -> None:
        """Raises ``TooLarge`` before anything is drawn that no answer could hold."""
        for family in await self._families():
            if options.model in (None, family.name):
                width, height = options.width or family.width, options.height or family.height
                drawn = max(width, height) <= family.max_px  # else the family refuses it, by the name of the side
                if drawn and options.n * width * height * 3 > MAX_ANSWER_BYTES:
                    what = f"{options.n} pictures of {width} x {height}"
                    raise TooLarge(f"{what} are more than the {MAX_ANSWER_BYTES} bytes that one answer holds", "n")
                return

    async def _families(self) -> Sequence[FamilyInfo]:
        """Kept once they are known: they cannot change while the stack runs."""
        if not self._known:
            self._known = await self._service.families()
        return self._known


def _preview(preview: Preview, request: InferRequest) -> Answer:
    shown = any(spec.name == "image" for spec in DESCRIPTION.wanted(request))
    where = {"index": preview.index, "step": preview.step, "steps": preview.steps}
    return Answer(DESCRIPTION.version, {"image": preview.pixels[None]} if shown else {}, where, final=False)


def _answer(drawn: Illustration, request: InferRequest) -> Answer:
    return Answer(DESCRIPTION.version, to_outputs(drawn, request), told_versions(drawn.model_versions))


def to_outputs(drawn: Illustration, request: InferRequest) -> dict[str, Array]:
    """The outputs that were asked for, or all."""
    parameters = dataclasses.asdict(drawn.parameters)
    details = {key: value for key, value in vars(drawn).items() if key not in ("pictures", "parameters")}
    values = {
        "image": np.stack([picture.pixels for picture in drawn.pictures]),
        "seed": np.array([picture.seed for picture in drawn.pictures], np.int64),
        "tokens": drawn.tokens,
        "evaluations": drawn.evaluations,
        "processing_time_ms": drawn.processing_time_s * 1000.0,
        "parameters": json.dumps(parameters),
        "metadata": json.dumps({"parameters": parameters, **details}),
    }
    return to_tensors(values, DESCRIPTION.wanted(request))
