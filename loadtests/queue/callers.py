"""Callers that come again after a while, and callers that ask again at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Ask = Callable[[int], Awaitable[object]]
"""One request of a caller, by its number. Raises when the answer is not what it should be."""

AGAIN, AT_ONCE = "every so often", "back to back"
PAUSE_S = 0.1
"""After an error of a caller that asks at once."""


@dataclass
class Asked:
    """``seconds`` is how long they asked, ``taken_s`` has what each good answer took."""

    seconds: float = 0.0
    taken_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def one(self, ask: Ask, caller: int) -> bool:
        began = time.perf_counter()
        try:
            await ask(caller)
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}"[:200])
            return False
        self.taken_s.append(time.perf_counter() - began)
        return True


@dataclass(frozen=True)
class Pace:
    """``again_s`` and ``at_once_s`` are seconds of each way of asking, in ``rounds``; 0 leaves it out."""

    callers: int = 50
    every_s: float = 0.5
    again_s: float = 20.0
    at_once_s: float = 8.0
    rounds: int = 4
    warm_s: float = 1.0
    """Of each way of asking before anything counts: a process that was just started has connections to open."""


async def come_again(ask: Ask, callers: int, seconds: float, every_s: float, seed: int, found: Asked) -> None:
    """Each caller asks every ``every_s`` on average, at random, whether or not its last answer is there."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(every_s, (callers, 4 + round(4 * seconds / every_s)))
    began = time.perf_counter()

    async def at(due_s: float, caller: int) -> None:
        await asyncio.sleep(began + due_s - time.perf_counter())
        await found.one(ask, caller)

    async with asyncio.TaskGroup() as group:
        for caller, times in enumerate(np.cumsum(gaps, axis=1)):
            for due_s in times[times < seconds]:
                group.create_task(at(float(due_s), caller))
    found.seconds += time.perf_counter() - began


async def ask_at_once(ask: Ask, callers: int, seconds: float, found: Asked) -> None:
    """Each caller asks as soon as its last answer is there."""
    began = time.perf_counter()

    async def caller(number: int) -> None:
        while time.perf_counter() < began + seconds:
            if not await found.one(ask, number):
                await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
    found.seconds += time.perf_counter() - began


async def in_turns(asks: Mapping[str, Ask], pace: Pace) -> dict[tuple[str, str], Asked]:
    """Every one of ``asks``, both ways, by (name, way). They take turns: what slows the machine slows all of them."""
    found = {(name, way): Asked() for way in (AGAIN, AT_ONCE) for name in asks}
    for ask in asks.values():
        await come_again(ask, pace.callers, pace.warm_s, pace.every_s, pace.rounds, Asked())
    for round_ in range(pace.rounds):
        for name, ask in asks.items():
            if pace.again_s:
                seconds = pace.again_s / pace.rounds
                await come_again(ask, pace.callers, seconds, pace.every_s, round_, found[name, AGAIN])
        for name, ask in asks.items():
            if pace.at_once_s:
                await ask_at_once(ask, pace.callers, pace.at_once_s / pace.rounds, found[name, AT_ONCE])
    return {key: asked for key, asked in found.items() if asked.seconds}
