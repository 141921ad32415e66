"""Deadline and priority of the current request, in a context variable.

An API sets it, a call to a replica carries the remaining time (clocks of machines differ), and everything that waits or
calls an engine or another service reads it. Without it only the site's own limits apply. Tasks inherit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar, Token
from dataclasses import dataclass, replace
from enum import IntEnum

from serve.errors import DeadlineExceeded, Forbidden


class Priority(IntEnum):
    """Higher values go first."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@dataclass(frozen=True)
class RequestContext:
    """``deadline``: by ``time.monotonic`` of this process; None: not set by the caller."""

    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    most: Priority = Priority.HIGH
    """The highest priority that the caller may request."""

    def until(self, limit_s: float) -> float:
        """The earlier of the deadline and ``limit_s`` from now, by ``time.monotonic``."""
        own = time.monotonic() + limit_s
        return own if self.deadline is None else min(own, self.deadline)

    def left_s(self, limit_s: float) -> float:
        """Remaining seconds, at most ``limit_s``. Raises DeadlineExceeded if there are none."""
        left_s = self.until(limit_s) - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("there was not enough time to finish")
        return left_s

    def with_earlier_deadline(self, other: RequestContext) -> RequestContext:
        """With the earlier deadline of both."""
        return replace(self, deadline=other.deadline) if self.ends_after(other) else self

    def ends_after(self, other: RequestContext) -> bool:
        """Whether its deadline is later."""
        return other.deadline is not None and (self.deadline is None or self.deadline > other.deadline)

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def with_timeout(self, timeout_s: float | None) -> RequestContext:
        """With a deadline in ``timeout_s``, unless it is earlier already."""
        return self if timeout_s is None else replace(self, deadline=self.until(timeout_s))

    def with_priority(self, priority: Priority | None, field: str) -> RequestContext:
        """With ``priority``, if given. Raises Forbidden, naming ``field``, if the caller may not request it."""
        if priority is None:
            return self
        if priority > self.most:
            raise Forbidden(f"this key may not ask for more than {self.most.name.lower()}", field)
        return replace(self, priority=priority)


Urgency = tuple[float | None, int]
"""Form for calls to replicas: (remaining seconds, priority)."""
DEFAULT_URGENCY: Urgency = (None, Priority.NORMAL)


def from_urgency(urgency: Urgency) -> RequestContext:
    """The context on the receiving side, by this machine's clock."""
    left_s, priority = urgency
    return RequestContext(None if left_s is None else time.monotonic() + left_s, Priority(priority))


_NO_LIMITS = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("urgency", default=_NO_LIMITS)


def current() -> RequestContext:
    return _current.get()


def set_current(urgency: RequestContext) -> None:
    """Set it for the rest of this task and all that it starts."""
    _current.set(urgency)


class use:
    """Set it within the block. Do not use around a ``yield`` of a generator, whose reader may be another task."""

    __slots__ = ("_token", "_urgency")

    def __init__(self, urgency: RequestContext) -> None:
        self._urgency = urgency

    def __enter__(self) -> None:
        self._token: Token[RequestContext] = _current.set(self._urgency)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


@contextlib.asynccontextmanager
async def deadline_timeout(grace_s: float = 0.0) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the block ``grace_s`` after the deadline; reschedule the yielded timeout to None to disable that.

    Raises DeadlineExceeded.
    """
    deadline = current().deadline
    left_s = None if deadline is None else deadline + grace_s - time.monotonic()
    try:
        async with asyncio.timeout(left_s) as limit:
            yield limit
    except TimeoutError:
        if not limit.expired():
            raise
        raise DeadlineExceeded("there was not enough time to finish") from None
