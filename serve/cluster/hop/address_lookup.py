"""`AddressLookup`: asks a replica, through Ray Serve, where it can be reached without Ray Serve."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

from serve.engines.service import machine_id
from serve.errors import AtelierError

LOGGER = logging.getLogger(__name__)

RETRY_S = 1.0
"""How long after a failure the address is looked up again; meanwhile Ray Serve makes the calls."""

Call = Callable[..., Awaitable[Any]]
"""Calls a method of the replica: its name and arguments."""


class _Address(Protocol):
    @property
    def machine(self) -> str: ...


AnyAddress = TypeVar("AnyAddress", bound=_Address)


class AddressLookup(Generic[AnyAddress]):
    """For one event loop. ``method`` of the replica returns the address, or None where it has none; ``found`` takes one
    of this machine. A replica that is elsewhere, or has none, is asked once. ``what`` it is, for the log."""

    def __init__(self, call: Call, method: str, what: str, found: Callable[[AnyAddress], Awaitable[None]]) -> None:
        self._call, self._method, self._what, self._found = call, method, what, found
        self.due_at = 0.0
        self.running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks it up, unless it is being looked up or that is not due."""
        if time.monotonic() >= self.due_at and (self.running is None or self.running.done()):
            # A context of its own: without the deadline and the trace of the request that noticed.
            self.running = asyncio.create_task(self._look_up(), context=contextvars.Context())

    def pause(self) -> None:
        """Not within RETRY_S."""
        self.due_at = time.monotonic() + RETRY_S

    def close(self) -> None:
        if self.running is not None:
            self.running.cancel()

    async def _look_up(self) -> None:
        self.pause()
        try:
            address: AnyAddress | None = await self._call(self._method)
        except AtelierError as error:
            LOGGER.info("%s is not known: %s", self._what, error)
            return
        if address is None or address.machine != machine_id():
            self.due_at = float("inf")
            return
        await self._found(address)
