"""Synchronous requests in flight, visible to all gateways through the table ``flights``.

The first gateway inserts the key of a request and leads it; others that get the same request wait for its result. A
gateway holds a lease, as workers do: when it is killed, its flights end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import DeadlineExceeded, KeyReused, OutOfSpace, StateUnavailable
from serve.jobs.queue import insertion
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.jobs.worker.leases import LeaseLost, Leases
from serve.state import State
from serve.state.job_states import COMPLETED, new_id
from serve.state.tables import flights, generations, idempotency_keys, utc_now, workers
from serve.state.write_batches import Write, execute

LOGGER = logging.getLogger(__name__)

Role = Literal["leader", "follower", "finished"]
LEADER: Role = "leader"
FOLLOWER: Role = "follower"
FINISHED: Role = "finished"
_MAX_ATTEMPTS = 5
"""To join a flight that ends at the same moment."""


@dataclass(frozen=True)
class IdempotencyClaim:
    """An idempotency key, and the hash of the body that it came with."""

    user_id: str
    key: str
    body: str


@dataclass(frozen=True)
class FlightTicket:
    """``leader``: this request runs the generation. ``follower``: another flight runs it, and ``row`` marks the waiter.
    ``finished``: the idempotency key already has a completed generation."""

    row: str
    generation_id: str
    role: Role


class InFlightRequests:
    """Of one process, for one event loop; `start` it, and `close` it. Methods raise StateUnavailable, OutOfSpace."""

    def __init__(self, state: State, lease_reaper: LeaseReaper | None = None) -> None:
        self._database = state.database
        self._limits = state.settings.jobs
        insert: Any = (sqlite if self._database.is_sqlite else postgresql).insert(flights)
        self._insert_flight: sa.Insert = insert.on_conflict_do_nothing()
        self._leases = Leases(state, {})
        self._lease_reaper = lease_reaper or LeaseReaper(state)
        self._register_lock = asyncio.Lock()
        self._to_delete: set[FlightTicket] = set()
        # Ended flights whose rows are still to be deleted.
        self._heartbeat_task: asyncio.Task[None] | None = None

    @property
    def worker_id(self) -> str:
        return self._leases.worker_id

    def start(self) -> None:
        self._heartbeat_task = asyncio.create_task(self._heartbeat_loop())

    async def close(self) -> None:
        if self._heartbeat_task is not None:
            self._heartbeat_task.cancel()
            await asyncio.gather(self._heartbeat_task, return_exceptions=True)
        await self._lease_reaper.close()
        if self.worker_id:
            with contextlib.suppress(StateUnavailable, OutOfSpace):
                await self._leases.unregister()

    async def join(self, key: str, generation_id: str, claim: IdempotencyClaim | None = None) -> FlightTicket:
        """Leads or follows the flight ``key``, in one write. Raises KeyReused when the key of ``claim`` has another
        body."""
        if not self.worker_id:
            await self._register("")
        ticket = FlightTicket(key, generation_id, LEADER)
        try:
            if claim is None and await self._database.write_batch([self._lead(ticket)]):
                return ticket
            async with self._database.write() as connection:
                ticket = await self._join(connection, key, generation_id)
                return ticket if claim is None else await self._claim(connection, ticket, claim)
        except BaseException:
            self._to_delete.add(ticket)  # whether the row was written is unknown
            raise

    async def completed_generation(self, claim: IdempotencyClaim) -> str | None:
        """The completed generation of an idempotency key. Raises KeyReused. Reads only."""
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

    async def wait(self, ticket: FlightTicket, key: str, deadline: float) -> None:
        """Waits until the flight that ``ticket`` follows ends, or its gateway does; ``deadline`` is of ``monotonic``.

        Raises DeadlineExceeded.
        """
        leader = self._live_flights(flights.c.key == key, flights.c.generation_id == ticket.generation_id)
        try:
            while True:
                async with self._database.read("poll") as connection:
                    if await connection.scalar(leader) is None:
                        return
                if time.monotonic() >= deadline:
                    raise DeadlineExceeded("the same request is under way, and was not done in time; ask again")
                await asyncio.sleep(self._limits.poll_s)
        finally:
            self._to_delete.add(ticket)
            await self._delete_ended()

    async def finish(self, ticket: FlightTicket, writes: Sequence[Write]) -> None:
        """Writes ``writes`` and ends the flight; if that fails, the flight is deleted as soon as possible."""
        try:
            await self._database.write_batch([*writes, Write(_DELETE_FLIGHT, [_flight_row(ticket)])])
        except BaseException:
            self._to_delete.add(ticket)
            raise

    @contextlib.asynccontextmanager
    async def finishing(self, ticket: FlightTicket) -> AsyncIterator[AsyncConnection]:
        """A transaction that also ends the flight; if it fails, the flight is deleted as soon as possible."""
        try:
            async with self._database.write() as connection:
                yield connection
                await _delete_flight(connection, ticket)
        except BaseException:
            self._to_delete.add(ticket)
            raise

    async def has_followers(self, key: str) -> bool:
        """Whether another process waits for the flight ``key`` of this process, as far as is known."""
        own_flight = sa.select(flights.c.generation_id).where(
            flights.c.key == key, flights.c.worker_id == self.worker_id
        )
        followers = self._live_flights(flights.c.generation_id == own_flight.scalar_subquery(), flights.c.key != key)
        with contextlib.suppress(StateUnavailable):
            async with self._database.read("poll") as connection:
                return await connection.scalar(followers.limit(1)) is not None
        return False

    def _lead(self, ticket: FlightTicket) -> Write:
        row = {"key": ticket.row, "generation_id": ticket.generation_id, "worker_id": self.worker_id}
        return Write(self._insert_flight, [row], required=True)

    async def _join(self, connection: AsyncConnection, key: str, generation_id: str) -> FlightTicket:
        for _ in range(_MAX_ATTEMPTS):
            ticket = FlightTicket(key, generation_id, LEADER)
            if await execute(connection, [self._lead(ticket)]):
                return ticket
            other = sa.select(flights.c.generation_id).where(flights.c.key == key)
            leader: str | None = await connection.scalar(self._live_flights(flights.c.key == key))
            if leader is not None:
                follower_ticket = FlightTicket(f"{key}/{new_id()}", leader, FOLLOWER)
                follower = {"key": follower_ticket.row, "generation_id": leader, "worker_id": self.worker_id}
                await connection.execute(flights.insert(), follower)
                return follower_ticket
            if (orphan := await connection.scalar(other)) is not None:  # its gateway lost its lease
                await connection.execute(
                    sa.delete(flights).where(flights.c.key == key, flights.c.generation_id == orphan)
                )
        raise StateUnavailable("the same request begins and ends all the time; try again")

    async def _claim(self, connection: AsyncConnection, ticket: FlightTicket, claim: IdempotencyClaim) -> FlightTicket:
        """The completed generation of the key if there is one; otherwise the key now refers to this generation."""
        body = (claim.user_id, claim.key, claim.body)
        keep = timedelta(hours=self._limits.keep_keys_h)
        target = await insertion.claim(connection, *body, ticket.generation_id, keep)
        if target is None or target == ticket.generation_id:
            return ticket
        status = await connection.scalar(sa.select(generations.c.status).where(generations.c.id == target))
        if status == COMPLETED:
            await _delete_flight(connection, ticket)
            return FlightTicket(ticket.row, target, FINISHED)
        same_key = (idempotency_keys.c.user_id == claim.user_id, idempotency_keys.c.key == claim.key)
        await connection.execute(sa.update(idempotency_keys).where(*same_key).values(target=ticket.generation_id))
        return ticket

    def _live_flights(self, *conditions: sa.ColumnElement[bool]) -> sa.Select[tuple[str]]:
        """Generations of flights whose gateway holds a lease."""
        return sa.select(flights.c.generation_id).join(workers, workers.c.id == flights.c.worker_id).where(*conditions)

    async def _register(self, expected: str) -> None:
        async with self._register_lock:
            if self.worker_id != expected:
                return
            await self._leases.register()
            async with self._database.write() as connection:  # flights without a lease that no reaper deleted
                orphaned = ~sa.exists().where(workers.c.id == flights.c.worker_id)
                await connection.execute(sa.delete(flights).where(orphaned))

    async def _heartbeat_loop(self) -> None:
        """Renews the lease, and reaps the leases of dead processes."""
        unavailable = False
        while True:
            try:
                await self._heartbeat()
                if unavailable:
                    LOGGER.warning("the database answers again")
                unavailable = False
            except (StateUnavailable, OutOfSpace) as error:
                if not unavailable:
                    LOGGER.warning("the gateway continues without the database: %s", error)
                unavailable = True
            except Exception:
                LOGGER.exception("a gateway's heartbeat failed, and continues")
            await asyncio.sleep(self._limits.beat_s)

    async def _heartbeat(self) -> None:
        worker_id = self.worker_id
        try:
            if not worker_id:
                await self._register("")
            await self._lease_reaper.reap_within_lease(self._leases.renew())
        except LeaseLost:
            LOGGER.warning("this gateway lost its lease; other gateways do not join its current requests")
            await self._register(worker_id)
        await self._delete_ended()

    async def _delete_ended(self) -> None:
        """Deletes ended flights if the database answers; otherwise the next heartbeat tries again."""
        tickets = list(self._to_delete)
        if not tickets:
            return
        with contextlib.suppress(StateUnavailable, OutOfSpace):
            async with self._database.write() as connection:
                for ticket in tickets:
                    await _delete_flight(connection, ticket)
            self._to_delete.difference_update(tickets)


_DELETE_FLIGHT = sa.delete(flights).where(
    flights.c.key == sa.bindparam("row"), flights.c.generation_id == sa.bindparam("generation")
)


async def _delete_flight(connection: AsyncConnection, ticket: FlightTicket) -> None:
    await connection.execute(_DELETE_FLIGHT, _flight_row(ticket))


def _flight_row(ticket: FlightTicket) -> dict[str, str]:
    """The parameters of `_DELETE_FLIGHT`."""
    return {"row": ticket.row, "generation": ticket.generation_id}
