"""`DiffusionPipeline`: text and picture encoding, sampler loop and decoding with the engines of one family."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.guidance import guide, is_guided
from serve.diffusion.noise import LATENTS, gaussian, step_draw
from serve.diffusion.regions import sum_layers
from serve.diffusion.samplers import SAMPLERS, by_name
from serve.engines.client import EngineClient
from serve.ensembles import measurements
from serve.ensembles.embedder import Embedder
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.adapters import (
    adapter_inputs,
    reference_scales,
)
from serve.ensembles.illustrator.checkpoints import Stage
from serve.ensembles.illustrator.families import drawing_engines, judge_in, max_batch_size
from serve.ensembles.illustrator.illustration import ILLUSTRATE, IllustrateOptions, Parameters, Pixels
from serve.ensembles.illustrator.pipeline.adapter_bank import AdapterBank
from serve.ensembles.illustrator.pipeline.layers import (
    DrawingSlots,
    Layer,
    plan_layers,
    rows_of,
    texts_of,
)
from serve.ensembles.illustrator.pipeline.plan import Plan, resolve
from serve.ensembles.illustrator.pipeline.source_encoding import (
    EncodedSource,
    SourceEncoder,
    StartingPoint,
    prepare_canvas,
)
from serve.ensembles.illustrator.pipeline.text_conditioning import (
    NEGATIVE_PROMPT,
    PROMPT,
    TextConditioner,
    constant_inputs,
)
from serve.ensembles.illustrator.regions import field_of, shares_of
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import EngineFailure, UnsupportedOperation
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


class DiffusionPipeline:
    """Draws with the engines of ``family``. Concurrent pictures share only the engines."""

    def __init__(
        self,
        family: Family,
        repository: Path,
        engines: EngineClient,
        *,
        engine_timeout_s: float,
        bank: AdapterBank | None = None,
        ranker: Embedder | None = None,
    ) -> None:
        """Raises ``InvalidRequest`` if a tokenizer in ``repository`` does not match its text encoder."""
        self.family = family
        self._bank = bank or AdapterBank(family, None)
        self.has_encoder = (repository / family.vae_encoder).is_dir()
        """Whether it can draw from pictures."""
        self.judge = judge_in(repository, family)
        self.ranker = ranker
        """Chooses among candidates where there is no judge."""
        self.calls = EngineCalls(engines, engine_timeout_s)
        self._text = TextConditioner(family, repository, self.calls)
        self._pictures = SourceEncoder(family, self.calls)
        self._max_rows = max_batch_size(repository / family.unet)

    async def plan(self, options: IllustrateOptions, seed: int, deadline: float, versions: Mapping[str, str]) -> Plan:
        """Resolve a request for these engine ``versions``. Raises ``InvalidRequest`` with the unsupported field."""
        parameters = resolve(self.family, options, seed)
        strength = 1.0 if options.source is None else options.source.resolved_strength
        sampler = by_name(parameters.sampler)
        trajectory = sampler.trajectory(self.family.scheduler, parameters.num_inference_steps, strength)
        size = parameters.width, parameters.height
        shares = None
        if options.regions:
            shares = await asyncio.to_thread(shares_of, options.regions, size, self.family.latents.downsample)
        slots = await self._slots(options, size, deadline, versions)
        layer_plans = plan_layers(options, is_guided(parameters.guidance_scale), slots)
        source = self._encode_source(options, parameters, deadline, versions)
        encoded, prompts = await asyncio.gather(source, self._text.encode(texts_of(layer_plans), deadline, versions))
        rows, layers = rows_of(layer_plans)
        return Plan(
            parameters=parameters,
            trajectory=trajectory,
            constant=constant_inputs([prompts.conditions[row.text] for row in rows], parameters),
            rows=len(rows),
            layers=layers,
            shares=shares,
            tokens=prompts.tokens[PROMPT],
            negative_tokens=prompts.tokens.get(NEGATIVE_PROMPT, 0),
            preview_every=options.preview_every,
            deadline=deadline,
            versions=versions,
            source=encoded,
            adapters=[row.slots for row in rows],
            references=len(options.references) + sum(len(region.references) for region in options.regions),
        )

    async def _slots(
        self, options: IllustrateOptions, size: tuple[int, int], deadline: float, versions: Mapping[str, str]
    ) -> DrawingSlots:
        """The adapters of the drawing and of its regions."""
        encoder = "" if self.family.image_prompt is None else versions.get(self.family.image_prompt.engine, "")
        encode = partial(self._encode_reference, deadline=deadline, versions=versions)
        loras = await self._bank.loras(options.loras)
        controls = await self._bank.controls(options.controls, size)
        references = await self._bank.references(options.references, encode, encoder, size)
        own = []
        for i, region in enumerate(options.regions):
            at = field_of(region, i)
            own_loras = await self._bank.loras(region.loras, f"{at}.loras")
            at_references = f"{at}.references"
            own_references = await self._bank.references(region.references, encode, encoder, size, at_references)
            own.append((own_loras, own_references))
        return DrawingSlots(loras, [*controls, *references], own)

    async def _encode_reference(
        self, pixels: Pixels, deadline: float, versions: Mapping[str, str]
    ) -> Mapping[str, npt.NDArray[Any]]:
        prompt = self.family.image_prompt
        assert prompt is not None
        with measurements.stage(ILLUSTRATE, "encode_reference"):
            return await self.calls.infer(prompt.engine, {"image": pixels}, deadline, versions)

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
                    output = await self._predict(plan, model_input, i)
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
        encoders = [] if plan.source is None else [self.family.vae_encoder]
        if plan.references and self.family.image_prompt is not None:
            encoders.append(self.family.image_prompt.engine)
        return (*drawing_engines(self.family), *encoders)

    def holding_adapters(self) -> contextlib.AbstractContextManager[None]:
        """The adapters of the plans that are made meanwhile stay until the end."""
        return self._bank.holding()

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
            few_steps=family.few_steps,
            version=version,
            created=created,
            alpha=family.alpha,
            judges=self.judge is not None,
            takes_loras=bool(family.adapters),
            controls=tuple(family.controls),
            takes_references=family.image_prompt is not None,
            reference_scales=() if family.image_prompt is None else reference_scales(family.image_prompt.blocks),
            takes_pictures=self.has_encoder,
        )

    def latents_shape(self, plan: Plan) -> tuple[int, int, int]:
        return self.family.latents_shape(plan.parameters.width, plan.parameters.height)

    async def _predict(self, plan: Plan, model_input: Floats, i: int) -> Floats:
        """The guided UNet output of evaluation ``i`` for one picture, (C, H, W)."""
        steps = plan.trajectory.timesteps
        inputs = {
            "sample": np.repeat(model_input[None], plan.rows, axis=0),
            "timestep": np.full((plan.rows, 1), steps[i], np.float32),
            **plan.constant,
            **(adapter_inputs(plan.adapters, i, len(steps)) if self.family.adapters else {}),
        }
        began = time.perf_counter()
        output = await self._infer_rows(inputs, plan)
        catalogue.STEP_SECONDS.observe(time.perf_counter() - began, self.family.name)
        if not np.isfinite(output).all():
            raise EngineFailure(f"engine '{self.family.unet}' gave numbers that are not finite")
        predictions = [_guided(output, layer, plan.parameters) for layer in plan.layers]
        return predictions[0] if plan.shares is None else sum_layers(predictions, plan.shares)

    async def _infer_rows(self, inputs: Mapping[str, npt.NDArray[Any]], plan: Plan) -> Floats:
        """The UNet's output for all rows; more than one batch of the engine holds are several requests."""
        most = self._max_rows or plan.rows
        parts = [
            {name: array[start : start + most] for name, array in inputs.items()} for start in range(0, plan.rows, most)
        ]
        outputs = await asyncio.gather(
            *(self.calls.infer(self.family.unet, part, plan.deadline, plan.versions) for part in parts)
        )
        rows: list[Floats] = [output["noise_pred"] for output in outputs]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

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


def _guided(output: Floats, layer: Layer, parameters: Parameters) -> Floats:
    """The prediction of one layer, (C, H, W), from the ``output`` for all rows."""
    conditional: Floats = output[layer.conditional]
    if layer.unconditional is None:
        return conditional
    return guide(output[layer.unconditional], conditional, parameters.guidance_scale, parameters.guidance_rescale)


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
