"""Fixed windows of time: which one a moment belongs to, and what of it a process knows."""

from __future__ import annotations

import asyncio
import hashlib
import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rate:
    """At most ``limit`` in ``period_s`` seconds. ``name`` is told to clients, and is part of what is counted."""

    name: str
    limit: int
    period_s: int


@dataclass(frozen=True)
class Standing:
    """How a client stands to a `Rate`: whether it was let in, what it has ``remaining``, and seconds to the next
    window. The rest is as this process knows it: others may have used some since."""

    rate: Rate
    allowed: bool
    remaining: int
    reset_s: int


@dataclass(eq=False, slots=True)
class Window:
    """Of one key. What the store counts is this process's to spend as far as it is ``held``."""

    stored_as: str
    starts_at: float
    ends_at: float
    held: int = 0
    owed: int = 0
    """What has still to be added to the store's count; less than 0: to be taken off."""
    left: int | None = None
    """Of the limit, in the store, when it was last asked."""
    spent: int = 0
    slice: int = 1
    """How much the next lease is."""
    used_at: float = 0.0
    ask_again_at: float = 0.0
    """When a window that was used up is asked for again: others may have given something back. Both of `monotonic`."""
    wait_s: float = 0.0
    asking: asyncio.Task[None] | None = field(default=None, repr=False)

    def covers(self, now: float) -> bool:
        return self.starts_at <= now < self.ends_at


def window_at(rate: Rate, key: str, now: float) -> Window:
    """The window of ``key`` at ``now`` (Unix time). Windows of different keys begin at different times: not everybody
    comes again at the same moment."""
    digest = hashlib.blake2b(f"{rate.name}:{rate.period_s}:{key}".encode("utf-8", "replace"), digest_size=16).digest()
    offset = int.from_bytes(digest[:8]) % rate.period_s
    number = math.floor((now + offset) / rate.period_s)
    starts_at = number * rate.period_s - offset
    return Window(f"{digest.hex()}:{number}", starts_at, starts_at + rate.period_s)
