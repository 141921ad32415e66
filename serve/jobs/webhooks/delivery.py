"""`WebhookDelivery`: sends the rows that `serve.state.job_states` inserts into ``deliveries``, until delivered or
failed.

Each is sent at least once: if the sender dies before it has recorded the response, the webhook is sent again under the
same id. The webhooks of one job are sent in the order of its events, each after the previous one was delivered or has
failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from serve.errors import OutOfSpace, StateUnavailable
from serve.jobs.webhooks.client import HTTP_GONE, MAX_RETRY_AFTER_S, WebhookClient, WebhookResponse, message
from serve.observability import tracing
from serve.observability.metrics.catalogue import WEBHOOKS
from serve.state import State
from serve.state.job_states import FAILED, PENDING
from serve.state.tables import deliveries, utc_now, workers

LOGGER = logging.getLogger(__name__)
DELIVERED = "delivered"
MAX_CONCURRENT, MAX_CONCURRENT_PER_HOST = 32, 2
"""Per process: a slow receiver does not delay the webhooks of others."""
_MAX_BACKOFF_S = 6 * 3600.0
"""The longest delay between attempts, if the receiver asks for none."""
_POLL_S = 0.25
"""Interval between queries for due webhooks."""
_GRACE_S = 2.0
"""How long requests in flight may continue when the process ends."""
_OUTAGES = (StateUnavailable, OutOfSpace)
_D = deliveries.c


@dataclass(frozen=True)
class Delivery:
    """A webhook claimed by this process."""

    id: str
    generation_id: str
    host: str
    url: str
    body: bytes
    attempts: int
    worker_id: str
    context: Mapping[str, str]


class WebhookDelivery:
    """Of one worker, for one event loop. Any number of workers may run one."""

    def __init__(
        self, state: State, worker_id: Callable[[], str], base_url: str, client: WebhookClient | None = None
    ) -> None:
        """``worker_id`` is called each time; ``base_url``, without a trailing slash, is the prefix of result URLs."""
        self._state = state
        self._database = state.database
        self._limits = state.settings.webhooks
        self._worker_id = worker_id
        self._base_url = base_url
        self._client = client
        self._in_flight: dict[asyncio.Task[None], Delivery] = {}
        self._unavailable = False

    async def run(self) -> None:
        """Runs until cancelled; then requests in flight get a moment to finish, and the rest is released.

        During a database outage it continues, and keeps the responses that it could not record.
        """
        if self._limits.secret is None:
            await asyncio.Event().wait()  # older webhooks are sent once there is a secret again
        async with self._client or WebhookClient(self._state.settings) as client:
            try:
                while True:
                    for delivery in await self._claim():
                        self._in_flight[asyncio.create_task(self._deliver(client, delivery))] = delivery
                    await self._pause()
            finally:
                await self._stop()

    async def _pause(self) -> None:
        """Waits until a request has finished, or for the poll interval."""
        if not self._in_flight:
            await asyncio.sleep(_POLL_S)
            return
        done, _ = await asyncio.wait(self._in_flight, timeout=_POLL_S, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._in_flight[task]
            task.result()

    async def _stop(self) -> None:
        if self._in_flight:
            _, unfinished = await asyncio.wait(self._in_flight, timeout=_GRACE_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            self._in_flight.clear()
        selected = (_D.worker_id == self._worker_id(), _D.status == PENDING)
        with contextlib.suppress(*_OUTAGES):  # otherwise other workers release them, once this one is reaped
            async with self._database.write() as connection:
                await connection.execute(sa.update(deliveries).where(*selected).values(worker_id=None))

    async def _claim(self) -> list[Delivery]:
        """Claims due webhooks for this worker, as many as it may send."""
        worker_id = self._worker_id()
        try:
            picked = await self._pick(worker_id)
            if not picked:  # the usual case; a read needs no write lock
                self._log_recovery()
                return []
            async with self._database.write() as connection:
                rows = (await connection.execute(self._claim_query(picked, worker_id))).all()
                claimed = _D.id.in_([row.id for row in rows])
                await connection.execute(sa.update(deliveries).where(claimed).values(worker_id=worker_id))
            self._log_recovery()
        except _OUTAGES as error:
            self._log_outage(error)
            return []
        return [
            Delivery(
                r.id, r.generation_id, r.host, r.url, message(r, self._base_url), r.attempts, worker_id, r.context or {}
            )
            for r in rows
        ]

    async def _pick(self, worker_id: str) -> Sequence[sa.Row[Any]]:
        """The due webhooks with the earliest time, within the limit per host."""
        hosts = Counter(delivery.host for delivery in self._in_flight.values())
        picked: list[sa.Row[Any]] = []
        async with self._database.read() as connection:
            while (free := MAX_CONCURRENT - len(self._in_flight) - len(picked)) > 0:
                busy_hosts = [host for host, count in hosts.items() if count >= MAX_CONCURRENT_PER_HOST]
                more = (_D.host.not_in(busy_hosts), _D.id.not_in([row.id for row in picked]))
                rows = (await connection.execute(self._due(worker_id).where(*more).limit(free))).all()
                for row in rows:
                    if hosts[row.host] < MAX_CONCURRENT_PER_HOST:
                        hosts[row.host] += 1
                        picked.append(row)
                if len(rows) < free:
                    break
        return picked

    def _due(self, worker_id: str) -> sa.Select[Any]:
        """Unclaimed webhooks, and those claimed by this worker without its knowledge (lost commit confirmation)."""
        earlier = deliveries.alias("earlier")
        unsent = (earlier.c.generation_id == _D.generation_id, earlier.c.status == PENDING)
        must_wait = sa.exists().where(*unsent, earlier.c.event < _D.event)
        claimed = sa.exists().where(workers.c.id == _D.worker_id, workers.c.id != worker_id)
        in_flight = _D.id.in_([delivery.id for delivery in self._in_flight.values()])
        query = sa.select(_D.id, _D.host, _D.worker_id).where(_D.status == PENDING, self._is_due())
        return query.where(~claimed, ~must_wait, ~in_flight).order_by(_D.due_at)

    def _claim_query(self, picked: Sequence[sa.Row[Any]], worker_id: str) -> sa.Select[Any]:
        """Those of ``picked`` that are still free. Its conditions use only columns of the row: PostgreSQL re-evaluates
        them for a row that has changed meanwhile, but not conditions on other tables."""
        owners = {row.worker_id for row in picked} - {None}
        free = _D.worker_id.is_(None) | _D.worker_id.in_(owners)
        worker_exists = sa.exists().where(workers.c.id == worker_id)  # else the claim could not be released
        selected = _D.id.in_([row.id for row in picked])
        query = sa.select(deliveries).where(selected, _D.status == PENDING, free, self._is_due(), worker_exists)
        return query.with_for_update(skip_locked=True, of=deliveries)

    def _is_due(self) -> sa.ColumnElement[bool]:
        """Also a time further ahead than any delay: the clock was set back since."""
        now = utc_now()
        max_delay_s = max(MAX_RETRY_AFTER_S, 1.5 * self._backoff_s(self._limits.max_attempts))
        return (_D.due_at <= now) | (_D.attempts == 0) | (_D.due_at > now + timedelta(seconds=max_delay_s))

    async def _deliver(self, client: WebhookClient, delivery: Delivery) -> None:
        """The trace context is not sent: the receiver is a third party."""
        about = {"http__request__method": "POST", "atelier__job__id": delivery.generation_id}
        with tracing.continued_span("webhook", delivery.context, "client", **about) as span:
            response = await client.call(delivery.id, delivery.url, delivery.body)
            if response.status is not None:
                span.note(http__response__status_code=response.status)
            if not response.accepted:
                span.failed("webhook")
            await self._retry_write(delivery, response)

    async def _retry_write(self, delivery: Delivery, response: WebhookResponse) -> None:
        while True:
            try:
                return await self._write(delivery, response)
            except _OUTAGES as error:
                self._log_outage(error)
                await asyncio.sleep(_POLL_S)

    async def _write(self, delivery: Delivery, response: WebhookResponse) -> None:
        attempts = delivery.attempts + 1
        values: dict[str, Any] = {"attempts": attempts, "answer": response.status, "worker_id": None}
        conditions = [_D.id == delivery.id, _D.status == PENDING]
        if response.accepted:
            values["status"] = DELIVERED
        else:
            conditions.append(_D.worker_id == delivery.worker_id)  # else another worker has claimed it
            if response.is_last or attempts >= self._limits.max_attempts:
                values["status"] = FAILED
            else:
                delay_s = max(response.retry_after_s, self._backoff_s(attempts) * random.uniform(1.0, 1.5))
                values["due_at"] = utc_now() + timedelta(seconds=delay_s)
        async with self._database.write() as connection:
            await connection.execute(sa.update(deliveries).where(*conditions).values(**values))
            if response.status == HTTP_GONE:
                remaining = (_D.generation_id == delivery.generation_id, _D.url == delivery.url, _D.status == PENDING)
                await connection.execute(
                    sa.update(deliveries).where(*remaining).values(status=FAILED, answer=HTTP_GONE)
                )
        WEBHOOKS.add(1, values.get("status", "retried"))
        if values.get("status") == FAILED:
            details = (delivery.id, delivery.generation_id, delivery.host, attempts, response.reason)
            LOGGER.warning("webhook %s of job %s to %s failed after %d attempts: %s", *details)

    def _backoff_s(self, attempts: int) -> float:
        """The delay after so many attempts, before jitter adds up to half of it."""
        return min(_MAX_BACKOFF_S, self._limits.retry_s * 2.0 ** min(attempts - 1, 32))

    def _log_outage(self, error: Exception) -> None:
        if not self._unavailable:
            LOGGER.warning("webhooks wait for the database: %s", error)
        self._unavailable = True

    def _log_recovery(self) -> None:
        if self._unavailable:
            LOGGER.warning("webhooks continue: the database answers again")
        self._unavailable = False
