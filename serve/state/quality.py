"""Quality metrics: one row per finished request (A-090), and statistics of a time range (A-091)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import InvalidRequest
from serve.observability.costs import CPU, GPU
from serve.settings import PricesSettings
from serve.state.database import Database
from serve.state.tables import measurements, utc_now

_RANGE = re.compile(r"([1-9]\d{0,4})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
MAX_RANGE = timedelta(days=366)
_MAX_GROUPS = 50
_MAX_ERRORS = 10
_MAX_MESSAGE = 500

_m = measurements.c
_IS_TIMED = (_m.success, ~_m.cached)
"""Rows whose time is that of a generation: failures and cached answers are excluded."""


@dataclass(frozen=True)
class GenerationMetrics:
    """A finished request; ``generation_time`` in seconds."""

    generation_id: str
    user_id: str
    prompt: str
    generation_time: float
    success: bool
    error_message: str | None = None
    model_used: str | None = None
    timestamp: datetime = field(default_factory=utc_now)
    kind: str = "illustrate"
    cached: bool = False


class MetricsCollector:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def record_generation(self, connection: AsyncConnection, metrics: GenerationMetrics) -> None:
        """In the transaction that records the end of the generation."""
        row = {
            "generation_id": metrics.generation_id,
            "user_id": metrics.user_id,
            "kind": metrics.kind,
            "prompt": metrics.prompt,
            "generation_time_s": metrics.generation_time,
            "success": metrics.success,
            "error_message": metrics.error_message,
            "model_used": metrics.model_used,
            "cached": metrics.cached,
            "created_at": metrics.timestamp,
        }
        await connection.execute(measurements.insert(), row)

    async def get_quality_metrics(self, time_range: str = "7d") -> dict[str, Any]:
        """Statistics of requests finished within ``time_range``: minutes, hours or days such as 90m, 24h or 7d, at most
        366d.

        Times are of successful, uncached generations, in seconds, percentiles by nearest rank; None without any. Raises
        InvalidRequest, StateUnavailable.
        """
        until = utc_now()
        since = until - parse_range(time_range)
        within = (_m.created_at >= since, _m.created_at <= until)
        async with self._database.read() as connection:
            summary = (await connection.execute(sa.select(*_summary()).where(*within))).one()
            percentiles = {
                f"p{percent}_generation_time_s": await _percentile(connection, within, percent, summary.timed)
                for percent in (50, 95)
            }
            return {
                "range": time_range,
                "since": since.isoformat(),
                "until": until.isoformat(),
                **_summary_to_json(summary),
                "cached": summary.cached,
                "cache_hit_rate": _ratio(summary.cached, summary.total),
                **percentiles,
                "by_model": await _grouped(connection, within, _m.model_used, "model"),
                "by_kind": await _grouped(connection, within, _m.kind, "kind"),
                "errors": await _errors(connection, within),
                "by_day": await _by_day(connection, within, self._database.is_sqlite),
            }


def parse_range(text: str) -> timedelta:
    """Raises InvalidRequest naming ``range``."""
    match = _RANGE.fullmatch(text)
    found = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None
    if found is None or found > MAX_RANGE:
        raise InvalidRequest("must be minutes, hours or days such as 90m, 24h or 7d, at most 366d", "range")
    return found


def _count(*conditions: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    return sa.func.count(sa.case((sa.and_(*conditions), 1)))


def _summary() -> Sequence[sa.ColumnElement[Any]]:
    return (
        sa.func.count().label("total"),
        _count(_m.success).label("successes"),
        _count(_m.cached).label("cached"),
        _count(*_IS_TIMED).label("timed"),
        sa.func.avg(sa.case((sa.and_(*_IS_TIMED), _m.generation_time_s))).label("mean"),
    )


def _summary_to_json(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "total": row.total,
        "successes": row.successes,
        "success_rate": _ratio(row.successes, row.total),
        "average_generation_time_s": row.mean,
    }


def _ratio(part: int, summary: int) -> float | None:
    return part / summary if summary else None


async def _percentile(
    connection: AsyncConnection, within: Sequence[sa.ColumnElement[bool]], percent: int, rows: int
) -> float | None:
    """By nearest rank, of ``rows`` rows: the database sorts, and one row is fetched."""
    rank = -(-rows * percent // 100)
    query = sa.select(_m.generation_time_s).where(*within, *_IS_TIMED).order_by(_m.generation_time_s)
    found: float | None = await connection.scalar(query.limit(1).offset(max(0, rank - 1)))
    return found


async def _grouped(
    connection: AsyncConnection, within: Sequence[sa.ColumnElement[bool]], column: sa.ColumnElement[Any], name: str
) -> list[dict[str, Any]]:
    """The most frequent first."""
    query = sa.select(column.label("of"), *_summary()).where(*within).group_by(column)
    query = query.order_by(sa.desc("total"), column).limit(_MAX_GROUPS)
    return [{name: row.of, **_summary_to_json(row)} for row in await connection.execute(query)]


async def _errors(connection: AsyncConnection, within: Sequence[sa.ColumnElement[bool]]) -> list[dict[str, Any]]:
    message = sa.func.substr(_m.error_message, 1, _MAX_MESSAGE)
    query = sa.select(message.label("message"), sa.func.count().label("total")).where(*within, ~_m.success)
    query = query.group_by(message).order_by(sa.desc("total"), message).limit(_MAX_ERRORS)
    return [{"message": row.message, "total": row.total} for row in await connection.execute(query)]


async def _by_day(
    connection: AsyncConnection, within: Sequence[sa.ColumnElement[bool]], is_sqlite: bool
) -> list[dict[str, Any]]:
    """Days in UTC with finished requests, the oldest first."""
    local = sa.func.timezone("UTC", _m.created_at)
    day = sa.func.date(_m.created_at) if is_sqlite else sa.func.to_char(local, "YYYY-MM-DD")
    counts = (sa.func.count().label("total"), _count(_m.success).label("successes"))
    query = sa.select(day.label("day"), *counts).where(*within).group_by(sa.text("1")).order_by(sa.text("1"))
    rows = await connection.execute(query)
    return [{"day": row.day, "total": row.total, "successes": row.successes} for row in rows]


By = Literal["user", "model", "day"]
BY: tuple[By, ...] = get_args(By)
MAX_ROWS = 1000
_S_PER_HOUR = 3600.0


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
