"""`FallbackIllustrator`: the Illustrator with fallback backends for the time that it fails (A-100).

Failures are unavailability, internal errors and timeouts. Invalid requests, cancellations, expired client deadlines and
a full queue are no failures: no fallback is tried then.
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

from serve.ensembles.illustrator.adapters import LoraInfo
from serve.ensembles.illustrator.illustration import ILLUSTRATE, IllustrateOptions, Illustration
from serve.ensembles.illustrator.service import (
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    IllustratorService,
    StreamItem,
    StreamOptions,
    family_of,
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
from serve.releases.fallback.http_calls import (
    CLOCK_TOLERANCE_S,
    is_engine_fault,
    is_failure,
    summary,
    timeout_error,
    with_time_limit,
)
from serve.releases.fallback.steps import FallbackBackend, Key, steps_of, without_defaults
from serve.releases.fallback.wrappers import DelegatedEngines, LastKnownInfo
from serve.releases.flags import Flags, unit_of
from serve.security.moderation.policy import ModerationPolicy
from serve.security.signing.secret_store import SecretStore
from serve.settings import Settings
from serve.state import State
from serve.state.job_states import ANONYMOUS

LOGGER = logging.getLogger(__name__)

DrawFunction = Callable[[IllustrateOptions], AsyncGenerator[StreamItem, None]]


@dataclass(frozen=True, eq=False)
class _ChainLink:
    """One backend of the chain; ``step`` None: the Illustrator itself."""

    name: str
    breaker: CircuitBreaker
    step: FallbackBackend | None = None


class FallbackIllustrator(DelegatedEngines):
    """The ``IllustratorService`` of one process; use `for_user` for requests of a known user.

    Without fallback steps the breaker only measures; nothing is refused.
    """

    def __init__(
        self,
        primary: IllustratorService,
        settings: Settings,
        key: Key,
        flags: Flags | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises ValueError for an invalid step."""
        super().__init__(primary)
        self._primary = primary
        self._settings = settings.fallback
        self._limit_s = settings.illustrator.timeout_s
        self._flags = flags
        moderates = settings.moderation.policy != "off"
        self._policy = ModerationPolicy(settings.moderation, primary) if moderates else None
        """For pictures of external services; the Illustrator moderates its own."""
        self._own = _ChainLink(ILLUSTRATE, CircuitBreaker(self._settings.breaker, ILLUSTRATE, clock))
        self._steps = [
            _ChainLink(step.name, CircuitBreaker(self._settings.breaker, step.name, clock), step)
            for step in steps_of(self._settings, primary, key)
        ]
        self._info = LastKnownInfo(primary, self._own.breaker) if self._steps else primary
        self._user_id = ANONYMOUS

    async def chat(self, engine: str, asked: Mapping[str, Any], timeout_s: float) -> AsyncGenerator[str]:
        async with contextlib.aclosing(self._primary.chat(engine, asked, timeout_s)) as pieces:
            async for piece in pieces:
                yield piece

    def for_user(self, user_id: str) -> FallbackIllustrator:
        """A copy for ``user_id``: a flag may decide which backend is first."""
        mine = copy.copy(self)
        mine._user_id = user_id
        return mine

    @property
    def breakers(self) -> Mapping[str, CircuitBreaker]:
        """Breakers by backend name, in the order of the chain."""
        return {link.name: link.breaker for link in (self._own, *self._steps)}

    async def draw(self, options: IllustrateOptions) -> Illustration:
        async def draw_primary(options: IllustrateOptions) -> AsyncGenerator[StreamItem, None]:
            yield await self._primary.draw(options)

        async with contextlib.aclosing(self._draw_with_fallback(options, draw_primary)) as items:
            async for item in items:
                if isinstance(item, Illustration):
                    return item
        raise EngineFailure("the drawing ended without a picture")

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem, None]:
        """Fallback backends report no progress."""

        def draw_primary(options: IllustrateOptions) -> AsyncGenerator[StreamItem, None]:
            return self._primary.stream(options, follow, resume)

        async with contextlib.aclosing(self._draw_with_fallback(options, draw_primary)) as items:
            async for item in items:
                yield item

    async def families(self) -> Sequence[FamilyInfo]:
        """While the Illustrator is unavailable: its last known answer."""
        return await self._info.families()

    async def versions(self) -> Mapping[str, str]:
        return await self._info.versions()

    async def check_lora(self, data: bytes) -> LoraInfo:
        return await self._primary.check_lora(data)

    async def _draw_with_fallback(
        self, options: IllustrateOptions, draw_primary: DrawFunction
    ) -> AsyncGenerator[StreamItem, None]:
        """Try the backends in order until one succeeds; if all fail, raise the Illustrator's error.

        Raises InvalidRequest, and errors of the Illustrator.
        """
        limit_s = min(options.timeout_s or self._limit_s, self._limit_s)
        if (left_s := request_context.current().left_s(math.inf)) < limit_s:
            limit_s, options = left_s, replace(options, timeout_s=max(0.001, left_s))
        options = replace(options, seed=options.resolve_seed())
        deadline = time.monotonic() + limit_s
        failures: dict[str, AtelierError] = {}
        for link in await self._chain(options):
            trial = link.breaker.admit() or (None if self._steps else Trial(link.breaker, -1))
            if trial is None:
                continue
            with trial:
                attempt = self._attempt(link, options, draw_primary, deadline)
                try:
                    with self._traced(link):
                        async with contextlib.aclosing(attempt) as items:
                            async for item in items:
                                if isinstance(item, Illustration):
                                    trial.succeeded()  # before the yield: the reader may stop there
                                    SERVED.add(1, link.name)
                                yield item
                    return
                except AtelierError as error:
                    if is_failure(error, link.step is None, options, self._limit_s, deadline):
                        trial.failed()
                    if not self._tries_next(error, link, deadline):
                        if ILLUSTRATE not in failures or isinstance(error, Cancelled | ModerationBlocked):
                            raise
                        break
                    failures[link.name] = error
                    LOGGER.warning("%s failed (%s); trying the next backend", link.name, summary(error))
        raise failures.get(ILLUSTRATE) or EngineUnavailable("nobody can draw at the moment; try again later")

    def _traced(self, link: _ChainLink) -> contextlib.AbstractContextManager[Any]:
        """A span per backend; trace ids are not sent to external services."""
        if not self._steps:
            return contextlib.nullcontext()
        return tracing.span(f"served by {link.name}", "internal" if link.step is None else "client")

    def _tries_next(self, error: AtelierError, link: _ChainLink, deadline: float) -> bool:
        """Whether the next backend is tried."""
        if not self._steps or isinstance(error, Cancelled | ModerationBlocked | PictureNotClassified):
            return False  # moderation applies to all backends alike
        if time.monotonic() >= deadline - CLOCK_TOLERANCE_S:
            return False
        return link.step is not None or is_engine_fault(error)

    async def _attempt(
        self, link: _ChainLink, options: IllustrateOptions, draw_primary: DrawFunction, deadline: float
    ) -> AsyncGenerator[StreamItem, None]:
        if not self._steps:
            async with contextlib.aclosing(draw_primary(options)) as items:
                async for item in items:
                    yield item
            return
        left_s = deadline - time.monotonic()
        if link.step is None:
            limit_s = min(left_s, self._settings.primary_timeout_s or left_s)
            async with contextlib.aclosing(draw_primary(replace(options, timeout_s=max(0.001, limit_s)))) as items:
                async for item in with_time_limit(items, limit_s):
                    yield item
            return
        family = await self._family(options)
        plain = replace(without_defaults(options, family), timeout_s=max(0.001, left_s))
        try:
            async with asyncio.timeout(left_s):
                drawn = await self._draw_moderated(link.step, plain, family)
        except TimeoutError:
            raise timeout_error(left_s) from None
        yield drawn

    async def _draw_moderated(
        self, step: FallbackBackend, options: IllustrateOptions, family: FamilyInfo | None
    ) -> Illustration:
        """Also raises ModerationBlocked."""
        if step.model is not None or self._policy is None:
            return await step.draw(options, family)
        found = await self._policy.check(options)
        return await self._policy.moderate(await step.draw(options, family), options, found)

    async def _chain(self, options: IllustrateOptions) -> Sequence[_ChainLink]:
        if not self._steps:
            return [self._own]
        family = await self._family(options)
        _check_size(options, family)
        wanted = options.model or (family.name if family is not None else None)
        steps = [
            link for link in self._steps if link.step is None or link.step.model in (None, *_other_models(link, wanted))
        ]
        # External services draw from one prompt alone.
        if options.source is not None or options.regions or options.finish or options.hires or options.restyle:
            steps = [link for link in steps if link.step is None or link.step.model is not None]
        regional = any(region.references for region in options.regions)
        if options.all_loras or options.controls or options.references or regional:  # which no other model has
            steps = []
        if await self._primary_is_first():
            return [self._own, *steps]
        return [*steps, self._own]

    async def _primary_is_first(self) -> bool:
        """Whether the Illustrator is first in the chain."""
        flag = self._settings.flag
        if flag is None or self._flags is None:
            return True
        return await self._flags.is_on(flag, unit_of(self._user_id))

    async def _family(self, options: IllustrateOptions) -> FamilyInfo | None:
        try:
            families = await self.families()
        except AtelierError:
            return None
        return family_of(options, families)


def _check_size(options: IllustrateOptions, family: FamilyInfo | None) -> None:
    """Sizes are validated alike for all backends. Raises InvalidRequest."""
    for name in ("width", "height"):
        side = getattr(options, name)
        if family is not None and side is not None and family.nearest(side) != side:
            what = f"from {family.min_px} to {family.max_px} in multiples of {family.multiple_of_px}"
            raise InvalidRequest(f"must be {what} for model '{family.name}'", name)


def _other_models(link: _ChainLink, wanted: str | None) -> tuple[str, ...]:
    """The step's model, unless it is the model that failed."""
    model = link.step.model if link.step is not None else None
    return () if model is None or model == wanted else (model,)


def with_fallback(illustrator: IllustratorService, state: State) -> FallbackIllustrator:
    """The Illustrator with its fallback, for a process with a state. Raises InvalidRequest for invalid steps."""
    flags = Flags(state.settings.flags, state.database)
    try:
        return FallbackIllustrator(illustrator, state.settings, SecretStore(state).get, flags)
    except ValueError as error:
        raise InvalidRequest(str(error), "fallback.steps") from None
