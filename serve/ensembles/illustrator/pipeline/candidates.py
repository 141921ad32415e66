"""Of several candidates for a picture, the one that fits its prompt best, by the family's judge."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Judge
from serve.ensembles import measurements
from serve.ensembles.illustrator.encoding import opaque
from serve.ensembles.illustrator.illustration import ILLUSTRATE, Picture, Pixels
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline
from serve.ensembles.illustrator.pipeline.plan import Plan
from serve.errors import UnsupportedOperation


def judge_of(pipeline: DiffusionPipeline) -> Judge:
    """Raises UnsupportedOperation for a family without one."""
    if pipeline.judge is None:
        raise UnsupportedOperation(f"model '{pipeline.family.name}' has no judge to choose among them", "candidates")
    return pipeline.judge


async def choose(pipeline: DiffusionPipeline, plan: Plan, pictures: Sequence[Picture], each: int) -> list[Picture]:
    """The best of every ``each`` consecutive ``pictures``, with its fit; the first of equal ones."""
    judge = judge_of(pipeline)
    with measurements.stage(ILLUSTRATE, "judge"):
        ids = pipeline.first_tokens(plan.parameters.prompt)
        images = await asyncio.to_thread(lambda: [seen(picture.pixels, judge.side_px) for picture in pictures])
        answers = await asyncio.gather(
            *(
                pipeline.calls.infer(
                    judge.engine, {"image": image[None], "input_ids": ids}, plan.deadline, plan.versions
                )
                for image in images
            )
        )
    fits = [float(answer["fit"][0, 0]) for answer in answers]
    groups = [range(start, start + each) for start in range(0, len(pictures), each)]
    best = [max(group, key=lambda index: fits[index]) for group in groups]
    return [replace(pictures[index], fit=fits[index]) for index in best]


def seen(pixels: Pixels, side_px: int) -> npt.NDArray[np.uint8]:
    """A picture as the judge sees it: on white, (side_px, side_px, 3)."""
    resized = cv2.resize(opaque(pixels), (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
