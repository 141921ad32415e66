"""Webhooks arrive, signed and in order, whatever receivers, databases and clocks do meanwhile."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks import Webhook
from test_queue import request
from webhook_receiver import Receiver, drip, raw

from serve.errors import InvalidRequest, StateUnavailable
from serve.jobs.leases import Leases
from serve.jobs.queue import GenerationQueue, Order
from serve.jobs.states import change
from serve.jobs.takeover import Watch
from serve.jobs.webhook_call import MAX_WAIT_S, _asked_s, signature
from serve.jobs.webhooks import AT_ONCE_PER_HOST, Deliverer
from serve.settings import DatabaseSettings, Settings, WebhookSettings, load
from serve.state import State
from serve.state.database import Database
from serve.state.tables import deliveries, jobs, utc_now

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SITE = "https://atelier.example"
HOME = Path(__file__).parents[2]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_webhooks(settings)


def with_webhooks(settings: Settings, **values: Any) -> Settings:
    usual = {"secret": SecretStr(SECRET), "allow_private": True, "retry_s": 0.02, "timeout_s": 5.0}
    return settings.model_copy(update={"webhooks": WebhookSettings(**usual | values)})


def state_with(state: State, **values: Any) -> State:
    return replace(state, settings=with_webhooks(state.settings, **values))


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


async def worker(state: State) -> Leases:
    leases = Leases(state, {"illustrate": 2})
    await leases.register()
    return leases


@contextlib.asynccontextmanager
async def delivering(state: State, worker_id: str | None = None) -> AsyncIterator[None]:
    """While a worker of its own, or ``worker_id``, sends."""
    known = worker_id or (await worker(state)).worker_id
    running = asyncio.create_task(Deliverer(state, lambda: known, SITE).run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def happen(state: State, url: str, *kinds: str, user: str = "ana") -> str:
    """A job to which these happen, and whose webhook wants to know of each."""
    order = Order(user, webhook_url=url, webhook_events=tuple(set(kinds)))
    (job_id,) = (await GenerationQueue(state).add(request(), order)).ids
    for kind in kinds:
        async with state.database.write() as connection:
            await change(connection, [jobs.c.generation_id == job_id], kind, {"about": kind})
    return job_id


async def rows(state: State) -> list[Any]:
    async with state.database.read() as connection:
        return list((await connection.execute(sa.select(deliveries).order_by(deliveries.c.created_at))).all())


async def row(state: State) -> Any:
    (found,) = await rows(state)
    return found


async def put(state: State, **values: Any) -> None:
    """Into every delivery."""
    async with state.database.write() as connection:
        await connection.execute(sa.update(deliveries).values(**values))


async def until(holds: Callable[[], Awaitable[bool]] | Callable[[], bool], most_s: float = 20) -> None:
    async with asyncio.timeout(most_s):
        while True:
            found = holds()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.02)


def all_are(state: State, *statuses: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return sorted(found.status for found in await rows(state)) == sorted(statuses)

    return holds


def tried(state: State, attempts: int = 1) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return all(found.attempts >= attempts for found in await rows(state))

    return holds


def waits_s(found: Any) -> float:
    """How long a delivery waits from now on."""
    wait_s: float = (found.due_at - utc_now()).total_seconds()
    return wait_s


async def test_it_arrives_signed(state: State, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nobody is there, and nobody is asked
    job_id = await happen(state, receiver.url, "completed")
    async with delivering(state):
        await until(all_are(state, "delivered"))
    (call,) = receiver.calls
    document = Webhook(SECRET).verify(call.body, call.headers)
    found = await row(state)
    assert document["type"] == "job.completed"
    assert document["timestamp"] == found.created_at.isoformat()
    data = document["data"]
    assert (data["id"], data["event"], data["about"]) == (job_id, 2, "completed")
    assert data["result_url"] == f"{SITE}/v1/jobs/{job_id}/result"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("atelier/")
    assert (found.id, found.answer, found.attempts, found.worker_id) == (call.id, 200, 1, None)


async def test_a_preview_has_an_address(state: State, receiver: Receiver) -> None:
    job_id = await happen(state, receiver.url, "preview")
    await put(state, body={"id": job_id, "event": 2, "step": 3, "preview": "0123456789abcdef.webp"})
    async with delivering(state):
        await until(all_are(state, "delivered"))
    data = receiver.calls[0].document["data"]
    assert data["preview_url"] == f"{SITE}/v1/jobs/{job_id}/preview?v=0123456789ab"
    assert "preview" not in data


def test_the_signature_is_that_of_the_specification() -> None:
    key, body = b"k" * 24, b'{"a":1}'
    expected = hmac.new(key, b"msg_1.1700000000." + body, hashlib.sha256).digest()
    assert signature(key, "msg_1", 1_700_000_000, body) == "v1," + base64.b64encode(expected).decode()
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert Webhook(key).sign("msg_1", at, body.decode()) == signature(key, "msg_1", 1_700_000_000, body)


async def test_it_is_sent_again_until_it_arrives(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 404, 302]
    await happen(state, receiver.url, "completed")
    async with delivering(state):
        await until(all_are(state, "delivered"))
    assert len({call.id for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    assert (len(receiver.calls), (await row(state)).attempts) == (4, 4)
    for call in receiver.calls:
        Webhook(SECRET).verify(call.body, call.headers)


async def test_it_is_not_sent_for_ever(state: State, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.always = 500
    await happen(state, receiver.url, "completed")
    async with delivering(state_with(state, max_attempts=3)):
        await until(all_are(state, "failed"))
    assert len(receiver.calls) == 3
    assert ((await row(state)).attempts, (await row(state)).answer) == (3, 500)
    assert "failed after 3 attempts: answered 500" in caplog.text
    assert receiver.url not in caplog.text  # its path may be a secret


@pytest.mark.parametrize(("attempts", "least_s"), [(0, 100), (1, 200), (3, 800), (40, 6 * 3600)])
async def test_waits_double_up_to_a_bound(state: State, receiver: Receiver, attempts: int, least_s: float) -> None:
    receiver.always = 500
    await happen(state, receiver.url, "completed")
    await put(state, attempts=attempts)
    async with delivering(state_with(state, retry_s=100, max_attempts=50)):
        await until(tried(state, attempts + 1))
    assert least_s - 5 < waits_s(await row(state)) <= 1.5 * least_s


def in_ten_minutes() -> str:
    return format_datetime(utc_now() + timedelta(seconds=600), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"),
    [
        (lambda: "600", 590, 600),
        (in_ten_minutes, 580, 600),
        (lambda: "9" * 400, MAX_WAIT_S - 10, MAX_WAIT_S),
        (lambda: "-5", 50, 90),
        (lambda: "soon", 50, 90),
        (lambda: "Wed, 21 Oct 2015 07:28:00 GMT", 50, 90),
    ],
)
async def test_a_receiver_may_ask_for_a_wait(
    state: State, receiver: Receiver, asked: Callable[[], str], least_s: float, most_s: float
) -> None:
    receiver.answers = [web.Response(status=503, headers={"Retry-After": asked()})]
    await happen(state, receiver.url, "completed")
    async with delivering(state_with(state, retry_s=60)):
        await until(tried(state))
    assert least_s < waits_s(await row(state)) <= most_s


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,9} \d+:\d+:\d+ .{0,8}"))
def test_any_wait_that_is_asked_for_is_a_bounded_number(text: str) -> None:
    assert 0 <= _asked_s({"Retry-After": text}) <= MAX_WAIT_S


async def test_who_is_gone_is_not_called_again(state: State, receiver: Receiver) -> None:
    receiver.answers = [410]
    await happen(state, receiver.url, "started", "progress", "completed")
    async with delivering(state):
        await until(all_are(state, "failed", "failed", "failed"))
        other = await happen(state, receiver.url, "completed", user="ben")
        await until(all_are(state, "failed", "failed", "failed", "delivered"))
    assert len(receiver.calls) == 2
    assert {found.answer for found in await rows(state) if found.generation_id != other} == {410}


async def test_those_of_one_job_go_out_in_order(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 200, 200, 500, 500]
    await happen(state, receiver.url, "started", "progress", "preview", "completed")
    await put(state, due_at=utc_now())  # all the same: the order is that of the events
    async with delivering(state), delivering(state):
        await until(all_are(state, *["delivered"] * 4))
    assert [call.event for call in receiver.calls] == [2, 2, 3, 4, 4, 4, 5]
    assert receiver.most == 1


async def test_one_that_failed_does_not_stop_the_next(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    await happen(state, receiver.url, "started", "completed")
    async with delivering(state_with(state, max_attempts=2)):
        await until(all_are(state, "failed", "delivered"))
    assert [call.event for call in receiver.calls] == [2, 2, 3]


async def test_a_slow_receiver_holds_up_nobody_else(state: State, receiver: Receiver) -> None:
    async def never() -> int:
        await asyncio.Event().wait()
        return 200

    async with Receiver(always=never).listening() as slow:
        for n in range(40):  # more than are sent at once
            await happen(state, slow.url, "completed", user=f"user{n}")
        await happen(state, receiver.url, "completed")
        async with delivering(state_with(state, timeout_s=30)):
            await until(lambda: len(receiver.calls) == 1, 8)
            await until(lambda: slow.most == AT_ONCE_PER_HOST)
            async with state.database.read() as connection:
                held = await connection.scalar(sa.select(sa.func.count()).where(deliveries.c.worker_id.is_not(None)))
            assert held == AT_ONCE_PER_HOST
    assert slow.most == AT_ONCE_PER_HOST


async def test_several_workers_send_each_once(state: State, receiver: Receiver) -> None:
    for n in range(24):
        await happen(state, receiver.url, "completed", user=f"user{n}")
    async with delivering(state), delivering(state), delivering(state):
        await until(all_are(state, *["delivered"] * 24))
    assert len(receiver.calls) == len({call.id for call in receiver.calls}) == 24


async def test_two_workers_never_claim_the_same(state: State) -> None:
    for n in range(40):
        await happen(state, "http://127.0.0.1:9/", "completed", user=f"user{n}")
    await put(state, host=deliveries.c.id)  # so that no receiver is at its bound
    deliverers = []
    for _ in range(5):
        worker_id = (await worker(state)).worker_id
        deliverers.append(Deliverer(state, lambda known=worker_id: known, SITE))
    found = await asyncio.gather(*(deliverer._claim() for deliverer in deliverers))
    claimed = [delivery.id for some in found for delivery in some]
    assert len(claimed) == len(set(claimed))
    assert {found.id for found in await rows(state) if found.worker_id} == set(claimed)


async def test_a_head_that_drips_is_given_up(state: State) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nX-Long: ", b"x", 0.05)

    async with raw(slowly) as (url, ends):
        await happen(state, url, "completed")
        began = time.monotonic()
        async with delivering(state_with(state, timeout_s=0.4, max_attempts=1)):
            await until(all_are(state, "failed"))
        assert time.monotonic() - began < 5
        await until(lambda: ends == ["cut"])
    assert (await row(state)).answer is None


async def test_a_body_that_drips_has_arrived(state: State) -> None:
    async def slowly(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x", 0.05)

    async with raw(slowly) as (url, ends):
        await happen(state, url, "completed")
        async with delivering(state_with(state, timeout_s=0.4)):
            await until(all_are(state, "delivered"))
        await until(lambda: ends == ["cut"])


async def test_a_huge_answer_is_not_read(state: State) -> None:
    sent = 0

    async def hugely(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"\x1f\x8b" + b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with raw(hugely) as (url, ends):
        await happen(state, url, "completed")
        async with delivering(state):
            await until(all_are(state, "delivered"))
        await until(lambda: ends == ["cut"])
    assert sent < 20_000_000  # what lay in buffers of the kernel


async def test_a_head_without_end_is_refused(state: State) -> None:
    async def hugely(writer: asyncio.StreamWriter) -> None:
        await drip(writer, b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 100, 0)

    async with raw(hugely) as (url, ends):
        await happen(state, url, "completed")
        async with delivering(state_with(state, timeout_s=10, max_attempts=1)):
            await until(all_are(state, "failed"), 8)
        await until(lambda: ends == ["cut"])


async def test_what_is_no_http_is_an_attempt(state: State, caplog: pytest.LogCaptureFixture) -> None:
    async def nonsense(writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\xff what?\r\n\r\n")
        await writer.drain()

    async with raw(nonsense) as (url, ends):
        await happen(state, url, "completed")
        async with delivering(state_with(state, max_attempts=2)):
            await until(all_are(state, "failed"))
    assert len(ends) == 2
    assert "failed after 2 attempts" in caplog.text
    assert url not in caplog.text


async def test_redirects_are_not_followed(state: State, receiver: Receiver) -> None:
    async with Receiver().listening() as inner:
        receiver.always = web.Response(status=307, headers={"Location": inner.url})
        await happen(state, receiver.url, "completed")
        async with delivering(state_with(state, max_attempts=1)):
            await until(all_are(state, "failed"))
    assert inner.calls == []
    assert (await row(state)).answer == 307


async def test_an_address_that_is_not_allowed_any_more_has_failed(state: State, receiver: Receiver) -> None:
    await happen(state, receiver.url, "completed")
    async with delivering(state_with(state, allow_private=False)):
        await until(all_are(state, "failed"))
    assert receiver.calls == []
    assert (await row(state)).attempts == 1


DYING = """
import asyncio, os, signal, sys
from serve.settings import DatabaseSettings, Settings, WebhookSettings
from serve.state import State
from serve.jobs.leases import Leases
from serve.jobs.webhooks import Deliverer

async def main(database, secret):
    webhooks = WebhookSettings(secret=secret, allow_private=True)
    state = await State.open(Settings(database=DatabaseSettings(url=database), webhooks=webhooks))
    leases = Leases(state, {})
    await leases.register()
    await Deliverer(state, lambda: leases.worker_id, "https://elsewhere.example").run()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_its_sender_dies_before_it_has_written(
    state: State, receiver: Receiver, database_settings: DatabaseSettings
) -> None:
    async def kill() -> int:
        os.kill(sender.pid, signal.SIGKILL)
        await sender.wait()
        return 200

    receiver.answers = [kill]
    await happen(state, receiver.url, "completed")
    assert database_settings.url is not None
    sender = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DYING, database_settings.url.get_secret_value(), SECRET, cwd=HOME
    )
    await until(lambda: len(receiver.calls) == 1, 60)
    await sender.wait()
    assert (await row(state)).worker_id is not None
    other = await worker(state)
    now = 0.0
    watch = Watch(state, lambda: now)
    async with delivering(state, other.worker_id):
        await watch.look()
        now = 2 * state.settings.jobs.lease_s
        await other.beat([])
        assert len(receiver.calls) == 1  # whoever holds it may still live
        assert len(await watch.look()) == 1
        await until(all_are(state, "delivered"))
    first, again = receiver.calls
    assert first.id == again.id
    assert (await row(state)).attempts == 1


@pytest.mark.parametrize(("status", "expected"), [(200, ("delivered", 1)), (500, ("pending", 0))])
async def test_who_was_taken_for_dead_tells_only_that_it_arrived(
    state: State, receiver: Receiver, status: int, expected: tuple[str, int]
) -> None:
    other = await worker(state)
    answered = asyncio.Event()

    async def taken_away() -> int:
        await put(state, worker_id=other.worker_id)
        answered.set()
        return status

    receiver.answers = [taken_away]
    await happen(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(Deliverer(state, lambda: leases.worker_id, SITE).run())
    await answered.wait()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    found = await row(state)
    assert (found.status, found.attempts) == expected
    assert found.worker_id == (None if status == 200 else other.worker_id)


async def test_a_claim_whose_confirmation_was_lost(state: State, receiver: Receiver) -> None:
    leases = await worker(state)
    await happen(state, receiver.url, "completed")
    await put(state, worker_id=leases.worker_id)
    async with delivering(state, leases.worker_id):
        await until(all_are(state, "delivered"))


async def test_a_claim_of_a_worker_that_nobody_knows(state: State, receiver: Receiver) -> None:
    await happen(state, receiver.url, "completed")
    await put(state, worker_id="it came late")
    async with delivering(state):
        await until(all_are(state, "delivered"))


async def test_who_is_no_worker_claims_nothing(state: State, receiver: Receiver) -> None:
    """It was taken for dead: whatever it claimed would be nobody's."""
    await happen(state, receiver.url, "completed")
    assert await Deliverer(state, lambda: "taken for dead", SITE)._claim() == []
    assert (await row(state)).worker_id is None


class Away(Database):
    """A database that is away while it is told to be."""

    def __init__(self, database: Database) -> None:
        self.__dict__ |= database.__dict__
        self.away = False

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[Any]:
        self._check()
        async with super().read() as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[Any]:
        self._check()
        async with super().write() as connection:
            yield connection

    def _check(self) -> None:
        if self.away:
            raise StateUnavailable("the database does not answer; try again")


async def test_the_database_goes_away_and_comes_back(
    state: State, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    database = Away(state.database)

    async def take_away() -> int:
        database.away = True
        return 200

    receiver.answers = [take_away]
    await happen(state, receiver.url, "completed")
    async with delivering(replace(state, database=database)):
        await until(lambda: "wait for the database" in caplog.text)
        await happen(state, receiver.url, "completed", user="ben")
        await asyncio.sleep(0.6)  # several looks
        assert (await rows(state))[0].status == "pending"
        database.away = False
        await until(all_are(state, "delivered", "delivered"))
        await until(lambda: "answers again" in caplog.text)
    assert caplog.text.count("wait for the database") == 1
    assert len(receiver.calls) == len({call.id for call in receiver.calls}) == 2


async def test_what_is_being_sent_may_end(state: State, receiver: Receiver) -> None:
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def later() -> int:
        asked.set()
        await may_answer.wait()
        return 200

    receiver.answers = [later]
    await happen(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(Deliverer(state, lambda: leases.worker_id, SITE).run())
    await asked.wait()
    running.cancel()
    await asyncio.sleep(0)
    may_answer.set()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
    assert (await row(state)).status == "delivered"


async def test_what_takes_too_long_is_given_back(state: State, receiver: Receiver) -> None:
    asked = asyncio.Event()

    async def never() -> int:
        asked.set()
        await asyncio.Event().wait()
        return 200

    receiver.answers = [never]
    await happen(state, receiver.url, "completed")
    leases = await worker(state)
    running = asyncio.create_task(Deliverer(state_with(state, timeout_s=60), lambda: leases.worker_id, SITE).run())
    await asked.wait()
    assert (await row(state)).worker_id == leases.worker_id
    running.cancel()
    await asyncio.wait([running], timeout=10)
    assert running.cancelled()
    assert ((await row(state)).status, (await row(state)).worker_id) == ("pending", None)
    async with delivering(state):
        await until(all_are(state, "delivered"))


@pytest.mark.parametrize(("attempts", "ahead"), [(0, timedelta(minutes=30)), (3, timedelta(hours=3))])
async def test_a_clock_that_was_put_back(state: State, receiver: Receiver, attempts: int, ahead: timedelta) -> None:
    """What was not sent yet goes out at once; what waits for another attempt waits no longer than any ever does."""
    await happen(state, receiver.url, "completed")
    await put(state, due_at=utc_now() + ahead, attempts=attempts)
    async with delivering(state):
        await until(all_are(state, "delivered"))


async def test_what_waits_is_not_sent_before_its_time(state: State, receiver: Receiver) -> None:
    await happen(state, receiver.url, "started")
    await put(state, due_at=utc_now() + timedelta(minutes=30), attempts=3)
    await happen(state, receiver.url, "completed", user="ben")
    async with delivering(state):
        await until(all_are(state, "pending", "delivered"))
    assert [call.document["type"] for call in receiver.calls] == ["job.completed"]


async def test_without_a_secret_all_waits(state: State, receiver: Receiver) -> None:
    await happen(state, receiver.url, "completed")
    async with delivering(state_with(state, secret=None)):
        await asyncio.sleep(0.6)  # several looks
    assert (await row(state)).status == "pending"
    async with delivering(state):
        await until(all_are(state, "delivered"))


GOOD = base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", GOOD, f"WHSEC_{GOOD}", f"whsec_{GOOD[:-1]}", "whsec_" + "ä" * 44, f"whsec_{GOOD} ",
     "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_" + base64.b64encode(b"x" * 65).decode()],
)  # fmt: skip
def test_a_secret_of_another_shape_is_refused(secret: str) -> None:
    with pytest.raises(InvalidRequest, match="24 to 64 random bytes") as refused:
        load(webhooks={"secret": secret})
    assert refused.value.field == "webhooks.secret"
    assert len(secret) < 8 or secret not in str(refused.value)


@pytest.mark.parametrize("count", [24, 32, 64])
def test_a_secret_of_standard_webhooks_is_taken(count: int) -> None:
    secret = "whsec_" + base64.b64encode(b"x" * count).decode()
    assert load(webhooks={"secret": secret}).webhooks.secret == SecretStr(secret)
