"""Webhooks arrive, signed and in order, each by one worker."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError
from webhook_receiver import Receiver
from webhook_site import (
    SECRET,
    SITE,
    all_are,
    delivering,
    happen,
    put,
    row,
    rows,
    state_with,
    tried,
    until,
    waits_s,
    with_webhooks,
    worker,
)

from serve.errors import InvalidRequest
from serve.jobs.webhooks.client import signature
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.observability.metrics.catalogue import WEBHOOKS
from serve.settings import Settings, load
from serve.state import State
from serve.state.tables import deliveries, utc_now


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_webhooks(settings)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as listening:
        yield listening


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


async def test_a_call_that_somebody_repeats_is_noticed(
    state: State, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver knows it by its id; later, or with anything in it changed, its signature is none."""
    receiver.answers = [500]
    await happen(state, receiver.url, "completed")
    async with delivering(state):
        await until(all_are(state, "delivered"))
    first, again = receiver.calls
    assert first.id == again.id, "what arrives twice is one message"
    body, headers = again.body, again.headers
    other = {"webhook-id": "msg_2", "webhook-timestamp": str(int(headers["webhook-timestamp"]) + 60)}
    for wrong in (
        *({**headers, name: value} for name, value in other.items()),
        {**headers, "webhook-signature": "v1,AA=="},
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(body, wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"completed", b"failed"), headers)
    Webhook(SECRET).verify(body, headers)
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", TenMinutesLater)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SECRET).verify(body, headers)


class TenMinutesLater(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(minutes=10)


async def test_it_is_not_sent_for_ever(state: State, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver.always = 500
    await happen(state, receiver.url, "completed")
    async with delivering(state_with(state, max_attempts=3)):
        await until(all_are(state, "failed"))
    assert len(receiver.calls) == 3
    assert ((await row(state)).attempts, (await row(state)).answer) == (3, 500)
    assert "failed after 3 attempts: answered 500" in caplog.text
    assert receiver.url not in caplog.text  # its path may be a secret


async def test_every_call_is_counted_by_how_it_went(state: State, receiver: Receiver) -> None:
    """What AtelierWebhooksFail of the alerts looks at: a job's two events, the first given up at its third call."""
    outcomes = ("delivered", "retried", "failed")
    before = [WEBHOOKS.value(outcome) for outcome in outcomes]
    receiver.answers = [500, 500, 500, 500]
    await happen(state, receiver.url, "started", "completed")
    async with delivering(state_with(state, max_attempts=3)):
        await until(all_are(state, "delivered", "failed"))
    counted = [WEBHOOKS.value(outcome) - was for outcome, was in zip(outcomes, before, strict=True)]
    assert counted == [1, 3, 1]
    assert sum(counted) == len(receiver.calls)


@pytest.mark.parametrize(("attempts", "least_s"), [(0, 100), (1, 200), (3, 800), (40, 6 * 3600)])
async def test_waits_double_up_to_a_bound(state: State, receiver: Receiver, attempts: int, least_s: float) -> None:
    receiver.always = 500
    await happen(state, receiver.url, "completed")
    await put(state, attempts=attempts)
    async with delivering(state_with(state, retry_s=100, max_attempts=50)):
        await until(tried(state, attempts + 1))
    assert least_s - 5 < waits_s(await row(state)) <= 1.5 * least_s


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
        deliverers.append(WebhookDelivery(state, lambda known=worker_id: known, SITE))
    found = await asyncio.gather(*(deliverer._claim() for deliverer in deliverers))
    claimed = [delivery.id for some in found for delivery in some]
    assert len(claimed) == len(set(claimed))
    assert {found.id for found in await rows(state) if found.worker_id} == set(claimed)


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
