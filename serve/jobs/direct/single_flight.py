"""Single flight: identical concurrent requests in one process run once.

The work does not belong to any of the requests: it continues as long as one of them waits, and for a grace period after
the last has left, since a retry may follow.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from serve.errors import Cancelled, DeadlineExceeded, KeyReused, Overloaded
from serve.observability import request_context, tracing
from serve.observability.metrics.catalogue import SHARED
from serve.observability.request_context import RequestContext

T = TypeVar("T")


@dataclass(eq=False)
class _Flight(Generic[T]):
    key: str
    body: str
    task: asyncio.Task[T]
    grace_s: float
    context: RequestContext
    """Of the request that started the work."""
    waiters: int = 0
    cancellation: asyncio.Task[None] | None = None
    """Cancels the work after the grace period unless another request joins."""


class SingleFlight(Generic[T]):
    """For one event loop. ``has_followers`` says whether another process waits for a key's work; it must not raise."""

    def __init__(self, has_followers: Callable[[str], Awaitable[bool]], poll_s: float) -> None:
        self._is_followed = has_followers
        self._poll_s = poll_s
        self._flights: dict[str, _Flight[T]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, key: str, body: str, work: Callable[[], Coroutine[Any, Any, T]], grace_s: float) -> T:
        """The result of ``work``, or of the work in flight for ``key``.

        Once nothing waits any more, the work is cancelled after ``grace_s``; a request that arrives before gets its
        result. The work has the deadline and priority of the request that started it; a request that joined and has a
        later deadline or a higher priority starts it again if it failed for that reason. Raises KeyReused when the key
        is in flight with another ``body``.
        """
        context = request_context.current()
        while True:
            flight = self._join(key, body, work, grace_s)
            try:
                return await self._wait(flight)
            except DeadlineExceeded:
                if context.is_over or not context.ends_after(flight.context):
                    raise
            except Overloaded:
                if context.priority <= flight.context.priority:
                    raise

    def _join(self, key: str, body: str, work: Callable[[], Coroutine[Any, Any, T]], grace_s: float) -> _Flight[T]:
        """The flight of ``key``, started if there is none. Raises KeyReused."""
        flight = self._flights.get(key)
        if flight is None or _has_failed(flight.task):
            # A context of its own, so that the end of the first request does not end the work; it keeps that request's
            # trace ids.
            context, task_context = request_context.current(), contextvars.Context()
            task_context.run(tracing.resume, tracing.current())
            task = asyncio.create_task(_run_in_context(context, work), context=task_context)
            flight = self._flights[key] = _Flight(key, body, task, grace_s, context)
            self._track(task)
        elif flight.body != body:
            raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
        else:
            SHARED.add(1, "process")
            tracing.event("joined")
        flight.grace_s = max(flight.grace_s, grace_s)
        return flight

    async def close(self) -> None:
        """Cancels all work, and waits for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, flight: _Flight[T]) -> T:
        if flight.cancellation is not None:
            flight.cancellation.cancel()
            flight.cancellation = None
        flight.waiters += 1
        succeeded = False
        try:
            async with request_context.deadline_timeout():
                result = await asyncio.shield(flight.task)
            succeeded = True
            return result
        except asyncio.CancelledError:
            current_task = asyncio.current_task()
            if flight.task.cancelled() and current_task is not None and not current_task.cancelling():
                raise Cancelled("the request was cancelled") from None
            raise
        finally:
            flight.waiters -= 1
            if succeeded or _has_failed(flight.task):
                self._forget(flight)
            elif not flight.waiters:
                flight.cancellation = asyncio.create_task(
                    self._cancel_unless_joined(flight), context=contextvars.Context()
                )
                self._track(flight.cancellation)

    async def _cancel_unless_joined(self, flight: _Flight[T]) -> None:
        if flight.grace_s:
            await asyncio.sleep(flight.grace_s)
        while not flight.task.done() and await self._is_followed(flight.key):
            await asyncio.wait([flight.task], timeout=self._poll_s)
        self._forget(flight)
        flight.task.cancel()

    def _forget(self, flight: _Flight[T]) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._untrack)

    def _untrack(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()  # retrieved, so that asyncio does not log it


async def _run_in_context(context: RequestContext, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    request_context.set_current(context)
    return await work()


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
