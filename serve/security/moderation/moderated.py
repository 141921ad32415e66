"""`ModeratedIllustrator`: an Illustrator that keeps to the site's policy. Every door's drawings come out of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar, cast

from serve.ensembles.illustrator.illustration import (
    NO_PROGRESS,
    Checkpoint,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    Preview,
    StreamItem,
    StreamOptions,
)
from serve.security.moderation.policy import ModerationPolicy
from serve.settings import ModerationSettings

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
