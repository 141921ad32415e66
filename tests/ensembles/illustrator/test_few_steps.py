"""When a drawing goes the few long steps that its family was taught: the Illustrator and the gateway agree."""

from __future__ import annotations

from typing import Any

import pytest
from illustrator_standin import family as family_info

from serve.diffusion.family import parse
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.pipeline.plan import resolve
from serve.ensembles.illustrator.regions import Region
from serve.ensembles.requests import IllustrateRequest
from tests.ensembles.drawn_family import FAMILY

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 4.0}
DEFAULTS: dict[str, Any] = {"num_inference_steps": 20, "guidance_scale": 3.0, "sampler": "flow_euler"}
TAUGHT = parse(
    {
        "family": {
            **FAMILY,
            "prediction_type": "flow",
            "scheduler": {**FLOW, "few_step": {"steps": 4, "timestep_offset": 2000}},
            "defaults": {**FAMILY["defaults"], **DEFAULTS},
        }
    }
)
PICTURE = PictureSource(InputPicture("fox.png", 64, 64, b""))
FOX = IllustrateOptions("a fox")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (FOX, (4, 1.0)),
        (IllustrateOptions("a fox", sampler="euler"), (4, 1.0)),
        (IllustrateOptions("a fox", num_inference_steps=4), (4, 1.0)),
        (IllustrateOptions("a fox", num_inference_steps=4, guidance_scale=2.0), (4, 2.0)),
        (IllustrateOptions("a fox", num_inference_steps=4, sampler="heun"), (4, 3.0)),
        (IllustrateOptions("a fox", num_inference_steps=12), (12, 3.0)),
        (IllustrateOptions("a fox", guidance_scale=5.0), (20, 5.0)),
        (IllustrateOptions("a fox", sampler="unipc"), (20, 3.0)),
        (IllustrateOptions("a fox", negative_prompt="rain"), (20, 3.0)),
        (IllustrateOptions("a fox", regions=(Region("rain", box=(0, 0, 0.5, 1), negative_prompt="sun"),)), (20, 3.0)),
        (IllustrateOptions("a fox", source=PICTURE), (20, 3.0)),
    ],
)
def test_long_steps_are_for_what_is_drawn_from_words_alone(
    options: IllustrateOptions, expected: tuple[int, float]
) -> None:
    resolved = resolve(TAUGHT, options, seed=1)
    assert (resolved.num_inference_steps, resolved.guidance_scale) == expected
    asked = IllustrateRequest(options, Encoding()).resolved(family_info("toy", few_steps=4, **DEFAULTS)).options
    assert (asked.num_inference_steps, asked.guidance_scale) == expected
    untaught = IllustrateRequest(options, Encoding()).resolved(family_info("toy", **DEFAULTS)).options
    steps, guidance = options.num_inference_steps or 20, options.guidance_scale or 3.0
    assert (untaught.num_inference_steps, untaught.guidance_scale) == (steps, guidance)
