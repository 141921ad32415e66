"""`RemoteEnsemble`: the common part of the proxies: one repetition, one deadline, starting from zero replicas."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from serve.api.inference.tensors import Array
from serve.cluster.hop.hop_errors import ReplicaLost, late_error, map_ray_errors
from serve.cluster.hop.local_calls import NOT_CALLED, LocalCalls
from serve.cluster.hop.local_engines import LocalEngines
from serve.cluster.scale_to_zero import IdleState
from serve.engines.service import Health
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
"""A call whose replica died is repeated once: every call of ours is deterministic and safe to repeat."""

HEALTH_TIMEOUT_S = 10.0
"""Limit of a health call, shorter than a conversion's: a missing answer is a result too."""

IDLE_STATUSES = ("HEALTHY", "UPSCALING", "DOWNSCALING", "UPDATING")
"""Ray Serve's statuses of a deployment that can have no replica and is not broken."""
STARTING_MESSAGE = "the {} was asleep and is starting; try again"


def idle_state_of(application: str, deployment: str) -> IdleState:
    """Idle state of a deployment, from Ray Serve's controller: a call through the handle would start a replica."""

    def has_none() -> bool:
        try:
            status = ray_serve.status().applications.get(application)
        except (RayError, RayServeException) as error:
            raise EngineUnavailable("Ray Serve's controller does not answer") from error
        state = status.deployments.get(deployment) if status else None
        if state is None or state.status not in IDLE_STATUSES:
            return False
        return not any(count for name, count in state.replica_states.items() if name == "RUNNING")

    return IdleState(has_none)


class RemoteEnsemble:
    """Methods common to all ensembles. ``name`` is for messages; ``timeout_s`` limits each call."""

    def __init__(
        self,
        name: str,
        handle: DeploymentHandle[Any],
        timeout_s: float,
        sleep: IdleState | None = None,
        max_local: int = 0,
        max_frame_bytes: int = 0,
    ) -> None:
        """``max_local``: concurrent inferences that are sent to the replica's Triton without the replica; 0: none.
        ``max_frame_bytes``: of a call past Ray Serve; 0: none."""
        self._local = LocalEngines(self._call_with_retry, max_local) if max_local else None
        self._local_calls = LocalCalls(self._call_with_retry, max_frame_bytes) if max_frame_bytes else None
        self._name = name
        self._handle = handle
        self._timeout_s = timeout_s
        self._idle_state = sleep
        self._cached: dict[tuple[str, ...], Any] = {}
        self._waking: asyncio.Task[None] | None = None

    async def _is_idle(self) -> bool:
        return self._idle_state is not None and await self._idle_state.now()

    @contextlib.asynccontextmanager
    async def _start_if_idle(self, *, wakes: bool = True) -> AsyncIterator[None]:
        """Report a deadline that passes while the first replica starts as ScaledToZero. The start continues even if the
        caller leaves."""
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            self._keep_waking(wakes)
            raise
        except DeadlineExceeded:
            self._keep_waking(wakes)
            if await self._is_idle():
                raise ScaledToZero(STARTING_MESSAGE.format(self._name)) from None
            raise

    def _keep_waking(self, wakes: bool) -> None:
        """Ray Serve starts replicas for waiting calls only: a call cancelled before its controller looked starts
        none."""
        if wakes and self._idle_state is not None and (self._waking is None or self._waking.done()):
            self._waking = asyncio.create_task(
                self._wake(), context=contextvars.Context()
            )  # without the caller's deadline

    async def _wake(self) -> None:
        try:
            if await self._is_idle():
                await self._call_with_retry("engines")
        except AtelierError as error:
            LOGGER.info("the %s did not start from zero replicas: %s", self._name, error)
        except Exception:
            LOGGER.exception("starting the %s from zero replicas failed", self._name)

    async def _call_cached(self, method: str, *arguments: str) -> Any:
        """Results that are constant while the stack runs: cached while scaled to zero, so that reading starts
        nothing."""
        known = (method, *arguments)
        if known not in self._cached or not await self._is_idle():
            self._cached[known] = await self._call(method, *arguments)
        return self._cached[known]

    async def _call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call with retries within one deadline: the caller's or this proxy's, whichever is earlier."""
        async with self._start_if_idle(wakes=method != "health"):
            return await self._call_with_retry(method, *arguments, **named)

    async def _call_with_retry(self, method: str, *arguments: Any, **named: Any) -> Any:
        timeout_s = min(self._timeout_s, HEALTH_TIMEOUT_S) if method == "health" else self._timeout_s
        context = request_context.current().with_timeout(timeout_s)
        if self._local_calls is not None and not named and self._local_calls.takes(method):
            found = await self._call_locally(self._local_calls, context, method, arguments)
            if found is not NOT_CALLED:
                return _value(found)
        for _ in range(ATTEMPTS):
            left_s = context.left_s(timeout_s)
            with contextlib.suppress(ReplicaLost), self._hop_span(method):
                urgency = left_s, context.priority
                answer = self._handle.answer
                response: Any = answer.remote(method, tracing.carrier(), *arguments, urgency=urgency, **named)
                with map_ray_errors(self._name, response, timeout_s):
                    async with asyncio.timeout(left_s):
                        results = [item async for item in response]
                if results:
                    return _value(results[0])
        raise EngineLost(f"the {self._name} is restarting; try again")

    async def _call_locally(
        self, local_calls: LocalCalls, context: RequestContext, method: str, arguments: Sequence[Any]
    ) -> Any:
        """NOT_CALLED where Ray Serve has to make the call: a replica that died was not called, either."""
        left_s = context.left_s(self._timeout_s)
        with self._hop_span(method, "atelier"):
            try:
                async with asyncio.timeout(left_s):
                    return await local_calls.call(method, tracing.carrier(), arguments, (left_s, context.priority))
            except TimeoutError:
                raise late_error(self._timeout_s) from None

    async def _stream(self, context: RequestContext, method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
        """Items of one replica until the deadline of ``context``. Raises ``ReplicaLost`` if it dies."""
        urgency = context.left_s(self._timeout_s), context.priority
        with self._hop_span(method):
            response: Any = self._handle.stream.remote(method, tracing.carrier(), *arguments, urgency=urgency)
            with map_ray_errors(self._name, response, self._timeout_s):
                while True:
                    async with asyncio.timeout(context.until(self._timeout_s) - time.monotonic()):
                        item = await anext(response, None)
                    if item is None:
                        return
                    yield _value(item)

    def _hop_span(self, method: str, system: str = "ray") -> tracing.span:
        """A client span: its duration minus the replica's own span is the hop's overhead and the wait for a
        replica."""
        return tracing.span(f"to {self._name}.{method}", "client", rpc__system__name=system, rpc__method=method)

    async def health(self) -> Health:
        asleep = Health({}, (self._name.lower(),))
        if self._idle_state is not None and await self._idle_state.now(fresh=True):  # a call would start a replica
            return asleep
        try:
            result: Health = await self._call("health")
        except ScaledToZero:  # scaled down at this moment
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
        if self._local is not None:
            found = await self._local.infer(engine, inputs, outputs, timeout_s, version)
            if found is not None:
                return found
        result: dict[str, Array] = await self._call(
            "infer", engine, inputs, outputs=outputs, timeout_s=timeout_s, version=version
        )
        return result

    async def metadata(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call_cached("metadata", engine)
        return result

    async def config(self, engine: str) -> dict[str, Any]:
        result: dict[str, Any] = await self._call_cached("config", engine)
        return result

    async def statistics(self, engine: str) -> dict[str, Any]:
        if await self._is_idle():
            return {"model_stats": []}
        result: dict[str, Any] = await self._call("statistics", engine)
        return result

    async def engines(self) -> list[str]:
        result: list[str] = await self._call_cached("engines")
        return result

    async def versions(self) -> Mapping[str, str]:
        result: Mapping[str, str] = await self._call_cached("versions")
        return result


def _value(result: Any) -> Any:
    """Replicas return our errors as values, since Ray Serve logs raised exceptions as its own failures."""
    if isinstance(result, AtelierError):
        raise result
    return result
