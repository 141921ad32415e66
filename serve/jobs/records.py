"""Database rows of finished requests: results, measurements (A-090), and generations of synchronous requests."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.ensembles.requests import File, IllustrateRequest, Outcome
from serve.errors import AtelierError, EngineFailure, error_from_record
from serve.observability.costs import CPU, GPU
from serve.releases.experiments.assignment import EXPOSURES, Exposure, expose, exposure_rows
from serve.state import State
from serve.state.job_states import COMPLETED, FAILED
from serve.state.objects.names import Stored
from serve.state.tables import embeddings, generations, inputs, jobs, measurements, results, utc_now
from serve.state.write_batches import Write

_RESULTS, _EMBEDDINGS = sa.insert(results), sa.insert(embeddings)


async def insert_results(
    connection: AsyncConnection, generation_id: str, outcome: Outcome, stored: Sequence[Stored]
) -> list[str]:
    """Inserts the rows of the results; returns their ids in the order of the files, which are stored as ``stored``
    says."""
    rows = _result_rows(generation_id, outcome, stored)
    if rows:
        await connection.execute(_RESULTS, rows)
        await connection.execute(_EMBEDDINGS, _to_be_indexed(rows))
    return [str(row["id"]) for row in rows]


def _result_rows(generation_id: str, outcome: Outcome, stored: Sequence[Stored]) -> list[dict[str, Any]]:
    now = utc_now()
    return [
        {
            "id": secrets.token_hex(16), "generation_id": generation_id, "place": place, "object": query.name,
            "media_type": file.media_type, "model": outcome.model, "width": file.width, "height": file.height,
            "bytes": query.bytes, "seed": file.seed, "created_at": now,
        }
        for place, (file, query) in enumerate(zip(outcome.files, stored, strict=True))
    ]  # fmt: skip


def _to_be_indexed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{"result_id": row["id"]} for row in rows]


def completion_columns(outcome: Outcome, *, cached: bool = False) -> dict[str, Any]:
    """The columns of a completed generation."""
    return {
        "completed_at": utc_now(),
        "details": dict(outcome.details),
        "model": outcome.model,
        "generation_time_s": outcome.generation_time_s,
        "cached": cached,
    }


def cost_columns(cost: Mapping[str, float]) -> dict[str, float]:
    """The columns of a measurement that hold ``cost`` (`serve.observability.costs`)."""
    return {name: float(cost.get(name, 0.0)) for name in (CPU, GPU)}


def measurement_row(
    generation_id: str,
    user_id: str,
    kind: str,
    prompt: str,
    model: str | None,
    duration_s: float,
    cost: Mapping[str, float],
    *,
    error: str | None = None,
    cached: bool = False,
) -> dict[str, Any]:
    """The row of A-090 for a request that has just finished."""
    return {
        "generation_id": generation_id, "user_id": user_id, "kind": kind, "prompt": prompt,
        "generation_time_s": duration_s, "success": error is None, "error_message": error, "model_used": model,
        "cached": cached, "created_at": utc_now(), **cost_columns(cost),
    }  # fmt: skip


async def insert_measurement(
    connection: AsyncConnection,
    generation_id: str,
    generation_time_s: float,
    *,
    error: str | None = None,
) -> None:
    """Inserts the measurement of a job from its own rows; the cost is that of all its attempts."""
    g = generations.c
    details = sa.select(
        g.id, g.user_id, g.kind, g.prompt, sa.literal(generation_time_s), sa.literal(error is None),
        sa.literal(error, sa.Text), g.model, g.cached, sa.literal(utc_now()),
        *(jobs.c[name] for name in cost_columns({})),
    ).join_from(generations, jobs, jobs.c.generation_id == g.id).where(g.id == generation_id)  # fmt: skip
    columns = [
        "generation_id", "user_id", "kind", "prompt", "generation_time_s", "success", "error_message", "model_used",
        "cached", "created_at", *cost_columns({}),
    ]  # fmt: skip
    await connection.execute(measurements.insert().from_select(columns, details))


def object_store_items(files: Sequence[File]) -> list[tuple[bytes, str]]:
    """``files`` as `Objects.put_all` takes them."""
    return [(file.data, file.media_type) for file in files]


_GENERATION, _INPUTS, _MEASUREMENT = sa.insert(generations), sa.insert(inputs), sa.insert(measurements)

_MAX_RECENT = 16
_RECENT = (
    sa.select(generations.c.id, generations.c.parameters)
    .where(
        generations.c.user_id == sa.bindparam("user_id"),
        generations.c.kind == sa.bindparam("kind"),
        generations.c.direct,
        generations.c.status == COMPLETED,
        generations.c.created_at >= sa.bindparam("began"),
        generations.c.completed_at >= sa.bindparam("since"),
    )
    .order_by(generations.c.created_at.desc(), generations.c.seq.desc())
    .limit(_MAX_RECENT)
)


class RecordedRequest(Protocol):
    """What the history keeps of a request."""

    @property
    def kind(self) -> str: ...

    @property
    def prompt(self) -> str: ...

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class HistoryEntry:
    """``request`` as executed, with its seed."""

    generation_id: str
    user_id: str
    request: RecordedRequest
    began_at: datetime = field(default_factory=utc_now)
    exposures: Sequence[Exposure] = ()


@dataclass(frozen=True, eq=False)
class StoredOutcome:
    """The stored outcome of a generation; ``result_ids`` in the order of the files."""

    outcome: Outcome
    result_ids: Sequence[str]


def completed_writes(
    entry: HistoryEntry,
    outcome: Outcome,
    stored: Sequence[Stored],
    input_objects: Collection[str],
    duration_s: float,
    dialect: str,
    *,
    cached: bool = False,
) -> tuple[list[Write], list[str]]:
    """The writes of a completed generation, and the ids of its results. ``input_objects`` are object names."""
    columns = {**completion_columns(outcome, cached=cached), "generation_time_s": duration_s}
    results = _result_rows(entry.generation_id, outcome, stored)
    used = [{"generation_id": entry.generation_id, "object": name} for name in sorted(set(input_objects))]
    cost = {} if cached else outcome.cost
    measurement = _measurement_of(entry, outcome.model, duration_s, cost, cached=cached)
    writes = [
        Write(_GENERATION, [{**_generation_row(entry), "status": COMPLETED, **columns}]),
        Write(_RESULTS, results), Write(_EMBEDDINGS, _to_be_indexed(results)), Write(_INPUTS, used),
        Write(_MEASUREMENT, [measurement]),
        Write(EXPOSURES[dialect], exposure_rows(entry.exposures, entry.generation_id)),
    ]  # fmt: skip
    return [one for one in writes if one.rows], [str(row["id"]) for row in results]


async def insert_unfinished(
    connection: AsyncConnection, entry: HistoryEntry, status: str, error: AtelierError | None, duration_s: float
) -> None:
    """``status``: failed with ``error``, or cancelled."""
    details = error_details(error) if error is not None else None
    columns = {"status": status, "error": details, "completed_at": utc_now(), "generation_time_s": duration_s}
    await connection.execute(
        generations.insert(), {**_generation_row(entry), "model": model_of(entry.request), **columns}
    )
    if error is not None:
        row = _measurement_of(entry, model_of(entry.request), duration_s, {}, error=str(error))
        await connection.execute(_MEASUREMENT, row)
    await expose(connection, entry.exposures, entry.generation_id)


async def recent_generations(
    connection: AsyncConnection, user_id: str, kind: str, within: timedelta, max_duration: timedelta
) -> Sequence[sa.Row[Any, Any]]:
    """``id`` and ``parameters`` of the user's newest synchronous generations completed ``within`` that time.

    Requests take at most ``max_duration``, so older rows are not searched.
    """
    since = utc_now() - within
    newest = {"user_id": user_id, "kind": kind, "since": since, "began": since - max_duration}
    return (await connection.execute(_RECENT, newest)).all()


async def read_stored(state: State, generation_id: str) -> StoredOutcome | None:
    """None if the generation is not finished. Raises its error if it failed, and NotFound if a file is no longer
    stored."""
    g, r = generations.c, results.c
    columns = (g.status, g.error, g.details, g.model, g.generation_time_s)
    query = sa.select(r.id, r.object, r.media_type, r.width, r.height, r.seed).where(r.generation_id == generation_id)
    async with state.database.read() as connection:
        row = (await connection.execute(sa.select(*columns).where(g.id == generation_id))).one_or_none()
        if row is None or row.status not in (COMPLETED, FAILED):
            return None
        if row.status == FAILED:
            raise error_of(row.error)
        rows = (await connection.execute(query.order_by(r.place))).all()
    files = [File(await state.objects.get(one.object), one.media_type, one.width, one.height, one.seed) for one in rows]
    return StoredOutcome(Outcome(files, row.details, row.model, row.generation_time_s or 0.0), [one.id for one in rows])


def error_of(details: Mapping[str, Any]) -> AtelierError:
    """The inverse of `error_details`."""
    kind = next((known for known in _subclasses(AtelierError) if known.label() == details["type"]), EngineFailure)
    return error_from_record(kind, details)


def _subclasses(kind: type[AtelierError]) -> Iterator[type[AtelierError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _subclasses(below)


def _measurement_of(
    entry: HistoryEntry, model: str | None, duration_s: float, cost: Mapping[str, float], **columns: Any
) -> dict[str, Any]:
    request = entry.request
    return measurement_row(
        entry.generation_id, entry.user_id, request.kind, request.prompt, model, duration_s, cost, **columns
    )


def _generation_row(entry: HistoryEntry) -> dict[str, Any]:
    request = entry.request
    return {
        "id": entry.generation_id, "user_id": entry.user_id, "kind": request.kind, "direct": True,
        "prompt": request.prompt, "parameters": request.to_json(), "created_at": entry.began_at,
        "started_at": entry.began_at,
    }  # fmt: skip


def model_of(request: RecordedRequest) -> str | None:
    return request.options.model if isinstance(request, IllustrateRequest) else None


def error_details(error: AtelierError) -> dict[str, Any]:
    details = {"type": error.label(), "status": error.status, "detail": error.message, "field": error.field}
    return {**details, **error.extra_fields}
