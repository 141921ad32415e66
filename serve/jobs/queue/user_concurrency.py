"""How many jobs of one user are done at once (`quotas.max_running`): workers pass over those of who has as many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.state.job_states import ANONYMOUS, PROCESSING
from serve.state.tables import jobs

_LOCK = 0x72756E6E
"""Of PostgreSQL's advisory locks: workers claim one after the other where users' jobs are counted."""

_running = jobs.alias("running")
_COUNTS = (
    sa.select(_running.c.user_id, sa.func.count().label("count"))
    .where(_running.c.status == PROCESSING, _running.c.user_id != ANONYMOUS)
    .group_by(_running.c.user_id)
)


def of_who_may(statement: sa.Select[Any]) -> sa.Select[Any]:
    """``statement``, over ``jobs``, without those of users that have ``most_running`` in work."""
    full = _COUNTS.with_only_columns(_running.c.user_id).having(sa.func.count() >= sa.bindparam("most_running"))
    return statement.where(jobs.c.user_id.not_in(full))


async def take_turns(connection: AsyncConnection) -> None:
    """Nobody else claims until the transaction ends; on SQLite nobody does anyway."""
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def as_many_as_may(connection: AsyncConnection, rows: Sequence[Any], most: int) -> list[Any]:
    """Of ``rows``, in their order, what its users may have in work beside what they have."""
    counts: Counter[str] = Counter({row.user_id: row.count for row in await connection.execute(_COUNTS)})
    found = []
    for row in rows:
        if row.user_id == ANONYMOUS or counts[row.user_id] < most:
            counts[row.user_id] += 1
            found.append(row)
    return found
