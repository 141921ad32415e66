"""The same request, asked for several times at once in one process, is done once.

What is done belongs to nobody who asks: it goes on as long as anybody waits for it, and a while longer for those who
went away and may ask again.
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
class _Shared(Generic[T]):
    key: str
    body: str
    task: asyncio.Task[T]
    patience_s: float
    asked: RequestContext
    """Of who began it."""
    waiting: int = 0
    leaving: asyncio.Task[None] | None = None
    """Ends it unless somebody comes back."""


class SingleFlight(Generic[T]):
    """For one event loop. ``is_followed`` says whether another process waits for what a key stands for here.

    It must not raise.
    """

    def __init__(self, is_followed: Callable[[str], Awaitable[bool]], poll_s: float) -> None:
        self._is_followed = is_followed
        self._poll_s = poll_s
        self._shared: dict[str, _Shared[T]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def do(self, key: str, body: str, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float) -> T:
        """What ``work`` comes to, or the work that is under way for ``key``.

        Once nobody waits any more it is cancelled after ``patience_s``; if it is done by then, who asks within that
        time gets it. It has the deadline and the priority of who began it; who joined it and has more time, or is more
        urgent, begins it again where it failed for that. Raises KeyReused when the key is under way with another
        ``body``.
        """
        asked = request_context.current()
        while True:
            shared = self._share(key, body, work, patience_s)
            try:
                return await self._wait(shared)
            except DeadlineExceeded:
                if asked.is_over or not asked.ends_after(shared.asked):
                    raise
            except Overloaded:
                if asked.priority <= shared.asked.priority:
                    raise

    def _share(self, key: str, body: str, work: Callable[[], Coroutine[Any, Any, T]], patience_s: float) -> _Shared[T]:
        """What is under way for ``key``, from now on if nothing is. Raises KeyReused."""
        shared = self._shared.get(key)
        if shared is None or _is_fruitless(shared.task):
            # A context of its own: what ends with the first request that asked must not end with it. Of that request
            # it has the ids.
            asked, context = request_context.current(), contextvars.Context()
            context.run(tracing.resume, tracing.current())
            task = asyncio.create_task(_as_urgent(asked, work), context=context)
            shared = self._shared[key] = _Shared(key, body, task, patience_s, asked)
            self._keep(task)
        elif shared.body != body:
            raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
        else:
            SHARED.add(1, "process")
            tracing.event("joined")
        shared.patience_s = max(shared.patience_s, patience_s)
        return shared

    async def close(self) -> None:
        """Cancels all that is under way, and waits for its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, shared: _Shared[T]) -> T:
        if shared.leaving is not None:
            shared.leaving.cancel()
            shared.leaving = None
        shared.waiting += 1
        answered = False
        try:
            async with request_context.deadline_timeout():
                answer = await asyncio.shield(shared.task)
            answered = True
            return answer
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if shared.task.cancelled() and asking is not None and not asking.cancelling():
                raise Cancelled("the request was cancelled") from None
            raise
        finally:
            shared.waiting -= 1
            if answered or _is_fruitless(shared.task):
                self._forget(shared)
            elif not shared.waiting:
                shared.leaving = asyncio.create_task(self._leave(shared), context=contextvars.Context())
                self._keep(shared.leaving)

    async def _leave(self, shared: _Shared[T]) -> None:
        if shared.patience_s:
            await asyncio.sleep(shared.patience_s)
        while not shared.task.done() and await self._is_followed(shared.key):
            await asyncio.wait([shared.task], timeout=self._poll_s)
        self._forget(shared)
        shared.task.cancel()

    def _forget(self, shared: _Shared[T]) -> None:
        if self._shared.get(shared.key) is shared:
            del self._shared[shared.key]

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        with contextlib.suppress(asyncio.CancelledError):
            task.exception()  # somebody waited for it, or nobody: it has been told


async def _as_urgent(asked: RequestContext, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    request_context.set_current(asked)
    return await work()


def _is_fruitless(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
