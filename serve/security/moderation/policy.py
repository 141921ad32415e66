"""`ModeratedIllustrator`: an Illustrator with the site's moderation policy for prompts, pictures and previews."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image, ImageFilter

from serve.ensembles.illustrator.illustration import (
    NO_PROGRESS,
    Checkpoint,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    Picture,
    Pixels,
    Preview,
    StreamItem,
    StreamOptions,
)
from serve.errors import AtelierError, PictureNotClassified
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.picture_classifier import InferenceClient, PictureClassifier
from serve.security.moderation.prompt_filter import LOW, REFUSE, Finding, PromptFilter, blocked, counted, tell, told_of
from serve.settings import ModerationSettings

CELLS = 12
"""Along the longer side: what is smaller is gone for good, no sharpening brings it back."""


def blurred(pixels: Pixels) -> Pixels:
    """Of the same shape, (height, width, 3): means of cells, with soft edges between them."""
    image = Image.fromarray(pixels)
    cell = max(1.0, max(image.size) / CELLS)
    small = image.resize([max(1, round(side / cell)) for side in image.size], Image.Resampling.BOX)
    soft = small.resize(image.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(cell / 2))
    return np.asarray(soft)


LOGGER = logging.getLogger(__name__)

FLAG, BLUR = "flag", "blur"


class ModerationPolicy:
    """``client`` answers for the safety engine. Raises InvalidRequest for rules that cannot be used."""

    def __init__(self, settings: ModerationSettings, client: InferenceClient) -> None:
        self._settings = settings
        self._gate = PromptFilter(settings)
        self._judge: PictureClassifier | None = None
        if settings.engine is not None and settings.policy != "off":
            asked = (settings.engine, settings.categories, settings.side_px, settings.timeout_s)
            self._judge = PictureClassifier(client, *asked)

    async def check(self, options: IllustrateOptions) -> list[Finding]:
        """What was found in the prompt. Raises ModerationBlocked where that is refused."""
        return await self._gate.check(options.prompt, options.moderation)

    async def looked_at(
        self, drawn: Illustration, options: IllustrateOptions, in_prompt: Sequence[Finding]
    ) -> Illustration:
        """Raises ModerationBlocked where it is refused, Unjudged when the engine gives no answer."""
        policy, low = self._settings.policy, options.moderation == LOW
        pictures = await asyncio.gather(*(self._found(one.pixels, i, low) for i, one in enumerate(drawn.pictures)))
        every = [*in_prompt, *(finding for found in pictures for finding in found or ())]
        tell(every, policy)
        if unchecked := any(found is None for found in pictures):
            MODERATION.add(1, "unchecked", self._settings.on_failure)
        if every and policy == REFUSE:
            raise blocked(every)
        if unchecked and self._settings.on_failure == REFUSE:
            raise PictureNotClassified("the safety engine does not answer; try again")
        kept = drawn.pictures
        if every and policy == BLUR:
            hidden = [bool(in_prompt or found) for found in pictures]
            kept = [await _blurred(one) if hide else one for one, hide in zip(kept, hidden, strict=True)]
        return replace(drawn, pictures=kept, moderation=told_of(every, policy, unchecked))

    async def shown(self, preview: Preview, options: IllustrateOptions, in_prompt: Sequence[Finding]) -> Preview | None:
        """None: nothing may be seen of it."""
        policy = self._settings.policy
        if policy == FLAG:
            return preview
        found: Sequence[Finding] | None = in_prompt
        if not in_prompt:
            found = await self._found(preview.pixels, preview.index, options.moderation == LOW)
        if found is None:
            return preview if self._settings.on_failure == "allow" else None
        if not found:
            return preview
        return None if policy == REFUSE else replace(preview, pixels=await asyncio.to_thread(blurred, preview.pixels))

    async def _found(self, pixels: Pixels, index: int, low: bool) -> list[Finding] | None:
        """None: the engine gave no answer."""
        if self._judge is None:
            return []
        try:
            return counted(self._settings, await self._judge.scores(pixels), low, index)
        except AtelierError as error:
            LOGGER.warning("a picture was not checked: %s", error)
            return None


async def _blurred(picture: Picture) -> Picture:
    return replace(picture, pixels=await asyncio.to_thread(blurred, picture.pixels))


Draws = TypeVar("Draws", bound=IllustratorService)


def moderated(illustrator: Draws, settings: ModerationSettings) -> Draws:
    """``illustrator`` as the site wants it; its engines answer for the safety engine, too.

    Raises InvalidRequest for rules that cannot be used.
    """
    return illustrator if settings.policy == "off" else cast(Draws, ModeratedIllustrator(illustrator, settings))


def engines_of(settings: ModerationSettings) -> tuple[str, ...]:
    """What an Illustrator has to serve besides its families."""
    return () if settings.policy == "off" or settings.engine is None else (settings.engine,)


class ModeratedIllustrator:
    """All that it does not say itself, ``illustrator`` says."""

    def __init__(self, illustrator: IllustratorService, settings: ModerationSettings) -> None:
        self._illustrator = illustrator
        self._policy = ModerationPolicy(settings, illustrator)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._illustrator, name)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        """Raises ModerationBlocked besides, and EngineUnavailable when the safety engine gives no answer."""
        found = await self._policy.check(options)
        return await self._policy.looked_at(await self._illustrator.draw(options), options, found)

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem]:
        """A preview of what must not be seen is blurred, or not shown."""
        found = await self._policy.check(options)
        async with contextlib.aclosing(self._illustrator.stream(options, follow, resume)) as items:
            async for item in items:
                if isinstance(item, Illustration):
                    yield await self._policy.looked_at(item, options, found)
                elif not isinstance(item, Preview):
                    yield item
                elif (shown := await self._policy.shown(item, options, found)) is not None:
                    yield shown
