"""Embeddings of stored results, for search by likeness. A row without a vector is to be indexed, or cannot be.

Deleting a generation deletes its results and, with them, their embeddings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from serve.state.database import Database
from serve.state.gallery import Filters
from serve.state.tables import embeddings, generations, results

MAX_COMPARED = 20_000
"""Pictures that one search compares: the newest that its filters allow."""

_e, _r, _g = embeddings.c, results.c, generations.c


@dataclass(frozen=True)
class Pending:
    """A result to be indexed; ``object`` is its name in the object store."""

    result_id: str
    object: str
    media_type: str


@dataclass(frozen=True)
class Match:
    """The result of a generation that is most alike; ``score`` is the cosine, in [-1, 1]."""

    generation_id: str
    result_id: str
    score: float


async def pending(database: Database, engine: str, limit: int) -> list[Pending]:
    """Results that ``engine`` has not indexed. Raises StateUnavailable."""
    others = sa.or_(_e.engine < engine, _e.engine > engine)  # two ranges of the index
    query = sa.select(_r.id, _r.object, _r.media_type).join(embeddings, _e.result_id == _r.id).where(others)
    async with database.read() as connection:
        return [Pending(*row) for row in await connection.execute(query.limit(limit))]


async def store(database: Database, engine: str, vectors: Sequence[tuple[str, npt.NDArray[np.float32] | None]]) -> None:
    """By id of a result; None for what cannot be read. Results deleted meanwhile are ignored. Raises
    StateUnavailable."""
    rows = [
        {"of": result_id, "by": engine, "made": None if vector is None else vector.astype(np.float16).tobytes()}
        for result_id, vector in vectors
    ]
    statement = (
        sa.update(embeddings)
        .where(_e.result_id == sa.bindparam("of"))
        .values(engine=sa.bindparam("by"), vector=sa.bindparam("made"))
    )
    async with database.write() as connection:
        await connection.execute(statement, rows)


async def read(database: Database, engine: str, result_id: str) -> npt.NDArray[np.float32] | None:
    """None where it is not indexed. Raises StateUnavailable."""
    query = sa.select(_e.vector).where(_e.result_id == result_id, _e.engine == engine)
    async with database.read() as connection:
        found = await connection.scalar(query)
    return None if found is None else np.frombuffer(found, np.float16).astype(np.float32)


async def nearest(
    database: Database,
    engine: str,
    wanted: npt.NDArray[np.float32],
    filters: Filters,
    limit: int,
    except_result: str | None = None,
) -> list[Match]:
    """The generations with the results that are most like ``wanted``, a unit vector, the most alike first.

    Compares at most MAX_COMPARED results that ``filters`` allow, the newest. Raises StateUnavailable.
    """
    query = (
        sa.select(_g.id, _r.id, _e.vector)
        .select_from(embeddings.join(results, _r.id == _e.result_id).join(generations, _g.id == _r.generation_id))
        .where(_e.engine == engine, _e.vector.is_not(None), *filters.conditions(database.is_sqlite))
        .order_by(_g.created_at.desc(), _g.seq.desc())
        .limit(MAX_COMPARED)
    )
    if except_result is not None:
        query = query.where(_r.id != except_result)
    async with database.read() as connection:
        rows = (await connection.execute(query)).all()
    return await asyncio.to_thread(_ranked, rows, wanted, limit)


def _ranked(rows: Sequence[sa.Row[Any, Any, Any]], wanted: npt.NDArray[np.float32], limit: int) -> list[Match]:
    if not rows:
        return []
    vectors = np.frombuffer(b"".join(row[2] for row in rows), np.float16).reshape(len(rows), -1)
    scores = vectors.astype(np.float32) @ wanted
    best: dict[str, Match] = {}
    for i in np.argsort(-scores, kind="stable"):
        generation_id, result_id, _ = rows[int(i)]
        best.setdefault(generation_id, Match(generation_id, result_id, float(scores[i])))
        if len(best) == limit:
            break
    return list(best.values())
