"""The answer cache, bounded in time and bytes (A-080, C-090): JSON, and names of stored objects.

A key is a hash of everything that determines an answer; the caller computes it (`serve.jobs.direct.result_cache`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.observability.metrics.catalogue import CACHE_LOOKUPS
from serve.settings import CacheSettings
from serve.state import State
from serve.state.objects.names import Stored
from serve.state.tables import cache, cached_objects, insert_into, utc_now
from serve.state.write_batches import Write, execute

ANALYSIS, PRESET, PREFERENCES = "analysis", "preset", "preferences"
"""Kinds with their own lifetime; all others are kept for ``ttl_h``."""

_USED_AT_RESOLUTION = timedelta(minutes=1)
"""Resolution of ``used_at``: a lookup should not need a write."""
_EVICTION_TARGET = 0.95
"""Fraction of ``max_bytes`` left after an eviction, so that not every later answer evicts again."""
_MAX_HOURS = 876_000
"""A century: keeps timestamps in range."""
_BATCH_SIZE = 500
_COLUMNS = ("kind", "answer", "bytes", "created_at", "expires_at", "used_at")

_FIND = (
    sa.select(cache, cached_objects.c.object)
    .outerjoin(cached_objects, cached_objects.c.key == cache.c.key)
    .where(cache.c.key == sa.bindparam("of"))
    .order_by(cached_objects.c.object)
)
_INSERT_OBJECTS = sa.insert(cached_objects)
_DELETE_OBJECTS = sa.delete(cached_objects).where(cached_objects.c.key == sa.bindparam("of"))


@dataclass(frozen=True)
class CachedAnswer:
    """``answer`` is JSON; ``objects`` are names in the object store."""

    answer: Any
    objects: Sequence[str]
    expires_at: datetime


class Cache:
    """For one event loop. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._limits = state.settings.cache
        insert = insert_into(cache, self._database.is_sqlite)
        values = {name: insert.excluded[name] for name in _COLUMNS}
        self._upsert = insert.on_conflict_do_update(index_elements=["key"], set_=values)
        self._bytes_left = 0
        # An estimate: bytes that may be stored before a recount; other processes store too.

    @property
    def enabled(self) -> bool:
        return self._limits.enabled

    @property
    def needs_eviction(self) -> bool:
        """Whether `evict` is due, judged by this process's own writes."""
        return self._bytes_left < 0

    async def get(self, key: str) -> CachedAnswer | None:
        """None for a missing or expired answer, or one from the future: the clock was set back since."""
        if not self.enabled:
            return None
        found = await self._get(key)
        CACHE_LOOKUPS.add(1, "miss" if found is None else "hit")
        return found

    async def _get(self, key: str) -> CachedAnswer | None:
        now = utc_now()
        async with self._database.read() as connection:
            rows = (await connection.execute(_FIND, {"of": key})).all()
        row = rows[0] if rows else None
        if row is None:
            return None
        expires_at = min(row.expires_at, row.created_at + ttl(self._limits, row.kind))
        if not row.created_at <= now < expires_at:
            return None
        if abs(now - row.used_at) > _USED_AT_RESOLUTION:
            async with self._database.write() as connection:
                await connection.execute(sa.update(cache).where(cache.c.key == key).values(used_at=now))
        objects = [one.object for one in rows if one.object is not None]
        return CachedAnswer(row.answer, objects, expires_at)

    async def put(
        self, connection: AsyncConnection, key: str, kind: str, answer: Any, objects: Sequence[Stored] = ()
    ) -> None:
        """In the transaction of ``connection``. An answer larger than the whole cache is not stored."""
        await execute(connection, self.writes(key, kind, answer, objects))

    def writes(self, key: str, kind: str, answer: Any, objects: Sequence[Stored] = ()) -> list[Write]:
        """The writes that store an answer; none for one larger than the whole cache."""
        size = len(json.dumps(answer)) + sum(one.bytes for one in objects)
        if not self.enabled or size > self._limits.max_bytes:
            return []
        now = utc_now()
        values = (kind, answer, size, now, now + ttl(self._limits, kind), now)
        self._bytes_left -= size
        rows = [{"key": key, "object": name} for name in sorted({one.name for one in objects})]
        stored = [
            Write(self._upsert, [{"key": key, **dict(zip(_COLUMNS, values, strict=True))}]),
            Write(_DELETE_OBJECTS, [{"of": key}]),
        ]
        return [*stored, Write(_INSERT_OBJECTS, rows)] if rows else stored

    async def delete(self, key: str) -> None:
        """Deletes an answer that is unusable since an object is gone."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key == key))

    async def evict(self, state: State) -> int:
        """As `evict`, and recounts."""
        evicted, total_bytes = await _evict(state)
        self._bytes_left = self._limits.max_bytes - total_bytes
        return evicted


async def evict(state: State) -> int:
    """Deletes expired answers, then the least recently used until the rest fits; returns their number.

    Raises StateUnavailable, OutOfSpace.
    """
    return (await _evict(state))[0]


def ttl(limits: CacheSettings, kind: str) -> timedelta:
    """The lifetime of an answer of ``kind``."""
    return timedelta(hours=min(_MAX_HOURS, _hours(limits).get(kind, limits.ttl_h)))


def _hours(limits: CacheSettings) -> Mapping[str, float]:
    return {ANALYSIS: limits.analysis_ttl_h, PRESET: limits.preset_ttl_h, PREFERENCES: limits.preferences_ttl_h}


async def _evict(state: State) -> tuple[int, int]:
    """Returns the number of evicted answers, and the bytes left."""
    evicted = await _evict_expired(state)
    limits = state.settings.cache
    async with state.database.read() as connection:
        total_bytes = int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(cache.c.bytes), 0))) or 0)
    if total_bytes <= limits.max_bytes:
        return evicted, total_bytes
    while total_bytes > _EVICTION_TARGET * limits.max_bytes:
        oldest = sa.select(cache.c.key, cache.c.bytes).order_by(cache.c.used_at, cache.c.key).limit(_BATCH_SIZE)
        async with state.database.read() as connection:
            rows = (await connection.execute(oldest)).all()
        if not rows:
            break
        evicted_keys: list[str] = []
        for row in rows:
            if total_bytes <= _EVICTION_TARGET * limits.max_bytes:
                break
            evicted_keys.append(row.key)
            total_bytes -= row.bytes
        async with state.database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key.in_(evicted_keys)))
        evicted += len(evicted_keys)
    return evicted, total_bytes


async def _evict_expired(state: State) -> int:
    """Also answers that expire later than any new one would: the clock was set back, or lifetimes were shortened."""
    limits, now = state.settings.cache, utc_now()
    max_ttl = max(ttl(limits, kind) for kind in ("", *_hours(limits)))
    expired = (cache.c.expires_at <= now) | (cache.c.expires_at > now + max_ttl)
    evicted = 0
    while True:
        async with state.database.read() as connection:
            keys = (await connection.scalars(sa.select(cache.c.key).where(expired).limit(_BATCH_SIZE))).all()
        if not keys:
            return evicted
        async with state.database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key.in_(keys)))
        evicted += len(keys)
