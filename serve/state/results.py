"""Single pictures and drawings, by the ids that answers name (A-115)."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from serve.errors import NotFound
from serve.state import gallery
from serve.state.database import Database
from serve.state.tables import generations, results


@dataclass(frozen=True)
class Result(gallery.Result):
    """With whose generation it is of, and the prompt of that."""

    user_id: str
    prompt: str


async def get_result(database: Database, result_id: str) -> Result:
    """Raises NotFound, StateUnavailable."""
    if "\0" not in result_id:  # which PostgreSQL would refuse
        query = sa.select(results, generations.c.user_id, generations.c.prompt).join(generations)
        async with database.read() as connection:
            row = (await connection.execute(query.where(results.c.id == result_id))).one_or_none()
        if row is not None:
            return Result(**row._mapping)
    raise NotFound("there is no such result", "id")


async def set_thumbnail(database: Database, result_id: str, name: str) -> None:
    """``name`` is of an object that was just put. A result that is gone meanwhile has none. Raises StateUnavailable."""
    async with database.write() as connection:
        await connection.execute(sa.update(results).where(results.c.id == result_id).values(thumbnail=name))
