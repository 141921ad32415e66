"""A stand-in Illustrator for tests of the endpoints: real options, sampler names and sizes; its pictures are disks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw
from standin import StandIn

from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.adapters import LoraInfo
from serve.ensembles.illustrator.checkpoints import Stage, fingerprint, pack, unpack
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Parameters, Picture, Pixels
from serve.ensembles.illustrator.service import (
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    Preview,
    Progress,
    StreamItem,
    StreamOptions,
)
from serve.errors import InvalidRequest, NotFound


def family(name: str, side: int = 64, **more: object) -> FamilyInfo:
    values = {
        "name": name, "architecture": "stable-diffusion", "width": side, "height": side, "multiple_of_px": 8,
        "min_px": 32, "max_px": 2 * side, "num_inference_steps": 8, "guidance_scale": 3.0, "sampler": "euler",
        "samplers": ("euler", "ddim"), "few_step": False, "version": "1", "created": 1_700_000_000,
    }  # fmt: skip
    return FamilyInfo(**{**values, **more})  # type: ignore[arg-type]


class IllustratorStandIn(StandIn):
    """``step_s`` is the time of a step; ``failure`` is raised after ``fails_after`` steps of a picture; while
    ``holds_after`` is set, each after that many takes a second. ``asked`` records the options, ``steps`` every
    step: (seed of the picture, step). ``cancelled`` and ``closed`` count drawings and streams that ended early.
    Checkpoints are real, with latents of one number."""

    def __init__(self, *families: FamilyInfo) -> None:
        super().__init__()
        self.known = families or (family("mini"), family("turbo", 96, num_inference_steps=2, few_step=True))
        self.asked: list[IllustrateOptions] = []
        self.steps: list[tuple[int, int]] = []
        self.step_s = 0.0
        self.failure: Exception | None = None
        self.fails_after = 0
        self.holds_after: int | None = None
        self.closed = 0

    async def families(self) -> Sequence[FamilyInfo]:
        return self.known

    async def versions(self) -> Mapping[str, str]:
        return {f"{one.name}_unet": "1" for one in self.known}

    async def check_lora(self, data: bytes) -> LoraInfo:
        return LoraInfo(tuple(one.name for one in self.known), 1, 1, ("unet",))

    async def draw(self, options: IllustrateOptions) -> Illustration:
        async for item in self._drawn(options, NO_PROGRESS, ()):
            if isinstance(item, Illustration):
                return item
        raise AssertionError("unreachable")

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        finished = False
        try:
            async for item in self._drawn(options, follow, resume):
                yield item
            finished = True
        finally:
            self.closed += not finished

    async def _drawn(
        self, options: IllustrateOptions, follow: StreamOptions, resume: Sequence[Checkpoint]
    ) -> AsyncGenerator[StreamItem]:
        """All pictures step together, except those with a checkpoint of a later step."""
        self.asked.append(options)
        made, began = self._resolved(options), time.perf_counter()
        steps, seeds = made.num_inference_steps, [made.seed + index for index in range(options.n)]
        stages = [_begun(resume, index, replace(made, seed=seed)) for index, seed in enumerate(seeds)]
        told_at = time.monotonic()
        if follow.progress_s:
            yield Progress(sum(stages), steps * options.n)
        for step in range(min(stages) + 1, steps + 1):
            await self._step(step)
            for index in range(options.n):
                if step <= stages[index]:
                    continue
                stages[index] = step
                self.steps.append((seeds[index], step))
                for item in _items_after_step(options, follow, replace(made, seed=seeds[index]), index, step):
                    yield item
            if follow.progress_s and time.monotonic() - told_at >= follow.progress_s:
                told_at = time.monotonic()
                yield Progress(sum(stages), steps * options.n)
        yield Illustration(
            pictures=[Picture(disk(*_finished_size(options, made), seed), seed) for seed in seeds],
            parameters=made,
            tokens=len(made.prompt.split()),
            negative_tokens=len(made.negative_prompt.split()),
            evaluations=steps,
            model_versions=_versions(made),
            timings_s={"draw": time.perf_counter() - began},
            processing_time_s=time.perf_counter() - began,
        )

    async def _step(self, step: int) -> None:
        if self.failure is not None and step > self.fails_after:
            raise self.failure
        try:
            await asyncio.sleep(self.step_s)
            for _ in range(200):
                if self.holds_after is None or step <= self.holds_after:
                    break
                await asyncio.sleep(0.005)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _resolved(self, options: IllustrateOptions) -> Parameters:
        """As in the Illustrator: sizes and samplers are validated by the family."""
        found = [one for one in self.known if options.model in (None, one.name)]
        if not found:
            raise NotFound("there is no such model", "model")
        chosen = found[0]
        width, height = chosen.size_for(options)
        for name, side in (("width", width), ("height", height)):
            if chosen.nearest(side) != side:
                raise InvalidRequest("must be a size of the model", name)
        return Parameters(
            prompt=options.prompt,
            negative_prompt=options.negative_prompt,
            model=chosen.name,
            width=width,
            height=height,
            num_inference_steps=options.num_inference_steps or chosen.num_inference_steps,
            guidance_scale=chosen.guidance_scale if options.guidance_scale is None else options.guidance_scale,
            guidance_rescale=options.guidance_rescale,
            sampler=by_name(options.sampler or chosen.sampler).name,
            seed=41 if options.seed is None else options.seed,
            source=None if options.source is None else options.source.to_json(),
        )


class Gated(IllustratorStandIn):
    """Draws only while ``gate`` is open. ``begun`` and ``ended`` are released once per drawing."""

    def __init__(self, *families: FamilyInfo) -> None:
        super().__init__(*families)
        self.gate = asyncio.Event()
        self.begun = asyncio.Semaphore(0)
        self.ended = asyncio.Semaphore(0)

    async def _drawn(
        self, options: IllustrateOptions, follow: StreamOptions, resume: Sequence[Checkpoint]
    ) -> AsyncGenerator[StreamItem]:
        self.begun.release()
        try:
            await self.gate.wait()
            async for item in super()._drawn(options, follow, resume):
                yield item
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.ended.release()


def _finished_size(options: IllustrateOptions, made: Parameters) -> tuple[int, int]:
    """(width, height) of what is drawn, or of the picture that is finished alone, enlarged."""
    times = options.finish.upscale * (1.0 if options.hires is None else options.hires.scale)
    whole = options.source.size if options.source is not None and not options.draws else (made.width, made.height)
    return round(whole[0] * times), round(whole[1] * times)


def _versions(made: Parameters) -> dict[str, str]:
    return {f"{made.model}_unet": "1"}


def _begun(resume: Sequence[Checkpoint], index: int, made: Parameters) -> int:
    """The number of steps in the picture's checkpoint, if there is one that fits."""
    stage, mark = None, fingerprint(made, _versions(made))
    for checkpoint in resume:
        if checkpoint.index == index:
            stage = unpack(checkpoint, mark, (1, 1, 1), made.num_inference_steps)
    return 0 if stage is None else stage.step


def _items_after_step(
    options: IllustrateOptions, follow: StreamOptions, made: Parameters, index: int, step: int
) -> Iterator[Preview | Checkpoint]:
    """The preview and the checkpoint that are due after ``step`` of picture ``index``; ``made`` has its seed."""
    steps = made.num_inference_steps
    if options.preview_every and step % options.preview_every == 0 and step < steps:
        yield Preview(index, step, steps, disk(made.width // 2, made.height // 2, made.seed))
    if follow.checkpoint_every and (step % follow.checkpoint_every == 0 or step == steps):
        stage = Stage(step, np.full((1, 1, 1), step, np.float32))
        yield pack(index, stage, fingerprint(made, _versions(made)))


def disk(width: int, height: int, seed: int) -> Pixels:
    """A disk of shape (height, width, 3) whose colour depends on the seed."""
    red, green, blue = (int(value) for value in np.random.default_rng(seed % 2**32).integers(0, 200, 3))
    image = Image.new("RGB", (width, height), (255, 255, 255))
    ImageDraw.Draw(image).ellipse((width // 8, height // 8, width * 7 // 8, height * 7 // 8), fill=(red, green, blue))
    return np.asarray(image)
