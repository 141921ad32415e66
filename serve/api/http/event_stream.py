"""Server-sent events that come from slow work: kept alive while it is silent, and ended when the client goes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from serve.api.http.problems import as_atelier_error
from serve.errors import AtelierError

FIRST_EVENT_S = 1.0
"""How long the answer waits for its first event: a request that is refused by then gets an error of its own."""

WAITING_EVENTS = 8
"""Events that wait for a slow reader; then what makes them waits too."""

_HEARTBEAT = ": still drawing\n\n"


class EventRelay:
    """``source`` in a task of its own: to wait for its next event does not disturb it, to stop it closes it."""

    def __init__(self, source: AsyncGenerator[str]) -> None:
        self._events: asyncio.Queue[str | None] = asyncio.Queue(WAITING_EVENTS)
        self._task = asyncio.create_task(self._run(source))

    async def _run(self, source: AsyncGenerator[str]) -> None:
        try:
            async with contextlib.aclosing(source):
                async for event in source:
                    await self._events.put(event)
        except asyncio.CancelledError:
            raise  # stopped: the reader is gone
        except BaseException:
            await self._events.put(None)
            raise
        await self._events.put(None)

    async def next(self, timeout_s: float) -> str | None:
        """A heartbeat if there is none in time, None at the end. Raises what ``source`` raised, after its events."""
        try:
            async with asyncio.timeout(timeout_s):
                event = await self._events.get()
        except TimeoutError:
            if not self._task.done():
                return _HEARTBEAT
            # It ended meanwhile; one that was cancelled may have had no room to say so.
            event = None if self._events.empty() else self._events.get_nowait()
        if event is None:
            await self._task
        return event

    def stop(self) -> None:
        self._task.cancel()


class EventStream(StreamingResponse):
    """``source`` yields whole events. An error becomes the last event, in the words of ``as_event``."""

    @classmethod
    async def of(
        cls, source: AsyncGenerator[str], heartbeat_s: float, as_event: Callable[[AtelierError], str]
    ) -> EventStream:
        """Raises what ``source`` raises within ``FIRST_EVENT_S``."""
        relay = EventRelay(source)
        try:
            first = await relay.next(FIRST_EVENT_S)
        except BaseException:
            relay.stop()
            raise
        return cls(relay, first, heartbeat_s, as_event)

    def __init__(
        self, relay: EventRelay, first: str | None, heartbeat_s: float, as_event: Callable[[AtelierError], str]
    ) -> None:
        super().__init__(_events(relay, first, heartbeat_s, as_event), media_type="text/event-stream")
        self._relay = relay

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._relay.stop()


async def _events(
    relay: EventRelay, event: str | None, heartbeat_s: float, as_event: Callable[[AtelierError], str]
) -> AsyncIterator[str]:
    while event is not None:
        yield event
        try:
            event = await relay.next(heartbeat_s)
        except Exception as error:
            yield as_event(as_atelier_error(error))
            if not isinstance(error, AtelierError):
                raise  # the status is sent: the log has it
            return
