"""The gallery on both databases: pages, filters, search, favourites, deletion (C-044, C-091, C-160)."""

from __future__ import annotations

import base64
import dataclasses
import json
import random
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from gallery_rows import START, fill, generation, insert, result

from serve.errors import Conflict, InvalidRequest, NotFound
from serve.state import gallery, tables
from serve.state.cursors import NEWEST, OLDEST, RATING, SORTS, Sort
from serve.state.database import Database
from serve.state.gallery import Filters, page
from serve.state.quality import GenerationMetrics, MetricsCollector


async def all_ids(database: Database, filters: Filters, sort: Sort, limit: int) -> list[str]:
    """The ids on all pages."""
    collected: list[str] = []
    cursor = None
    while True:
        current_page = await page(database, filters, sort, cursor, limit)
        collected += [one.id for one in current_page.items]
        cursor = current_page.next_cursor
        if cursor is None:
            return collected
        assert len(current_page.items) == limit


async def ids(database: Database, **filters: Any) -> list[str]:
    return [one.id for one in (await page(database, Filters(**filters), OLDEST, None, 100)).items]


async def test_generation_is_read_back_completely(database: Database) -> None:
    row = generation(1, batch_id="b", error={"type": "X"}, rating=0.5, favorite=True, priority=3)
    await fill(database, row)
    await insert(database, tables.results, [result(1, 2, score=0.25, details={"a": 1}), result(1, 1, thumbnail="t")])
    stored = await gallery.get_generation(database, "g1")
    fields = dataclasses.asdict(stored)
    assert {name: fields[name] for name in row} == row
    assert [one.place for one in stored.results] == [0, 1, 2]
    assert (stored.results[2].score, stored.results[2].details, stored.results[1].thumbnail) == (0.25, {"a": 1}, "t")
    assert (await page(database, Filters())).items == [stored]


@pytest.mark.parametrize("sort", SORTS.values(), ids=SORTS)
@pytest.mark.parametrize("limit", [1, 7, 10, 100])
async def test_pages_contain_every_row_once_in_order(database: Database, sort: Sort, limit: int) -> None:
    """Also with equal times, equal ratings and missing ratings."""
    rng = random.Random(5)
    rows = [
        generation(n, created_at=START + timedelta(seconds=rng.randrange(4)), rating=rng.choice([None, 1.0, -0.5, 0.1]))
        for n in range(30)
    ]
    await fill(database, *rows)
    by_time = sorted(rows, key=lambda row: (row["created_at"], int(row["id"][1:])))
    if sort is not OLDEST:
        by_time.reverse()
    if sort is RATING:
        by_time.sort(key=lambda row: -1e9 if row["rating"] is None else row["rating"], reverse=True)
    assert await all_ids(database, Filters("ada"), sort, limit) == [row["id"] for row in by_time]


async def test_new_and_deleted_rows_do_not_shift_pages(database: Database) -> None:
    await fill(database, *(generation(n) for n in range(10)))
    first = await page(database, Filters(), NEWEST, None, 4)
    await fill(database, generation(50), generation(51))
    async with database.write() as connection:
        await connection.execute(sa.delete(tables.generations).where(tables.generations.c.id == "g6"))
    second = await page(database, Filters(), NEWEST, first.next_cursor, 4)
    assert [one.id for one in (*first.items, *second.items)] == ["g9", "g8", "g7", "g6", "g5", "g4", "g3", "g2"]


async def test_filters_select_generations(database: Database) -> None:
    await fill(
        database,
        generation(0),
        generation(1, user_id="bob"),
        generation(2, kind="vectorize", model=None),
        generation(3, model="large", favorite=True),
        generation(4, status="failed", batch_id="b1"),
        generation(5, rating=0.5, favorite=True),
        generation(6, rating=-0.5),
    )
    assert await ids(database, user_id="bob") == ["g1"]
    assert await ids(database, kind="vectorize") == ["g2"]
    assert await ids(database, model="large") == ["g3"]
    assert await ids(database, status="failed") == ["g4"]
    assert await ids(database, batch_id="b1") == ["g4"]
    assert await ids(database, favorite=True) == ["g3", "g5"]
    assert await ids(database, favorite=False, user_id="ada") == ["g0", "g2", "g4", "g6"]
    assert await ids(database, min_rating=0.0) == ["g5"]
    assert await ids(database, since=START + timedelta(minutes=2), until=START + timedelta(minutes=4)) == ["g2", "g3"]
    assert await ids(database, favorite=True, min_rating=0.1, user_id="ada") == ["g5"]
    assert await ids(database, user_id="nobody") == []


async def test_search_matches_all_words_case_insensitively(database: Database) -> None:
    prompts = ["A Red FOX in snow", "a red house", "Äpfel und Füchse", "лиса в СНЕГУ", "狐 in 雪", ""]
    await fill(database, *(generation(n, prompt=prompt) for n, prompt in enumerate(prompts)))
    assert await ids(database, text="red") == ["g0", "g1"]
    assert await ids(database, text="  SNOW   fox ") == ["g0"]
    assert await ids(database, text="fox house") == []
    assert await ids(database, text="äpfel") == await ids(database, text="ÄPFEL füchse") == ["g2"]
    assert await ids(database, text="снегу Лиса") == ["g3"]
    assert await ids(database, text="雪") == ["g4"]
    assert len(await ids(database, text="   ")) == 6


async def test_search_escapes_wildcards(database: Database) -> None:
    prompts = [
        "100% wool",
        "100 wool",
        "a_b",
        "axb",
        "back\\slash",
        "it's [a] fox/wolf",
        "'; DROP TABLE generations;--",
    ]
    await fill(database, *(generation(n, prompt=prompt) for n, prompt in enumerate(prompts)))
    assert await ids(database, text="%") == ["g0"]
    assert await ids(database, text="0%_w") == []
    assert await ids(database, text="_") == ["g2"]
    assert await ids(database, text="a_b") == ["g2"]
    assert await ids(database, text="\\") == ["g4"]
    assert await ids(database, text="fox/wolf") == ["g5"]
    assert await ids(database, text="it's [a]") == ["g5"]
    assert await ids(database, text="'; drop") == ["g6"]


def test_number_of_search_words_is_limited() -> None:
    assert Filters(text="a b c d e f g h h h").words == ["a", "b", "c", "d", "e", "f", "g", "h"]
    with pytest.raises(InvalidRequest) as caught:
        Filters(text="a b c d e f g h i")
    assert caught.value.field == "q"


def cursor_of(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


BAD = {
    "empty": "", "no base64": "!!", "no JSON": "aGVsbG8", "a number": cursor_of()[:-1], "nothing in it": cursor_of(),
    "no time": cursor_of("newest", 5, 5), "no zone": cursor_of("newest", "2026-01-01T00:00:00", 5),
    "a bad time": cursor_of("newest", "yesterday", 5), "a seq of text": cursor_of("newest", START.isoformat(), "5"),
    "a seq too large": cursor_of("newest", START.isoformat(), 2**63), "too many": cursor_of("newest", 1, 2, 3),
    "before all time": cursor_of("newest", "0001-01-01T00:00:00+14:00", 5), "of rating": cursor_of("rating", 1.0, 1, 1),
    "another order": cursor_of("oldest", START.isoformat(), 5), "too long": cursor_of("newest", "x" * 300, 5),
    "a flag": cursor_of("newest", START.isoformat(), True), "letters": "Ä" * 8,
}  # fmt: skip


async def test_invalid_cursors_are_refused(database: Database) -> None:
    for kind, cursor in BAD.items():
        with pytest.raises(InvalidRequest) as caught:
            await page(database, Filters(), NEWEST, cursor)
        assert caught.value.field == "cursor", kind


async def test_page_size_is_limited(database: Database) -> None:
    for limit in (0, -1, 101):
        with pytest.raises(InvalidRequest) as caught:
            await page(database, Filters(), NEWEST, None, limit)
        assert caught.value.field == "limit"


async def test_generations_by_id_keep_the_requested_order(database: Database) -> None:
    await fill(database, *(generation(n) for n in range(3)))
    assert [one.id for one in await gallery.get_generations(database, ["g2", "g0"])] == ["g2", "g0"]
    with pytest.raises(NotFound, match="'g9'"):
        await gallery.get_generations(database, ["g1", "g9"])
    for wrong in ([], ["g1"] * 501):
        with pytest.raises(InvalidRequest):
            await gallery.get_generations(database, wrong)


async def test_favourites_belong_to_their_user(database: Database) -> None:
    await fill(database, generation(1), generation(2, user_id="bob"))
    for _ in range(2):
        await gallery.set_favorite(database, "g1", "ada", True)
    assert await ids(database, favorite=True) == ["g1"]
    with pytest.raises(NotFound):
        await gallery.set_favorite(database, "g2", "ada", True)
    await gallery.set_favorite(database, "g1", "ada", False)
    assert await ids(database, favorite=True) == []


async def test_deleted_generation_leaves_only_its_measurement(database: Database) -> None:
    """The row of A-090 stays for quality metrics, without the prompt."""
    await fill(database, generation(1), generation(2))
    async with database.write() as connection:
        await connection.execute(
            tables.events.insert().values(generation_id="g1", n=1, kind="x", data={}, created_at=START)
        )
        for number in (1, 2):
            metrics = GenerationMetrics(f"g{number}", "ada", "my secret", 1.0, True)
            await MetricsCollector(database).record_generation(connection, metrics)
    await gallery.delete_generation(database, "g1", "ada")
    assert await ids(database) == ["g2"]
    async with database.read() as connection:
        assert (await connection.scalars(sa.select(tables.results.c.id))).all() == ["r2-0"]
        assert (await connection.scalars(sa.select(tables.events.c.n))).all() == []
        m = tables.measurements.c
        kept = (await connection.execute(sa.select(m.generation_id, m.prompt).order_by(m.generation_id))).all()
    assert [tuple(row) for row in kept] == [("g1", ""), ("g2", "my secret")]
    with pytest.raises(NotFound):
        await gallery.delete_generation(database, "g1", "ada")


async def test_cached_answers_of_a_deleted_generation_are_deleted(database: Database) -> None:
    """Cached answers that name any of its results are deleted; others stay (A-080)."""
    await fill(database, generation(1), generation(2))
    await insert(database, tables.results, [result(1, 1, object="second.png")])
    names = {"first": [f"{1:064x}.png", "shared.png"], "again": ["second.png"], "other": [f"{2:064x}.png"], "none": []}
    at = {"created_at": START, "expires_at": START, "used_at": START}
    await insert(database, tables.cache, [{"key": key, "kind": "x", "answer": 1, "bytes": 1, **at} for key in names])
    named = [{"key": key, "object": one} for key, objects in names.items() for one in objects]
    await insert(database, tables.cached_objects, named)
    with pytest.raises(NotFound):
        await gallery.delete_generation(database, "g1", "bob")
    assert await keys_of(database) == ["again", "first", "none", "other"]
    await gallery.delete_generation(database, "g1", "ada")
    assert await keys_of(database) == ["none", "other"]
    async with database.read() as connection:
        assert (await connection.scalars(sa.select(tables.cached_objects.c.key))).all() == ["other"]


async def keys_of(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.scalars(sa.select(tables.cache.c.key).order_by(tables.cache.c.key))).all())


@pytest.mark.parametrize("status", ["pending", "processing", "paused"])
async def test_unfinished_generations_are_not_deleted(database: Database, status: str) -> None:
    await fill(database, generation(1, status=status))
    with pytest.raises(Conflict, match=status):
        await gallery.delete_generation(database, "g1", "ada")
    with pytest.raises(NotFound):
        await gallery.delete_generation(database, "g1", "bob")
    assert await ids(database) == ["g1"]


WORDS = [
    "red",
    "green",
    "blue",
    "fox",
    "apple",
    "house",
    "flat",
    "icon",
    "bird",
    "river",
    "calm",
    "stormy",
    "oak",
    "cat",
]
BIG: dict[str, tuple[Filters, Sort]] = {
    "newest": (Filters("ada"), NEWEST),
    "a frequent word": (Filters("ada", text="fox"), NEWEST),
    "a rare word": (Filters("ada", text="unicorn"), NEWEST),
    "words that none has": (Filters("ada", text="a e i o u fox zzz"), NEWEST),
    "letters of all kinds": (Filters("ada", text="äpfel füchse"), NEWEST),
    "favourites of a model": (Filters("ada", favorite=True, model="m1", status="completed"), NEWEST),
    "a kind that is not there": (Filters("ada", kind="vectorize"), NEWEST),
    "many filters": (Filters("ada", text="red fox calm", status="completed", model="m0", min_rating=0.5), NEWEST),
    "a month": (Filters("ada", since=START, until=START + timedelta(days=30)), OLDEST),
    "the best rated": (Filters("ada"), RATING),
    "the best rated with a word": (Filters("ada", text="fox"), RATING),
    "a rare word of everybody": (Filters(text="unicorn"), NEWEST),
}


@pytest.mark.slow
async def test_pages_of_thousands_of_generations(database: Database) -> None:
    """USERS_ASK 8: of one user, and as many of others. `loadtests.benchmarks.queue` measures 25,000 (C-160)."""
    rng = random.Random(7)

    def prompt(number: int) -> str:
        return " ".join(rng.choices(WORDS, k=40)) + (" unicorn" if number % 2_000 == 0 else "")

    rows = (
        generation(
            n,
            user_id="ada" if n % 2 == 0 else f"user{n % 40}",
            prompt=prompt(n),
            model=f"m{n % 3}",
            favorite=n % 50 == 0,
            rating=(n % 7) / 2 if n % 3 == 0 else None,
            status="failed" if n % 10 == 1 else "completed",
            parameters={"negative_prompt": "blurry, ugly " * 12, "seed": n},
            details={"model_versions": {"a": "1" * 60}},
        )
        for n in range(10_000)
    )
    await insert(database, tables.generations, rows)
    await insert(database, tables.results, (result(n) for n in range(10_000)))
    for filters, sort in BIG.values():
        assert len((await page(database, filters, sort, None, 50)).items) <= 50
    assert len(await all_ids(database, Filters("ada"), RATING, 100)) == 5_000
    assert len(await all_ids(database, Filters("ada", text="unicorn"), NEWEST, 3)) == 5
