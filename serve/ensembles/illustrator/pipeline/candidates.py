"""Of several candidates for a picture, the one that fits its prompt best: by the family's judge, or where it has none
by the engines of an image-text embedding."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from serve.diffusion.family import Judge
from serve.ensembles import measurements
from serve.ensembles.embedder import HOW_TO_BUILD, Embedder
from serve.ensembles.illustrator.encoding import opaque
from serve.ensembles.illustrator.illustration import ILLUSTRATE, Picture, Pixels
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline
from serve.ensembles.illustrator.pipeline.plan import Plan
from serve.errors import UnsupportedOperation


def check_can_choose(pipeline: DiffusionPipeline) -> None:
    """Raises UnsupportedOperation for a family without a judge on a site without engines that rank."""
    if pipeline.judge is None and pipeline.ranker is None:
        message = (
            f"model '{pipeline.family.name}' has no judge to choose among them, and there are no engines that rank"
        )
        raise UnsupportedOperation(f"{message}; {HOW_TO_BUILD} makes them", "candidates")


async def choose(pipeline: DiffusionPipeline, plan: Plan, pictures: Sequence[Picture], each: int) -> list[Picture]:
    """The best of every ``each`` consecutive ``pictures``, with its fit; the first of equal ones.

    By an embedding the fit is the cosine with the prompt; of a prompt without any known word the first is taken.
    """
    with measurements.stage(ILLUSTRATE, "judge"):
        if pipeline.judge is not None:
            fits: Sequence[float] | None = await _judged(pipeline, pipeline.judge, plan, pictures)
        elif pipeline.ranker is not None:
            fits = await asyncio.to_thread(_ranked, pipeline.ranker, plan.parameters.prompt, pictures)
        else:
            raise UnsupportedOperation("there is nothing to choose by", "candidates")
    groups = [range(start, start + each) for start in range(0, len(pictures), each)]
    if fits is None:
        return [pictures[group[0]] for group in groups]
    best = [max(group, key=fits.__getitem__) for group in groups]
    return [replace(pictures[index], fit=fits[index]) for index in best]


async def _judged(pipeline: DiffusionPipeline, judge: Judge, plan: Plan, pictures: Sequence[Picture]) -> list[float]:
    ids = pipeline.first_tokens(plan.parameters.prompt)
    images = await asyncio.to_thread(lambda: [seen(picture.pixels, judge.side_px) for picture in pictures])
    answers = await asyncio.gather(
        *(
            pipeline.calls.infer(judge.engine, {"image": image[None], "input_ids": ids}, plan.deadline, plan.versions)
            for image in images
        )
    )
    return [float(answer["fit"][0, 0]) for answer in answers]


def _ranked(ranker: Embedder, prompt: str, pictures: Sequence[Picture]) -> list[float] | None:
    """Cosines from 0 to 1; None where no word is known."""
    if not ranker.knows(prompt):
        return None
    wanted = ranker.text(prompt)
    return [max(0.0, min(1.0, float(ranker.pixels(opaque(picture.pixels)) @ wanted))) for picture in pictures]


def seen(pixels: Pixels, side_px: int) -> npt.NDArray[np.uint8]:
    """A picture as the judge sees it: on white, (side_px, side_px, 3)."""
    resized = cv2.resize(opaque(pixels), (side_px, side_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
