"""Rows of generations and results as the queue writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from serve.state.database import Database
from serve.state.tables import generations, results

START = datetime(2026, 1, 1, tzinfo=UTC)
_BATCH_SIZE = 2000


def generation(number: int, **values: Any) -> dict[str, Any]:
    """The ``number``-th generation: a minute after the one before."""
    return {
        "id": f"g{number}", "user_id": "ada", "kind": "illustrate", "prompt": f"a fox, number {number}",
        "model": "mini", "models": ["diffusion"], "parameters": {"guidance_scale": 7.5, "seed": number}, "details": {},
        "status": "completed", "priority": 0, "batch_id": None, "error": None, "favorite": False, "rating": None,
        "created_at": START + timedelta(minutes=number), "completed_at": START + timedelta(minutes=number, seconds=9),
        "generation_time_s": 9.0, **values,
    }  # fmt: skip


def result(number: int, place: int = 0, **values: Any) -> dict[str, Any]:
    """A result of the ``number``-th generation."""
    return {
        "id": f"r{number}-{place}", "generation_id": f"g{number}", "place": place, "object": f"{number:064x}.png",
        "media_type": "image/png", "model": "mini", "width": 64, "height": 64, "bytes": 100, "seed": number + place,
        "score": None, "thumbnail": None, "details": None, "created_at": START + timedelta(minutes=number), **values,
    }  # fmt: skip


async def insert(database: Database, table: sa.Table, rows: Iterable[Mapping[str, Any]]) -> None:
    batch: list[Mapping[str, Any]] = []
    async with database.write() as connection:
        for row in rows:
            batch.append(row)
            if len(batch) == _BATCH_SIZE:
                await connection.execute(table.insert(), batch)
                batch = []
        if batch:
            await connection.execute(table.insert(), batch)


async def fill(database: Database, *rows: Mapping[str, Any]) -> None:
    """Inserts generations with one result each."""
    await insert(database, generations, rows)
    numbers = [int(row["id"].removeprefix("g")) for row in rows]
    await insert(database, results, [result(number) for number in numbers])
