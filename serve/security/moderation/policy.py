"""`ModerationPolicy`: what becomes of prompts, pictures and previews, as the site's settings have it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration, Picture, Pixels, Preview
from serve.errors import AtelierError, PictureNotClassified
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.blurring import blurred
from serve.security.moderation.picture_classifier import InferenceClient, PictureClassifier
from serve.security.moderation.prompt_filter import REFUSE, PromptFilter, tell
from serve.security.moderation.verdicts import LOW, Finding, blocked, counted, told_of
from serve.settings import ModerationSettings

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
