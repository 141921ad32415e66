"""The audit log (B-083): atomic with its change, found by filters and pages, one line per entry."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta

import pytest
from access_site import INJECTIONS, ME

from serve.errors import InvalidRequest
from serve.security.identity import audit
from serve.security.identity.audit import Actor, Filters
from serve.security.identity.roles import Principal
from serve.state.database import Database
from serve.state.tables import utc_now

_DETAILS = {"role": "user", "was": ["admin"], "n": 0.5, "odd": "nan"}
ADA = Principal("ada", "admin", frozenset(["admin"]), "k1")


async def record(database: Database, actor: Actor, action: str, subject: str | None = None) -> None:
    await audit.record_now(database, actor, action, subject)


async def test_entry_has_actor_action_subject_and_time(database: Database) -> None:
    before = utc_now()
    await audit.record_now(
        database, Actor.of(ADA, "192.0.2.1"), "user.role", "bob", role="user", was=["admin"], n=0.5, odd=math.nan
    )
    (entry,) = (await audit.page(database, Filters())).items
    assert (entry.user_id, entry.key_id, entry.address) == ("ada", "k1", "192.0.2.1")
    assert (entry.action, entry.subject, entry.details) == ("user.role", "bob", _DETAILS)
    assert before <= entry.created_at <= utc_now()


async def test_rolled_back_change_leaves_no_entry(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as connection:
            await audit.record(connection, ME, "test.done", "x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert (await audit.page(database, Filters())).items == []


async def test_concurrent_entries_are_all_stored(database: Database) -> None:
    await asyncio.gather(*(record(database, Actor(user_id=f"u{n % 7}"), "test.done", str(n)) for n in range(100)))
    page = await audit.page(database, Filters(), limit=200)
    assert sorted(int(entry.subject or "") for entry in page.items) == list(range(100))


async def test_filters_and_pagination(database: Database) -> None:
    for number in range(25):
        actor = Actor(f"u{number % 5}", f"k{number % 5}", f"192.0.2.{number % 5}")
        await record(database, actor, "key.create" if number % 2 else "key.revoke", str(number))
    subjects: list[str] = []
    cursor = None
    while True:
        page = await audit.page(database, Filters(), cursor, limit=10)
        subjects += [entry.subject or "" for entry in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
        await record(database, ME, "test.between")  # entries added meanwhile do not shift pages
    assert subjects == [str(number) for number in reversed(range(25))]
    for filters in (Filters(user_id="u3"), Filters(key_id="k3"), Filters(address="192.0.2.3")):
        assert [e.subject for e in (await audit.page(database, filters)).items] == ["23", "18", "13", "8", "3"]
    both = await audit.page(database, Filters(user_id="u3", action="key.create"))
    assert [entry.subject for entry in both.items] == ["23", "13", "3"]
    assert [entry.subject for entry in (await audit.page(database, Filters(subject="7"))).items] == ["7"]
    middle = (await audit.page(database, Filters(subject="12"))).items[0].created_at
    assert len((await audit.page(database, Filters(since=middle, action="key.revoke"))).items) == 7
    assert len((await audit.page(database, Filters(until=middle))).items) == 12
    assert (await audit.page(database, Filters(since=utc_now() + timedelta(days=1)))).items == []


async def test_entries_are_single_line_and_never_refused(database: Database) -> None:
    """Control characters, NUL and lone surrogates are escaped, and long texts are cut (attack: log injection)."""
    for text in INJECTIONS:
        actor = Actor(text, text, text)
        await audit.record_now(database, actor, "test.done", text, told=text, list=[text, 1, None, {text: text}])
        entry = (await audit.page(database, Filters(user_id=text, subject=text))).items[0]
        for shown in (entry.user_id, entry.key_id, entry.subject, entry.address, entry.details["told"]):
            assert shown is not None
            assert shown.isprintable()
            assert len(shown) <= audit.MAX_TEXT
        assert str(entry).isprintable()
        if text.isprintable() and len(text) <= audit.MAX_TEXT:
            assert entry.subject == text


async def test_invalid_cursors_and_limits_are_refused(database: Database) -> None:
    for cursor in (*INJECTIONS, "MQ==" * 100, "LTE", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "w6k"):
        with pytest.raises(InvalidRequest) as refused:
            await audit.page(database, Filters(), cursor)
        assert refused.value.field == "cursor"
    for limit in (0, -1, 201):
        with pytest.raises(InvalidRequest):
            await audit.page(database, Filters(), limit=limit)
