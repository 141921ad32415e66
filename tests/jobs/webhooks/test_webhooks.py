"""Webhooks are delivered signed and in order, each by one worker."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Self

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError
from webhook_receiver import Receiver
from webhook_site import (
    SECRET,
    SITE,
    add_job_with_events,
    all_are,
    delivering,
    row,
    rows,
    state_with,
    tried,
    until,
    update_deliveries,
    waits_s,
    worker,
)

from serve.errors import InvalidRequest
from serve.jobs.webhooks.client import signature
from serve.jobs.webhooks.delivery import WebhookDelivery
from serve.observability.metrics.catalogue import WEBHOOKS
from serve.settings import load
from serve.state import State
from serve.state.tables import deliveries, utc_now


async def test_delivery_is_signed(state: State, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for proxy in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # nothing listens there, and no proxy is used
    job_id = await add_job_with_events(state, receiver.url, "completed")
    async with delivering(state):
        await until(all_are(state, "delivered"))
    (call,) = receiver.calls
    document = Webhook(SECRET).verify(call.body, call.headers)
    delivery = await row(state)
    assert document["type"] == "job.completed"
    assert document["timestamp"] == delivery.created_at.isoformat()
    data = document["data"]
    assert (data["id"], data["event"], data["about"]) == (job_id, 2, "completed")
    assert data["result_url"] == f"{SITE}/v1/jobs/{job_id}/result"
    assert call.headers["content-type"] == "application/json"
    assert call.headers["user-agent"].startswith("atelier/")
    assert (delivery.id, delivery.answer, delivery.attempts, delivery.worker_id) == (call.id, 200, 1, None)


async def test_preview_event_has_its_url(state: State, receiver: Receiver) -> None:
    job_id = await add_job_with_events(state, receiver.url, "preview")
    await update_deliveries(state, body={"id": job_id, "event": 2, "step": 3, "preview": "0123456789abcdef.webp"})
    async with delivering(state):
        await until(all_are(state, "delivered"))
    data = receiver.calls[0].document["data"]
    assert data["preview_url"] == f"{SITE}/v1/jobs/{job_id}/preview?v=0123456789ab"
    assert "preview" not in data


def test_signature_follows_standard_webhooks() -> None:
    key, body = b"k" * 24, b'{"a":1}'
    expected = hmac.new(key, b"msg_1.1700000000." + body, hashlib.sha256).digest()
    assert signature(key, "msg_1", 1_700_000_000, body) == "v1," + base64.b64encode(expected).decode()
    at = datetime.fromtimestamp(1_700_000_000, UTC)
    assert Webhook(key).sign("msg_1", at, body.decode()) == signature(key, "msg_1", 1_700_000_000, body)


async def test_failed_delivery_is_retried_until_accepted(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 404, 302]
    await add_job_with_events(state, receiver.url, "completed")
    async with delivering(state):
        await until(all_are(state, "delivered"))
    assert len({call.id for call in receiver.calls}) == 1
    assert len({call.body for call in receiver.calls}) == 1
    assert (len(receiver.calls), (await row(state)).attempts) == (4, 4)
    for call in receiver.calls:
        Webhook(SECRET).verify(call.body, call.headers)


async def test_replayed_webhook_is_detected(state: State, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver detects it by its id; later, or with any change, its signature is invalid."""
    receiver.answers = [500]
    await add_job_with_events(state, receiver.url, "completed")
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


async def test_delivery_fails_after_the_last_attempt(
    state: State, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.always = 500
    await add_job_with_events(state, receiver.url, "completed")
    async with delivering(state_with(state, max_attempts=3)):
        await until(all_are(state, "failed"))
    assert len(receiver.calls) == 3
    assert ((await row(state)).attempts, (await row(state)).answer) == (3, 500)
    assert "failed after 3 attempts: answered 500" in caplog.text
    assert receiver.url not in caplog.text  # its path may be secret


async def test_calls_are_counted_by_outcome(state: State, receiver: Receiver) -> None:
    """The metric of the alert AtelierWebhooksFail: two events of a job, the first failing at its third attempt."""
    outcomes = ("delivered", "retried", "failed")
    before = [WEBHOOKS.value(outcome) for outcome in outcomes]
    receiver.answers = [500, 500, 500, 500]
    await add_job_with_events(state, receiver.url, "started", "completed")
    async with delivering(state_with(state, max_attempts=3)):
        await until(all_are(state, "delivered", "failed"))
    counted = [WEBHOOKS.value(outcome) - was for outcome, was in zip(outcomes, before, strict=True)]
    assert counted == [1, 3, 1]
    assert sum(counted) == len(receiver.calls)


@pytest.mark.parametrize(("attempts", "least_s"), [(0, 100), (1, 200), (3, 800), (40, 6 * 3600)])
async def test_retry_delays_double_up_to_a_limit(
    state: State, receiver: Receiver, attempts: int, least_s: float
) -> None:
    receiver.always = 500
    await add_job_with_events(state, receiver.url, "completed")
    await update_deliveries(state, attempts=attempts)
    async with delivering(state_with(state, retry_s=100, max_attempts=50)):
        await until(tried(state, attempts + 1))
    assert least_s - 5 < waits_s(await row(state)) <= 1.5 * least_s


async def test_deliveries_of_one_job_are_in_order(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 200, 200, 500, 500]
    await add_job_with_events(state, receiver.url, "started", "progress", "preview", "completed")
    await update_deliveries(state, due_at=utc_now())  # equal times: the order is that of the events
    async with delivering(state), delivering(state):
        await until(all_are(state, *["delivered"] * 4))
    assert [call.event for call in receiver.calls] == [2, 2, 3, 4, 4, 4, 5]
    assert receiver.most == 1


async def test_failed_delivery_does_not_block_the_next(state: State, receiver: Receiver) -> None:
    receiver.answers = [500, 500]
    await add_job_with_events(state, receiver.url, "started", "completed")
    async with delivering(state_with(state, max_attempts=2)):
        await until(all_are(state, "failed", "delivered"))
    assert [call.event for call in receiver.calls] == [2, 2, 3]


async def test_workers_deliver_each_event_once(state: State, receiver: Receiver) -> None:
    for n in range(24):
        await add_job_with_events(state, receiver.url, "completed", user=f"user{n}")
    async with delivering(state), delivering(state), delivering(state):
        await until(all_are(state, *["delivered"] * 24))
    assert len(receiver.calls) == len({call.id for call in receiver.calls}) == 24


async def test_concurrent_workers_claim_different_deliveries(state: State) -> None:
    for n in range(40):
        await add_job_with_events(state, "http://127.0.0.1:9/", "completed", user=f"user{n}")
    await update_deliveries(state, host=deliveries.c.id)  # so that no receiver reaches its limit
    deliverers = []
    for _ in range(5):
        worker_id = (await worker(state)).worker_id
        deliverers.append(WebhookDelivery(state, lambda known=worker_id: known, SITE))
    claims = await asyncio.gather(*(deliverer._claim() for deliverer in deliverers))
    claimed = [delivery.id for some in claims for delivery in some]
    assert len(claimed) == len(set(claimed))
    assert {claims.id for claims in await rows(state) if claims.worker_id} == set(claimed)


GOOD = base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", GOOD, f"WHSEC_{GOOD}", f"whsec_{GOOD[:-1]}", "whsec_" + "ä" * 44, f"whsec_{GOOD} ",
     "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_" + base64.b64encode(b"x" * 65).decode()],
)  # fmt: skip
def test_malformed_secrets_are_refused(secret: str) -> None:
    with pytest.raises(InvalidRequest, match="24 to 64 random bytes") as refused:
        load(webhooks={"secret": secret})
    assert refused.value.field == "webhooks.secret"
    assert len(secret) < 8 or secret not in str(refused.value)


@pytest.mark.parametrize("count", [24, 32, 64])
def test_standard_webhooks_secrets_are_accepted(count: int) -> None:
    secret = "whsec_" + base64.b64encode(b"x" * count).decode()
    assert load(webhooks={"secret": secret}).webhooks.secret == SecretStr(secret)
