"""Polling and events agree (USERS_ASK 15): folding the events of a job gives its polled state, at every moment.
Random histories of a job: polling, server-sent events and the WebSocket return the same events, also to clients that
reconnect after each event."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import websockets
from jobs_standin import Hand, application, door_of, fold_events, polled_state, with_settings
from programs.http_server import listening
from programs.long_form import length

from serve.errors import Conflict, EngineFailure, InvalidRequest, Overloaded
from serve.jobs.queue.generation_queue import GenerationQueue
from serve.jobs.worker.claims import ClaimedJob
from serve.jobs.worker.leases import LeaseLost
from serve.settings import Settings
from serve.state import State
from serve.state.tables import jobs as table
from serve.state.tables import utc_now

OVER = ("completed", "failed", "cancelled")
BODY = {"kind": "illustrate", "input": {"prompt": "a fox"}}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_settings(settings, jobs={"retry_s": 0.001, "poll_s": 0.01, "max_failures": 4})


class Life:
    """State machine of random actions on one job."""

    def __init__(self, state: State, job_id: str, seed: int) -> None:
        self.queue = GenerationQueue(state)
        self.state = state
        self.id = job_id
        self.random = random.Random(seed)
        self.hand: Hand | None = None
        self.job: ClaimedJob | None = None
        self.step = 0

    async def act(self) -> None:
        users = [self.queue.pause, self.queue.resume, self.queue.cancel, self._move]
        workers: list[Callable[[], Awaitable[None]]] = [
            self._claim, self._claim, self._show, self._show, self._show, self._fail, self._forget, self._complete,
            self._heed,
        ]  # fmt: skip
        with contextlib.suppress(Conflict, LeaseLost):
            if self.random.random() < 0.25:
                await self.random.choice(users[: 2 if self.random.random() < 0.8 else 4])(self.id)
            else:
                await self.random.choice(workers)()

    async def end(self) -> None:
        with contextlib.suppress(Conflict):
            await self.queue.cancel(self.id)
        await self._forget()

    async def _move(self, job_id: str) -> None:
        await self.queue.set_priority(job_id, self.random.randint(-10, 10))

    async def _claim(self) -> None:
        if self.job is not None:
            return
        self.hand = await Hand.of(self.state)
        async with self.state.database.write() as connection:  # retry delays end now
            await connection.execute(table.update().values(available_at=utc_now()))
        for job in await self.hand.claim():
            self.job = job

    async def _show(self) -> None:
        if self.hand and self.job:
            self.step = min(8, self.step + 1)
            preview = bytes([self.step]) if self.random.random() < 0.4 else None
            await self.hand.show(self.job, self.step, preview=preview)

    async def _fail(self) -> None:
        if self.hand and self.job:
            job, self.job = self.job, None
            faults = [EngineFailure("broke"), Overloaded("full"), InvalidRequest("no such size", "width")]
            await self.hand.leases.fail(job, self.random.choices(faults, [4, 4, 2])[0], 0.1)

    async def _forget(self) -> None:
        if self.hand and self.job:
            self.job, leases = None, self.hand.leases
            await (
                leases.unregister()
                if self.random.random() < 0.5
                else leases.requeue_orphans([], "its worker forgot it")
            )

    async def _heed(self) -> None:
        if self.hand and self.job and await self.hand.leases.requested_changes():
            job, self.job = self.job, None
            await self.hand.leases.release(job)

    async def _complete(self) -> None:
        if self.hand and self.job and self.random.random() < 0.3:
            job, self.job = self.job, None
            await self.hand.complete(job)


async def polled_events(door: httpx.AsyncClient, job_id: str, after: int = 0) -> list[dict[str, Any]]:
    found = (await door.get(f"/v1/jobs/{job_id}/events", params={"after": after})).json()
    events: list[dict[str, Any]] = found["events"]
    assert found["last"] == (events[-1]["id"] if events else after)
    return events


async def streamed(client: httpx.AsyncClient, job_id: str, after: int, most: int = 10**6) -> list[dict[str, Any]]:
    """Server-sent events after number ``after``, until the end or at most ``most``."""
    events: list[dict[str, Any]] = []
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(after)} if after else {})}
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code in (200, 204)
        event: dict[str, Any] = {}
        async for line in answer.aiter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                event[name] = value if name == "event" else json.loads(value)
            elif not line and event:
                events.append(event)
                event = {}
                if len(events) == most:
                    break
    return events


async def heard(address: str, job_id: str, after: int, most: int = 10**6) -> list[dict[str, Any]]:
    """The same over a WebSocket."""
    events: list[dict[str, Any]] = []
    async with websockets.connect(f"ws://{address}/v1/jobs/{job_id}/ws?after={after}") as socket:
        with contextlib.suppress(websockets.ConnectionClosedOK):
            while len(events) < most:
                events.append(json.loads(await socket.recv()))
    return events


@pytest.mark.parametrize("seed", range(length(6, 16)))
@pytest.mark.slow
async def test_folded_events_equal_the_polled_job(state: State, seed: int) -> None:
    async with door_of(state) as door:
        job_id = (await door.post("/v1/jobs", json=BODY)).json()["id"]
        life = Life(state, job_id, seed)
        for _ in range(60):
            await life.act()
            job, events = (await door.get(f"/v1/jobs/{job_id}")).json(), await polled_events(door, job_id)
            assert [event["id"] for event in events] == list(range(1, len(events) + 1))
            assert fold_events(events) == polled_state(job)
            if events[-1]["event"] in OVER:
                break
        await life.end()
        whole = await polled_events(door, job_id)
        assert fold_events(whole) == polled_state((await door.get(f"/v1/jobs/{job_id}")).json())
        assert whole[-1]["event"] in OVER
        for after in range(len(whole) + 1):
            assert await polled_events(door, job_id, after) == whole[after:]
            assert await streamed(door, job_id, after) == whole[after:]


class Cut:
    """A client that reconnects after each event with the number of the last one."""

    def __init__(self, follow: Callable[[int], Awaitable[list[dict[str, Any]]]]) -> None:
        self.events: list[dict[str, Any]] = []
        self._follow = follow

    async def run(self) -> list[dict[str, Any]]:
        while not self.events or self.events[-1]["event"] not in OVER:
            self.events += await self._follow(len(self.events))
        return self.events


@contextlib.asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    with listening(application(settings)) as address:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as client:
            yield client, address


@pytest.mark.parametrize("seed", range(2))
async def test_polling_events_and_websocket_agree_while_the_job_runs(
    state: State, settings: Settings, seed: int
) -> None:
    async with served(settings) as (client, address):
        job_id = (await client.post("/v1/jobs", json=BODY)).json()["id"]
        followers = [
            asyncio.create_task(one)
            for one in (
                streamed(client, job_id, 0),
                heard(address, job_id, 0),
                Cut(lambda after: streamed(client, job_id, after, 1)).run(),
                Cut(lambda after: heard(address, job_id, after, 1)).run(),
                Cut(lambda after: waited(client, job_id, after)).run(),
            )
        ]
        life = Life(state, job_id, 100 + seed)
        for _ in range(40):
            await life.act()
            await asyncio.sleep(0.005)
        await life.end()
        async with asyncio.timeout(60):
            lists = await asyncio.gather(*followers)
        whole = await polled_events(client, job_id)
        assert len(whole) > 2
        assert lists == [whole] * 5
        for after in range(len(whole)):
            assert await heard(address, job_id, after) == whole[after:]


async def waited(client: httpx.AsyncClient, job_id: str, after: int) -> list[dict[str, Any]]:
    """By long polls; events of the same poll come in one response."""
    answer = await client.get(f"/v1/jobs/{job_id}/events", params={"after": after, "wait_s": 30})
    events: list[dict[str, Any]] = answer.json()["events"]
    assert events or answer.json()["over"]
    return events
