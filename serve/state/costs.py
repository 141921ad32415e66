"""Costs of requests by user, model or day: sums over the rows of ``measurements``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

import sqlalchemy as sa

from serve.observability.costs import CPU, GPU
from serve.settings import PricesSettings
from serve.state.database import Database
from serve.state.tables import measurements

By = Literal["user", "model", "day"]
BY: tuple[By, ...] = get_args(By)
MAX_ROWS = 1000
_S_PER_HOUR = 3600.0
_m = measurements.c


@dataclass(frozen=True)
class Cost:
    """``of`` is a user, a model, or a day in UTC; None where no model drew. ``money`` is None without prices."""

    of: str | None
    requests: int
    cpu_seconds: float
    gpu_seconds: float
    money: float | None


async def costs(
    database: Database, by: By, since: datetime, prices: PricesSettings, user_id: str | None = None
) -> Sequence[Cost]:
    """The most expensive first, days in order; at most ``MAX_ROWS``. Of one user, if ``user_id`` is given.

    Raises StateUnavailable.
    """
    of = {"user": _m.user_id, "model": _m.model_used, "day": _day(database)}[by]
    cpu, gpu = sa.func.sum(_m.cpu_seconds).label(CPU), sa.func.sum(_m.gpu_seconds).label(GPU)
    query = sa.select(of.label("of"), sa.func.count().label("requests"), cpu, gpu).where(_m.created_at >= since)
    if user_id is not None:
        query = query.where(_m.user_id == user_id)
    query = query.group_by(sa.text("1"))
    query = query.order_by(sa.text("1")) if by == "day" else query.order_by(gpu.desc(), cpu.desc(), sa.text("1"))
    async with database.read() as connection:
        rows = (await connection.execute(query.limit(MAX_ROWS))).all()
    return [_cost(row, prices) for row in rows]


async def cost_of_user(database: Database, user_id: str, since: datetime, prices: PricesSettings) -> Cost:
    found = await costs(database, "user", since, prices, user_id)
    return found[0] if found else Cost(user_id, 0, 0.0, 0.0, money(0.0, 0.0, prices))


def money(cpu_s: float, gpu_s: float, prices: PricesSettings) -> float | None:
    """In ``prices.currency``; None without prices."""
    if prices.cpu_hour is None and prices.gpu_hour is None:
        return None
    return round((cpu_s * (prices.cpu_hour or 0.0) + gpu_s * (prices.gpu_hour or 0.0)) / _S_PER_HOUR, 6)


def _cost(row: sa.Row[Any], prices: PricesSettings) -> Cost:
    cpu_s, gpu_s = round(row.cpu_seconds, 6), round(row.gpu_seconds, 6)
    return Cost(row.of, row.requests, cpu_s, gpu_s, money(cpu_s, gpu_s, prices))


def _day(database: Database) -> sa.ColumnElement[str]:
    if database.is_sqlite:
        return sa.func.date(_m.created_at)
    return sa.func.to_char(sa.func.timezone("UTC", _m.created_at), "YYYY-MM-DD")
