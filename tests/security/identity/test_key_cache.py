"""Key lookup: the owner of a key, refusal of foreign, expired, revoked, malformed and guessed keys, and its bounds."""

from __future__ import annotations

import asyncio
import gc
import hmac
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from access_site import INJECTIONS, ME, SITE, Clock, row_of, set_key, with_other_secret, wrong_key
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import StateUnavailable, TooManyAttempts, Unauthorized
from serve.security.identity import audit, failed_attempts, key_cache
from serve.security.identity.keys import CreatedKey, Keys
from serve.security.identity.users import set_disabled
from serve.state import State
from serve.state.tables import utc_now

HERE, THERE = "192.0.2.1", "198.51.100.9"


@pytest.fixture
async def created_key(keys: Keys) -> CreatedKey:
    return await keys.create("ada", ME, role="user", name="laptop")


class LookupCounter:
    """Counts database lookups."""

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
def lookups(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[LookupCounter]:
    counting = LookupCounter(keys, monkeypatch)
    yield counting
    counting.wait.set()  # releases pending lookups even when the test has failed


async def refusal_reason(keys: Keys, secret: str, address: str | None = HERE) -> str:
    """The reason, which never contains the key."""
    with pytest.raises((Unauthorized, TooManyAttempts)) as refused:
        await keys.authenticate(secret, address)
    assert len(secret) < 8 or secret not in str(refused.value)
    return "wait" if isinstance(refused.value, TooManyAttempts) else refused.value.message


async def test_lookup_is_cached(keys: Keys, created_key: CreatedKey, clock: Clock, lookups: LookupCounter) -> None:
    for _ in range(5):
        assert (await keys.authenticate(created_key.secret, HERE)).user_id == "ada"
    assert lookups.number == 1
    clock.now += 5.0
    await keys.authenticate(created_key.secret, HERE)
    assert lookups.number == 2


async def test_revocation_elsewhere_applies_within_the_cache_time(
    state: State, keys: Keys, created_key: CreatedKey, clock: Clock
) -> None:
    await keys.authenticate(created_key.secret)
    other = Keys(state, SITE)
    await other.revoke(created_key.key.id, ME)
    await other.close()
    clock.now += 4.9
    await keys.authenticate(created_key.secret)
    clock.now += 0.1
    assert "revoked" in await refusal_reason(keys, created_key.secret)


async def test_revocation_here_applies_at_once(keys: Keys, created_key: CreatedKey) -> None:
    await keys.authenticate(created_key.secret)
    await keys.revoke(created_key.key.id, ME)
    assert "revoked" in await refusal_reason(keys, created_key.secret)


async def test_disabled_user_is_refused_within_the_cache_time(
    state: State, keys: Keys, created_key: CreatedKey, clock: Clock
) -> None:
    await keys.authenticate(created_key.secret)
    await set_disabled(state.database, "ada", True, ME)
    clock.now += 5.0
    assert "disabled" in await refusal_reason(keys, created_key.secret)
    await set_disabled(state.database, "ada", False, ME)
    clock.now += 5.0
    await keys.authenticate(created_key.secret)


async def test_expired_key_is_refused_at_once(
    state: State, keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    created_key = await keys.create("ada", ME, role="user", expires_in=timedelta(hours=1))
    await keys.authenticate(created_key.secret)
    later = utc_now() + timedelta(minutes=10)
    await set_key(state.database, created_key.key.id, expires_at=later)
    clock.now += 5.0
    await keys.authenticate(created_key.secret)
    monkeypatch.setattr(key_cache, "utc_now", lambda: later)
    assert "expired" in await refusal_reason(keys, created_key.secret), "the clock of the cache stands"


async def test_revoked_key_is_refused_without_a_wait(keys: Keys, created_key: CreatedKey, clock: Clock) -> None:
    """A client with a revoked key keeps retrying; other clients at its address are not affected."""
    await keys.revoke(created_key.key.id, ME)
    for _ in range(200):
        assert "revoked" in await refusal_reason(keys, created_key.secret)
    other = await keys.create("bob", ME, role="user")
    assert (await keys.authenticate(other.secret, HERE)).user_id == "bob"


async def test_modified_keys_are_refused(keys: Keys, created_key: CreatedKey, lookups: LookupCounter) -> None:
    secret = created_key.secret
    changed = [secret[:-1], secret[1:], secret.swapcase(), secret.lower(), f"{secret}0", secret.replace("atl", "ATL")]
    for address, one in enumerate(changed):
        reason = await refusal_reason(keys, one, f"10.0.0.{address}")
        assert "whole" in reason or "begin with atl_" in reason
    assert lookups.number == 0
    assert "known" in await refusal_reason(keys, with_other_secret(secret))
    assert "known" in await refusal_reason(keys, wrong_key())
    assert (await keys.authenticate(secret, HERE)).user_id == "ada"


async def test_arbitrary_text_is_refused(keys: Keys, created_key: CreatedKey) -> None:
    for number, text in enumerate(INJECTIONS):
        for secret in (text, f"atl_{text}", created_key.secret + text if text else "atl_"):
            assert await refusal_reason(keys, secret, f"10.0.0.{number}") != "wait"


async def test_key_of_another_site_is_refused(state: State, created_key: CreatedKey) -> None:
    """The same database with another secret: a copy of the rows alone yields no valid key."""
    other = Keys(state, (b"another secret of another site..",))
    assert "known" in await refusal_reason(other, created_key.secret)
    row = await row_of(state.database, created_key.key.id)
    assert "atl_" in await refusal_reason(other, row.secret_hash)
    await other.close()


async def test_comparison_is_constant_time(
    keys: Keys, created_key: CreatedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every kind of wrong key, 64 characters are compared in constant time."""
    compared: list[tuple[int, int]] = []

    def recorded_compare(a: str, b: str) -> bool:
        compared.append((len(a), len(b)))
        return hmac.compare_digest(a, b)

    class Hmac:
        compare_digest, new = staticmethod(recorded_compare), staticmethod(hmac.new)

    monkeypatch.setattr(key_cache, "hmac", Hmac)
    await keys.authenticate(created_key.secret)
    for_valid, compared[:] = list(compared), []
    await refusal_reason(keys, with_other_secret(created_key.secret))
    for_wrong, compared[:] = list(compared), []
    await refusal_reason(keys, wrong_key())
    assert for_valid == for_wrong == compared
    assert set(for_valid) == {(64, 64)}


async def test_guesses_are_rate_limited(
    keys: Keys, created_key: CreatedKey, clock: Clock, lookups: LookupCounter
) -> None:
    reasons = [await refusal_reason(keys, wrong_key()) for _ in range(100)]
    assert ["known" in reason for reason in reasons] == [True] * 10 + [False] * 90
    assert lookups.number == 10, "who has to wait is not looked up"
    tried = 0
    for _ in range(3600):  # an hour of one guess a second
        clock.now += 1.0
        tried += "known" in await refusal_reason(keys, wrong_key())
    assert tried <= 15
    with pytest.raises(TooManyAttempts) as refused:
        await keys.authenticate(wrong_key(), HERE)
    assert 0 < (refused.value.retry_after_s or 0) <= 900


async def test_malformed_guesses_are_rate_limited(keys: Keys, created_key: CreatedKey, lookups: LookupCounter) -> None:
    reasons = [await refusal_reason(keys, f"password{number}") for number in range(100)]
    assert reasons.count("wait") == 90
    assert lookups.number == 0


async def test_valid_keys_work_while_guesses_are_refused(keys: Keys, created_key: CreatedKey, clock: Clock) -> None:
    await keys.authenticate(created_key.secret, HERE)
    for _ in range(50):
        await refusal_reason(keys, wrong_key(), HERE)
        await refusal_reason(keys, with_other_secret(created_key.secret), HERE)
    assert await refusal_reason(keys, wrong_key(), HERE) == "wait"
    for address in (HERE, THERE):  # the cached key, also behind the same address
        assert (await keys.authenticate(created_key.secret, address)).user_id == "ada"
    clock.now += 30
    assert (await keys.authenticate(created_key.secret, HERE)).user_id == "ada", (
        "also once it has to be looked up again"
    )


async def test_distributed_guesses_do_not_lock_a_key(keys: Keys, created_key: CreatedKey) -> None:
    reasons = [
        await refusal_reason(keys, with_other_secret(created_key.secret), f"10.0.0.{number}") for number in range(100)
    ]
    assert reasons.count("wait") == 90
    assert (await keys.authenticate(created_key.secret, THERE)).user_id == "ada"


async def test_repeated_wrong_key_counts_once(
    keys: Keys, created_key: CreatedKey, clock: Clock, lookups: LookupCounter
) -> None:
    """A misconfigured client is not guessing, and clients behind the same address do not wait for it."""
    stale, malformed = wrong_key(), "none"
    for _ in range(300):
        assert "known" in await refusal_reason(keys, stale)
        assert "begin with" in await refusal_reason(keys, malformed)
        clock.now += 1.0
    assert lookups.number <= 61, "once in five seconds"
    assert (await keys.authenticate(created_key.secret, HERE)).user_id == "ada"


@pytest.mark.slow
@pytest.mark.parametrize("database_settings", ["sqlite"], indirect=True)
async def test_thousands_of_wrong_keys_keep_memory_bounded(
    keys: Keys, created_key: CreatedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "MAX_CACHED", 500)
    monkeypatch.setattr(failed_attempts, "MAX_TRACKED", 500)

    async def guess(numbers: range) -> None:
        for number in numbers:
            await refusal_reason(keys, wrong_key(), f"10.1.{number >> 8}.{number & 255}")

    await guess(range(1000))
    tracemalloc.start()
    await guess(range(1000, 2000))
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    mine = keys._key_cache
    assert len(mine._wrong_keys) == len(mine._by_client) == 500
    assert len(mine._cached) + len(mine._lookups) + len(mine._lookups_by_client) + len(mine._by_key) == 0
    assert grown < 500 * 1024, "the last five hundred have taken the places of others"
    assert (await keys.authenticate(created_key.secret, HERE)).user_id == "ada"


async def test_concurrent_requests_share_one_lookup(
    keys: Keys, created_key: CreatedKey, lookups: LookupCounter
) -> None:
    lookups.wait.clear()
    requests = [asyncio.create_task(keys.authenticate(created_key.secret, HERE)) for _ in range(200)]
    await asyncio.sleep(0)
    requests[0].cancel()  # the task that is cancelled does not cancel the shared lookup
    lookups.wait.set()
    found = await asyncio.gather(*requests, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {one.user_id for one in found[1:]} == {"ada"}  # type: ignore[union-attr]
    assert lookups.number == 1


async def test_concurrent_lookups_are_bounded(keys: Keys, created_key: CreatedKey, lookups: LookupCounter) -> None:
    """Further requests arrive before the first is found wrong."""
    lookups.wait.clear()
    requests = [asyncio.create_task(keys.authenticate(wrong_key(), HERE)) for _ in range(500)]
    other = asyncio.create_task(keys.authenticate(created_key.secret, THERE))
    await asyncio.sleep(0.05)
    assert lookups.number == 33
    assert sum(one.done() for one in requests) == 500 - 32
    lookups.wait.set()
    found = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(one) for one in found} == {Unauthorized, TooManyAttempts}
    assert (await other).user_id == "ada"


async def test_refusals_are_audited_once(state: State, keys: Keys, created_key: CreatedKey) -> None:
    for _ in range(500):
        await refusal_reason(keys, wrong_key(), "192.0.2.7\r\nadmin: in")
    refused = await audit.page(state.database, audit.Filters(action="key.refused"))
    assert [entry.address for entry in refused.items] == ["192.0.2.7\\r\\nadmin: in"]


async def test_last_use_is_written_in_the_background_once_a_minute(
    state: State, keys: Keys, created_key: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = utc_now()
    for _ in range(20):
        await keys.authenticate(created_key.secret)
    await keys._key_cache._last_use.close()
    first = (await row_of(state.database, created_key.key.id)).used_at
    assert before <= first <= utc_now()
    clock.now += 61  # this process might write again; another process has just done so
    await keys.authenticate(created_key.secret)
    await keys._key_cache._last_use.close()
    assert (await row_of(state.database, created_key.key.id)).used_at == first
    for odd in (utc_now() - timedelta(minutes=2), utc_now() + timedelta(days=1)):
        await set_key(state.database, created_key.key.id, used_at=odd)
        clock.now += 61
        await keys.authenticate(created_key.secret)
        await keys._key_cache._last_use.close()
        assert abs((await row_of(state.database, created_key.key.id)).used_at - utc_now()) < timedelta(minutes=1)


async def test_requests_do_not_wait_for_the_last_use_write(state: State, keys: Keys, created_key: CreatedKey) -> None:
    async with state.database.write() as connection:  # another writer holds the lock, and SQLite has one writer
        await connection.execute(audit._INSERT, {"action": "test.slow", "created_at": utc_now()})
        async with asyncio.timeout(20):
            await keys.authenticate(created_key.secret)
    await keys.close()
    assert (await row_of(state.database, created_key.key.id)).used_at is not None


async def test_database_outage_admits_no_one_and_locks_no_one_out(
    state: State, keys: Keys, created_key: CreatedKey, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await keys.authenticate(created_key.secret, HERE)

    async def away(*_: Any, **__: Any) -> Any:
        raise OSError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(AsyncConnection, "execute", away)
        await keys.authenticate(created_key.secret, HERE)  # cached a moment ago
        clock.now += 5
        for _ in range(30):
            with pytest.raises(StateUnavailable):
                await keys.authenticate(created_key.secret, HERE)
            with pytest.raises(StateUnavailable):
                await keys.authenticate(wrong_key(), HERE)
    assert (await keys.authenticate(created_key.secret, HERE)).user_id == "ada"
    assert "known" in await refusal_reason(keys, wrong_key(), HERE)


async def test_keys_stay_valid_during_secret_rotation(state: State, keys: Keys) -> None:
    """The new secret first, then the old one; without the old one, keys hashed with it are refused."""
    created_key = await keys.create("ada", ME, role="user")
    newest = b"n" * 32
    both, new = Keys(state, (newest, *SITE)), Keys(state, (newest,))
    assert (await both.authenticate(created_key.secret)).user_id == "ada"
    later = await both.create("ada", ME)
    for opened in (both, new):
        assert (await opened.authenticate(later.secret)).user_id == "ada"
    for opened, secret in ((new, created_key.secret), (keys, later.secret)):
        with pytest.raises(Unauthorized, match="not a key"):
            await opened.authenticate(secret)
    await both.close()
    await new.close()
