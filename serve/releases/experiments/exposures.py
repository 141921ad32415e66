"""Exposures: the arm of each generation, written in the transaction that writes the generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.tables import exposures, utc_now

_INSERTS: dict[str, sa.Insert] = {
    "sqlite": sqlite.insert(exposures).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(exposures).on_conflict_do_nothing(),
}


@dataclass(frozen=True)
class Exposure:
    experiment: str
    arm: str
    user_id: str


async def expose(connection: AsyncConnection, made: Sequence[Exposure], generation_id: str) -> None:
    """Idempotent: another attempt at the same generation changes nothing."""
    rows = [
        {
            "experiment": exposure.experiment, "generation_id": generation_id, "arm": exposure.arm,
            "user_id": exposure.user_id, "created_at": utc_now(),
        }
        for exposure in made
    ]  # fmt: skip
    if rows:
        await connection.execute(_INSERTS[connection.dialect.name], rows)
