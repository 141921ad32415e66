"""Answers that are given again, for a time and within a bound (A-080, C-090): JSON, and names of kept objects.

A key is the hash of all that decides an answer; who asks makes it (`serve.jobs.direct.result_cache` for requests).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.observability.metrics.catalogue import CACHE_LOOKUPS
from serve.settings import CacheSettings
from serve.state import State
from serve.state.objects import Stored
from serve.state.tables import cache, cached_objects, utc_now

ANALYSIS, PRESET, PREFERENCES = "analysis", "preset", "preferences"
"""Kinds with a time of their own; every other is kept for ``ttl_h``."""

_USED_EVERY = timedelta(minutes=1)
"""How exactly ``used_at`` is kept: to look is not to write."""
_FULL_SHARE = 0.95
"""What an eviction leaves of ``max_bytes``, so that not every answer after it evicts again."""
_LONGEST_H = 876_000
"""A century: times have an end."""
_CHUNK = 500
_VALUES = ("kind", "answer", "bytes", "created_at", "expires_at", "used_at")

_FIND = (
    sa.select(cache, cached_objects.c.object)
    .outerjoin(cached_objects, cached_objects.c.key == cache.c.key)
    .where(cache.c.key == sa.bindparam("of"))
    .order_by(cached_objects.c.object)
)
_FORGET_OBJECTS = sa.delete(cached_objects).where(cached_objects.c.key == sa.bindparam("of"))


@dataclass(frozen=True)
class CachedAnswer:
    """``answer`` is JSON; ``objects`` are names in the object store."""

    answer: Any
    objects: Sequence[str]


class Cache:
    """For one event loop. Every method raises StateUnavailable, and OutOfSpace where it writes."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._limits = state.settings.cache
        insert: Any = (sqlite if self._database.is_sqlite else postgresql).insert(cache)
        values = {name: insert.excluded[name] for name in _VALUES}
        self._upsert = insert.on_conflict_do_update(index_elements=["key"], set_=values)
        self._room = 0
        """Bytes that may be put before somebody has to count again; others put, too, so it is a guess."""

    @property
    def enabled(self) -> bool:
        return self._limits.enabled

    @property
    def is_over(self) -> bool:
        """Whether `evict` is due, by what was put from here."""
        return self._room < 0

    async def get(self, key: str) -> CachedAnswer | None:
        """None for what is not there, too old, or of a time that has not come: then the clock was put back since."""
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
        if row is None or not row.created_at <= now < min(row.expires_at, row.created_at + ttl(self._limits, row.kind)):
            return None
        if abs(now - row.used_at) > _USED_EVERY:
            async with self._database.write() as connection:
                await connection.execute(sa.update(cache).where(cache.c.key == key).values(used_at=now))
        return CachedAnswer(row.answer, [one.object for one in rows if one.object is not None])

    async def put(
        self, connection: AsyncConnection, key: str, kind: str, answer: Any, objects: Sequence[Stored] = ()
    ) -> None:
        """In the transaction of ``connection``. What is larger than the whole cache may be is not kept."""
        size = len(json.dumps(answer)) + sum(one.bytes for one in objects)
        if not self.enabled or size > self._limits.max_bytes:
            return
        now = utc_now()
        values = (kind, answer, size, now, now + ttl(self._limits, kind), now)
        await connection.execute(self._upsert, {"key": key, **dict(zip(_VALUES, values, strict=True))})
        await connection.execute(_FORGET_OBJECTS, {"of": key})
        if names := sorted({one.name for one in objects}):
            await connection.execute(cached_objects.insert(), [{"key": key, "object": name} for name in names])
        self._room -= size

    async def forget(self, key: str) -> None:
        """What cannot be answered any more, since an object is gone."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key == key))

    async def evict(self, state: State) -> int:
        """As `evict`, and counts anew."""
        evicted, held = await _evict(state)
        self._room = self._limits.max_bytes - held
        return evicted


async def evict(state: State) -> int:
    """Takes out what is too old, then what was not used for longest until the rest fits; how many that were.

    Raises StateUnavailable, OutOfSpace.
    """
    return (await _evict(state))[0]


def ttl(limits: CacheSettings, kind: str) -> timedelta:
    """How long an answer of ``kind`` is given again."""
    return timedelta(hours=min(_LONGEST_H, _hours(limits).get(kind, limits.ttl_h)))


def _hours(limits: CacheSettings) -> Mapping[str, float]:
    return {ANALYSIS: limits.analysis_ttl_h, PRESET: limits.preset_ttl_h, PREFERENCES: limits.preferences_ttl_h}


async def _evict(state: State) -> tuple[int, int]:
    """How many, and the bytes that are left."""
    evicted = await _evict_expired(state)
    limits = state.settings.cache
    async with state.database.read() as connection:
        held = int(await connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(cache.c.bytes), 0))) or 0)
    if held <= limits.max_bytes:
        return evicted, held
    while held > _FULL_SHARE * limits.max_bytes:
        oldest = sa.select(cache.c.key, cache.c.bytes).order_by(cache.c.used_at, cache.c.key).limit(_CHUNK)
        async with state.database.read() as connection:
            rows = (await connection.execute(oldest)).all()
        if not rows:
            break
        going: list[str] = []
        for row in rows:
            if held <= _FULL_SHARE * limits.max_bytes:
                break
            going.append(row.key)
            held -= row.bytes
        async with state.database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key.in_(going)))
        evicted += len(going)
    return evicted, held


async def _evict_expired(state: State) -> int:
    """Also what ends later than anything put now would: the clock was put back, or times were made shorter."""
    limits, now = state.settings.cache, utc_now()
    longest = max(ttl(limits, kind) for kind in ("", *_hours(limits)))
    over = (cache.c.expires_at <= now) | (cache.c.expires_at > now + longest)
    evicted = 0
    while True:
        async with state.database.read() as connection:
            keys = (await connection.scalars(sa.select(cache.c.key).where(over).limit(_CHUNK))).all()
        if not keys:
            return evicted
        async with state.database.write() as connection:
            await connection.execute(sa.delete(cache).where(cache.c.key.in_(keys)))
        evicted += len(keys)
