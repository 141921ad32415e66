"""How long a request may still take, and how urgent it is: known to all that works for it, without being passed on.

A door sets it, the hop to a replica carries it as what is left (clocks of two machines differ), and whoever waits for a
turn, asks an engine or asks somebody outside looks at it. Where nobody set it there is no end but the site's own
limits. A task inherits it from who started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, replace
from enum import IntEnum

from serve.errors import DeadlineExceeded, Forbidden


class Priority(IntEnum):
    """The higher goes first."""

    LOW = -1
    NORMAL = 0
    HIGH = 1


@dataclass(frozen=True)
class RequestContext:
    """``deadline`` is of ``time.monotonic``, of this process alone; None: the caller names none."""

    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    most: Priority = Priority.HIGH
    """The highest that the caller may ask for."""

    def until(self, limit_s: float) -> float:
        """The earlier of the deadline and ``limit_s`` from now, of ``time.monotonic``."""
        own = time.monotonic() + limit_s
        return own if self.deadline is None else min(own, self.deadline)

    def left_s(self, limit_s: float) -> float:
        """What is left of it, and at most ``limit_s``. Raises DeadlineExceeded when nothing is."""
        left_s = self.until(limit_s) - time.monotonic()
        if left_s <= 0:
            raise DeadlineExceeded("there was not enough time to finish")
        return left_s

    def with_earlier_deadline(self, other: RequestContext) -> RequestContext:
        """With the earlier end of both."""
        return replace(self, deadline=other.deadline) if self.ends_after(other) else self

    def ends_after(self, other: RequestContext) -> bool:
        """Whether its end is later."""
        return other.deadline is not None and (self.deadline is None or self.deadline > other.deadline)

    @property
    def is_over(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def with_timeout(self, timeout_s: float | None) -> RequestContext:
        """With an end in ``timeout_s``, if it has no earlier one."""
        return self if timeout_s is None else replace(self, deadline=self.until(timeout_s))

    def with_priority(self, priority: Priority | None, field: str) -> RequestContext:
        """With ``priority``, if one is named. Raises Forbidden when the caller may not ask for it by ``field``."""
        if priority is None:
            return self
        if priority > self.most:
            raise Forbidden(f"this key may not ask for more than {self.most.name.lower()}", field)
        return replace(self, priority=priority)


Urgency = tuple[float | None, int]
"""As it crosses a hop: the seconds that are left, and the priority."""
DEFAULT_URGENCY: Urgency = (None, Priority.NORMAL)


def from_urgency(urgency: Urgency) -> RequestContext:
    """On the other side of the hop, by this machine's own clock."""
    left_s, priority = urgency
    return RequestContext(None if left_s is None else time.monotonic() + left_s, Priority(priority))


_UNHURRIED = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("urgency", default=_UNHURRIED)


def current() -> RequestContext:
    return _current.get()


def set_current(urgency: RequestContext) -> None:
    """From here to the end of the task, and in all that it starts."""
    _current.set(urgency)


@contextlib.contextmanager
def use(urgency: RequestContext) -> Iterator[None]:
    """Within the block. Not around a ``yield`` of a generator: who reads it may be another task."""
    token = _current.set(urgency)
    try:
        yield
    finally:
        _current.reset(token)


@contextlib.asynccontextmanager
async def deadline_timeout(grace_s: float = 0.0) -> AsyncIterator[asyncio.Timeout]:
    """Cancels the block ``grace_s`` after the deadline; reschedule it to None to let it go on.

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
