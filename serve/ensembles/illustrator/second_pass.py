"""The second pass of a drawing (`Hires`): it is enlarged, and drawn from again at the larger size."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from serve.diffusion.samplers import by_name
from serve.ensembles.illustrator.encoding import Encoding, to_file
from serve.ensembles.illustrator.finishing.finish import NO_FINISH, Finish
from serve.ensembles.illustrator.finishing.finishing import Finishing
from serve.ensembles.illustrator.illustration import IllustrateOptions, Parameters, Picture, Pixels
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline, StepObserver
from serve.ensembles.illustrator.pipeline.plan import Plan
from serve.errors import InvalidRequest, UnsupportedOperation


@dataclass(frozen=True)
class SecondPass:
    """``finish`` enlarges; then there are ``evaluations`` of the UNet. ``options`` lack the enlarged picture."""

    options: IllustrateOptions
    finish: Finish
    strength: float
    evaluations: int
    engines: tuple[str, ...]

    async def paint(
        self,
        pipeline: DiffusionPipeline,
        finishing: Finishing,
        plan: Plan,
        picture: Picture,
        observer: StepObserver | None,
    ) -> Pixels:
        """``picture``, the first pass of ``plan``, enlarged and drawn from again with its seed."""
        large = await finishing.finished(picture.pixels, self.finish, plan.deadline, plan.versions)
        data = await asyncio.to_thread(to_file, large, Encoding())
        source = InputPicture("first-pass.png", large.shape[1], large.shape[0], data)
        options = replace(self.options, source=PictureSource(source, strength=self.strength))
        second = await pipeline.plan(options, picture.seed, plan.deadline, plan.versions)
        return await pipeline.paint(second, picture.seed, observer)


def plan_second_pass(
    pipeline: DiffusionPipeline, finishing: Finishing, options: IllustrateOptions, first: Parameters
) -> SecondPass | None:
    """None where ``options`` have none. Raises UnsupportedOperation and InvalidRequest naming ``hires``."""
    hires, family = options.hires, pipeline.family
    if hires is None:
        return None
    if not pipeline.has_encoder:
        raise UnsupportedOperation(f"model '{family.name}' has no VAE encoder", "hires")
    sizes = family.sizes
    width, height = (sizes.nearest_side(round(side * hires.scale)) for side in (first.width, first.height))
    if width <= first.width and height <= first.height:
        raise InvalidRequest(f"model '{family.name}' draws at most {sizes.max_px} px on a side", "hires")
    steps = hires.num_inference_steps or first.num_inference_steps
    trajectory = by_name(first.sampler).trajectory(family.scheduler, steps, hires.strength)
    upscaler = hires.upscaler or (None if finishing.upscalers else "lanczos")
    finish = Finish(hires.scale, upscaler)
    second = replace(
        options, width=width, height=height, num_inference_steps=steps, hires=None, finish=NO_FINISH, preview_every=0
    )
    engines = (*finishing.engines(finish), family.vae_encoder)
    return SecondPass(second, finish, hires.strength, len(trajectory), engines)
