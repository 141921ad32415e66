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
from serve.security.identity.failed_attempts import FailedAttempts, name_of
from serve.security.identity.key_format import FIELD, id_of
from serve.security.identity.roles import ROLES, Principal
from serve.settings import AccessSettings
from serve.state.database import Database
from serve.state.tables import UtcTime, keys, users, utc_now

LOGGER = logging.getLogger(__name__)
EVERY = timedelta(minutes=1)

_k = keys.c
_NOW, _BEFORE = sa.bindparam("now", type_=UtcTime()), sa.bindparam("before", type_=UtcTime())
_TOUCH = (
    sa.update(keys)
    .where(_k.id == sa.bindparam("of"), sa.or_(_k.used_at.is_(None), _k.used_at < _BEFORE, _k.used_at > _NOW))
    .values(used_at=_NOW)
)


class LastUse:
    """For one event loop. What cannot be written is told in the log, and tried again with a later use."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def note(self, key_id: str) -> None:
        self._used[key_id] = utc_now()
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def close(self) -> None:
        """Once all is written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._used:
            used, self._used = self._used, {}
            rows = [{"of": key_id, "now": now, "before": now - EVERY} for key_id, now in sorted(used.items())]
            try:
                async with self._database.write() as connection:
                    await connection.execute(_TOUCH, rows)
            except AtelierError as error:
                LOGGER.warning("the last use of %d keys was not written: %s", len(rows), error)


MOST = 10_000
"""Keys, right ones and wrong ones, that are remembered at once."""
_MOST_LOOKS = 32
"""Keys of one client that are looked up at once."""
_NEVER = float("-inf")
_NOBODYS = "0" * 64
"""Stands for the hash of a key that is not there."""

_u = users.c
_FIND = (
    sa.select(_k.secret_hash, _k.scopes, _k.name, _k.expires_at, _k.revoked_at, _k.user_id, _u.role, _u.disabled_at)
    .join(users, _u.id == _k.user_id)
    .where(_k.id == sa.bindparam("of"))
)


def hash_of(site_key: bytes, secret: str) -> str:
    """As it is kept."""
    return hmac.new(site_key, secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


@dataclass
class _Known:
    """A key as it was at ``looked`` of the clock; ``ended`` says why it lets nobody in."""

    hash: str
    principal: Principal
    expires_at: datetime | None
    ended: str | None
    looked: float
    noted: float = _NEVER


class KeyCache:
    """For one event loop; close it. ``site_keys``: the newest first. ``clock`` is in seconds, and never goes back."""

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
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._wrong: OrderedDict[str, float] = OrderedDict()
        self._looks: dict[str, asyncio.Task[_Known | None]] = {}
        self._looking: Counter[str] = Counter()
        self._last_use = LastUse(database)

    async def authenticate(self, secret: str, address: str | None = None) -> Principal:
        """``address``: the client's, not a proxy's. Raises Unauthorized, TooManyAttempts, StateUnavailable."""
        hashes, client = [hash_of(key, secret) for key in self._site_keys], name_of(address)
        hashed = hashes[0]
        if self._clock() - self._wrong.get(hashed, _NEVER) < self._cache_s:
            id_of(secret)
            raise _unknown()
        try:
            key_id = id_of(secret)
        except Unauthorized:
            await self._count(hashed, client, address, None)
            raise
        found = await self._find(key_id, hashes, client)
        if not _is(found, hashes):
            await self._count(hashed, client, address, None if found is None else key_id)
            raise _unknown()
        assert found is not None
        return self._let_in(key_id, found)

    def forget(self, key_id: str) -> None:
        """The next request looks it up."""
        self._known.pop(key_id, None)

    async def close(self) -> None:
        await asyncio.gather(*self._looks.values(), return_exceptions=True)
        await self._last_use.close()

    async def _find(self, key_id: str, hashes: Sequence[str], client: str) -> _Known | None:
        known = self._known.get(key_id)
        if not _is(known, hashes) and hashes[0] not in self._wrong:
            self._by_client.check(client)
            if known is not None:  # else a right one would have to wait for the wrong ones of others
                self._by_key.check(key_id)
        if known is None or self._clock() - known.looked >= self._cache_s:
            return await self._look_up(key_id, client)
        self._known.move_to_end(key_id)
        return known

    def _let_in(self, key_id: str, found: _Known) -> Principal:
        """Raises Unauthorized, with the reason: whoever has the key may know."""
        if found.ended is not None:
            raise Unauthorized(found.ended, FIELD)
        if found.expires_at is not None and found.expires_at <= utc_now():
            raise Unauthorized("is a key that has expired", FIELD)
        now = self._clock()
        if now - found.noted >= EVERY.total_seconds():
            found.noted = now
            self._last_use.note(key_id)
        return found.principal

    async def _look_up(self, key_id: str, client: str) -> _Known | None:
        """Once for all that ask at the same time; who leaves takes nobody's answer along."""
        look = self._looks.get(key_id)
        if look is None:
            if self._looking[client] >= _MOST_LOOKS:
                raise TooManyAttempts("too many keys that are not known yet come from there at once; try again")
            look = self._looks[key_id] = asyncio.create_task(self._read(key_id))
            self._looking[client] += 1
            look.add_done_callback(lambda done: self._looked(key_id, client, done))
        return await asyncio.shield(look)

    def _looked(self, key_id: str, client: str, done: asyncio.Task[_Known | None]) -> None:
        del self._looks[key_id]
        self._looking[client] -= 1
        if not self._looking[client]:
            del self._looking[client]
        if not done.cancelled():
            done.exception()  # told to those who wait, if they still do

    async def _read(self, key_id: str) -> _Known | None:
        looked, was = self._clock(), self._known.get(key_id)
        async with self._database.read() as connection:
            row = (await connection.execute(_FIND, {"of": key_id})).one_or_none()
        if row is None:
            self.forget(key_id)
            return None
        scopes = frozenset(row.scopes) & ROLES.get(row.role, frozenset())
        principal = Principal(row.user_id, row.role, scopes, key_id, row.name)
        ended = "is a key that was revoked" if row.revoked_at else None
        ended = ended or ("is a key of a user who is disabled" if row.disabled_at else None)
        found = _Known(row.secret_hash, principal, row.expires_at, ended, looked, was.noted if was else _NEVER)
        _remember(self._known, key_id, found)
        return found

    async def _count(self, hashed: str, client: str, address: str | None, key_id: str | None) -> None:
        """A wrong key. Raises TooManyAttempts for a malformed one of who has to wait."""
        again = hashed in self._wrong
        if not again:
            self._by_client.check(client)
        _remember(self._wrong, hashed, self._clock())
        if again:
            return
        waits = self._by_client.failed(client)
        if (key_id is not None and self._by_key.failed(key_id)) or waits:
            try:  # seldom: each time twice as long after the last
                await record_now(self._database, Actor(address=address), "key.refused", key_id)
            except AtelierError as error:
                LOGGER.warning("that keys are refused was not written to the audit log: %s", error)


def _is(known: _Known | None, hashes: Sequence[str]) -> bool:
    """In a time that says nothing."""
    kept = _NOBODYS if known is None else known.hash
    return any([hmac.compare_digest(kept, hashed) for hashed in hashes])


def _remember(in_: OrderedDict[str, _Known] | OrderedDict[str, float], name: str, value: object) -> None:
    in_[name] = value  # type: ignore[assignment]
    in_.move_to_end(name)
    if len(in_) > MOST:
        in_.popitem(last=False)


def _unknown() -> Unauthorized:
    return Unauthorized("is not a key that is known here", FIELD)
