"""Whose a key is, and every wrong one refused: foreign, expired, revoked, malformed, guessed; with bounds."""

from __future__ import annotations

import asyncio
import gc
import hmac
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from access_site import INJECTIONS, ME, SITE, Clock, like, row_of, set_key, wrong_key
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import StateUnavailable, TooManyAttempts, Unauthorized
from serve.security.identity import audit, failed_attempts, key_cache
from serve.security.identity.keys import CreatedKey, Keys
from serve.security.identity.users import set_disabled
from serve.state import State
from serve.state.tables import utc_now

HERE, THERE = "192.0.2.1", "198.51.100.9"


@pytest.fixture
async def made(keys: Keys) -> CreatedKey:
    return await keys.create("ada", ME, role="user", name="laptop")


class Looks:
    """Counts looks into the database."""

    def __init__(self, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self.wait = asyncio.Event()
        self.wait.set()
        read = keys._key_cache._read

        async def counted(key_id: str) -> Any:
            self.number += 1
            await self.wait.wait()
            return await read(key_id)

        monkeypatch.setattr(keys._key_cache, "_read", counted)


@pytest.fixture
def looks(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[Looks]:
    counting = Looks(keys, monkeypatch)
    yield counting
    counting.wait.set()  # nobody is left waiting, whatever became of the test


async def is_refused(keys: Keys, secret: str, address: str | None = HERE) -> str:
    """The reason, which never has the key in it."""
    with pytest.raises((Unauthorized, TooManyAttempts)) as refused:
        await keys.authenticate(secret, address)
    assert len(secret) < 8 or secret not in str(refused.value)
    return "wait" if isinstance(refused.value, TooManyAttempts) else refused.value.message


async def test_a_look_holds_for_a_while(keys: Keys, made: CreatedKey, clock: Clock, looks: Looks) -> None:
    for _ in range(5):
        assert (await keys.authenticate(made.secret, HERE)).user_id == "ada"
    assert looks.number == 1
    clock.now += 5.0
    await keys.authenticate(made.secret, HERE)
    assert looks.number == 2


async def test_a_revocation_elsewhere_is_seen_within_that_time(
    state: State, keys: Keys, made: CreatedKey, clock: Clock
) -> None:
    await keys.authenticate(made.secret)
    other = Keys(state, SITE)
    await other.revoke(made.key.id, ME)
    await other.close()
    clock.now += 4.9
    await keys.authenticate(made.secret)
    clock.now += 0.1
    assert "revoked" in await is_refused(keys, made.secret)


async def test_a_revocation_here_is_seen_at_once(keys: Keys, made: CreatedKey) -> None:
    await keys.authenticate(made.secret)
    await keys.revoke(made.key.id, ME)
    assert "revoked" in await is_refused(keys, made.secret)


async def test_a_disabled_user_is_seen_within_that_time(
    state: State, keys: Keys, made: CreatedKey, clock: Clock
) -> None:
    await keys.authenticate(made.secret)
    await set_disabled(state.database, "ada", True, ME)
    clock.now += 5.0
    assert "disabled" in await is_refused(keys, made.secret)
    await set_disabled(state.database, "ada", False, ME)
    clock.now += 5.0
    await keys.authenticate(made.secret)


async def test_an_expired_key_is_seen_at_once(state: State, keys: Keys, clock: Clock) -> None:
    made = await keys.create("ada", ME, role="user", expires_in=timedelta(hours=1))
    await keys.authenticate(made.secret)
    await set_key(state.database, made.key.id, expires_at=utc_now() + timedelta(seconds=0.3))
    clock.now += 5.0
    await keys.authenticate(made.secret)
    expires_at = (await row_of(state.database, made.key.id)).expires_at
    await asyncio.sleep((expires_at - utc_now()).total_seconds() + 0.01)
    assert "expired" in await is_refused(keys, made.secret), "the clock of the cache stands"


async def test_who_shows_an_old_key_is_told_why_and_does_not_wait(keys: Keys, made: CreatedKey, clock: Clock) -> None:
    """A client that was forgotten goes on asking; nobody else at its address has to suffer."""
    await keys.revoke(made.key.id, ME)
    for _ in range(200):
        assert "revoked" in await is_refused(keys, made.secret)
    other = await keys.create("bob", ME, role="user")
    assert (await keys.authenticate(other.secret, HERE)).user_id == "bob"


async def test_changed_keys_are_refused(keys: Keys, made: CreatedKey, looks: Looks) -> None:
    secret = made.secret
    changed = [secret[:-1], secret[1:], secret.swapcase(), secret.lower(), f"{secret}0", secret.replace("atl", "ATL")]
    for address, one in enumerate(changed):
        reason = await is_refused(keys, one, f"10.0.0.{address}")
        assert "whole" in reason or "begin with atl_" in reason
    assert looks.number == 0
    assert "known" in await is_refused(keys, like(secret))
    assert "known" in await is_refused(keys, wrong_key())
    assert (await keys.authenticate(secret, HERE)).user_id == "ada"


async def test_any_text_is_refused(keys: Keys, made: CreatedKey) -> None:
    for number, text in enumerate(INJECTIONS):
        for secret in (text, f"atl_{text}", made.secret + text if text else "atl_"):
            assert await is_refused(keys, secret, f"10.0.0.{number}") != "wait"


async def test_a_key_of_another_site_is_refused(state: State, made: CreatedKey) -> None:
    """Of the same database, with another secret: who has a copy of the rows alone can make no key."""
    other = Keys(state, (b"another secret of another site..",))
    assert "known" in await is_refused(other, made.secret)
    row = await row_of(state.database, made.key.id)
    assert "atl_" in await is_refused(other, row.secret_hash)
    await other.close()


async def test_comparisons_take_the_same_time(keys: Keys, made: CreatedKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong, 64 characters are compared by what is made for it."""
    compared: list[tuple[int, int]] = []

    def watched(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    class Hmac:
        compare_digest, new = staticmethod(watched), staticmethod(hmac.new)

    monkeypatch.setattr(key_cache, "hmac", Hmac)
    await keys.authenticate(made.secret)
    right, compared[:] = list(compared), []
    await is_refused(keys, like(made.secret))
    wrong, compared[:] = list(compared), []
    await is_refused(keys, wrong_key())
    assert right == wrong == compared
    assert set(right) == {(64, 64)}


async def test_guesses_are_slowed_down(keys: Keys, made: CreatedKey, clock: Clock, looks: Looks) -> None:
    reasons = [await is_refused(keys, wrong_key()) for _ in range(100)]
    assert ["known" in reason for reason in reasons] == [True] * 10 + [False] * 90
    assert looks.number == 10, "who has to wait is not looked up"
    tried = 0
    for _ in range(3600):  # an hour of one guess a second
        clock.now += 1.0
        tried += "known" in await is_refused(keys, wrong_key())
    assert tried <= 15
    with pytest.raises(TooManyAttempts) as refused:
        await keys.authenticate(wrong_key(), HERE)
    assert 0 < (refused.value.retry_after_s or 0) <= 900


async def test_malformed_guesses_are_slowed_down_too(keys: Keys, made: CreatedKey, looks: Looks) -> None:
    reasons = [await is_refused(keys, f"password{number}") for number in range(100)]
    assert reasons.count("wait") == 90
    assert looks.number == 0


async def test_others_go_on_meanwhile(keys: Keys, made: CreatedKey, clock: Clock) -> None:
    await keys.authenticate(made.secret, HERE)
    for _ in range(50):
        await is_refused(keys, wrong_key(), HERE)
        await is_refused(keys, like(made.secret), HERE)
    assert await is_refused(keys, wrong_key(), HERE) == "wait"
    for address in (HERE, THERE):  # the key that was seen before, behind the same address, too
        assert (await keys.authenticate(made.secret, address)).user_id == "ada"
    clock.now += 30
    assert (await keys.authenticate(made.secret, HERE)).user_id == "ada", "also once it has to be looked up again"


async def test_guesses_from_everywhere_at_one_key_do_not_lock_it(keys: Keys, made: CreatedKey) -> None:
    reasons = [await is_refused(keys, like(made.secret), f"10.0.0.{number}") for number in range(100)]
    assert reasons.count("wait") == 90
    assert (await keys.authenticate(made.secret, THERE)).user_id == "ada"


async def test_one_wrong_key_again_and_again_counts_once(
    keys: Keys, made: CreatedKey, clock: Clock, looks: Looks
) -> None:
    """A client that is set up wrongly is no guess, and those behind the same address need not wait for it."""
    stale, malformed = wrong_key(), "none"
    for _ in range(300):
        assert "known" in await is_refused(keys, stale)
        assert "begin with" in await is_refused(keys, malformed)
        clock.now += 1.0
    assert looks.number <= 61, "once in five seconds"
    assert (await keys.authenticate(made.secret, HERE)).user_id == "ada"


@pytest.mark.slow
@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
async def test_ten_thousand_wrong_keys_keep_memory_bounded(
    keys: Keys, made: CreatedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "MAX_CACHED", 500)
    monkeypatch.setattr(failed_attempts, "MAX_TRACKED", 500)

    async def guess(numbers: range) -> None:
        for number in numbers:
            await is_refused(keys, wrong_key(), f"10.1.{number >> 8}.{number & 255}")

    await guess(range(8000))
    tracemalloc.start()
    await guess(range(8000, 10_000))
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    mine = keys._key_cache
    assert len(mine._wrong_keys) == len(mine._by_client) == 500
    assert len(mine._cached) + len(mine._lookups) + len(mine._lookups_by_client) + len(mine._by_key) == 0
    assert grown < 500 * 1024, "the last five hundred have taken the places of others"
    assert (await keys.authenticate(made.secret, HERE)).user_id == "ada"


async def test_many_who_ask_at_once_look_once(keys: Keys, made: CreatedKey, looks: Looks) -> None:
    looks.wait.clear()
    asking = [asyncio.create_task(keys.authenticate(made.secret, HERE)) for _ in range(200)]
    await asyncio.sleep(0)
    asking[0].cancel()  # who leaves takes nobody's answer along
    looks.wait.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {one.user_id for one in found[1:]} == {"ada"}  # type: ignore[union-attr]
    assert looks.number == 1


async def test_a_flood_at_once_is_bounded(keys: Keys, made: CreatedKey, looks: Looks) -> None:
    """Before the first is found wrong, others have come."""
    looks.wait.clear()
    asking = [asyncio.create_task(keys.authenticate(wrong_key(), HERE)) for _ in range(500)]
    other = asyncio.create_task(keys.authenticate(made.secret, THERE))
    await asyncio.sleep(0.05)
    assert looks.number == 33
    assert sum(one.done() for one in asking) == 500 - 32
    looks.wait.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in found} == {Unauthorized, TooManyAttempts}
    assert (await other).user_id == "ada"


async def test_refusals_are_in_the_audit_log_and_few(state: State, keys: Keys, made: CreatedKey) -> None:
    for _ in range(500):
        await is_refused(keys, wrong_key(), "192.0.2.7\r\nadmin: in")
    refused = await audit.page(state.database, audit.Filters(action="key.refused"))
    assert [entry.address for entry in refused.items] == ["192.0.2.7\\r\\nadmin: in"]


async def test_the_last_use_is_written_behind_the_request_once_a_minute(
    state: State, keys: Keys, made: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = utc_now()
    for _ in range(20):
        await keys.authenticate(made.secret)
    await keys._key_cache._last_use.close()
    first = (await row_of(state.database, made.key.id)).used_at
    assert before <= first <= utc_now()
    clock.now += 61  # this process might write again; another has just done so
    await keys.authenticate(made.secret)
    await keys._key_cache._last_use.close()
    assert (await row_of(state.database, made.key.id)).used_at == first
    for odd in (utc_now() - timedelta(minutes=2), utc_now() + timedelta(days=1)):
        await set_key(state.database, made.key.id, used_at=odd)
        clock.now += 61
        await keys.authenticate(made.secret)
        await keys._key_cache._last_use.close()
        assert abs((await row_of(state.database, made.key.id)).used_at - utc_now()) < timedelta(minutes=1)


async def test_no_request_waits_for_the_last_use(state: State, keys: Keys, made: CreatedKey) -> None:
    async with state.database.write() as connection:  # somebody else writes, and on SQLite nobody else may
        await connection.execute(audit._INSERT, {"action": "test.slow", "created_at": utc_now()})
        async with asyncio.timeout(2):
            await keys.authenticate(made.secret)
    await keys.close()
    assert (await row_of(state.database, made.key.id)).used_at is not None


async def test_a_database_that_is_away_lets_nobody_in_and_locks_nobody_out(
    state: State, keys: Keys, made: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.authenticate(made.secret, HERE)

    async def away(*_: Any, **__: Any) -> Any:
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncConnection, "execute", away)
        await keys.authenticate(made.secret, HERE)  # it was looked up a moment ago
        clock.now += 5
        for _ in range(30):
            with pytest.raises(StateUnavailable):
                await keys.authenticate(made.secret, HERE)
            with pytest.raises(StateUnavailable):
                await keys.authenticate(wrong_key(), HERE)
    assert (await keys.authenticate(made.secret, HERE)).user_id == "ada"
    assert "known" in await is_refused(keys, wrong_key(), HERE)


async def test_keys_hold_while_the_sites_secret_changes(state: State, keys: Keys) -> None:
    """The new one first, the old one after it; without the old one nobody is let in with what it hashed."""
    made = await keys.create("ada", ME, role="user")
    newest = b"n" * 32
    both, new = Keys(state, (newest, *SITE)), Keys(state, (newest,))
    assert (await both.authenticate(made.secret)).user_id == "ada"
    later = await both.create("ada", ME)
    for opened in (both, new):
        assert (await opened.authenticate(later.secret)).user_id == "ada"
    for opened, secret in ((new, made.secret), (keys, later.secret)):
        with pytest.raises(Unauthorized, match="not a key"):
            await opened.authenticate(secret)
    await both.close()
    await new.close()
