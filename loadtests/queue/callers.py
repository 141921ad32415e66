"""Open-loop callers (at random times, whatever is unanswered) and closed-loop callers (after each answer)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

Send = Callable[[int], Awaitable[object]]
"""One request of a caller, by its number. Raises when the answer is not what it should be."""

OPEN_LOOP, CLOSED_LOOP = "every so often", "back to back"
PAUSE_S = 0.1
"""After an error of a caller that asks at once."""


@dataclass
class Samples:
    """``seconds`` is how long they samples, ``taken_s`` has what each good answer took."""

    seconds: float = 0.0
    taken_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def one(self, send: Send, caller: int) -> bool:
        began = time.perf_counter()
        try:
            await send(caller)
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


async def open_loop(send: Send, callers: int, seconds: float, every_s: float, seed: int, found: Samples) -> None:
    """Each caller asks every ``every_s`` on average, at random, whether or not its last answer is there."""
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(every_s, (callers, 4 + round(4 * seconds / every_s)))
    began = time.perf_counter()

    async def at(due_s: float, caller: int) -> None:
        await asyncio.sleep(began + due_s - time.perf_counter())
        await found.one(send, caller)

    async with asyncio.TaskGroup() as group:
        for caller, times in enumerate(np.cumsum(gaps, axis=1)):
            for due_s in times[times < seconds]:
                group.create_task(at(float(due_s), caller))
    found.seconds += time.perf_counter() - began


async def closed_loop(send: Send, callers: int, seconds: float, found: Samples) -> None:
    """Each caller asks as soon as its last answer is there."""
    began = time.perf_counter()

    async def caller(number: int) -> None:
        while time.perf_counter() < began + seconds:
            if not await found.one(send, number):
                await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            group.create_task(caller(number))
    found.seconds += time.perf_counter() - began


async def interleave(senders: Mapping[str, Send], pace: Pace) -> dict[tuple[str, str], Samples]:
    """Each of ``senders`` in both loops, by (name, loop); interleaved, so that a slow machine slows all alike."""
    found = {(name, way): Samples() for way in (OPEN_LOOP, CLOSED_LOOP) for name in senders}
    for send in senders.values():
        await open_loop(send, pace.callers, pace.warm_s, pace.every_s, pace.rounds, Samples())
    for round_ in range(pace.rounds):
        for name, send in senders.items():
            if pace.again_s:
                seconds = pace.again_s / pace.rounds
                await open_loop(send, pace.callers, seconds, pace.every_s, round_, found[name, OPEN_LOOP])
        for name, send in senders.items():
            if pace.at_once_s:
                await closed_loop(send, pace.callers, pace.at_once_s / pace.rounds, found[name, CLOSED_LOOP])
    return {key: samples for key, samples in found.items() if samples.seconds}
