"""`WebhookDelivery`: sends what `serve.state.job_states` wrote into ``deliveries``, until delivered or failed.

Each is sent at least once: one whose sender dies before it has written down the answer is sent again, under the same
id. Those of one job go out in the order of its events, each after the one before has arrived or failed.
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
from serve.jobs.webhooks.call import GONE, MAX_WAIT_S, WebhookClient, WebhookResponse, message
from serve.observability import tracing
from serve.observability.metrics.catalogue import WEBHOOKS
from serve.state import State
from serve.state.job_states import FAILED, PENDING
from serve.state.tables import deliveries, utc_now, workers

LOGGER = logging.getLogger(__name__)
DELIVERED = "delivered"
AT_ONCE, AT_ONCE_PER_HOST = 32, 2
"""What one process sends: a receiver that takes its time holds up nobody else's."""
_BACKOFF_S = 6 * 3600.0
"""The longest wait of our own making."""
_LOOK_S = 0.25
"""How often there is a look at what is due."""
_GRACE_S = 2.0
"""How long what is being sent may go on when the process ends."""
_AWAY = (StateUnavailable, OutOfSpace)
_D = deliveries.c


@dataclass(frozen=True)
class Delivery:
    """One that this process sends."""

    id: str
    generation_id: str
    host: str
    url: str
    body: bytes
    attempts: int
    worker_id: str
    context: Mapping[str, str]


class WebhookDelivery:
    """Of one worker, for one event loop. Any number of workers may have one."""

    def __init__(
        self, state: State, worker_id: Callable[[], str], base_url: str, caller: WebhookClient | None = None
    ) -> None:
        """``worker_id`` is asked each time; ``base_url``, without a slash at its end, is where results are."""
        self._state = state
        self._database = state.database
        self._limits = state.settings.webhooks
        self._worker_id = worker_id
        self._base_url = base_url
        self._caller = caller
        self._under_way: dict[asyncio.Task[None], Delivery] = {}
        self._away = False

    async def run(self) -> None:
        """Until it is cancelled: what is being sent then gets a moment to end, or is given back.

        While the database is away it goes on, and keeps the answers that it could not write down.
        """
        if self._limits.secret is None:
            await asyncio.Event().wait()  # what waits from earlier days goes out once there is one again
        async with self._caller or WebhookClient(self._state.settings) as caller:
            try:
                while True:
                    for delivery in await self._claim():
                        self._under_way[asyncio.create_task(self._deliver(caller, delivery))] = delivery
                    await self._pause()
            finally:
                await self._stop()

    async def _pause(self) -> None:
        """Until something has ended, or for a moment."""
        if not self._under_way:
            await asyncio.sleep(_LOOK_S)
            return
        done, _ = await asyncio.wait(self._under_way, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            del self._under_way[task]
            task.result()

    async def _stop(self) -> None:
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=_GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            self._under_way.clear()
        mine = (_D.worker_id == self._worker_id(), _D.status == PENDING)
        with contextlib.suppress(*_AWAY):  # then the others do it, who find this worker gone
            async with self._database.write() as connection:
                await connection.execute(sa.update(deliveries).where(*mine).values(worker_id=None))

    async def _claim(self) -> list[Delivery]:
        """As many as there is room for, which are this worker's from now on."""
        worker_id = self._worker_id()
        try:
            picked = await self._pick(worker_id)
            if not picked:  # most often, and that needs no writer
                self._is_back()
                return []
            async with self._database.write() as connection:
                rows = (await connection.execute(self._still(picked, worker_id))).all()
                taken = _D.id.in_([row.id for row in rows])
                await connection.execute(sa.update(deliveries).where(taken).values(worker_id=worker_id))
            self._is_back()
        except _AWAY as error:
            self._is_away(error)
            return []
        return [
            Delivery(
                r.id, r.generation_id, r.host, r.url, message(r, self._base_url), r.attempts, worker_id, r.context or {}
            )
            for r in rows
        ]

    async def _pick(self, worker_id: str) -> Sequence[sa.Row[Any]]:
        """Those that are due first, but not more of any host than may be sent at once."""
        hosts = Counter(delivery.host for delivery in self._under_way.values())
        picked: list[sa.Row[Any]] = []
        async with self._database.read() as connection:
            while (room := AT_ONCE - len(self._under_way) - len(picked)) > 0:
                full = [host for host, count in hosts.items() if count >= AT_ONCE_PER_HOST]
                more = (_D.host.not_in(full), _D.id.not_in([row.id for row in picked]))
                rows = (await connection.execute(self._due(worker_id).where(*more).limit(room))).all()
                for row in rows:
                    if hosts[row.host] < AT_ONCE_PER_HOST:
                        hosts[row.host] += 1
                        picked.append(row)
                if len(rows) < room:
                    break
        return picked

    def _due(self, worker_id: str) -> sa.Select[Any]:
        """Nobody's, or this worker's without its knowing: a claim whose confirmation was lost."""
        earlier = deliveries.alias("earlier")
        same = (earlier.c.generation_id == _D.generation_id, earlier.c.status == PENDING)
        waits = sa.exists().where(*same, earlier.c.event < _D.event)
        taken = sa.exists().where(workers.c.id == _D.worker_id, workers.c.id != worker_id)
        here = _D.id.in_([delivery.id for delivery in self._under_way.values()])
        query = sa.select(_D.id, _D.host, _D.worker_id).where(_D.status == PENDING, self._is_time())
        return query.where(~taken, ~waits, ~here).order_by(_D.due_at)

    def _still(self, picked: Sequence[sa.Row[Any]], worker_id: str) -> sa.Select[Any]:
        """What of it is free still. By its own columns alone: a row that has changed meanwhile is compared with them
        anew by PostgreSQL, but not with other tables."""
        owners = {row.worker_id for row in picked} - {None}
        free = _D.worker_id.is_(None) | _D.worker_id.in_(owners)
        lives = sa.exists().where(workers.c.id == worker_id)  # else it could not be taken away again
        mine = _D.id.in_([row.id for row in picked])
        query = sa.select(deliveries).where(mine, _D.status == PENDING, free, self._is_time(), lives)
        return query.with_for_update(skip_locked=True, of=deliveries)

    def _is_time(self) -> sa.ColumnElement[bool]:
        """A time further ahead than any that is ever set: the clock was put back since."""
        now = utc_now()
        longest_s = max(MAX_WAIT_S, 1.5 * self._backoff_s(self._limits.max_attempts))
        return (_D.due_at <= now) | (_D.attempts == 0) | (_D.due_at > now + timedelta(seconds=longest_s))

    async def _deliver(self, caller: WebhookClient, delivery: Delivery) -> None:
        """The receiver is told nothing of the trace: it is somebody else's."""
        about = {"http__request__method": "POST", "atelier__job__id": delivery.generation_id}
        with tracing.continued_span("webhook", delivery.context, "client", **about) as span:
            answer = await caller.call(delivery.id, delivery.url, delivery.body)
            if answer.status is not None:
                span.note(http__response__status_code=answer.status)
            if not answer.accepted:
                span.failed("webhook")
            await self._insist(delivery, answer)

    async def _insist(self, delivery: Delivery, answer: WebhookResponse) -> None:
        while True:
            try:
                return await self._write(delivery, answer)
            except _AWAY as error:
                self._is_away(error)
                await asyncio.sleep(_LOOK_S)

    async def _write(self, delivery: Delivery, answer: WebhookResponse) -> None:
        attempts = delivery.attempts + 1
        values: dict[str, Any] = {"attempts": attempts, "answer": answer.status, "worker_id": None}
        which = [_D.id == delivery.id, _D.status == PENDING]
        if answer.accepted:
            values["status"] = DELIVERED
        else:
            which.append(_D.worker_id == delivery.worker_id)  # else somebody else is at it again
            if answer.is_last or attempts >= self._limits.max_attempts:
                values["status"] = FAILED
            else:
                wait_s = max(answer.wait_s, self._backoff_s(attempts) * random.uniform(1.0, 1.5))
                values["due_at"] = utc_now() + timedelta(seconds=wait_s)
        async with self._database.write() as connection:
            await connection.execute(sa.update(deliveries).where(*which).values(**values))
            if answer.status == GONE:
                rest = (_D.generation_id == delivery.generation_id, _D.url == delivery.url, _D.status == PENDING)
                await connection.execute(sa.update(deliveries).where(*rest).values(status=FAILED, answer=GONE))
        WEBHOOKS.add(1, values.get("status", "retried"))
        if values.get("status") == FAILED:
            told = (delivery.id, delivery.generation_id, delivery.host, attempts, answer.told)
            LOGGER.warning("webhook %s of job %s to %s failed after %d attempts: %s", *told)

    def _backoff_s(self, attempts: int) -> float:
        """After so many attempts, before chance adds up to half of it."""
        return min(_BACKOFF_S, self._limits.retry_s * 2.0 ** min(attempts - 1, 32))

    def _is_away(self, error: Exception) -> None:
        if not self._away:
            LOGGER.warning("webhooks wait for the database: %s", error)
        self._away = True

    def _is_back(self) -> None:
        if self._away:
            LOGGER.warning("webhooks go on: the database answers again")
        self._away = False
