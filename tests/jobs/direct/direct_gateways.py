"""Gateways that share one state, for tests of the direct endpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
from illustrator_standin import Gated, IllustratorStandIn
from standin import StandIn

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.direct.service import Answer, Caller, DirectService
from serve.jobs.worker.lease_reaper import LeaseReaper
from serve.state import State
from serve.state.tables import flights, generations, inputs, measurements, results

ADA = Caller("ada")


def illustrate_request(prompt: str = "fox", encoding: Encoding | None = None, **options: Any) -> IllustrateRequest:
    return IllustrateRequest(IllustrateOptions(prompt, **{"seed": 7, **options}), encoding or Encoding())


@contextlib.asynccontextmanager
async def gateway(
    state: State,
    illustrator: IllustratorStandIn | None = None,
    vectorizer: StandIn | None = None,
    watch: LeaseReaper | None = None,
) -> AsyncIterator[DirectService]:
    """A gateway without heartbeats: call `start` for these."""
    direct = DirectService(state, illustrator or IllustratorStandIn(), vectorizer or StandIn(), state.settings, watch)
    yield direct
    await direct.close()


def start_drawing(direct: DirectService, request: IllustrateRequest, caller: Caller = ADA) -> asyncio.Task[Answer]:
    return asyncio.create_task(direct.draw(request, caller))


async def disconnect(*asking: asyncio.Task[Answer]) -> None:
    """Cancels the requests, as when their clients disconnect."""
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def until(holds: Callable[[], Awaitable[Any]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def rows(state: State, table: sa.Table) -> Sequence[sa.Row[Any]]:
    order = table.c.seq if "seq" in table.c else sa.text("1")
    async with state.database.read() as connection:
        return (await connection.execute(sa.select(table).order_by(order))).all()


async def history(state: State) -> list[tuple[str, str, bool]]:
    """(user, status, cached) of each generation, oldest first."""
    return [(row.user_id, row.status, row.cached) for row in await rows(state, generations)]


async def no_flights_left(state: State) -> bool:
    """Whether no flight is left in the database."""
    return not await rows(state, flights)


async def follower_count(state: State) -> int:
    """The number of gateways that wait for the drawing of another one."""
    return sum("/" in row.key for row in await rows(state, flights))


__all__ = [
    "ADA",
    "Gated",
    "disconnect",
    "follower_count",
    "gateway",
    "history",
    "illustrate_request",
    "inputs",
    "measurements",
    "no_flights_left",
    "results",
    "rows",
    "start_drawing",
    "until",
]
