"""The steady load: callers at every door, closed loops and open ones, each with known answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import httpx

from loadtests.chaos.attempts_log import AttemptLog, AttemptResult
from loadtests.chaos.client import AttemptOutcome, send_with_retries
from loadtests.chaos.expected_answers import ExpectedAnswers, GrpcClient, convert, generate
from loadtests.chaos.jobs import Jobs
from loadtests.chaos.stream import stream

CALLERS = (("HTTP",), ("OpenAI", "OpenAI, stream"), ("gRPC, SVG",), ("gRPC, picture",))
"""Who waits for the answer before the next request, by the doors that each asks in turn."""
THINKS_S = 0.5
"""A caller's pause between an answer and its next request."""
OPEN_S = {"HTTP, open": 1.0, "job": 3.0}
"""How often the others ask, whether or not the last answer is there."""
MAX_OPEN = 40
"""Of each that ask so: a stack that answers nothing is not buried."""

Numbered = Callable[[int], Awaitable[AttemptOutcome]]
"""One attempt at a caller's request of that number."""


class Load:
    """For one event loop: `start`, then `stop`, which waits for what is under way."""

    def __init__(
        self,
        url: str,
        grpc_address: str,
        attempts_log: AttemptLog,
        known: ExpectedAnswers,
        thinks_s: float = THINKS_S,
    ) -> None:
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=20)
        self._http = httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(None, connect=5.0), limits=limits)
        self._grpc = GrpcClient(grpc_address)
        self._ledger = attempts_log
        self._known = known
        self._thinks_s = thinks_s
        self.jobs = Jobs(self._http, known, attempts_log)
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way: set[asyncio.Task[object]] = set()

    async def warm(self) -> None:
        """Every request once, one after the other: what is answered now is what is right.

        Raises ``RuntimeError`` unless all is answered rightly, without an engine missing.
        """
        for number in range(4):
            for door, send in self._doors().items():
                await send_with_retries(self._ledger, door, partial(send, number))
        await self.jobs.one(0)
        mismatch = [
            f"{entry.door}: {entry.verdict}"
            for entry in self._ledger.entries
            if entry.attempts[-1].result is not AttemptResult.RIGHT
        ]
        if mismatch:
            raise RuntimeError(f"the site was not well before anything happened: {', '.join(mismatch)}")

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._closed(doors)) for doors in CALLERS]
        once = partial(convert, self._http, self._known)
        self._tasks += [
            asyncio.create_task(
                self._open("HTTP, open", lambda n: send_with_retries(self._ledger, "HTTP", partial(once, n)))
            ),
            asyncio.create_task(self._open("job", self.jobs.one)),
        ]

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*self._under_way)
        await self._grpc.close()
        await self._http.aclose()

    def _doors(self) -> dict[str, Numbered]:
        return {
            "HTTP": partial(convert, self._http, self._known),
            "OpenAI": partial(generate, self._http, self._known),
            "OpenAI, stream": partial(stream, self._http, self._known),
            "gRPC, SVG": partial(self._grpc.vectorize, self._known),
            "gRPC, picture": partial(self._grpc.illustrate, self._known),
        }

    async def _closed(self, doors: Sequence[str]) -> None:
        """At each door in turn, with the same number."""
        asks = self._doors()
        turns = ((number, door) for number in itertools.count() for door in doors)
        while not self._over.is_set():
            number, door = next(turns)
            await send_with_retries(self._ledger, door, partial(asks[door], number))
            await self._rest(self._thinks_s)

    async def _open(self, name: str, act: Callable[[int], Awaitable[object]]) -> None:
        number = 0
        while not self._over.is_set():
            mine = [task for task in self._under_way if task.get_name() == name]
            if len(mine) < MAX_OPEN:
                task = asyncio.ensure_future(act(number))
                task.set_name(name)
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
            number += 1
            await self._rest(OPEN_S[name])

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._over.wait(), seconds)
        except TimeoutError:
            return
