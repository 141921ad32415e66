"""The Illustrator as a model of the open inference protocol: a prompt in, pixels out, previews on the way."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np

from serve.api.inference.codec import InferRequest
from serve.api.inference.description import (
    Answer,
    ModelDescription,
    TensorSpec,
    to_tensors,
    versions_parameter,
)
from serve.api.inference.illustrate_inputs import INPUTS, keeps_alpha, read_options
from serve.api.inference.tensors import Array
from serve.api.inference.usage import Recorder
from serve.ensembles.illustrator.encoding import opaque
from serve.ensembles.illustrator.illustration import ILLUSTRATE, IllustrateOptions, Illustration
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService, Preview, family_of
from serve.ensembles.requests import IllustrateRequest
from serve.errors import AtelierError, TooLarge
from serve.jobs.direct.direct_request import assignment_unit
from serve.jobs.loras import resolve_loras
from serve.releases.fallback.serving import serving
from serve.releases.rollouts.version_selector import VersionSelector
from serve.settings import ImageLimitsSettings
from serve.state import State

DESCRIPTION = ModelDescription(
    name="illustrate",
    platform="atelier_illustrator",
    inputs=INPUTS,
    outputs=[
        TensorSpec("image", "UINT8", (-1, -1, -1, -1)),
        TensorSpec("seed", "INT64", (-1,)),
        TensorSpec("tokens", "INT64"),
        TensorSpec("evaluations", "INT64"),
        TensorSpec("processing_time_ms", "FP32"),
        TensorSpec("parameters", "BYTES"),
        TensorSpec("metadata", "BYTES"),
    ],
    decoupled=True,
)
"""``image`` is [n, height, width, 3] sRGB, a transparent ground white; [n, height, width, 4] of pictures with alpha
where the parameter ``alpha`` is true, and of one that is finished alone.
``seed`` is [n]: each seed alone, with n = 1, draws the same picture again.

``parameters`` is JSON: the parameters of the first picture. ``metadata`` is JSON: the same and all other details.
"""

MAX_ANSWER_BYTES = 60 * 1024 * 1024
"""Pixels of one answer: a gRPC message of the stack holds 64 MiB."""


class IllustrateModel:
    description = DESCRIPTION

    def __init__(
        self,
        service: IllustratorService,
        limits: ImageLimitsSettings,
        version_selector: VersionSelector | None,
        recorder: Recorder,
        state: State | None = None,
    ) -> None:
        """``limits`` are those of input pictures. Without a ``version_selector`` the ensemble selects the versions of
        its engines. LoRAs are those of the site's ``state``."""
        self._service = service
        self._limits = limits
        self._version_selector = version_selector
        self._recorder = recorder
        self._state = state
        self._known: Sequence[FamilyInfo] = ()

    async def ready(self) -> bool:
        try:
            health = await self._service.health()
            return bool(health.asleep) or (health.ready and bool(await self._families()))
        except AtelierError:
            return False

    async def config(self) -> dict[str, Any]:
        """With the parameter ``models``: JSON of what each family draws, the default first."""
        families = json.dumps([dataclasses.asdict(family) for family in await self._families()])
        return {**DESCRIPTION.config(), "parameters": {"models": {"string_value": families}}}

    async def infer(self, request: InferRequest, timeout_s: float | None, user_id: str) -> Answer:
        drawn = await serving(self._service, user_id).draw(await self._options(request, timeout_s, user_id))
        await self._keep(user_id, drawn)
        return _answer(drawn, request)

    async def _keep(self, user_id: str, drawn: Illustration) -> None:
        await self._recorder.keep(user_id, ILLUSTRATE, drawn.parameters.model, drawn.processing_time_s, drawn.cost)

    async def stream(self, request: InferRequest, timeout_s: float | None, user_id: str) -> AsyncGenerator[Answer]:
        """Previews (``preview_every``) with the output ``image`` and their step, then the answer with all outputs."""
        options = await self._options(request, timeout_s, user_id)
        async with contextlib.aclosing(serving(self._service, user_id).stream(options)) as items:
            async for item in items:
                if isinstance(item, Preview):
                    yield _preview(item, request)
                elif isinstance(item, Illustration):
                    await self._keep(user_id, item)
                    yield _answer(item, request)

    async def _options(self, request: InferRequest, timeout_s: float | None, user_id: str) -> IllustrateOptions:
        DESCRIPTION.requested_outputs(request)
        options = await read_options(request, timeout_s, self._limits)
        options = await resolve_loras(options, self._state)
        await self._check_size(options, channels=4 if keeps_alpha(request) else 3)
        if self._version_selector is None:
            return options
        drawing_request = IllustrateRequest(options)
        return (await self._version_selector.assign(drawing_request, assignment_unit(drawing_request, user_id))).options

    async def _check_size(self, options: IllustrateOptions, channels: int) -> None:
        """Raises ``TooLarge``, before drawing, for pictures that one answer cannot hold."""
        family, source = family_of(options, await self._families()), options.source
        if family is None:
            return
        width, height = family.size_for(options) if options.draws or source is None else source.size
        drawn = max(width, height) <= family.max_px  # else the family raises an error that names the side
        if source is not None and (source.outpaint or source.mask_crop):
            width, height = source.size
        width, height = (round(side * options.finish.upscale) for side in (width, height))
        if drawn and options.n * width * height * channels > MAX_ANSWER_BYTES:
            what = f"{options.n} pictures of {width} x {height}"
            raise TooLarge(f"{what} are more than the {MAX_ANSWER_BYTES} bytes that one answer holds", "n")

    async def _families(self) -> Sequence[FamilyInfo]:
        """Cached at the first call: they cannot change while the stack runs."""
        if not self._known:
            self._known = await self._service.families()
        return self._known


def _preview(preview: Preview, request: InferRequest) -> Answer:
    shown = any(spec.name == "image" for spec in DESCRIPTION.requested_outputs(request))
    where = {"index": preview.index, "step": preview.step, "steps": preview.steps}
    return Answer(DESCRIPTION.version, {"image": opaque(preview.pixels)[None]} if shown else {}, where, final=False)


def _answer(drawn: Illustration, request: InferRequest) -> Answer:
    return Answer(DESCRIPTION.version, to_outputs(drawn, request), versions_parameter(drawn.model_versions))


def to_outputs(drawn: Illustration, request: InferRequest) -> dict[str, Array]:
    """The outputs that ``request`` names, or all."""
    parameters = drawn.parameters.to_json()
    alone = not drawn.evaluations  # a picture that was finished without drawing
    keeps = alone or keeps_alpha(request)
    details = {key: value for key, value in vars(drawn).items() if key not in ("pictures", "parameters")}
    values = {
        "image": np.stack([picture.pixels if keeps else opaque(picture.pixels) for picture in drawn.pictures]),
        "seed": np.array([picture.seed for picture in drawn.pictures], np.int64),
        "tokens": drawn.tokens,
        "evaluations": drawn.evaluations,
        "processing_time_ms": drawn.processing_time_s * 1000.0,
        "parameters": json.dumps(parameters),
        "metadata": json.dumps({"parameters": parameters, **details}),
    }
    return to_tensors(values, DESCRIPTION.requested_outputs(request))
