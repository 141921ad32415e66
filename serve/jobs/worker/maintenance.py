"""Periodic maintenance tasks, each run by one process of the site at a time.

Every process calls `run_due_tasks` about once a minute. A due task is claimed by an update that only one process can
make. The claim lasts for the task's maximum duration: if its process dies, another runs the task after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from serve.errors import AtelierError
from serve.jobs.retraining import add_if_due
from serve.jobs.webhooks.delivery import DELIVERED
from serve.settings import Settings
from serve.state import State, cache
from serve.state.backups.storage import delete_old
from serve.state.backups.writing import backup
from serve.state.database import Database
from serve.state.job_states import FAILED, TERMINAL
from serve.state.quality import MAX_RANGE
from serve.state.tables import (
    audit,
    batches,
    chores,
    counters,
    deliveries,
    events,
    exposures,
    generations,
    idempotency_keys,
    insert_into,
    keys,
    measurements,
    quality_samples,
    utc_now,
)

LOGGER = logging.getLogger(__name__)

_BATCH_SIZE = 1000
"""Rows or objects deleted per transaction or call."""
_RETRY_AFTER = timedelta(minutes=10)
"""Delay before a failed task is retried."""
_EMPTY_BATCH_AGE = timedelta(days=1)
"""Age at which a batch without generations is deleted."""
_MAX_HOURS = 876_000
"""A century: keeps timestamps in range."""


@dataclass(frozen=True)
class MaintenanceTask:
    """``max_duration``: its time limit, after which another process may claim it; shorter than ``interval``."""

    name: str
    interval: timedelta
    max_duration: timedelta
    run: Callable[[State], Awaitable[object]]


async def run_due_tasks(state: State) -> None:
    """Runs every due task that no other process has claimed, one after the other. A failed task does not stop the
    others.

    Raises StateUnavailable when the database does not answer.
    """
    for task in maintenance_tasks(state.settings):
        if not await _claim(state.database, task):
            continue
        started = utc_now()
        try:
            async with asyncio.timeout(task.max_duration.total_seconds()):
                await task.run(state)
        except (AtelierError, TimeoutError) as error:
            LOGGER.warning("the maintenance task %s failed and is retried: %s", task.name, error or "it took too long")
            await _set_done_at(state.database, task, _done_at_for_retry(task, _RETRY_AFTER))
        else:
            await _set_done_at(state.database, task, started)


def maintenance_tasks(settings: Settings) -> list[MaintenanceTask]:
    """The longest is last, so that the others do not wait for it."""
    hour, ten_minutes = timedelta(hours=1), timedelta(minutes=10)
    found = [
        MaintenanceTask("events", hour, ten_minutes, delete_old_events),
        MaintenanceTask("deliveries", hour, ten_minutes, delete_old_deliveries),
        MaintenanceTask("measurements", hour, ten_minutes, delete_old_measurements),
        MaintenanceTask("exposures", hour, ten_minutes, delete_old_exposures),
        MaintenanceTask("samples", hour, ten_minutes, delete_old_samples),
        MaintenanceTask("batches", hour, ten_minutes, delete_empty_batches),
        MaintenanceTask("keys", hour, ten_minutes, delete_old_keys),
        MaintenanceTask("audit", hour, ten_minutes, delete_old_audit),
        MaintenanceTask("api_keys", hour, ten_minutes, delete_old_api_keys),
        MaintenanceTask("counters", ten_minutes, ten_minutes / 2, delete_old_counters),
        MaintenanceTask("cache", ten_minutes, ten_minutes / 2, cache.evict),
        MaintenanceTask("objects", hour, ten_minutes, delete_unused_objects),
    ]
    own = settings.vectorizer.learning
    if own.enabled:
        found.append(MaintenanceTask("retraining", _hours(own.every_h), ten_minutes / 2, add_if_due))
    if settings.backup.url is not None:
        interval = _hours(settings.backup.every_h)
        found.append(MaintenanceTask("backup", interval, min(interval / 2, 12 * hour), back_up))
    return found


async def _claim(database: Database, task: MaintenanceTask) -> bool:
    """Whether the task is due and this process claimed it. A time in the future was written by another clock."""
    name, done_at = chores.c.name, chores.c.done_at
    async with database.read() as connection:
        last_done = await connection.scalar(sa.select(done_at).where(name == task.name))
    now = utc_now()
    if last_done is not None and now - task.interval < last_done <= now:
        return False
    claim = {"done_at": _done_at_for_retry(task, task.max_duration)}
    async with database.write() as connection:
        if last_done is not None:  # no other process has claimed it since
            found = await connection.execute(
                sa.update(chores).where(name == task.name, done_at == last_done).values(claim)
            )
        else:
            insert = insert_into(chores, database.is_sqlite)
            found = await connection.execute(insert.on_conflict_do_nothing(), {"name": task.name, **claim})
        return found.rowcount == 1


def _done_at_for_retry(task: MaintenanceTask, wait: timedelta) -> datetime:
    """The time of completion that makes the task due after ``wait``, or after its interval if that is shorter."""
    return utc_now() - task.interval + min(wait, task.interval)


async def _set_done_at(database: Database, task: MaintenanceTask, done_at: datetime) -> None:
    async with database.write() as connection:
        await connection.execute(sa.update(chores).where(chores.c.name == task.name).values(done_at=done_at))


def _hours(hours: float) -> timedelta:
    return timedelta(hours=min(hours, _MAX_HOURS))


async def delete_unused_objects(state: State) -> None:
    older_than = _hours(state.settings.objects.keep_unused_h)
    while await state.objects.delete_unused(older_than, _BATCH_SIZE) == _BATCH_SIZE:
        pass


async def delete_old_events(state: State) -> None:
    """Of jobs that ended long ago, which have no followers any more."""
    before = utc_now() - _hours(state.settings.jobs.keep_events_h)
    g, e = generations.c, events.c
    # From old events to their jobs, by index: the number of finished jobs only grows.
    is_finished = sa.exists().where(g.id == e.generation_id, g.status.in_(TERMINAL), g.completed_at < before)
    old = sa.select(e.generation_id, e.n).where(e.created_at < before, is_finished)
    await _delete(state.database, events, [e.generation_id, e.n], old)


async def delete_old_deliveries(state: State) -> None:
    """Finished ones, delivered or failed."""
    d = deliveries.c
    before = utc_now() - _hours(state.settings.jobs.keep_events_h)
    old = sa.select(d.id).where(d.status.in_([DELIVERED, FAILED]), d.created_at < before)
    await _delete(state.database, deliveries, [d.id], old)


async def delete_old_measurements(state: State) -> None:
    """Older than the longest range of the metrics."""
    m = measurements.c
    await _delete(state.database, measurements, [m.seq], sa.select(m.seq).where(m.created_at < utc_now() - MAX_RANGE))


async def delete_old_exposures(state: State) -> None:
    """Together with their measurements."""
    e = exposures.c
    old = sa.select(e.experiment, e.generation_id).where(e.created_at < utc_now() - MAX_RANGE)
    await _delete(state.database, exposures, [e.experiment, e.generation_id], old)


async def delete_old_samples(state: State) -> None:
    """The oldest beyond the maximum number."""
    seq, most = quality_samples.c.seq, state.settings.vectorizer.samples.max_rows
    async with state.database.read() as connection:
        newest_dropped = await connection.scalar(sa.select(seq).order_by(seq.desc()).offset(most).limit(1))
    if newest_dropped is not None:
        await _delete(state.database, quality_samples, [seq], sa.select(seq).where(seq <= newest_dropped))


async def delete_empty_batches(state: State) -> None:
    """Batches whose generations were all deleted."""
    b = batches.c
    has_generations = sa.exists().where(generations.c.batch_id == b.id)
    old = sa.select(b.id).where(b.created_at < utc_now() - _EMPTY_BATCH_AGE, ~has_generations)
    await _delete(state.database, batches, [b.id], old)


async def delete_old_keys(state: State) -> None:
    k = idempotency_keys.c
    before = utc_now() - _hours(state.settings.jobs.keep_keys_h)
    await _delete(
        state.database, idempotency_keys, [k.user_id, k.key], sa.select(k.user_id, k.key).where(k.created_at < before)
    )


async def delete_old_audit(state: State) -> None:
    """Entries older than the retention, and the oldest beyond the maximum number."""
    a, limits = audit.c, state.settings.access
    before = utc_now() - _hours(24 * limits.keep_audit_days)
    await _delete(state.database, audit, [a.seq], sa.select(a.seq).where(a.created_at < before))
    async with state.database.read() as connection:
        newest = int(await connection.scalar(sa.select(sa.func.max(a.seq))) or 0)
    await _delete(state.database, audit, [a.seq], sa.select(a.seq).where(a.seq <= newest - limits.max_audit_rows))


async def delete_old_api_keys(state: State) -> None:
    """Keys revoked or expired for as long as the audit log is kept."""
    k = keys.c
    before = utc_now() - _hours(24 * state.settings.access.keep_audit_days)
    old = sa.select(k.id).where(sa.or_(k.revoked_at < before, k.expires_at < before))
    await _delete(state.database, keys, [k.id], old)


async def delete_old_counters(state: State) -> None:
    """Of rate limits, whose windows have ended."""
    c = counters.c
    await _delete(state.database, counters, [c.key], sa.select(c.key).where(c.expires_at < utc_now()))


async def _delete(database: Database, table: sa.Table, key: Sequence[sa.Column[Any]], old: sa.Select[Any]) -> None:
    """Deletes the rows of ``table`` whose ``key`` is in ``old``, in batches, so that other writers get their turn."""
    while True:
        async with database.write() as connection:
            statement = sa.delete(table).where(sa.tuple_(*key).in_(old.limit(_BATCH_SIZE)))
            if (await connection.execute(statement)).rowcount < _BATCH_SIZE:
                return


async def back_up(state: State) -> None:
    """The scheduled backup (C-131); then deletes old ones."""
    settings = state.settings.backup
    assert settings.url is not None
    written = await backup(state, settings.url, scheduled=True)
    if written.missing:
        LOGGER.warning("%d objects are missing from the backup %s", len(written.missing), written.location)
    LOGGER.info("%s has %d rows and %d objects", written.location, written.rows, written.objects)
    await delete_old(settings.url, state.settings, _hours(24 * settings.keep_days))
