"""`FallbackIllustrator`: the Illustrator as every door has it, and others in its place while it fails (A-100).

It fails when it is away, breaks, or takes longer than it may. What a client asks wrongly, cancels, or has no more time
for is no failure, and neither is a full queue: nobody else is asked then.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serve.ensembles.illustrator.illustration import (
    ILLUSTRATE,
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    IllustrateOptions,
    Illustration,
    IllustratorService,
    StreamItem,
    StreamOptions,
)
from serve.errors import (
    AtelierError,
    Cancelled,
    EngineFailure,
    EngineUnavailable,
    InvalidRequest,
    ModerationBlocked,
    PictureNotClassified,
)
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import SERVED
from serve.releases.fallback.circuit_breaker import CircuitBreaker, Trial
from serve.releases.fallback.engines import EnginesBehind
from serve.releases.fallback.failures import ABOUT_S, brief, is_failure, is_ours, late, within
from serve.releases.fallback.last_known_info import LastKnownInfo
from serve.releases.fallback.steps import FallbackBackend, Key, as_named, steps_of
from serve.releases.flags.flag import unit_of
from serve.releases.flags.store import Flags
from serve.security.moderation.policy import ModerationPolicy
from serve.settings import Settings
from serve.state.job_states import ANONYMOUS

LOGGER = logging.getLogger(__name__)

Asks = Callable[[IllustrateOptions], AsyncGenerator[StreamItem, None]]


@dataclass(frozen=True, eq=False)
class _Link:
    """``step`` None: the Illustrator itself."""

    name: str
    breaker: CircuitBreaker
    step: FallbackBackend | None = None


class FallbackIllustrator(EnginesBehind):
    """The ``IllustratorService`` of one process; `for_user` before each request of somebody who is known.

    Without any steps nobody is refused: the breaker only watches.
    """

    def __init__(
        self,
        primary: IllustratorService,
        settings: Settings,
        key: Key,
        flags: Flags | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for a step that cannot be."""
        super().__init__(primary)
        self._primary = primary
        self._settings = settings.fallback
        self._limit_s = settings.illustrator.timeout_s
        self._flags = flags
        moderates = settings.moderation.policy != "off"
        self._policy = ModerationPolicy(settings.moderation, primary) if moderates else None
        """For pictures from outside: the Illustrator's own have been looked at."""
        self._own = _Link(ILLUSTRATE, CircuitBreaker(self._settings.breaker, ILLUSTRATE, clock))
        self._steps = [
            _Link(step.name, CircuitBreaker(self._settings.breaker, step.name, clock), step)
            for step in steps_of(self._settings, primary, key)
        ]
        self._says = LastKnownInfo(primary, self._own.breaker) if self._steps else primary
        self._user_id = ANONYMOUS

    def for_user(self, user_id: str) -> FallbackIllustrator:
        """The same, as ``user_id`` is served: a flag may say by whom first."""
        mine = copy.copy(self)
        mine._user_id = user_id
        return mine

    @property
    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """By the names of who serves, in the order in which they are asked."""
        return {link.name: link.breaker for link in (self._own, *self._steps)}

    async def draw(self, options: IllustrateOptions) -> Illustration:
        async def asks(options: IllustrateOptions) -> AsyncGenerator[StreamItem, None]:
            yield await self._primary.draw(options)

        async with contextlib.aclosing(self._told(options, asks)) as items:
            async for item in items:
                if isinstance(item, Illustration):
                    return item
        raise EngineFailure("the drawing ended without a picture")

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem, None]:
        """Who stands in tells nothing on the way."""

        def asks(options: IllustrateOptions) -> AsyncGenerator[StreamItem, None]:
            return self._primary.stream(options, follow, resume)

        async with contextlib.aclosing(self._told(options, asks)) as items:
            async for item in items:
                yield item

    async def families(self) -> Sequence[FamilyInfo]:
        """What it said before, while the Illustrator is away and others are there."""
        return await self._says.families()

    async def versions(self) -> Mapping[str, str]:
        return await self._says.versions()

    async def _told(self, options: IllustrateOptions, asks: Asks) -> AsyncGenerator[StreamItem, None]:
        """By the first in turn who does not fail. When nobody does, the Illustrator's own failure counts.

        Raises InvalidRequest, and what the Illustrator raises.
        """
        limit_s = min(options.timeout_s or self._limit_s, self._limit_s)
        if (left_s := request_context.current().left_s(math.inf)) < limit_s:
            limit_s, options = left_s, replace(options, timeout_s=max(0.001, left_s))
        options = replace(options, seed=options.resolve_seed())
        deadline = time.monotonic() + limit_s
        failures: dict[str, AtelierError] = {}
        for link in await self._in_turn(options):
            trial = link.breaker.admit() or (None if self._steps else Trial(link.breaker, -1))
            if trial is None:
                continue
            with trial:
                asked = self._asked(link, options, asks, deadline)
                try:
                    with self._traced(link):
                        async with contextlib.aclosing(asked) as items:
                            async for item in items:
                                if isinstance(item, Illustration):
                                    trial.went_well()  # before it is told: who has it need not listen on
                                    SERVED.add(1, link.name)
                                yield item
                    return
                except AtelierError as error:
                    if is_failure(error, link.step is None, options, self._limit_s, deadline):
                        trial.failed()
                    if not self._goes_on(error, link, deadline):
                        if ILLUSTRATE not in failures or isinstance(error, Cancelled | ModerationBlocked):
                            raise
                        break
                    failures[link.name] = error
                    LOGGER.warning("%s failed (%s); others are asked", link.name, brief(error))
        raise failures.get(ILLUSTRATE) or EngineUnavailable("nobody can draw at the moment; try again later")

    def _traced(self, link: _Link) -> contextlib.AbstractContextManager[Any]:
        """A service outside is not told of the trace."""
        if not self._steps:
            return contextlib.nullcontext()
        return tracing.span(f"served by {link.name}", "internal" if link.step is None else "client")

    def _goes_on(self, error: AtelierError, link: _Link, deadline: float) -> bool:
        """Whether somebody else is asked."""
        if not self._steps or isinstance(error, Cancelled | ModerationBlocked | PictureNotClassified):
            return False  # who cannot be judged here is not judged either when somebody else has drawn it
        if time.monotonic() >= deadline - ABOUT_S:
            return False
        return link.step is not None or is_ours(error)

    async def _asked(
        self, link: _Link, options: IllustrateOptions, asks: Asks, deadline: float
    ) -> AsyncGenerator[StreamItem, None]:
        if not self._steps:
            async with contextlib.aclosing(asks(options)) as items:
                async for item in items:
                    yield item
            return
        left_s = deadline - time.monotonic()
        if link.step is None:
            limit_s = min(left_s, self._settings.primary_timeout_s or left_s)
            async with contextlib.aclosing(asks(replace(options, timeout_s=max(0.001, limit_s)))) as items:
                async for item in within(items, limit_s):
                    yield item
            return
        family = await self._family(options.model)
        plain = replace(as_named(options, family), timeout_s=max(0.001, left_s))
        try:
            async with asyncio.timeout(left_s):
                drawn = await self._drawn(link.step, plain, family)
        except TimeoutError:
            raise late(left_s) from None
        yield drawn

    async def _drawn(
        self, step: FallbackBackend, options: IllustrateOptions, family: FamilyInfo | None
    ) -> Illustration:
        """Raises ModerationBlocked besides what the step raises."""
        if step.model is not None or self._policy is None:
            return await step.draw(options, family)
        found = await self._policy.check(options)
        return await self._policy.moderate(await step.draw(options, family), options, found)

    async def _in_turn(self, options: IllustrateOptions) -> Sequence[_Link]:
        if not self._steps:
            return [self._own]
        family = await self._family(options.model)
        _check_size(options, family)
        wanted = options.model or (family.name if family is not None else None)
        steps = [link for link in self._steps if link.step is None or link.step.model in (None, *_others(link, wanted))]
        if await self._is_served():
            return [self._own, *steps]
        return [*steps, self._own]

    async def _is_served(self) -> bool:
        """Whether the Illustrator is asked first."""
        flag = self._settings.flag
        if flag is None or self._flags is None:
            return True
        return await self._flags.is_on(flag, unit_of(self._user_id))

    async def _family(self, model: str | None) -> FamilyInfo | None:
        try:
            families = await self.families()
        except AtelierError:
            return None
        return next((one for one in families if model in (None, one.name)), None)


def _check_size(options: IllustrateOptions, family: FamilyInfo | None) -> None:
    """The same sizes are wrong, whoever draws. Raises InvalidRequest."""
    for name in ("width", "height"):
        side = getattr(options, name)
        if family is not None and side is not None and family.nearest(side) != side:
            what = f"from {family.min_px} to {family.max_px} in multiples of {family.multiple_of_px}"
            raise InvalidRequest(f"must be {what} for model '{family.name}'", name)


def _others(link: _Link, wanted: str | None) -> tuple[str, ...]:
    """The step's model, unless it is the very one that failed."""
    model = link.step.model if link.step is not None else None
    return () if model is None or model == wanted else (model,)
