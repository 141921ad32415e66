"""Feature flags with per-user percentages (A-101): initial values from the settings, changes in the database.

Evaluation for a user is deterministic, on every process."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from serve.errors import NotFound
from serve.security.identity.audit import Actor, record
from serve.settings import FlagSettings
from serve.state.cached_value import CachedValue
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS
from serve.state.tables import flags, insert_into, utc_now

_HASH_RANGE = 2**64


@dataclass(frozen=True)
class Flag:
    """On for ``percentage`` (0 to 100) of users and for ``users``; off for all unless ``enabled``."""

    name: str
    enabled: bool = True
    percentage: float = 100.0
    users: frozenset[str] = frozenset()

    @classmethod
    def of(cls, name: str, settings: FlagSettings) -> Flag:
        return cls(name, settings.enabled, settings.percentage, frozenset(settings.users))


def is_on(flag: Flag, user_id: str) -> bool:
    """Users keep the flag as the percentage rises."""
    if not flag.enabled:
        return False
    return user_id in flag.users or 100.0 * share(flag.name, user_id) < flag.percentage


def share(name: str, unit: str) -> float:
    """Uniform hash in [0, 1) of the unit, independent for each ``name``."""
    digest = hashlib.sha256(f"{len(name)}:{name}:{unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / _HASH_RANGE


def unit_of(user_id: str, request_id: str | None = None) -> str:
    """The unit of assignment: a user, or a single request of an anonymous one."""
    if user_id != ANONYMOUS:
        return user_id
    return f"request {request_id or secrets.token_hex(16)}"


CACHE_S = 5.0
"""Maximum delay until other processes see a change."""
_ALL = sa.select(flags.c.name, flags.c.enabled, flags.c.percentage, flags.c.users)


class Flags:
    """For one event loop. While the database is unavailable, the last known values apply, initially those of the
    settings."""

    def __init__(
        self,
        settings: Mapping[str, FlagSettings],
        database: Database,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._initial = {name: Flag.of(name, one) for name, one in settings.items()}
        self._database = database
        self._cached = CachedValue[Mapping[str, Flag]]("flags", self.read, self._initial, CACHE_S, clock)

    async def is_on(self, name: str, user_id: str) -> bool:
        """False for an unknown flag."""
        found = (await self.all()).get(name)
        return found is not None and is_on(found, user_id)

    async def all(self) -> Mapping[str, Flag]:
        """All flags by name, cached for a few seconds."""
        return await self._cached.get()

    async def read(self) -> Mapping[str, Flag]:
        """All flags from the database. Raises StateUnavailable."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_ALL)).all()
        changed = {row.name: Flag(row.name, row.enabled, row.percentage, frozenset(row.users)) for row in rows}
        known = {**self._initial, **{name: one for name, one in changed.items() if name in self._initial}}
        self._cached.value = known
        return known

    async def get(self, name: str) -> Flag:
        """Uncached. Raises NotFound, StateUnavailable."""
        return self._of(await self.read(), name)

    async def put(self, name: str, wanted: FlagSettings, actor: Actor) -> Flag:
        """Raises NotFound for a flag missing in the settings, StateUnavailable, OutOfSpace."""
        before = await self.get(name)
        row = {
            "name": name, "enabled": wanted.enabled, "percentage": wanted.percentage,
            "users": sorted(set(wanted.users)), "updated_at": utc_now(),
        }  # fmt: skip
        insert = insert_into(flags, self._database.is_sqlite).values(row)
        changed = {column: value for column, value in row.items() if column != "name"}
        async with self._database.write() as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))
            change = {"before": _describe(before), "after": _describe(Flag.of(name, wanted))}
            await record(connection, actor, "flag.change", name, change)
        return self._of(await self.read(), name)

    async def reset(self, name: str, actor: Actor) -> Flag:
        """Restore the value of the settings. Raises as ``put`` does."""
        before = await self.get(name)
        async with self._database.write() as connection:
            await connection.execute(sa.delete(flags).where(flags.c.name == name))
            change = {"before": _describe(before), "after": _describe(self._initial[name])}
            await record(connection, actor, "flag.reset", name, change)
        return self._of(await self.read(), name)

    def _of(self, known: Mapping[str, Flag], name: str) -> Flag:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            raise NotFound(f"there is no flag {name[:64]!a}; the settings name: {there}", "name")
        return known[name]


def _describe(flag: Flag) -> str:
    on = f"{flag.percentage:g} %" if flag.enabled else "off"
    return f"{on}, {len(flag.users)} users"
