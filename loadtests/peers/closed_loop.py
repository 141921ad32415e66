"""Closed-loop callers: each sends the same bytes again after every answer, to one peer after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp
import grpc
import numpy as np

Send = Callable[[int], Awaitable[None]]
"""Asks once and checks the answer; the caller's number. Raises for an answer that is wrong."""
TIMEOUT_S = 120.0
PAUSE_S = 0.2
FAILURES = (aiohttp.ClientError, grpc.RpcError, TimeoutError, ValueError, LookupError)


@dataclass
class Samples:
    """One peer at one number of callers: the waits of all rounds, and each round's answers per second."""

    waits_s: list[float] = field(default_factory=list)
    per_second: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def quantile_ms(self, share: float) -> float:
        return float(np.quantile(self.waits_s, share)) * 1e3 if self.waits_s else float("nan")

    @property
    def rate(self) -> float:
        return float(np.median(self.per_second)) if self.per_second else 0.0


async def run_closed_loop(seconds: float, send: Send, callers: int, found: Samples) -> None:
    """What is under way at the end is waited for and counts, in answers and in time."""
    began, before = time.perf_counter(), len(found.waits_s)

    async def caller(number: int) -> None:
        while time.perf_counter() < began + seconds:
            sent = time.perf_counter()
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await send(number)
            except FAILURES as error:
                found.failures.append(f"{type(error).__name__}: {error}"[:160])
                await asyncio.sleep(PAUSE_S)
            else:
                found.waits_s.append(time.perf_counter() - sent)

    await asyncio.gather(*(caller(number) for number in range(callers)))
    found.per_second.append((len(found.waits_s) - before) / (time.perf_counter() - began))


async def interleave(senders: Mapping[str, Send], callers: int, rounds: int, seconds: float) -> dict[str, Samples]:
    """Each peer once a round, in another order each time, after a turn of each that does not count."""
    found = {name: Samples() for name in senders}
    for send in senders.values():
        await run_closed_loop(min(seconds, 1.0), send, callers, Samples())
    for round_ in range(rounds):
        for name in rotated(list(senders), round_):
            await run_closed_loop(seconds, senders[name], callers, found[name])
    return found


def rotated(names: Sequence[str], by: int) -> list[str]:
    """Another first each time, and every other round backwards: nobody always follows the same one."""
    step = -1 if by % 2 else 1
    return [names[(by + step * place) % len(names)] for place in range(len(names))]
