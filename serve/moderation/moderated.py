"""`Moderated`: an Illustrator that keeps to the site's policy. Every door's drawings come out of it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from serve.ensembles.illustration import (
    UNFOLLOWED,
    Checkpoint,
    Follow,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    Picture,
    Pixels,
    Preview,
    Told,
)
from serve.errors import AtelierError, EngineUnavailable
from serve.metrics import MODERATION, count
from serve.moderation.blurring import blurred
from serve.moderation.judge import PictureJudge
from serve.moderation.prompts import REFUSE, PromptGate, tell
from serve.moderation.verdicts import LOW, Finding, blocked, counted, told_of
from serve.settings import ModerationSettings

LOGGER = logging.getLogger(__name__)
Draws = TypeVar("Draws", bound=IllustratorService)

BLUR = "blur"


def moderated(illustrator: Draws, settings: ModerationSettings) -> Draws:
    """``illustrator`` as the site wants it; its engines answer for the safety engine, too.

    Raises InvalidRequest for rules that cannot be used.
    """
    return illustrator if settings.policy == "off" else cast(Draws, Moderated(illustrator, settings))


def engines_of(settings: ModerationSettings) -> tuple[str, ...]:
    """What an Illustrator has to serve besides its families."""
    return () if settings.policy == "off" or settings.engine is None else (settings.engine,)


class Moderated:
    """All that it does not say itself, ``illustrator`` says."""

    def __init__(self, illustrator: IllustratorService, settings: ModerationSettings) -> None:
        self._illustrator = illustrator
        self._settings = settings
        self._gate = PromptGate(settings)
        self._judge: PictureJudge | None = None
        if settings.engine is not None:
            asked = (settings.engine, settings.categories, settings.side_px, settings.timeout_s)
            self._judge = PictureJudge(illustrator, *asked)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._illustrator, name)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        """Raises ModerationBlocked besides, and EngineUnavailable when the safety engine gives no answer."""
        found = await self._gate.check(options.prompt, options.moderation)
        return await self._looked_at(await self._illustrator.draw(options), found, options.moderation == LOW)

    async def stream(
        self, options: IllustrateOptions, follow: Follow = UNFOLLOWED, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[Told]:
        """A preview of what must not be seen is blurred, or not shown."""
        found, low = await self._gate.check(options.prompt, options.moderation), options.moderation == LOW
        async with contextlib.aclosing(self._illustrator.stream(options, follow, resume)) as items:
            async for item in items:
                if isinstance(item, Illustration):
                    yield await self._looked_at(item, found, low)
                elif not isinstance(item, Preview):
                    yield item
                elif (shown := await self._shown(item, found, low)) is not None:
                    yield shown

    async def _looked_at(self, drawn: Illustration, in_prompt: list[Finding], low: bool) -> Illustration:
        pictures = await asyncio.gather(*(self._found(one.pixels, i, low) for i, one in enumerate(drawn.pictures)))
        policy, unchecked = self._settings.policy, any(found is None for found in pictures)
        every = [*in_prompt, *(finding for found in pictures for finding in found or ())]
        if every:
            tell(every, policy)
        if unchecked:
            count(MODERATION, category="unchecked", action=self._settings.on_failure)
            if self._settings.on_failure == REFUSE:
                raise EngineUnavailable("the safety engine does not answer; try again")
        if every and policy == REFUSE:
            raise blocked(every)
        kept = drawn.pictures
        if every and policy == BLUR:
            hidden = [bool(in_prompt or found) for found in pictures]
            kept = [await _blurred(one) if hide else one for one, hide in zip(kept, hidden, strict=True)]
        return replace(drawn, pictures=kept, moderation=told_of(every, policy, unchecked))

    async def _shown(self, preview: Preview, in_prompt: list[Finding], low: bool) -> Preview | None:
        policy = self._settings.policy
        if policy == "flag":
            return preview
        found: list[Finding] | None = in_prompt or await self._found(preview.pixels, preview.index, low)
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
