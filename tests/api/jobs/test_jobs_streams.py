"""Event streams: format, end, access, and misbehaving clients (B-080, USERS_ASK 15)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import websockets
from jobs_standin import Hand, application, door_of, with_settings
from programs.http_server import listening
from stateful_door import is_problem
from websockets.asyncio.client import ClientConnection, connect

from serve.api.jobs import events as event_routes
from serve.api.jobs.events import MAX_MESSAGE, MAX_MESSAGES
from serve.api.middleware.origin_check import is_allowed_origin
from serve.errors import InvalidRequest, StateUnavailable
from serve.settings import DatabaseSettings, Settings
from serve.state import State
from serve.state.job_states import transition
from serve.state.tables import events, generations, jobs, utc_now

FOX = {"kind": "illustrate", "input": {"prompt": "a fox"}}
SSE = {"Accept": "text/event-stream"}


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    """SQLite alone: test_jobs_agree covers both databases."""
    return sqlite_settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_settings(
        settings,
        jobs={"poll_s": 0.01, "max_watchers": 8},
        pictures={"heartbeat_s": 0.05},
        http={"allowed_origins": ("https://friend.example",), "public_url": "https://atelier.example/"},
    )


@pytest.fixture
async def hand(state: State) -> Hand:
    return await Hand.of(state)


@pytest.fixture
async def address(settings: Settings, state: State) -> AsyncIterator[str]:
    with listening(application(settings)) as found:
        yield found


@pytest.fixture
async def client(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as found:
        yield found


async def add_job(client: httpx.AsyncClient) -> str:
    job_id: str = (await client.post("/v1/jobs", json=FOX)).json()["id"]
    return job_id


def follow(address: str, job_id: str, query: str = "", **more: Any) -> connect:
    return connect(f"ws://{address}/v1/jobs/{job_id}/ws{query}", **more)


async def closed(socket: ClientConnection) -> int | None:
    """The close code, after any remaining messages."""
    async with asyncio.timeout(60):
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


async def test_server_sent_events(state: State, hand: Hand) -> None:
    async with door_of(state) as door:
        job_id = await add_job(door)
        await hand.do_all()
        answer = await door.get(f"/v1/jobs/{job_id}/events", headers=SSE)
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = answer.text.split("\n\n")
        assert [block.split("\n")[-2] for block in blocks[:-1]] == [
            "event: queued",
            "event: started",
            "event: completed",
        ]
        assert blocks[0].startswith("retry: 1000\nid: 1\n")
        last = json.loads(blocks[2].partition("data: ")[2])
        assert (last["status"], last["progress"]) == ("completed", 1.0)
        assert last["response_url"] == f"https://atelier.example/v1/jobs/{job_id}/result"
        for path in ("/status/stream", "/events?stream=true", "/events?stream=1&after=0"):
            assert (await door.get(f"/v1/jobs/{job_id}{path}")).text == answer.text
        rest = await door.get(f"/v1/jobs/{job_id}/events?after=1", headers={**SSE, "Last-Event-ID": "2"})
        assert rest.text.count("event: ") == 1  # the header has precedence over the query


async def test_last_event_id_at_the_end_returns_204(state: State, hand: Hand) -> None:
    async with door_of(state) as door:
        job_id = await add_job(door)
        await hand.do_all()
        for after in ("3", "99", "2147483647"):
            answer = await door.get(f"/v1/jobs/{job_id}/events", headers={**SSE, "Last-Event-ID": after})
            assert (answer.status_code, answer.content) == (204, b"")
            found = (await door.get(f"/v1/jobs/{job_id}/events?after={after}&wait_s=30")).json()
            assert found == {"events": [], "last": int(after), "over": True}


@pytest.mark.parametrize(
    ("query", "headers", "field"),
    [
        ("?after=-1", {}, "after"),
        ("?after=x", {}, "after"),
        ("?after=2147483648", SSE, "after"),
        ("?wait_s=61", {}, "wait_s"),
        ("?wait_s=nan", {}, "wait_s"),
        ("?wait=1", {}, "wait"),
        ("", {**SSE, "Last-Event-ID": "x"}, "Last-Event-ID"),
    ],
)
async def test_invalid_event_numbers_are_refused(state: State, query: str, headers: dict[str, str], field: str) -> None:
    async with door_of(state) as door:
        job_id = await add_job(door)
        assert is_problem(await door.get(f"/v1/jobs/{job_id}/events{query}", headers=headers), 400, field)


async def test_pruned_events_of_a_finished_job_leave_the_last_one(state: State, hand: Hand) -> None:
    """Events are pruned some time after the job ends; its state is not."""
    async with door_of(state) as door:
        job_id = await add_job(door)
        (claimed,) = await hand.claim()
        await hand.show(claimed, 3, preview=b"a preview")
        await hand.leases.fail(claimed, InvalidRequest("no such size", "width"), 0.1)
        whole = (await door.get(f"/v1/jobs/{job_id}/events")).json()["events"]
        async with state.database.write() as connection:
            await connection.execute(sa.delete(events))
        (last,) = (await door.get(f"/v1/jobs/{job_id}/events")).json()["events"]
        assert {**last["data"], "at": None} == {**whole[-1]["data"], "at": None}
        assert (last["id"], last["event"]) == (4, "failed")
        assert (await door.get(f"/v1/jobs/{job_id}/events?after=4")).json() == {"events": [], "last": 4, "over": True}


async def test_long_poll_ends_with_an_event_or_at_its_timeout(state: State, hand: Hand) -> None:
    async with door_of(state) as door:
        job_id = await add_job(door)
        silent = (await door.get(f"/v1/jobs/{job_id}/events?after=1&wait_s=0.05")).json()
        assert silent == {"events": [], "last": 1, "over": False}
        pending = asyncio.create_task(door.get(f"/v1/jobs/{job_id}/events?after=1&wait_s=60"))
        await asyncio.sleep(0.05)
        await hand.claim()
        assert [event["event"] for event in (await pending).json()["events"]] == ["started"]


async def test_silent_stream_sends_heartbeats(client: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(client)
    lines: list[str] = []
    async with client.stream("GET", f"/v1/jobs/{job_id}/events", headers=SSE) as answer:
        async for line in answer.aiter_lines():
            lines.append(line)
            if lines.count(": still drawing") == 2:
                await hand.do_all()
    assert [line for line in lines if line.startswith("id")] == ["id: 1", "id: 2", "id: 3"]


async def test_deleted_job_ends_its_streams(client: httpx.AsyncClient, address: str, state: State) -> None:
    job_id = await add_job(client)
    async with follow(address, job_id) as socket, client.stream("GET", f"/v1/jobs/{job_id}/events", headers=SSE) as sse:
        assert json.loads(await socket.recv())["event"] == "queued"
        async with state.database.write() as connection:
            await connection.execute(sa.delete(generations))
        assert await closed(socket) == 4404
        text = (await sse.aread()).decode()
    assert text.rstrip().rpartition("\n")[0].endswith("event: problem")
    assert json.loads(text.rpartition("data: ")[2])["status"] == 404


async def test_a_websocket_cancels_and_closes_at_the_end(client: httpx.AsyncClient, address: str, hand: Hand) -> None:
    job_id = await add_job(client)
    async with follow(address, job_id) as socket:
        assert json.loads(await socket.recv())["event"] == "queued"
        (claimed,) = await hand.claim()
        assert json.loads(await socket.recv())["data"]["attempt"] == 1
        for strange in ("{}", "[]", "x", '{"type": "dance"}'):
            await socket.send(strange)
            message = json.loads(await socket.recv())
            assert (message["event"], message["data"]["status"], "id" in message) == ("problem", 400, False)
        await socket.send('{"type": "cancel"}')
        async with asyncio.timeout(60):
            while not await hand.leases.requested_changes():  # noqa: ASYNC110 (a database has no event)
                await asyncio.sleep(0.01)
        await hand.leases.release(claimed)
        last = json.loads(await socket.recv())
        assert (last["event"], last["data"]["status"]) == ("cancelled", "cancelled")
        assert await closed(socket) == 1000
    async with follow(address, job_id, "?after=3") as socket:
        assert await closed(socket) == 1000


async def test_invalid_sockets_are_closed_immediately(client: httpx.AsyncClient, address: str) -> None:
    job_id = await add_job(client)
    for which, query, code in (("0" * 32, "", 4404), ("x", "", 4404), (job_id, "?after=x", 4400)):
        async with follow(address, which, query) as socket:
            assert await closed(socket) == code


async def test_sockets_of_clients_that_send_too_much_are_closed(client: httpx.AsyncClient, address: str) -> None:
    job_id = await add_job(client)
    async with follow(address, job_id) as socket:
        await socket.send("x" * (MAX_MESSAGE + 1))
        assert await closed(socket) == 1009
    async with follow(address, job_id) as socket:
        await socket.send(b"bytes")
        assert await closed(socket) == 1003
    async with follow(address, job_id) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(MAX_MESSAGES + 1):
                await socket.send("{}")
        assert await closed(socket) == 1008
    async with follow(address, job_id) as socket:  # all slots are free again
        assert json.loads(await socket.recv())["event"] == "queued"


async def test_followers_of_a_job_are_limited(client: httpx.AsyncClient, address: str, hand: Hand) -> None:
    """At most two followers per job."""
    key = {"Idempotency-Key": "fox"}
    job_id = (await client.post("/v1/jobs", json=FOX, headers=key)).json()["id"]
    async with follow(address, job_id) as first, follow(address, job_id) as second:
        for socket in (first, second):
            await socket.recv()
        async with follow(address, job_id) as third:
            assert await closed(third) == 1013
        assert is_problem(await client.get(f"/v1/jobs/{job_id}/events", headers=SSE), 503)
        assert is_problem(await client.get(f"/v1/jobs/{job_id}/events?after=1&wait_s=5"), 503)
        answer = await client.post("/v1/jobs", json=FOX, headers={**key, "Prefer": "wait=30"})
        assert answer.json()["status"] == "pending"  # `Prefer` is not binding
        await hand.do_all()
        assert [await closed(first), await closed(second)] == [1000, 1000]


async def test_streams_without_a_state_are_refused(settings: Settings) -> None:
    with listening(application(settings, with_state=False)) as address:
        async with follow(address, "0" * 32) as socket:
            assert await closed(socket) == 1013


@pytest.mark.parametrize(
    ("origin", "host", "welcome"),
    [
        (None, "10.0.0.1:8000", True),
        ("http://10.0.0.1:8000", "10.0.0.1:8000", True),
        ("https://atelier.local", "atelier.local:443", True),
        ("https://Atelier.example", "10.0.0.1:8000", True),
        ("https://friend.example", "10.0.0.1:8000", True),
        ("https://evil.example", "10.0.0.1:8000", False),
        ("http://friend.example", "10.0.0.1:8000", False),
        ("http://10.0.0.1:8001", "10.0.0.1:8000", False),
        ("null", "10.0.0.1:8000", False),
        ("", "", False),
        ("http://[", "10.0.0.1:8000", False),
    ],
)
def test_foreign_origins_are_refused(settings: Settings, origin: str | None, host: str, welcome: bool) -> None:
    assert is_allowed_origin(origin, host, settings) is welcome


async def test_foreign_origin_is_reported_on_the_socket(client: httpx.AsyncClient, address: str) -> None:
    job_id = await add_job(client)
    async with follow(address, job_id, origin="https://evil.example") as socket:
        assert await closed(socket) == 4403
    async with follow(address, job_id, origin=f"http://{address}") as socket:
        assert json.loads(await socket.recv())["event"] == "queued"


async def test_streams_resume_after_a_database_outage(state: State, hand: Hand) -> None:
    """The stream is silent during the outage, and no event is lost."""
    found: list[str] = []
    async with door_of(state) as door:
        job_id = await add_job(door)
        follower = door._transport.app.state.jobs.follower  # type: ignore[attr-defined]
        away = Broken(follower._database)
        follower._database = away
        reading = asyncio.create_task(collect(follower.follow(job_id), found))
        while not found:  # noqa: ASYNC110 (nor has a generator)
            await asyncio.sleep(0.01)
        away.is_away = True
        async with state.database.write() as connection:
            await transition(connection, [jobs.c.generation_id == job_id], "progress", None, None, progress=0.5)
        await asyncio.sleep(0.1)
        assert found == ["queued"]
        away.is_away = False
        await hand.do_all()
        async with asyncio.timeout(60):
            await reading
        assert found == ["queued", "progress", "started", "completed"]


async def collect(following: Any, found: list[str]) -> None:
    async for event in following:
        found.append(event.kind)


class Broken:
    """A database that a test makes unavailable and available again."""

    def __init__(self, database: Any) -> None:
        self.is_away = False
        self._database = database

    def read(self, kind: str = "read") -> Any:
        if self.is_away:
            raise StateUnavailable("gone")
        return self._database.read(kind)


async def test_socket_that_does_not_read_frees_its_slot(
    client: httpx.AsyncClient, address: str, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The send buffer of a socket is bounded, and so is the send time."""
    monkeypatch.setattr(event_routes, "SEND_TIMEOUT_S", 0.2)
    job_id, data = await add_job(client), {"status": "pending", "progress": 0.0, "attempt": 0, "much": "x" * 4000}
    rows = [
        {"generation_id": job_id, "n": n, "kind": "moved", "data": data, "created_at": utc_now()}
        for n in range(2, 4000)
    ]
    async with state.database.write() as connection:
        await connection.execute(events.insert(), rows)
        await connection.execute(jobs.update().values(events=len(rows) + 1))
    idle = [await follow(address, job_id, max_queue=1, compression=None) for _ in range(2)]
    async with asyncio.timeout(60):
        while not await is_followable(address, job_id):  # noqa: ASYNC110 (a slot has no event)
            await asyncio.sleep(0.05)
    for socket in idle:
        socket.transport.abort()


async def is_followable(address: str, job_id: str) -> bool:
    socket = await follow(address, job_id)
    try:
        return bool(json.loads(await socket.recv())["event"] == "queued")
    except websockets.ConnectionClosed:
        return False
    finally:
        socket.transport.abort()
