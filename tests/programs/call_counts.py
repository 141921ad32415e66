"""Counts what one request costs in this process, whatever the machine's mood: Python function calls, database round
trips."""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa


@dataclass
class Counts:
    """``calls``: Python functions entered in this thread, a coroutine once more at each resumption. ``by_module``: the
    same by module. ``statements``: SQL statements, and ``transactions`` begun."""

    calls: int = 0
    by_module: collections.Counter[str] = field(default_factory=collections.Counter)
    statements: int = 0
    transactions: int = 0


@contextlib.contextmanager
def counted(engine: Any = None) -> Iterator[Counts]:
    """Counts within the block. ``engine``: SQLAlchemy's, synchronous."""
    counts = Counts()

    def profile(frame: Any, event: str, _argument: Any) -> None:
        if event == "call":
            counts.calls += 1
            counts.by_module[frame.f_globals.get("__name__", "?")] += 1

    def execute(*_: Any) -> None:
        counts.statements += 1

    def begin(*_: Any) -> None:
        counts.transactions += 1

    listeners = [("before_cursor_execute", execute), ("begin", begin)] if engine is not None else []
    for name, listener in listeners:
        sa.event.listen(engine, name, listener)
    sys.setprofile(profile)
    try:
        yield counts
    finally:
        sys.setprofile(None)
        for name, listener in listeners:
            sa.event.remove(engine, name, listener)


async def counts_of(
    request: Callable[[], Awaitable[None]], engine: Any = None, warm: int = 20, runs: int = 10
) -> Counts:
    """The smallest of ``runs`` counts after ``warm`` requests that fill caches."""
    for _ in range(warm):
        await request()
    found = []
    for _ in range(runs):
        with counted(engine) as counts:
            await request()
        found.append(counts)
    return min(found, key=lambda counts: counts.calls)
