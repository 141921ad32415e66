"""`DiffusionPipeline`: text and picture encoding, sampler loop and decoding with the engines of one family."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.guidance import guide, is_guided
from serve.diffusion.noise import LATENTS, gaussian, step_draw
from serve.diffusion.samplers import SAMPLERS, Trajectory, by_name
from serve.engines.client import EngineClient
from serve.ensembles import measurements
from serve.ensembles.illustrator.checkpoints import Stage
from serve.ensembles.illustrator.engine_calls import EngineCalls
from serve.ensembles.illustrator.families import drawing_engines, judge_in
from serve.ensembles.illustrator.illustration import ILLUSTRATE, FamilyInfo, IllustrateOptions, Parameters, Pixels
from serve.ensembles.illustrator.source_encoding import EncodedSource, SourceEncoder, StartingPoint, prepare_canvas
from serve.ensembles.illustrator.text_conditioning import TextConditioner, constant_inputs
from serve.errors import EngineFailure, InvalidRequest, UnsupportedOperation
from serve.observability import tracing
from serve.observability.metrics import catalogue

Floats = npt.NDArray[np.float32]

PREVIEW_LATENTS = 32
"""Previews are decoded from latents averaged down to at most this many rows and columns."""


class StepObserver(Protocol):
    """Receives the progress of one picture."""

    @property
    def shows_previews(self) -> bool: ...

    def on_step(self, stage: Stage) -> None:
        """Called after every evaluation; ``stage`` is immutable."""

    async def on_preview(self, step: int, pixels: Pixels) -> None:
        """Called with a preview after ``step`` evaluations, shape (h, w, 3)."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A resolved request: everything its pictures have in common.

    ``constant``: UNet inputs that do not change between steps, with ``rows`` rows: unconditional and conditional with
    guidance, otherwise conditional only.
    """

    parameters: Parameters
    trajectory: Trajectory
    constant: Mapping[str, Floats]
    rows: int
    tokens: int
    negative_tokens: int
    preview_every: int
    deadline: float
    """By ``time.monotonic``."""
    versions: Mapping[str, str]
    """Engine versions; Triton chooses for engines that are missing."""
    source: EncodedSource | None = None
    """The input picture, and what the UNet of an inpainting checkpoint takes."""


class DiffusionPipeline:
    """Draws with the engines of ``family``. Concurrent pictures share only the engines."""

    def __init__(self, family: Family, repository: Path, engines: EngineClient, *, engine_timeout_s: float) -> None:
        """Raises ``InvalidRequest`` if a tokenizer in ``repository`` does not match its text encoder."""
        self.family = family
        self.has_encoder = (repository / family.vae_encoder).is_dir()
        """Whether it can draw from pictures."""
        self.judge = judge_in(repository, family)
        self.calls = EngineCalls(engines, engine_timeout_s)
        self._text = TextConditioner(family, repository, self.calls)
        self._pictures = SourceEncoder(family, self.calls)

    async def plan(self, options: IllustrateOptions, seed: int, deadline: float, versions: Mapping[str, str]) -> Plan:
        """Resolve a request for these engine ``versions``. Raises ``InvalidRequest`` with the unsupported field."""
        parameters = resolve(self.family, options, seed)
        strength = 1.0 if options.source is None else options.source.resolved_strength
        sampler = by_name(parameters.sampler)
        trajectory = sampler.trajectory(self.family.scheduler, parameters.num_inference_steps, strength)
        source = self._encode_source(options, parameters, deadline, versions)
        encoding = self._text.encode(
            options.prompt,
            options.negative_prompt,
            guided=is_guided(parameters.guidance_scale),
            deadline=deadline,
            versions=versions,
        )
        prompts, encoded = await asyncio.gather(encoding, source)
        return Plan(
            parameters=parameters,
            trajectory=trajectory,
            constant=constant_inputs(prompts.conditions, parameters),
            rows=len(prompts.conditions),
            tokens=prompts.tokens,
            negative_tokens=prompts.negative_tokens,
            preview_every=options.preview_every,
            deadline=deadline,
            versions=versions,
            source=encoded,
        )

    async def _encode_source(
        self, options: IllustrateOptions, parameters: Parameters, deadline: float, versions: Mapping[str, str]
    ) -> EncodedSource | None:
        source, size = options.source, (parameters.width, parameters.height)
        if source is None and not self.family.inpainting:
            return None
        if not self.has_encoder:
            raise UnsupportedOperation(f"model '{self.family.name}' has no VAE encoder: it draws from prompts", "image")
        canvas = None if source is None else await asyncio.to_thread(prepare_canvas, source, size)
        return await self._pictures.encode(source, canvas, size, deadline, versions)

    async def paint(
        self, plan: Plan, seed: int, observer: StepObserver | None = None, resumed: Stage | None = None
    ) -> Pixels:
        """Draw the picture of ``seed``, continuing from the stage ``resumed``: shape (height, width, 3 or 4), 8 bits.
        Of a part of a picture, or with margins, it is the whole picture at its own size.

        The result does not depend on concurrent pictures or on ``resumed``, up to the engine's rounding. After
        cancellation no further request is sent. Raises an exception group of DeadlineExceeded (between steps) or engine
        errors.
        """
        trajectory, shape, timesteps = plan.trajectory, self.latents_shape(plan), plan.trajectory.timesteps
        start = _starting_point(plan, seed, shape)
        stage = resumed or Stage(0, start.sample)
        began = time.perf_counter()
        async with asyncio.TaskGroup() as previews:
            preview_task: asyncio.Task[None] | None = None
            for i in range(stage.step, len(trajectory)):
                sample = stage.sample
                with tracing.step("step", step=i + 1, timestep=float(timesteps[i]), rows=plan.rows):
                    model_input = start.model_input(trajectory.scale_model_input(sample, i))
                    output = await self._predict(plan, model_input, timesteps[i])
                if observer is not None and observer.shows_previews and _preview_is_due(plan, i):
                    if preview_task is not None:
                        await preview_task
                    denoised = trajectory.predict_x0(output, sample, i)
                    preview_task = previews.create_task(self._send_preview(plan, i + 1, denoised, observer))
                noise = gaussian(seed, step_draw(i), shape) if trajectory.stochastic else None
                sample, state = trajectory.step(stage.state, output, sample, i, noise)
                stage = Stage(i + 1, start.blended(sample, trajectory, i + 1), state)
                if observer is not None:
                    observer.on_step(stage)
        catalogue.STAGE_SECONDS.observe(time.perf_counter() - began, ILLUSTRATE, "denoise")
        with measurements.stage(ILLUSTRATE, "decode"):
            pixels = await self._decode(plan, stage.sample)
        if plan.source is None or plan.source.canvas is None:
            return pixels
        return await asyncio.to_thread(plan.source.canvas.finished, pixels)

    def engines(self, plan: Plan) -> tuple[str, ...]:
        """The engines that ``plan`` uses."""
        return (*drawing_engines(self.family), *(() if plan.source is None else (self.family.vae_encoder,)))

    def first_tokens(self, prompt: str) -> npt.NDArray[np.int32]:
        """The first chunk of ``prompt`` as the first text encoder takes it, (1, tokens)."""
        return self._text.first_tokens(prompt)

    def info(self, version: str, created: int) -> FamilyInfo:
        family = self.family
        return FamilyInfo(
            name=family.name,
            architecture=family.architecture,
            width=family.defaults.size[0],
            height=family.defaults.size[1],
            multiple_of_px=family.sizes.multiple_of,
            min_px=family.sizes.min_px,
            max_px=family.sizes.max_px,
            num_inference_steps=family.defaults.num_inference_steps,
            guidance_scale=family.defaults.guidance_scale,
            sampler=by_name(family.defaults.sampler).name,
            samplers=tuple(s.name for s in SAMPLERS if family.prediction_type in s.predictions),
            few_step=family.few_step,
            version=version,
            created=created,
            alpha=family.alpha,
            judges=self.judge is not None,
        )

    def latents_shape(self, plan: Plan) -> tuple[int, int, int]:
        return self.family.latents_shape(plan.parameters.width, plan.parameters.height)

    async def _predict(self, plan: Plan, model_input: Floats, timestep: np.float32) -> Floats:
        """The guided UNet output for one picture, (C, H, W)."""
        inputs = {
            "sample": np.repeat(model_input[None], plan.rows, axis=0),
            "timestep": np.full((plan.rows, 1), timestep, np.float32),
            **plan.constant,
        }
        began = time.perf_counter()
        output: Floats = (await self.calls.infer(self.family.unet, inputs, plan.deadline, plan.versions))["noise_pred"]
        catalogue.STEP_SECONDS.observe(time.perf_counter() - began, self.family.name)
        if not np.isfinite(output).all():
            raise EngineFailure(f"engine '{self.family.unet}' gave numbers that are not finite")
        if plan.rows == 1:
            alone: Floats = output[0]
            return alone
        return guide(output[0], output[1], plan.parameters.guidance_scale, plan.parameters.guidance_rescale)

    async def _decode(self, plan: Plan, latents: Floats) -> Pixels:
        inputs = {"latents": np.ascontiguousarray(latents[None], np.float32)}
        pixels: Pixels = (await self.calls.infer(self.family.vae_decoder, inputs, plan.deadline, plan.versions))[
            "image"
        ][0]
        return pixels

    async def _send_preview(self, plan: Plan, evaluations: int, latents: Floats, observer: StepObserver) -> None:
        with tracing.step("preview", step=evaluations):
            pixels = await self._decode(plan, _downscale(latents))
        await observer.on_preview(evaluations, pixels)
        catalogue.PREVIEWS.add(1, self.family.name)


def resolve(family: Family, options: IllustrateOptions, seed: int) -> Parameters:
    """Apply the family's defaults to ``options``. Raises ``InvalidRequest`` for unsupported sizes and samplers."""
    defaults = family.defaults
    natural = defaults.size if options.source is None else family.sizes.nearest(options.source.size)
    width, height = options.width or natural[0], options.height or natural[1]
    for name, side in (("width", width), ("height", height)):
        if not family.sizes.holds(side):
            sizes = family.sizes
            what = f"from {sizes.min_px} to {sizes.max_px} in multiples of {sizes.multiple_of}"
            raise InvalidRequest(f"must be {what} for model '{family.name}'", name)
    sampler = by_name(options.sampler or defaults.sampler)
    sampler.check(family.prediction_type)
    guidance = defaults.guidance_scale if options.guidance_scale is None else options.guidance_scale
    return Parameters(
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        model=family.name,
        width=width,
        height=height,
        num_inference_steps=options.num_inference_steps or defaults.num_inference_steps,
        guidance_scale=guidance,
        guidance_rescale=options.guidance_rescale,
        sampler=sampler.name,
        seed=seed,
        source=None if options.source is None else options.source.to_json(),
    )


def _starting_point(plan: Plan, seed: int, shape: tuple[int, ...]) -> StartingPoint:
    noise = gaussian(seed, LATENTS, shape)
    if plan.source is None:
        return StartingPoint(plan.trajectory.start(noise), noise)
    return plan.source.of(seed, noise, plan.trajectory)


def _preview_is_due(plan: Plan, i: int) -> bool:
    """After every ``preview_every`` evaluations, except the last, which is the picture."""
    return plan.preview_every > 0 and (i + 1) % plan.preview_every == 0 and i + 1 < len(plan.trajectory)


def _downscale(latents: Floats) -> Floats:
    """Average ``latents`` (C, H, W) down by an integer factor to at most PREVIEW_LATENTS rows and columns."""
    _, height, width = latents.shape
    factor = -(-max(height, width) // PREVIEW_LATENTS)
    if factor == 1:
        return latents
    rows, columns = height // factor, width // factor
    cut = latents[:, : rows * factor, : columns * factor]
    averaged: Floats = cut.reshape(-1, rows, factor, columns, factor).mean(axis=(2, 4), dtype=np.float32)
    return averaged
