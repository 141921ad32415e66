"""Fallback backends: another local model, and external services."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps
from pydantic import SecretStr

from serve.diffusion.noise import derived_seeds
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters, Picture, Pixels
from serve.ensembles.illustrator.service import FamilyInfo, IllustratorService
from serve.errors import AtelierError
from serve.releases.fallback.external_services import Size, service_of
from serve.releases.fallback.http_calls import ExternalCallFailed, post_json
from serve.security.limits.admission_queue import AdmissionQueue
from serve.settings import FallbackSettings, FallbackStep
from serve.vector.image import ImageLimits, read

FALLBACK = "fallback:"
_WAITING = 64
_ENVELOPE_BYTES = 64 * 1024
_DEFAULT_SIDE_PX = 1024

Key = Callable[[str], Awaitable[SecretStr]]
"""Looks up a stored secret by name."""


class FallbackBackend(Protocol):
    """``name``: reported as the server in answers. ``model``: a family of this site, or None."""

    name: str
    model: str | None

    async def draw(self, options: IllustrateOptions, family: FamilyInfo | None) -> Illustration:
        """``options`` have a seed and a binding ``timeout_s``; ``family``: the requested one, if known.

        Raises errors of `serve.errors`; the next backend is tried then.
        """
        ...


class LocalModel:
    """Another family of this site's Illustrator."""

    def __init__(self, step: FallbackStep, illustrator: IllustratorService) -> None:
        self.name = FALLBACK + step.link
        self.model: str | None = step.model
        self._step = step
        self._illustrator = illustrator

    async def draw(self, options: IllustrateOptions, family: FamilyInfo | None) -> Illustration:
        wanted = self._step.model
        stands_in = next((one for one in await self._illustrator.families() if one.name == wanted), None)
        if stands_in is None:
            raise ExternalCallFailed("is no model of this site")
        width, height = _size(options, family)
        drawn = await self._illustrator.draw(
            replace(
                options,
                model=stands_in.name,
                width=stands_in.nearest(width),
                height=stands_in.nearest(height),
                num_inference_steps=None,  # defaults differ between families
                guidance_scale=None,
                sampler=options.sampler if options.sampler in stands_in.samplers else None,
                timeout_s=min(options.timeout_s or self._step.timeout_s, self._step.timeout_s),
                preview_every=0,
            )
        )
        return replace(drawn, served_by=self.name)


class ExternalService:
    """An external service, called once per picture; its answers are untrusted."""

    def __init__(self, step: FallbackStep, settings: FallbackSettings, key: Key) -> None:
        """Raises ValueError for an unknown model."""
        self.name = FALLBACK + step.link
        self.model: str | None = None
        self._step = step
        self._service = service_of(step)
        self._max_bytes = settings.max_bytes
        self._turns = AdmissionQueue(settings.at_once, _WAITING)
        self._key = key

    async def draw(self, options: IllustrateOptions, family: FamilyInfo | None) -> Illustration:
        """Raises ExternalCallFailed, Overloaded, and errors of the secret store."""
        began = time.perf_counter()
        size, seeds = _size(options, family), derived_seeds(options.resolve_seed(), options.n)
        key = self._step.api_key
        if self._step.secret is not None:
            key = await self._key(self._step.secret)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._picture(options, size, seed, key)) for seed in seeds]
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        pictures = [Picture(task.result(), seed) for task, seed in zip(tasks, seeds, strict=True)]
        took_s = time.perf_counter() - began
        return Illustration(
            pictures=pictures,
            parameters=self._parameters(options, size, seeds[0]),
            tokens=0,
            negative_tokens=0,
            evaluations=0,
            model_versions={self._step.link: self._step.model},
            timings_s={"draw": took_s},
            processing_time_s=took_s,
            served_by=self.name,
        )

    async def _picture(self, options: IllustrateOptions, size: Size, seed: int, key: SecretStr | None) -> Pixels:
        async with self._turns.slot():
            body = self._service.request(options, self._service.size(size), seed)
            url, headers = self._service.call(body, key)
            limit_s = min(options.timeout_s or self._step.timeout_s, self._step.timeout_s)
            most = self._max_bytes * 4 // 3 + _ENVELOPE_BYTES
            answer = await post_json(url, headers, body, timeout_s=limit_s, max_bytes=most)
            found = self._service.picture(answer)
            return await asyncio.to_thread(decode_picture, found, size, self._max_bytes)

    def _parameters(self, options: IllustrateOptions, size: Size, seed: int) -> Parameters:
        """Parameters as far as known: services do not report steps or sampler."""
        return Parameters(
            prompt=options.prompt,
            negative_prompt=options.negative_prompt,
            model=self._step.model,
            width=size[0],
            height=size[1],
            num_inference_steps=0,
            guidance_scale=options.guidance_scale or 0.0,
            guidance_rescale=0.0,
            sampler="",
            seed=seed,
        )


def decode_picture(found: str, size: Size, max_bytes: int) -> Pixels:
    """Decode the base64 picture as untrusted input, composite on white, crop and scale to ``size``.

    Raises ExternalCallFailed.
    """
    try:
        data = base64.b64decode(found.partition(",")[2] if found.startswith("data:") else found, validate=True)
        picture = read(data, ImageLimits(max_bytes=max_bytes))
    except (binascii.Error, ValueError):
        raise ExternalCallFailed("answered with what is no base64") from None
    except AtelierError as error:
        raise ExternalCallFailed(f"answered with what is no picture for us ({type(error).__name__})") from None
    image = Image.fromarray(picture.rgba)
    image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")
    if image.size != size:
        image = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    return np.array(image)


def steps_of(settings: FallbackSettings, illustrator: IllustratorService, key: Key) -> Sequence[FallbackBackend]:
    """Backends in the order of the settings. Raises ValueError for an invalid step."""
    return [
        LocalModel(step, illustrator) if step.kind == "model" else ExternalService(step, settings, key)
        for step in settings.steps
    ]


def without_defaults(options: IllustrateOptions, family: FamilyInfo | None) -> IllustrateOptions:
    """Remove options that equal the defaults of ``family``, which do not apply to other backends."""
    if family is None:
        return options
    steps, guidance = family.steps_and_guidance(replace(options, num_inference_steps=None, guidance_scale=None))
    defaults: dict[str, set[Any]] = {
        "num_inference_steps": {steps, family.num_inference_steps},
        "guidance_scale": {guidance, family.guidance_scale},
        "sampler": {family.sampler},
    }
    open_again: dict[str, Any] = {name: None for name in defaults if getattr(options, name) in defaults[name]}
    return replace(options, **open_again)


def _size(options: IllustrateOptions, family: FamilyInfo | None) -> Size:
    if family is not None:
        return family.size_for(options)
    width, height = (_DEFAULT_SIDE_PX, _DEFAULT_SIDE_PX) if options.source is None else options.source.size
    return options.width or width, options.height or height


def _first(error: BaseException) -> BaseException:
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
