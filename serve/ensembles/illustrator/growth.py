"""Outpainting in several passes: each grows the picture by a part of what there is, and the next goes on from there.

Far from its picture a model continues nothing: it draws what the prompt says. So margins that are large beside the
picture are drawn in passes, each with the seam of an outpainting.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from serve.ensembles.illustrator.encoding import Encoding, to_file
from serve.ensembles.illustrator.illustration import IllustrateOptions, Picture, Pixels
from serve.ensembles.illustrator.picture_source import InputPicture, Margins, PictureSource
from serve.ensembles.illustrator.pipeline.pipeline import DiffusionPipeline, StepObserver
from serve.ensembles.illustrator.pipeline.plan import Plan

GROWTH = 1.5
"""A pass makes a side at most so many times as long, unless more than MAX_PASSES would be needed."""
MAX_PASSES = 4


@dataclass(frozen=True)
class Growth:
    """``first``: the options of the first pass; ``later``: margins of the passes after it."""

    first: IllustrateOptions
    options: IllustrateOptions
    later: Sequence[Margins]

    async def grown(
        self,
        pipeline: DiffusionPipeline,
        plan: Plan,
        picture: Picture,
        observer_of: Callable[[int], StepObserver | None],
    ) -> Pixels:
        """``picture``, the first pass of ``plan``, after the later ones, which have its seed. ``observer_of`` a pass by
        its number; the first is 0."""
        pixels = picture.pixels
        assert self.options.source is not None
        for i, margins in enumerate(self.later):
            data = await asyncio.to_thread(to_file, pixels, Encoding())
            image = InputPicture(f"pass-{i + 1}.png", pixels.shape[1], pixels.shape[0], data)
            source = replace(self.options.source, image=image, mask=None, outpaint=margins)
            options = _of_pass(self.options, source, last=i + 1 == len(self.later))
            next_plan = await pipeline.plan(options, picture.seed, plan.deadline, plan.versions)
            pixels = await pipeline.paint(next_plan, picture.seed, observer_of(i + 1))
        return pixels

    def framed(self, preview: Pixels, number: int) -> Pixels:
        """A ``preview`` (h, w, 3) of pass ``number`` on the whole canvas, white where nothing is drawn yet, so that all
        previews show the same place."""
        source = self.first.source
        assert source is not None
        passes = [source.outpaint, *self.later]
        around = []
        for axis, own, sides in (
            (0, source.image.height, ("top", "bottom")),
            (1, source.image.width, ("left", "right")),
        ):
            drawn, rest = (
                [sum(getattr(one, side) for one in part) for side in sides]
                for part in (passes[: number + 1], passes[number + 1 :])
            )
            scale = preview.shape[axis] / (own + sum(drawn))
            around.append((round(scale * rest[0]), round(scale * rest[1])))
        return np.pad(preview, (*around, (0, 0)), constant_values=255)


def plan_growth(options: IllustrateOptions) -> Growth | None:
    """None where one pass is enough, and for drawings with places (regions, control pictures, masks of references),
    which are those of the whole canvas."""
    source = options.source
    if source is None or options.regions or options.controls or any(use.mask for use in options.references):
        return None
    passes = split_margins(source.outpaint, (source.image.width, source.image.height))
    if len(passes) < 2:
        return None
    first = _of_pass(options, replace(source, outpaint=passes[0]), last=False)
    return Growth(first, options, passes[1:])


def split_margins(margins: Margins, size: tuple[int, int]) -> list[Margins]:
    """``margins`` around a picture of ``size`` (width, height) as those of passes."""
    whole = size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom
    factor = max(GROWTH, *((large / small) ** (1 / MAX_PASSES) for large, small in zip(whole, size, strict=True)))
    passes: list[Margins] = []
    rest = margins
    while rest:
        left, right = _part(rest.left, rest.right, size[0], factor)
        top, bottom = _part(rest.top, rest.bottom, size[1], factor)
        passes.append(Margins(left, top, right, bottom))
        size = size[0] + left + right, size[1] + top + bottom
        rest = Margins(rest.left - left, rest.top - top, rest.right - right, rest.bottom - bottom)
    return passes


def _part(before: int, after: int, side: int, factor: float) -> tuple[int, int]:
    """Of the pixels before and after a side, those of the next pass, on both in the same proportion."""
    most = max(1, math.ceil(side * (factor - 1) - 1e-6))
    if before + after <= most:
        return before, after
    own = round(most * before / (before + after))
    return own, most - own


def _of_pass(options: IllustrateOptions, source: PictureSource, *, last: bool) -> IllustrateOptions:
    """The size that is named is that of the last pass; the others have that of their picture."""
    size = (options.width, options.height) if last else (None, None)
    return replace(options, source=source, width=size[0], height=size[1])
