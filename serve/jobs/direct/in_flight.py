"""Requests of the direct doors that are under way, told to every gateway by the table ``flights``.

Whoever begins a request writes down its key, and who asks for the same meanwhile waits for what it comes to. A gateway
holds a lease, as workers do: when it is killed, its flights end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import DeadlineExceeded, KeyReused, OutOfSpace, StateUnavailable
from serve.jobs.queue import idempotency
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.state import State
from serve.state.job_states import COMPLETED, new_id
from serve.state.tables import flights, generations, idempotency_keys, utc_now, workers

LOGGER = logging.getLogger(__name__)

Role = Literal["leads", "follows", "over"]
LEADS: Role = "leads"
FOLLOWS: Role = "follows"
OVER: Role = "over"
_ATTEMPTS = 5
"""At a flight that ends just as somebody asks for it."""


@dataclass(frozen=True)
class Claim:
    """An idempotency key, and the hash of what it came with."""

    user_id: str
    key: str
    body: str


@dataclass(frozen=True)
class JoinedRequest:
    """``leads``: the generation is ours to make. ``follows``: another flight makes it, and this ``row`` says that
    somebody waits. ``over``: the key stood for it already."""

    row: str
    generation_id: str
    role: Role


class InFlightRequests:
    """Of one process, for one event loop; `start` it, and `close` it. Methods raise StateUnavailable, OutOfSpace."""

    def __init__(self, state: State, watch: LeaseReaper | None = None) -> None:
        self._database = state.database
        self._limits = state.settings.jobs
        insert: Any = (sqlite if self._database.is_sqlite else postgresql).insert(flights)
        self._begin = insert.on_conflict_do_nothing().returning(flights.c.key)
        self._leases = Leases(state, {})
        self._watch = watch or LeaseReaper(state)
        self._registering = asyncio.Lock()
        self._left: set[JoinedRequest] = set()
        """What ended while nobody could write it down."""
        self._tending: asyncio.Task[None] | None = None

    @property
    def worker_id(self) -> str:
        return self._leases.worker_id

    def start(self) -> None:
        self._tending = asyncio.create_task(self._tend())

    async def close(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        await self._watch.close()
        if self.worker_id:
            with contextlib.suppress(StateUnavailable, OutOfSpace):
                await self._leases.leave()

    async def board(self, key: str, generation_id: str, claim: Claim | None = None) -> JoinedRequest:
        """One write. Raises KeyReused when the key of ``claim`` came with something else."""
        if not self.worker_id:
            await self._register("")
        boarded = JoinedRequest(key, generation_id, LEADS)
        try:
            async with self._database.write() as connection:
                boarded = await self._board(connection, key, generation_id)
                return boarded if claim is None else await self._claim(connection, boarded, claim)
        except BaseException:
            self._left.add(boarded)  # whether it was written is not known
            raise

    async def again(self, claim: Claim) -> str | None:
        """The completed generation that the key stands for. Raises KeyReused; reads only."""
        k, g = idempotency_keys.c, generations.c
        keep = timedelta(hours=self._limits.keep_keys_h)
        query = sa.select(k.body_hash, k.target, g.status).outerjoin(generations, g.id == k.target)
        query = query.where(k.user_id == claim.user_id, k.key == claim.key, k.created_at >= utc_now() - keep)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        if row.body_hash != claim.body:
            raise KeyReused("stands for another request already; send a new one with a new request", "Idempotency-Key")
        return row.target if row.status == COMPLETED else None

    async def wait(self, boarded: JoinedRequest, key: str, deadline: float) -> None:
        """Until the flight that ``boarded`` follows is over, or its gateway is; ``deadline`` is of ``monotonic``.

        Raises DeadlineExceeded.
        """
        leads = self._alive(flights.c.key == key, flights.c.generation_id == boarded.generation_id)
        try:
            while True:
                async with self._database.read("poll") as connection:
                    if await connection.scalar(leads) is None:
                        return
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded("the same request is under way, and was not done in time; ask again")
                await asyncio.sleep(self._limits.poll_s)
        finally:
            self._left.add(boarded)
            await self._sweep()

    @contextlib.asynccontextmanager
    async def landing(self, boarded: JoinedRequest) -> AsyncIterator[AsyncConnection]:
        """A transaction that ends the flight; when it cannot be written, the flight still ends as soon as it can."""
        try:
            async with self._database.write() as connection:
                yield connection
                await _end(connection, boarded)
        except BaseException:
            self._left.add(boarded)
            raise

    async def is_followed(self, key: str) -> bool:
        """Whether somebody elsewhere waits for the flight ``key`` of this process, as far as is known."""
        led = sa.select(flights.c.generation_id).where(flights.c.key == key, flights.c.worker_id == self.worker_id)
        others = self._alive(flights.c.generation_id == led.scalar_subquery(), flights.c.key != key)
        with contextlib.suppress(StateUnavailable):
            async with self._database.read("poll") as connection:
                return await connection.scalar(others.limit(1)) is not None
        return False

    async def _board(self, connection: AsyncConnection, key: str, generation_id: str) -> JoinedRequest:
        for _ in range(_ATTEMPTS):
            row = {"key": key, "generation_id": generation_id, "worker_id": self.worker_id}
            if await connection.scalar(self._begin, row) is not None:
                return JoinedRequest(key, generation_id, LEADS)
            other = sa.select(flights.c.generation_id).where(flights.c.key == key)
            leader: str | None = await connection.scalar(self._alive(flights.c.key == key))
            if leader is not None:
                waiting = JoinedRequest(f"{key}/{new_id()}", leader, FOLLOWS)
                follower = {"key": waiting.row, "generation_id": leader, "worker_id": self.worker_id}
                await connection.execute(flights.insert(), follower)
                return waiting
            if (gone := await connection.scalar(other)) is not None:  # of a gateway that has no lease any more
                await connection.execute(
                    sa.delete(flights).where(flights.c.key == key, flights.c.generation_id == gone)
                )
        raise StateUnavailable("the same request begins and ends all the time; try again")

    async def _claim(self, connection: AsyncConnection, boarded: JoinedRequest, claim: Claim) -> JoinedRequest:
        """What the key stands for, if that is done; else, if it came to nothing, it stands for this from now on."""
        body = (claim.user_id, claim.key, claim.body)
        keep = timedelta(hours=self._limits.keep_keys_h)
        known = await idempotency.claim(connection, *body, boarded.generation_id, keep)
        if known is None or known == boarded.generation_id:
            return boarded
        status = await connection.scalar(sa.select(generations.c.status).where(generations.c.id == known))
        if status == COMPLETED:
            await _end(connection, boarded)
            return JoinedRequest(boarded.row, known, OVER)
        this = (idempotency_keys.c.user_id == claim.user_id, idempotency_keys.c.key == claim.key)
        await connection.execute(sa.update(idempotency_keys).where(*this).values(target=boarded.generation_id))
        return boarded

    def _alive(self, *which: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
        """The generations of flights whose gateway has its lease."""
        return sa.select(flights.c.generation_id).join(workers, workers.c.id == flights.c.worker_id).where(*which)

    async def _register(self, instead_of: str) -> None:
        async with self._registering:
            if self.worker_id != instead_of:
                return
            await self._leases.register()
            async with self._database.write() as connection:  # of those that nobody has a lease for, and nobody took
                nobody = ~sa.exists().where(workers.c.id == flights.c.worker_id)
                await connection.execute(sa.delete(flights).where(nobody))

    async def _tend(self) -> None:
        """Shows that this process lives, and looks after those that do not."""
        away = False
        while True:
            try:
                await self._show_life()
                if away:
                    LOGGER.warning("the database answers again")
                away = False
            except (StateUnavailable, OutOfSpace) as error:
                if not away:
                    LOGGER.warning("the gateway goes on without the database: %s", error)
                away = True
            except Exception:
                LOGGER.exception("a gateway's loop failed, and goes on")
            await asyncio.sleep(self._limits.beat_s)

    async def _show_life(self) -> None:
        mine = self.worker_id
        try:
            if not mine:
                await self._register("")
            await self._watch.look_in_time(self._leases.beat())
        except LeaseLost:
            LOGGER.warning("this gateway was taken for dead; what it does now is not joined from elsewhere")
            await self._register(mine)
        await self._sweep()

    async def _sweep(self) -> None:
        """What is left behind goes, if that can be written now; else with the next beat."""
        going = list(self._left)
        if not going:
            return
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            async with self._database.write() as connection:
                for boarded in going:
                    await _end(connection, boarded)
            self._left.difference_update(going)


_END = sa.delete(flights).where(
    flights.c.key == sa.bindparam("row"), flights.c.generation_id == sa.bindparam("generation")
)


async def _end(connection: AsyncConnection, boarded: JoinedRequest) -> None:
    await connection.execute(_END, {"row": boarded.row, "generation": boarded.generation_id})
