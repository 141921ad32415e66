"""What has to be done now and then, once for all processes of a site, whoever comes first.

`run_due` is for every process to call, about once a minute. A chore that is due is claimed by one update that only one
process can make. The claim lasts for as long as the chore may take: if its process dies, somebody does it after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from serve.errors import AtelierError
from serve.jobs.webhooks.delivery import DELIVERED
from serve.settings import Settings
from serve.state import State, cache
from serve.state.backups.places import delete_old
from serve.state.backups.writing import backup
from serve.state.database import Database
from serve.state.job_states import FAILED, TERMINAL
from serve.state.quality import LONGEST
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
    keys,
    measurements,
    utc_now,
)

LOGGER = logging.getLogger(__name__)

_AT_ONCE = 1000
"""Rows, or objects, that one transaction, or one call, deletes."""
_AGAIN = timedelta(minutes=10)
"""How soon one that failed is tried again."""
_EMPTY_BATCH = timedelta(days=1)
"""How old one without generations becomes."""
_LONGEST_H = 876_000
"""A century: times have an end."""


@dataclass(frozen=True)
class Chore:
    """``at_most`` is how long it may take, and after how long it is done again if its process has vanished: less than
    ``every``.
    """

    name: str
    every: timedelta
    at_most: timedelta
    do: Callable[[State], Awaitable[object]]


async def run_due(state: State) -> None:
    """Every chore that is due and that nobody else is at, one after the other. One that fails keeps no other from it.

    Raises StateUnavailable when the database does not answer.
    """
    for chore in chores_of(state.settings):
        if not await _claimed(state.database, chore):
            continue
        started = utc_now()
        try:
            async with asyncio.timeout(chore.at_most.total_seconds()):
                await chore.do(state)
        except (AtelierError, TimeoutError) as error:
            LOGGER.warning("the chore %s failed and is tried again: %s", chore.name, error or "it took too long")
            await _set(state.database, chore, _due_in(chore, _AGAIN))
        else:
            await _set(state.database, chore, started)


def chores_of(settings: Settings) -> list[Chore]:
    """The longest comes last: the others do not wait for it."""
    hour, ten_minutes = timedelta(hours=1), timedelta(minutes=10)
    found = [
        Chore("events", hour, ten_minutes, delete_old_events),
        Chore("deliveries", hour, ten_minutes, delete_old_deliveries),
        Chore("measurements", hour, ten_minutes, delete_old_measurements),
        Chore("exposures", hour, ten_minutes, delete_old_exposures),
        Chore("batches", hour, ten_minutes, delete_empty_batches),
        Chore("keys", hour, ten_minutes, delete_old_keys),
        Chore("audit", hour, ten_minutes, delete_old_audit),
        Chore("api_keys", hour, ten_minutes, delete_old_api_keys),
        Chore("counters", ten_minutes, ten_minutes / 2, delete_old_counters),
        Chore("cache", ten_minutes, ten_minutes / 2, cache.evict),
        Chore("objects", hour, ten_minutes, delete_unused_objects),
    ]
    if settings.backup.url is not None:
        every = _hours(settings.backup.every_h)
        found.append(Chore("backup", every, min(every / 2, 12 * hour), back_up))
    return found


async def _claimed(database: Database, chore: Chore) -> bool:
    """Whether it is due and this process is the one to do it. A time that is yet to come was told by another clock."""
    name, done_at = chores.c.name, chores.c.done_at
    async with database.read() as connection:
        seen = await connection.scalar(sa.select(done_at).where(name == chore.name))
    now = utc_now()
    if seen is not None and now - chore.every < seen <= now:
        return False
    claim = {"done_at": _due_in(chore, chore.at_most)}
    async with database.write() as connection:
        if seen is not None:  # whoever else saw it due has not changed it yet
            found = await connection.execute(sa.update(chores).where(name == chore.name, done_at == seen).values(claim))
        else:
            insert = (sqlite if database.is_sqlite else postgresql).insert(chores)
            found = await connection.execute(insert.on_conflict_do_nothing(), {"name": chore.name, **claim})
        return found.rowcount == 1


def _due_in(chore: Chore, wait: timedelta) -> datetime:
    """When it must have been done to be due after ``wait``, or after its interval if that is shorter."""
    return utc_now() - chore.every + min(wait, chore.every)


async def _set(database: Database, chore: Chore, done_at: datetime) -> None:
    async with database.write() as connection:
        await connection.execute(sa.update(chores).where(chores.c.name == chore.name).values(done_at=done_at))


def _hours(hours: float) -> timedelta:
    return timedelta(hours=min(hours, _LONGEST_H))


async def delete_unused_objects(state: State) -> None:
    older_than = _hours(state.settings.objects.keep_unused_h)
    while await state.objects.delete_unused(older_than, _AT_ONCE) == _AT_ONCE:
        pass


async def delete_old_events(state: State) -> None:
    """Of jobs that ended so long ago: nobody follows those any more."""
    before = utc_now() - _hours(state.settings.jobs.keep_events_h)
    g, e = generations.c, events.c
    # From the events that are old to their jobs, by their indexes: of jobs, ever more are over.
    over = sa.exists().where(g.id == e.generation_id, g.status.in_(TERMINAL), g.completed_at < before)
    old = sa.select(e.generation_id, e.n).where(e.created_at < before, over)
    await _delete(state.database, events, [e.generation_id, e.n], old)


async def delete_old_deliveries(state: State) -> None:
    """Those that are over, however they ended."""
    d = deliveries.c
    before = utc_now() - _hours(state.settings.jobs.keep_events_h)
    old = sa.select(d.id).where(d.status.in_([DELIVERED, FAILED]), d.created_at < before)
    await _delete(state.database, deliveries, [d.id], old)


async def delete_old_measurements(state: State) -> None:
    """Older than any range that may be asked for."""
    m = measurements.c
    await _delete(state.database, measurements, [m.seq], sa.select(m.seq).where(m.created_at < utc_now() - LONGEST))


async def delete_old_exposures(state: State) -> None:
    """With the measurements that tell how they ended."""
    e = exposures.c
    old = sa.select(e.experiment, e.generation_id).where(e.created_at < utc_now() - LONGEST)
    await _delete(state.database, exposures, [e.experiment, e.generation_id], old)


async def delete_empty_batches(state: State) -> None:
    """Of which every generation was deleted."""
    b = batches.c
    left = sa.exists().where(generations.c.batch_id == b.id)
    old = sa.select(b.id).where(b.created_at < utc_now() - _EMPTY_BATCH, ~left)
    await _delete(state.database, batches, [b.id], old)


async def delete_old_keys(state: State) -> None:
    k = idempotency_keys.c
    before = utc_now() - _hours(state.settings.jobs.keep_keys_h)
    await _delete(
        state.database, idempotency_keys, [k.user_id, k.key], sa.select(k.user_id, k.key).where(k.created_at < before)
    )


async def delete_old_audit(state: State) -> None:
    """Older than is wished, and the oldest of more than are wished."""
    a, limits = audit.c, state.settings.access
    before = utc_now() - _hours(24 * limits.keep_audit_days)
    await _delete(state.database, audit, [a.seq], sa.select(a.seq).where(a.created_at < before))
    async with state.database.read() as connection:
        newest = int(await connection.scalar(sa.select(sa.func.max(a.seq))) or 0)
    await _delete(state.database, audit, [a.seq], sa.select(a.seq).where(a.seq <= newest - limits.max_audit_rows))


async def delete_old_api_keys(state: State) -> None:
    """That have been revoked or expired for as long as the audit is kept."""
    k = keys.c
    before = utc_now() - _hours(24 * state.settings.access.keep_audit_days)
    old = sa.select(k.id).where(sa.or_(k.revoked_at < before, k.expires_at < before))
    await _delete(state.database, keys, [k.id], old)


async def delete_old_counters(state: State) -> None:
    """Of rate limits, whose windows are over."""
    c = counters.c
    await _delete(state.database, counters, [c.key], sa.select(c.key).where(c.expires_at < utc_now()))


async def _delete(database: Database, table: sa.Table, key: Sequence[sa.Column[Any]], old: sa.Select[Any]) -> None:
    """The rows of ``table`` whose ``key`` is in ``old``, some at a time, so that others write in between."""
    while True:
        async with database.write() as connection:
            some = sa.delete(table).where(sa.tuple_(*key).in_(old.limit(_AT_ONCE)))
            if (await connection.execute(some)).rowcount < _AT_ONCE:
                return


async def back_up(state: State) -> None:
    """As scheduled (C-131); once it is there, old ones go."""
    settings = state.settings.backup
    assert settings.url is not None
    made = await backup(state, settings.url, scheduled=True)
    if made.missing:
        LOGGER.warning("%d objects are missing from the backup %s", len(made.missing), made.where)
    LOGGER.info("%s has %d rows and %d objects", made.where, made.rows, made.objects)
    await delete_old(settings.url, state.settings, _hours(24 * settings.keep_days))
