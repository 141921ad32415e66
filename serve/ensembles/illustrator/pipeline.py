"""`DiffusionPipeline`: text encoding, sampler loop and decoding with the engines of one family."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.guidance import guide, is_guided
from serve.diffusion.noise import LATENTS, gaussian, step_draw
from serve.diffusion.samplers import SAMPLERS, Trajectory, by_name
from serve.diffusion.tokens import PromptTokenizer, PromptTokens, encode_all, joined
from serve.engines.client import EngineClient
from serve.ensembles import measurements
from serve.ensembles.illustrator.checkpoints import Stage
from serve.ensembles.illustrator.illustration import ILLUSTRATE, FamilyInfo, IllustrateOptions, Parameters, Pixels
from serve.errors import DeadlineExceeded, EngineFailure, EngineUnavailable, InvalidRequest
from serve.observability import tracing
from serve.observability.metrics import catalogue

Floats = npt.NDArray[np.float32]

PROMPT_CACHE_SIZE = 64
PREVIEW_LATENTS = 32
"""Previews are decoded from latents averaged down to at most this many rows and columns."""
RESTART_TIMEOUT_S, RETRY_S = 20.0, 0.25
"""How long a picture waits for restarting engines, and the retry interval."""


class StepObserver(Protocol):
    """Receives the progress of one picture."""

    def on_step(self, stage: Stage) -> None:
        """Called after every evaluation; ``stage`` is immutable."""

    async def on_preview(self, step: int, pixels: Pixels) -> None:
        """Called with a preview after ``step`` evaluations, shape (h, w, 3)."""


@dataclass(frozen=True, eq=False)
class Conditioning:
    """Text conditioning of one prompt. ``embeds``: (tokens, D); SDXL's ``pooled``: (D2,)."""

    embeds: Floats
    pooled: Floats | None


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


class DiffusionPipeline:
    """Draws with the engines of ``family``. Concurrent pictures share only the engines."""

    def __init__(self, family: Family, repository: Path, engines: EngineClient, *, engine_timeout_s: float) -> None:
        """Raises ``InvalidRequest`` if a tokenizer in ``repository`` does not match its text encoder."""
        self.family = family
        self._tokenizers = tuple(
            PromptTokenizer.load(repository / encoder.engine / "tokenizer.json", encoder) for encoder in family.text
        )
        self._engines = engines
        self._engine_timeout_s = engine_timeout_s
        self._prompt_cache: OrderedDict[bytes, Conditioning] = OrderedDict()

    async def plan(self, options: IllustrateOptions, seed: int, deadline: float, versions: Mapping[str, str]) -> Plan:
        """Resolve a request for these engine ``versions``. Raises ``InvalidRequest`` with the unsupported field."""
        parameters = resolve(self.family, options, seed)
        sampler = by_name(parameters.sampler)
        trajectory = sampler.trajectory(self.family.scheduler, parameters.num_inference_steps)
        prompts = {"prompt": options.prompt}
        if guided := is_guided(parameters.guidance_scale):
            prompts["negative_prompt"] = options.negative_prompt
        encoded = encode_all(self._tokenizers, prompts)
        conditions = await asyncio.gather(
            *(self._encode_prompt(tokens, deadline, versions) for tokens in encoded.values())
        )
        if guided:
            conditions = [self._unconditional(conditions[1], options.negative_prompt), conditions[0]]
        return Plan(
            parameters=parameters,
            trajectory=trajectory,
            constant=_constant_inputs(conditions, parameters),
            rows=len(conditions),
            tokens=encoded["prompt"][0].used,
            negative_tokens=encoded["negative_prompt"][0].used if guided else 0,
            preview_every=options.preview_every,
            deadline=deadline,
            versions=versions,
        )

    async def paint(
        self, plan: Plan, seed: int, observer: StepObserver | None = None, resumed: Stage | None = None
    ) -> Pixels:
        """Draw the picture of ``seed``, continuing from the stage ``resumed``: shape (height, width, 3 or 4), 8 bits.

        The result does not depend on concurrent pictures or on ``resumed``, up to the engine's rounding. After
        cancellation no further request is sent. Raises an exception group of DeadlineExceeded (between steps) or engine
        errors.
        """
        trajectory, shape, timesteps = plan.trajectory, self.latents_shape(plan), plan.trajectory.timesteps
        stage = resumed or Stage(0, trajectory.start(gaussian(seed, LATENTS, shape)))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as previews:
            preview_task: asyncio.Task[None] | None = None
            for i in range(stage.step, len(trajectory)):
                sample = stage.sample
                with tracing.step("step", step=i + 1, timestep=float(timesteps[i]), rows=plan.rows):
                    output = await self._predict(plan, trajectory.scale_model_input(sample, i), timesteps[i])
                if observer is not None and _preview_is_due(plan, i):
                    if preview_task is not None:
                        await preview_task
                    denoised = trajectory.predict_x0(output, sample, i)
                    preview_task = previews.create_task(self._send_preview(plan, i + 1, denoised, observer))
                noise = gaussian(seed, step_draw(i), shape) if trajectory.stochastic else None
                stage = Stage(i + 1, *trajectory.step(stage.state, output, sample, i, noise))
                if observer is not None:
                    observer.on_step(stage)
        catalogue.STAGE_SECONDS.observe(time.perf_counter() - began, ILLUSTRATE, "denoise")
        with measurements.stage(ILLUSTRATE, "decode"):
            return await self._decode(plan, stage.sample)

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
        )

    def latents_shape(self, plan: Plan) -> tuple[int, int, int]:
        return self.family.latents_shape(plan.parameters.width, plan.parameters.height)

    async def _encode_prompt(
        self, tokens: list[PromptTokens], deadline: float, versions: Mapping[str, str]
    ) -> Conditioning:
        """Encode one prompt with every text encoder; cached."""
        key_parts = [part.tobytes() for each in tokens for part in (each.ids, each.weights)]
        key = b"|".join([*(versions.get(encoder.engine, "").encode() for encoder in self.family.text), *key_parts])
        if (cached := self._prompt_cache.get(key)) is not None:
            self._prompt_cache.move_to_end(key)
            return cached
        with measurements.stage(ILLUSTRATE, "encode"):
            outputs = await asyncio.gather(
                *(
                    self.infer(encoder.engine, {"input_ids": each.ids}, deadline, versions)
                    for encoder, each in zip(self.family.text, tokens, strict=True)
                )
            )
        parts = [joined(output["prompt_embeds"], each.weights) for output, each in zip(outputs, tokens, strict=True)]
        pooled = outputs[-1].get("pooled_prompt_embeds")
        conditioning = Conditioning(np.concatenate(parts, axis=1), None if pooled is None else pooled[0])
        self._prompt_cache[key] = conditioning
        while len(self._prompt_cache) > PROMPT_CACHE_SIZE:
            self._prompt_cache.popitem(last=False)
        return conditioning

    def _unconditional(self, negative: Conditioning, prompt: str) -> Conditioning:
        if prompt or not self.family.zeros_for_no_prompt:
            return negative
        pooled = None if negative.pooled is None else np.zeros_like(negative.pooled)
        return Conditioning(np.zeros_like(negative.embeds), pooled)

    async def _predict(self, plan: Plan, model_input: Floats, timestep: np.float32) -> Floats:
        """The guided UNet output for one picture, (C, H, W)."""
        inputs = {
            "sample": np.repeat(model_input[None], plan.rows, axis=0),
            "timestep": np.full((plan.rows, 1), timestep, np.float32),
            **plan.constant,
        }
        began = time.perf_counter()
        output: Floats = (await self.infer(self.family.unet, inputs, plan.deadline, plan.versions))["noise_pred"]
        catalogue.STEP_SECONDS.observe(time.perf_counter() - began, self.family.name)
        if not np.isfinite(output).all():
            raise EngineFailure(f"engine '{self.family.unet}' gave numbers that are not finite")
        if plan.rows == 1:
            alone: Floats = output[0]
            return alone
        return guide(output[0], output[1], plan.parameters.guidance_scale, plan.parameters.guidance_rescale)

    async def _decode(self, plan: Plan, latents: Floats) -> Pixels:
        inputs = {"latents": np.ascontiguousarray(latents[None], np.float32)}
        pixels: Pixels = (await self.infer(self.family.vae_decoder, inputs, plan.deadline, plan.versions))["image"][0]
        return pixels

    async def _send_preview(self, plan: Plan, evaluations: int, latents: Floats, observer: StepObserver) -> None:
        with tracing.step("preview", step=evaluations):
            pixels = await self._decode(plan, _downscale(latents))
        await observer.on_preview(evaluations, pixels)
        catalogue.PREVIEWS.add(1, self.family.name)

    async def infer(
        self, engine: str, inputs: Mapping[str, npt.NDArray[Any]], deadline: float, versions: Mapping[str, str]
    ) -> dict[str, Any]:
        """One inference. While engines restart, it is retried for RESTART_S."""
        retry_until = time.monotonic() + RESTART_TIMEOUT_S
        while True:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise DeadlineExceeded("there was not enough time to finish")
            try:
                limit_s = min(remaining_s, self._engine_timeout_s)
                return await self._engines.infer(engine, inputs, timeout_s=limit_s, version=versions.get(engine, ""))
            except EngineUnavailable:
                if time.monotonic() >= retry_until:
                    raise
                tracing.event("asked again", atelier__engine=engine)
                await asyncio.sleep(min(RETRY_S, remaining_s))


def resolve(family: Family, options: IllustrateOptions, seed: int) -> Parameters:
    """Apply the family's defaults to ``options``. Raises ``InvalidRequest`` for unsupported sizes and samplers."""
    defaults = family.defaults
    width, height = options.width or defaults.size[0], options.height or defaults.size[1]
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
    )


def _constant_inputs(conditions: list[Conditioning], parameters: Parameters) -> dict[str, Floats]:
    """UNet inputs that are constant over all steps, one row per condition."""
    constant = {"encoder_hidden_states": np.stack([c.embeds for c in conditions])}
    pooled = [c.pooled for c in conditions if c.pooled is not None]
    if pooled:
        size = [parameters.height, parameters.width]
        constant["text_embeds"] = np.stack(pooled)
        # SDXL's training order: original size, crop offset, target size (Podell et al. 2023, section 2.2).
        constant["time_ids"] = np.tile(np.array([*size, 0, 0, *size], np.float32), (len(pooled), 1))
    return constant


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
