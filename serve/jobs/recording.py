"""What a request came to, written down: its results, its end, and the row that quality is measured by (A-090)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import File, Outcome
from serve.observability.costs import CPU, GPU
from serve.state.objects import Stored
from serve.state.tables import generations, jobs, measurements, results, utc_now

_RESULTS = sa.insert(results)


async def put_results(
    connection: AsyncConnection, generation_id: str, outcome: Outcome, stored: Sequence[Stored]
) -> list[str]:
    """The ids of the results, in the order of the files, which are in the object store as ``stored`` says."""
    now = utc_now()
    rows = [
        {
            "id": secrets.token_hex(16), "generation_id": generation_id, "place": place, "object": kept.name,
            "media_type": file.media_type, "model": outcome.model, "width": file.width, "height": file.height,
            "bytes": kept.bytes, "seed": file.seed, "created_at": now,
        }
        for place, (file, kept) in enumerate(zip(outcome.files, stored, strict=True))
    ]  # fmt: skip
    if rows:
        await connection.execute(_RESULTS, rows)
    return [str(row["id"]) for row in rows]


def ended(outcome: Outcome, *, cached: bool = False) -> dict[str, Any]:
    """The columns of a generation that is completed."""
    return {
        "completed_at": utc_now(),
        "details": dict(outcome.details),
        "model": outcome.model,
        "generation_time_s": outcome.generation_time_s,
        "cached": cached,
    }


def spent(cost: Mapping[str, float]) -> dict[str, float]:
    """The columns of a measurement that ``cost``, as `serve.observability.costs` has it, goes into."""
    return {name: float(cost.get(name, 0.0)) for name in (CPU, GPU)}


def measurement(
    generation_id: str,
    user_id: str,
    kind: str,
    prompt: str,
    model: str | None,
    took_s: float,
    cost: Mapping[str, float],
    *,
    error: str | None = None,
    cached: bool = False,
) -> dict[str, Any]:
    """The row of A-090 for what ended just now."""
    return {
        "generation_id": generation_id, "user_id": user_id, "kind": kind, "prompt": prompt, "generation_time_s": took_s,
        "success": error is None, "error_message": error, "model_used": model, "cached": cached,
        "created_at": utc_now(), **spent(cost),
    }  # fmt: skip


async def measure(
    connection: AsyncConnection,
    generation_id: str,
    generation_time_s: float,
    *,
    error: str | None = None,
) -> None:
    """Writes `measurement` of a job from its own rows; it has cost what all its attempts have."""
    g = generations.c
    told = sa.select(
        g.id, g.user_id, g.kind, g.prompt, sa.literal(generation_time_s), sa.literal(error is None),
        sa.literal(error, sa.Text), g.model, g.cached, sa.literal(utc_now()),
        *(jobs.c[name] for name in spent({})),
    ).join_from(generations, jobs, jobs.c.generation_id == g.id).where(g.id == generation_id)  # fmt: skip
    columns = [
        "generation_id", "user_id", "kind", "prompt", "generation_time_s", "success", "error_message", "model_used",
        "cached", "created_at", *spent({}),
    ]  # fmt: skip
    await connection.execute(measurements.insert().from_select(columns, told))


def as_stored(files: Sequence[File]) -> list[tuple[bytes, str]]:
    """``files`` as the object store takes them."""
    return [(file.data, file.media_type) for file in files]
