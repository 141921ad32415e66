"""The hop from a gateway to an ensemble's replicas."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serve.api.inference.tensors import Array
from serve.cluster.hop_errors import ReplicaLost, map_ray_errors
from serve.cluster.scale_to_zero import IdleState
from serve.engines.service import Health
from serve.ensembles.illustrator.illustration import (
    NO_PROGRESS,
    Checkpoint,
    FamilyInfo,
    IllustrateOptions,
    Illustration,
    StreamItem,
    StreamOptions,
)
from serve.ensembles.illustrator.progress import WAITING_PREVIEWS, Seen, lay
from serve.ensembles.progress_stream import ProgressOutbox, relay
from serve.ensembles.vectorizer.vectorization import NO_VERSIONS, Analysis, Vectorization, VectorizeOptions
from serve.errors import (
    AtelierError,
    DeadlineExceeded,
    EngineLost,
    EngineUnavailable,
    ScaledToZero,
)
from serve.observability import request_context, tracing
from serve.observability.request_context import RequestContext

LOGGER = logging.getLogger(__name__)

ATTEMPTS = 2
"""A call whose replica died is made once more: every call of ours gives the same answer when repeated."""

HEALTH_TIMEOUT_S = 10.0
"""Who asks for health does not wait as long as for a conversion: no answer is one, too."""


WELL = ("HEALTHY", "UPSCALING", "DOWNSCALING", "UPDATING")
"""What Ray Serve says of a deployment without replicas that can have one."""
STARTING = "the {} was asleep and is starting; try again"


def idle_state_of(application: str, deployment: str) -> IdleState:
    """Of a deployment that may have no replica. Ray Serve's controller is asked: a call by the handle would wake it."""

    def has_none() -> bool:
        try:
            told = ray_serve.status().applications.get(application)
        except (RayError, RayServeException) as error:
            raise EngineUnavailable("Ray Serve's controller does not answer") from error
        there = told.deployments.get(deployment) if told else None
        if there is None or there.status not in WELL:
            return False
        return not any(n for state, n in there.replica_states.items() if state == "RUNNING")

    return IdleState(has_none)


class RemoteEnsemble:
    """What every ensemble's replica answers. ``name`` is for messages; ``timeout_s`` bounds each call."""

    def __init__(
        self, name: str, handle: DeploymentHandle[Any], timeout_s: float, sleep: IdleState | None = None
    ) -> None:
        self._name = name
        self._handle = handle
        self._timeout_s = timeout_s
        self._sleep = sleep
        self._told: dict[tuple[str, ...], Any] = {}
        self._waking: asyncio.Task[None] | None = None

    async def _asleep(self) -> bool:
        return self._sleep is not None and await self._sleep.now()

    @contextlib.asynccontextmanager
    async def _may_wake(self, *, wakes: bool = True) -> AsyncIterator[None]:
        """A deadline that passes while the first replica starts is told as that; and the start goes on, also when who
        asked leaves."""
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self._go_on_waking(wakes)
            raise
        except DeadlineExceeded:
            self._go_on_waking(wakes)
            if await self._asleep():
                raise ScaledToZero(STARTING.format(self._name)) from None
            raise

    def _go_on_waking(self, wakes: bool) -> None:
        """Ray Serve starts replicas for calls that wait: one that was gone before its controller looked starts none."""
        if wakes and self._sleep is not None and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(self._wake(), context=contextvars.Context())  # with no one's deadline

    async def _wake(self) -> None:
        try:
            if await self._asleep():
                await self._ask("engines")
        except AtelierError as error:
            LOGGER.info("the %s was asked for in its sleep, and did not start: %s", self._name, error)
        except Exception:
            LOGGER.exception("the %s was asked for in its sleep, and was not woken", self._name)

    async def _told_before(self, method: str, *arguments: str) -> Any:
        """What stays as it is as long as the stack runs wakes nobody who said it once."""
        known = (method, *arguments)
        if known not in self._told or not await self._asleep():
            self._told[known] = await self._call(method, *arguments)
        return self._told[known]

    async def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Within one deadline, however often it asks: the caller's, or its own if that is earlier."""
        async with self._may_wake(wakes=method != "health"):
            return await self._ask(method, *arguments, **named)

    async def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        timeout_s = min(self._timeout_s, HEALTH_TIMEOUT_S) if method == "health" else self._timeout_s
        asked = request_context.current().with_timeout(timeout_s)
        for _ in range(ATTEMPTS):
            left_s = asked.left_s(timeout_s)
            with contextlib.suppress(ReplicaLost), self._hop(method):
                urgency = left_s, asked.priority
                answer = self._handle.answer
                response: Any = answer.remote(method, tracing.carried(), *arguments, urgency=urgency, **named)
                with map_ray_errors(self._name, response, timeout_s):
                    async with asyncio.timeout(left_s):
                        results = [item async for item in response]
                if results:
                    return _value(results[0])
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def _stream(self, asked: RequestContext, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """What one replica yields until the deadline of ``asked``. Raises ``ReplicaLost`` if it dies."""
        urgency = asked.left_s(self._timeout_s), asked.priority
        with self._hop(method):
            response: Any = self._handle.stream.remote(method, tracing.carried(), *arguments, urgency=urgency)
            with map_ray_errors(self._name, response, self._timeout_s):
                while True:
                    async with asyncio.timeout(asked.until(self._timeout_s) - time.monotonic()):
                        item = await anext(response, None)
                    if item is None:
                        return
                    yield _value(item)

    def _hop(self, method: str) -> tracing.span:
        """Ray's way there and back, and the wait for a replica, are what this lasts longer than the replica's own."""
        return tracing.span(f"to {self._name}.{method}", "client", rpc__system__name="ray", rpc__method=method)

    async def health(self) -> Health:
        asleep = Health({}, (self._name.lower(),))
        if self._sleep is not None and await self._sleep.now(fresh=True):  # a call to none would wake one
            return asleep
        try:
            result: Health = await self._call("health")
        except ScaledToZero:  # it fell asleep at this moment
            return asleep
        return result

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Array],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, Array]:
        result: dict[str, Array] = await self._call(
            "infer", engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version
        )
        return result

    async def metadata(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._told_before("metadata", engine)
        return result

    async def config(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._told_before("config", engine)
        return result

    async def statistics(self, engine: str) -> dict[str, Any]:
        if await self._asleep():
            return {"model_stats": []}
        result: dict[str, Any] = await self._call("statistics", engine)
        return result

    async def engines(self) -> list[str]:
        result: list[str] = await self._told_before("engines")
        return result

    async def versions(self) -> Mapping[str, str]:
        result: Mapping[str, str] = await self._told_before("versions")
        return result


class RemoteVectorizer(RemoteEnsemble):
    """The ``VectorizerService`` across the hop."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float, sleep: IdleState | None = None) -> None:
        super().__init__("Vectorizer", handle, timeout_s, sleep)

    async def vectorize(self, data: bytes, options: VectorizeOptions) -> Vectorization:
        result: Vectorization = await self._call("vectorize", data, options)
        return result

    async def analyze(self, data: bytes, engine_versions: Mapping[str, str] = NO_VERSIONS) -> Analysis:
        result: Analysis = await self._call("analyze", data, engine_versions)
        return result


class RemoteIllustrator(RemoteEnsemble):
    """The ``IllustratorService`` across the hop. Seeds are drawn here, so that a repeated call draws the same."""

    def __init__(self, handle: DeploymentHandle[Any], timeout_s: float, sleep: IdleState | None = None) -> None:
        super().__init__("Illustrator", handle, timeout_s, sleep)

    async def draw(self, options: IllustrateOptions) -> Illustration:
        seeded = _seeded(options)
        try:
            async with asyncio.timeout(await self._patience_s(options)):
                result: Illustration = await self._call("draw", seeded)
        except TimeoutError:
            raise ScaledToZero(STARTING.format(self._name)) from None
        return result

    async def stream(
        self, options: IllustrateOptions, follow: StreamOptions = NO_PROGRESS, resume: Sequence[Checkpoint] = ()
    ) -> AsyncGenerator[StreamItem, None]:
        """A replica that dies is replaced by one that goes on from the last checkpoints; nothing is told twice."""
        work = partial(self._read, _seeded(options), follow, resume)
        async with self._may_wake(), contextlib.aclosing(relay(work, WAITING_PREVIEWS)) as items:
            async for item in items:
                yield item

    async def _read(
        self, options: IllustrateOptions, follow: StreamOptions, resume: Sequence[Checkpoint], outbox: ProgressOutbox
    ) -> Illustration | None:
        """As fast as it comes: a replica waits for a slow reader, and others for its turn."""
        patience_s = await self._patience_s(options) or self._timeout_s
        asked = request_context.current().with_timeout(min(self._timeout_s, patience_s))
        seen, drawn = Seen(resume), None
        for _ in range(ATTEMPTS):
            stream = self._stream(asked, "stream", options, follow, tuple(seen.checkpoints.values()))
            with contextlib.suppress(ReplicaLost):
                async with contextlib.aclosing(stream) as items:
                    async for item in items:
                        if isinstance(item, Illustration):
                            drawn = item
                        elif seen.is_new(item):
                            await lay(outbox, item)
                return drawn
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def _patience_s(self, options: IllustrateOptions) -> float | None:
        """A replica keeps the deadline of a request, and nobody does while there is none."""
        return options.timeout_s if await self._asleep() else None

    async def families(self) -> Sequence[FamilyInfo]:
        result: Sequence[FamilyInfo] = await self._told_before("families")
        return result


def _seeded(options: IllustrateOptions) -> IllustrateOptions:
    return replace(options, seed=options.resolve_seed())


def _value(result: Any) -> Any:
    """Replicas answer errors of ours as values, since Ray Serve logs an exception that leaves one as its failure."""
    if isinstance(result, AtelierError):
        raise result
    return result
