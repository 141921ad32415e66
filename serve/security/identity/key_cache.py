"""`KeyCache`: authenticates API keys from memory if looked up within `access.cache_s`, else from the database.

A revoked key, or one of a disabled user, keeps working for up to `access.cache_s` in any process; expiry takes effect
at once.

The cost of wrong keys is bounded. The same wrong key again is rejected without a lookup and not counted: that is a
misconfigured client, not a guess. Different wrong keys are counted per client and per key id, and after
`access.max_failures` of them no new key of that client is looked up for a while. A valid key that this process has
already seen still passes, from any address.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from serve.errors import AtelierError, TooManyAttempts, Unauthorized
from serve.security.identity.audit import Actor, record_now
from serve.security.identity.failed_attempts import FailedAttempts, client_group
from serve.security.identity.key_format import FIELD, parse_key_id
from serve.security.identity.roles import ROLES, Principal
from serve.settings import AccessSettings
from serve.state.database import Database
from serve.state.tables import UtcTime, keys, users, utc_now

LOGGER = logging.getLogger(__name__)
USE_RESOLUTION = timedelta(minutes=1)

_k = keys.c
_NOW, _BEFORE = sa.bindparam("now", type_=UtcTime()), sa.bindparam("before", type_=UtcTime())
_UPDATE_USED_AT = (
    sa.update(keys)
    .where(_k.id == sa.bindparam("of"), sa.or_(_k.used_at.is_(None), _k.used_at < _BEFORE, _k.used_at > _NOW))
    .values(used_at=_NOW)
)


class LastUse:
    """When keys were last used, to the minute; written in the background, so that requests never wait for it. For one
    event loop. What cannot be written is logged, and retried with a later use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        self._used[key_id] = utc_now()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Waits for pending writes."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._used:
            used, self._used = self._used, {}
            rows = [{"of": key_id, "now": now, "before": now - USE_RESOLUTION} for key_id, now in sorted(used.items())]
            try:
                async with self._database.write() as connection:
                    await connection.execute(_UPDATE_USED_AT, rows)
            except AtelierError as error:
                LOGGER.warning("the last use of %d keys was not written: %s", len(rows), error)


MAX_CACHED = 10_000
"""Keys, valid and wrong ones, cached at once."""
_MAX_LOOKUPS_PER_CLIENT = 32
"""Concurrent lookups of one client."""
_NEVER = float("-inf")
_NO_HASH = "0" * 64
"""Compared in place of the hash of a missing key."""

_u = users.c
_FIND = (
    sa.select(_k.secret_hash, _k.scopes, _k.name, _k.expires_at, _k.revoked_at, _k.user_id, _u.role, _u.disabled_at)
    .join(users, _u.id == _k.user_id)
    .where(_k.id == sa.bindparam("of"))
)


def hash_key(site_key: bytes, secret: str) -> str:
    """The stored hash of a key."""
    return hmac.new(site_key, secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


@dataclass
class _CachedKey:
    """A key as read at ``looked_up_at`` of the clock; ``invalid_reason`` says why it is not accepted."""

    hash: str
    principal: Principal
    expires_at: datetime | None
    invalid_reason: str | None
    looked_up_at: float
    use_noted_at: float = _NEVER


class KeyCache:
    """For one event loop; close it. ``site_keys``: the newest first. ``clock`` is in seconds, and monotonic."""

    def __init__(
        self,
        database: Database,
        settings: AccessSettings,
        site_keys: Sequence[bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._cache_s = settings.cache_s
        self._site_keys = site_keys
        self._clock = clock
        self._by_client, self._by_key = FailedAttempts(settings, clock), FailedAttempts(settings, clock)
        self._cached: OrderedDict[str, _CachedKey] = OrderedDict()
        self._wrong_keys: OrderedDict[str, float] = OrderedDict()
        self._lookups: dict[str, asyncio.Task[_CachedKey | None]] = {}
        self._lookups_by_client: Counter[str] = Counter()
        self._last_use = LastUse(database)

    async def authenticate(self, secret: str, address: str | None = None) -> Principal:
        """``address``: the client's, not a proxy's. Raises Unauthorized, TooManyAttempts, StateUnavailable."""
        hashes, client = [hash_key(key, secret) for key in self._site_keys], client_group(address)
        hashed = hashes[0]
        if self._clock() - self._wrong_keys.get(hashed, _NEVER) < self._cache_s:
            parse_key_id(secret)
            raise _unknown_key_error()
        try:
            key_id = parse_key_id(secret)
        except Unauthorized:
            await self._count_wrong_key(hashed, client, address, None)
            raise
        cached_key = await self._find(key_id, hashes, client)
        if not _matches(cached_key, hashes):
            await self._count_wrong_key(hashed, client, address, None if cached_key is None else key_id)
            raise _unknown_key_error()
        assert cached_key is not None
        return self._to_principal(key_id, cached_key)

    def forget(self, key_id: str) -> None:
        """The next request reads it from the database."""
        self._cached.pop(key_id, None)

    async def close(self) -> None:
        await asyncio.gather(*self._lookups.values(), return_exceptions=True)
        await self._last_use.close()

    async def _find(self, key_id: str, hashes: Sequence[str], client: str) -> _CachedKey | None:
        cached = self._cached.get(key_id)
        if not _matches(cached, hashes) and hashes[0] not in self._wrong_keys:
            self._by_client.check(client)
            if cached is not None:  # else a valid key would be blocked by others' wrong ones
                self._by_key.check(key_id)
        if cached is None or self._clock() - cached.looked_up_at >= self._cache_s:
            return await self._look_up(key_id, client)
        self._cached.move_to_end(key_id)
        return cached

    def _to_principal(self, key_id: str, cached_key: _CachedKey) -> Principal:
        """Raises Unauthorized with the reason: the holder of a key may know it."""
        if cached_key.invalid_reason is not None:
            raise Unauthorized(cached_key.invalid_reason, FIELD)
        if cached_key.expires_at is not None and cached_key.expires_at <= utc_now():
            raise Unauthorized("is a key that has expired", FIELD)
        now = self._clock()
        if now - cached_key.use_noted_at >= USE_RESOLUTION.total_seconds():
            cached_key.use_noted_at = now
            self._last_use.note(key_id)
        return cached_key.principal

    async def _look_up(self, key_id: str, client: str) -> _CachedKey | None:
        """One lookup for all concurrent requests; a cancelled request does not cancel it."""
        lookup = self._lookups.get(key_id)
        if lookup is None:
            if self._lookups_by_client[client] >= _MAX_LOOKUPS_PER_CLIENT:
                raise TooManyAttempts("too many keys that are not known yet come from there at once; try again")
            lookup = self._lookups[key_id] = asyncio.create_task(self._read(key_id))
            self._lookups_by_client[client] += 1
            lookup.add_done_callback(lambda done: self._lookup_done(key_id, client, done))
        return await asyncio.shield(lookup)

    def _lookup_done(self, key_id: str, client: str, done: asyncio.Task[_CachedKey | None]) -> None:
        del self._lookups[key_id]
        self._lookups_by_client[client] -= 1
        if not self._lookups_by_client[client]:
            del self._lookups_by_client[client]
        if not done.cancelled():
            done.exception()  # retrieved, so that asyncio does not log it

    async def _read(self, key_id: str) -> _CachedKey | None:
        looked_up_at, previous = self._clock(), self._cached.get(key_id)
        async with self._database.read() as connection:
            row = (await connection.execute(_FIND, {"of": key_id})).one_or_none()
        if row is None:
            self.forget(key_id)
            return None
        scopes = frozenset(row.scopes) & ROLES.get(row.role, frozenset())
        principal = Principal(row.user_id, row.role, scopes, key_id, row.name)
        invalid_reason = "is a key that was revoked" if row.revoked_at else None
        invalid_reason = invalid_reason or ("is a key of a user who is disabled" if row.disabled_at else None)
        cached_key = _CachedKey(
            row.secret_hash,
            principal,
            row.expires_at,
            invalid_reason,
            looked_up_at,
            previous.use_noted_at if previous else _NEVER,
        )
        _store(self._cached, key_id, cached_key)
        return cached_key

    async def _count_wrong_key(self, hashed: str, client: str, address: str | None, key_id: str | None) -> None:
        """Raises TooManyAttempts for a malformed key of a client that has to wait."""
        is_repeated = hashed in self._wrong_keys
        if not is_repeated:
            self._by_client.check(client)
        _store(self._wrong_keys, hashed, self._clock())
        if is_repeated:
            return
        must_wait = self._by_client.record_failure(client)
        if (key_id is not None and self._by_key.record_failure(key_id)) or must_wait:
            try:  # rare: the interval doubles each time
                await record_now(self._database, Actor(address=address), "key.refused", key_id)
            except AtelierError as error:
                LOGGER.warning("rejected keys were not written to the audit log: %s", error)


def _matches(cached: _CachedKey | None, hashes: Sequence[str]) -> bool:
    """In constant time."""
    stored_hash = _NO_HASH if cached is None else cached.hash
    return any([hmac.compare_digest(stored_hash, hashed) for hashed in hashes])


def _store(entries: OrderedDict[str, _CachedKey] | OrderedDict[str, float], name: str, value: object) -> None:
    entries[name] = value  # type: ignore[assignment]
    entries.move_to_end(name)
    if len(entries) > MAX_CACHED:
        entries.popitem(last=False)


def _unknown_key_error() -> Unauthorized:
    return Unauthorized("is not a key that is known here", FIELD)
