"""The result cache (A-080, C-090): expiry, size limit and eviction order, on both databases."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from jobs_standin import with_settings

from serve.observability.metrics.catalogue import CACHE_LOOKUPS
from serve.settings import Settings
from serve.state import State
from serve.state.cache import ANALYSIS, PREFERENCES, PRESET, Cache, evict
from serve.state.objects.names import Stored
from serve.state.tables import cache, cached_objects, objects, utc_now

HOUR = timedelta(hours=1)
A, B = Stored("a" * 64 + ".png", 400), Stored("b" * 64 + ".svg", 300)


async def put_entry(state: State, key: str, answer: Any = None, kind: str = "illustrate", *kept: Stored) -> Cache:
    entries = Cache(state)
    async with state.database.write() as connection:
        await entries.put(connection, key, kind, answer or {"key": key}, kept)
    return entries


async def shift(state: State, key: str, by: timedelta, *columns: str) -> None:
    """Moves the times of an entry by ``by``."""
    async with state.database.write() as connection:
        row = (await connection.execute(sa.select(cache).where(cache.c.key == key))).one()
        values = {name: getattr(row, name) + by for name in columns or ("created_at", "expires_at", "used_at")}
        await connection.execute(sa.update(cache).where(cache.c.key == key).values(values))


async def keys(state: State) -> Sequence[str]:
    async with state.database.read() as connection:
        return (await connection.scalars(sa.select(cache.c.key).order_by(cache.c.key))).all()


async def used_at(state: State, key: str) -> Any:
    async with state.database.read() as connection:
        return await connection.scalar(sa.select(cache.c.used_at).where(cache.c.key == key))


def with_cache_settings(settings: Settings, **values: Any) -> Settings:
    return with_settings(settings, cache=values)


async def reopened(settings: Settings, **values: Any) -> State:
    return await State.open(with_cache_settings(settings, **values))


async def test_stored_answer_is_found(state: State) -> None:
    entries = await put_entry(state, "one", {"files": [1.5, None, "ü"]}, "illustrate", A, B, A)
    entry = await entries.get("one")
    assert entry is not None
    assert entry.answer == {"files": [1.5, None, "ü"]}
    assert sorted(entry.objects) == [A.name, B.name]
    assert await entries.get("two") is None


async def test_storing_a_key_again_replaces_its_entry(state: State) -> None:
    await put_entry(state, "one", {"n": 1}, "illustrate", A)
    entries = await put_entry(state, "one", {"n": 2}, "illustrate", B)
    entry = await entries.get("one")
    assert entry is not None
    assert (entry.answer, entry.objects) == ({"n": 2}, [B.name])


async def test_entries_expire(state: State) -> None:
    """C-090: images and presets 24 h, analyses 1 h, preferences 30 min."""
    for kind, hours in {"illustrate": 24.0, ANALYSIS: 1.0, PRESET: 24.0, PREFERENCES: 0.5}.items():
        entries = await put_entry(state, kind, kind=kind)
        await shift(state, kind, -timedelta(hours=hours) + timedelta(minutes=1))
        assert await entries.get(kind) is not None
        await shift(state, kind, -timedelta(minutes=1))
        assert await entries.get(kind) is None
    assert await evict(state) == 4
    assert await keys(state) == []


async def test_shorter_expiry_applies_at_once(state: State, settings: Settings) -> None:
    await put_entry(state, "one")
    await shift(state, "one", -2 * HOUR)
    other = await reopened(settings, ttl_h=1.0, preset_ttl_h=1.0)
    assert await Cache(other).get("one") is None
    assert await Cache(state).get("one") is not None
    assert await evict(other) == 1
    await other.close()


async def test_entries_from_the_future_expire(state: State) -> None:
    entries = await put_entry(state, "one")
    await shift(state, "one", 1000 * HOUR)
    assert await entries.get("one") is None
    assert await evict(state) == 1


async def test_lookup_writes_the_last_use_rarely(state: State) -> None:
    entries = await put_entry(state, "one")
    await shift(state, "one", -timedelta(seconds=50), "used_at")
    before = await used_at(state, "one")
    await entries.get("one")
    assert await used_at(state, "one") == before
    for by in (-timedelta(seconds=20), 1000 * HOUR):  # used in the future: the clock was set back
        await shift(state, "one", by, "used_at")
        await entries.get("one")
        assert abs(await used_at(state, "one") - utc_now()) < timedelta(seconds=30)


async def test_least_recently_used_entry_is_evicted_first(state: State, settings: Settings) -> None:
    other = await reopened(settings, max_bytes=10_000)
    for place, key in enumerate(["a", "b", "c", "d"]):
        await put_entry(other, key, None, "illustrate", Stored(key * 64 + ".png", 2400))
        await shift(other, key, timedelta(minutes=place - 10), "used_at")
    assert await evict(other) == 0
    await Cache(other).get("a")
    await put_entry(other, "e", None, "illustrate", Stored("e" * 64 + ".png", 2400))
    assert await evict(other) == 2
    assert await keys(other) == ["a", "d", "e"]
    async with other.database.read() as connection:
        kept = (await connection.scalars(sa.select(cached_objects.c.key).order_by(cached_objects.c.key))).all()
    assert kept == ["a", "d", "e"]
    await other.close()


async def test_needs_eviction_is_set_above_the_limit(state: State, settings: Settings) -> None:
    other = await reopened(settings, max_bytes=10_000)
    entries = Cache(other)
    for n in range(12):
        async with other.database.write() as connection:
            await entries.put(connection, f"{n:02}", "illustrate", {}, [Stored(f"{n:064}.png", 2400)])
        if entries.needs_eviction:
            await entries.evict(other)
        async with other.database.read() as connection:
            assert (await connection.scalar(sa.select(sa.func.sum(cache.c.bytes)))) <= 10_000
    assert await keys(other) == ["08", "09", "10", "11"]
    await other.close()


async def test_json_counts_towards_the_size(state: State, settings: Settings) -> None:
    other = await reopened(settings, max_bytes=10_000)
    await put_entry(other, "one", {"text": "x" * 20_000})
    assert await keys(other) == []
    for n in range(20):
        await put_entry(other, f"{n:02}", {"text": "x" * 2000})
    await evict(other)
    assert len(await keys(other)) == 4
    await other.close()


async def test_many_expired_entries_are_evicted_in_batches(state: State) -> None:
    async with state.database.write() as connection:
        row = {"kind": "x", "answer": {}, "bytes": 1, "created_at": utc_now() - 30 * HOUR, "used_at": utc_now()}
        row["expires_at"] = utc_now() - HOUR
        await connection.execute(cache.insert(), [{**row, "key": f"{n}"} for n in range(1200)])
    assert await evict(state) == 1200


async def test_disabled_cache_stores_nothing(state: State, settings: Settings) -> None:
    await put_entry(state, "one")
    other = await reopened(settings, enabled=False)
    assert await Cache(other).get("one") is None
    await put_entry(other, "two")
    assert await keys(other) == ["one"]
    await other.close()


async def test_cached_objects_are_in_use(state: State) -> None:
    """Objects of a cached answer are not deleted; once the answer is deleted, they are."""
    (stored,) = await state.objects.put_all([(b"picture", "image/png")])
    entries = await put_entry(state, "one", None, "illustrate", stored)
    async with state.database.write() as connection:
        await connection.execute(sa.update(objects).values(touched_at=utc_now() - 48 * HOUR))
    assert await state.objects.delete_unused(HOUR) == 0
    await entries.delete("one")
    assert await state.objects.delete_unused(HOUR) == 1


async def test_lookups_are_counted_by_result(state: State) -> None:
    """The hit rate comes from these counts."""
    before = {result: CACHE_LOOKUPS.value(result) for result in ("hit", "miss")}
    assert await Cache(state).get("a") is None
    assert await (await put_entry(state, "a")).get("a") is not None
    assert {result: CACHE_LOOKUPS.value(result) - before[result] for result in before} == {"hit": 1, "miss": 1}
