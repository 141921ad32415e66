"""`Plan`: a request resolved for one family: all parameters, the trajectory, and the rows of the UNet's batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Family
from serve.diffusion.samplers import Trajectory, by_name
from serve.ensembles.illustrator.adapters import AdapterSlot, use_to_json
from serve.ensembles.illustrator.illustration import IllustrateOptions, Parameters, steps_and_guidance
from serve.ensembles.illustrator.pipeline.layers import Layer
from serve.ensembles.illustrator.pipeline.source_encoding import EncodedSource
from serve.errors import InvalidRequest

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Plan:
    """A resolved request: everything its pictures have in common.

    ``constant``: UNet inputs that do not change between steps, with ``rows`` rows: those of the base prompt, then those
    of each region; ``layers`` says which.
    """

    parameters: Parameters
    trajectory: Trajectory
    constant: Mapping[str, Floats]
    rows: int
    layers: Sequence[Layer]
    tokens: int
    negative_tokens: int
    preview_every: int
    deadline: float
    """By ``time.monotonic``."""
    versions: Mapping[str, str]
    """Engine versions; Triton chooses for engines that are missing."""
    source: EncodedSource | None = None
    """The input picture, and what the UNet of an inpainting checkpoint takes."""
    shares: Floats | None = None
    """Of each layer over the latents, (layers, h, w); None: one layer has all."""
    adapters: Sequence[Sequence[AdapterSlot]] = ()
    """By row."""
    references: int = 0


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
    usual = defaults.num_inference_steps, defaults.guidance_scale
    steps, guidance = steps_and_guidance(options, usual, family.few_steps if sampler.takes_long_steps else None)
    return Parameters(
        prompt=options.prompt,
        negative_prompt=options.negative_prompt,
        model=family.name,
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        guidance_rescale=options.guidance_rescale,
        sampler=sampler.name,
        seed=seed,
        source=None if options.source is None else options.source.to_json(),
        regions=[region.to_json() for region in options.regions] or None,
        loras=[lora.to_json() for lora in options.loras] or None,
        controls=[use_to_json(use) for use in options.controls] or None,
        references=[use_to_json(use) for use in options.references] or None,
        hires=None if options.hires is None else options.hires.to_json(),
        restyle=None if options.restyle is None else options.restyle.to_json(),
        finish=options.finish.to_json() or None,
    )
