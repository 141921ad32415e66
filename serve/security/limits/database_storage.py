"""A storage of the library `limits` on the site's database, for fixed windows.

What is asked for while a transaction is under way goes into the next one, all of it together: a process has one writer
here however many requests wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from limits.aio.storage import Storage
from sqlalchemy.dialects import postgresql, sqlite

from serve.errors import AtelierError
from serve.state.database import Database
from serve.state.tables import counters, utc_now

_AT_ONCE = 500
"""Counts that one transaction changes."""


def _adding(dialect: Any) -> Any:
    statement = dialect.insert(counters)
    added = {"used": counters.c.used + statement.excluded.used}
    changed = statement.on_conflict_do_update(index_elements=["key"], set_=added)
    return changed.returning(counters.c.key, counters.c.used)


_ADD = {True: _adding(sqlite), False: _adding(postgresql)}
"""By whether it is SQLite."""
_FOUND = sa.select(counters.c.used, counters.c.expires_at).where(counters.c.key == sa.bindparam("of"))


@dataclass(frozen=True, eq=False)
class _Addition:
    key: str
    amount: int
    expires_at: datetime
    count: asyncio.Future[int]


class DatabaseStorage(Storage):
    """For one event loop. A key is of one window, and is not used again once it has expired.

    Methods raise StateUnavailable, OutOfSpace.
    """

    STORAGE_SCHEME = None

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._waiting: list[_Addition] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def base_exceptions(self) -> type[Exception]:
        return AtelierError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        count: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Addition(key, amount, utc_now() + timedelta(seconds=expiry), count))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return await count

    async def get(self, key: str) -> int:
        row = await self._find(key)
        return 0 if row is None else int(row.used)

    async def get_expiry(self, key: str) -> float:
        row = await self._find(key)
        return utc_now().timestamp() if row is None else float(row.expires_at.timestamp())

    async def check(self) -> bool:
        try:
            await self._find("")
        except AtelierError:
            return False
        return True

    async def reset(self) -> int | None:
        async with self._database.write() as connection:
            return (await connection.execute(sa.delete(counters))).rowcount

    async def clear(self, key: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(sa.delete(counters).where(counters.c.key == key))

    async def close(self) -> None:
        """What is being written is written first."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _find(self, key: str) -> Any:
        async with self._database.read() as connection:
            row = (await connection.execute(_FOUND, {"of": key})).one_or_none()
        return row if row is not None and row.expires_at > utc_now() else None

    async def _write_all(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            some = [one for one in some if not one.count.done()]  # who stopped waiting counts alone
            try:
                counts = await self._write(some)
            except BaseException as error:
                for one in some:
                    if not one.count.done():
                        one.count.set_exception(error if isinstance(error, Exception) else TimeoutError())
                if not isinstance(error, Exception):
                    raise
            else:
                for one, count in zip(some, counts, strict=True):
                    if not one.count.done():
                        one.count.set_result(count)

    async def _write(self, some: Sequence[_Addition]) -> list[int]:
        """Each count right after its own addition, as if they had come one after the other."""
        rows: dict[str, dict[str, Any]] = {}
        for one in some:
            row = rows.setdefault(one.key, {"key": one.key, "used": 0, "expires_at": one.expires_at})
            row["used"] += one.amount
        if not rows:
            return []
        ordered = [rows[key] for key in sorted(rows)]  # in one order: two writers do not wait for each other in a ring
        async with self._database.write() as connection:
            found = (await connection.execute(_ADD[self._database.is_sqlite], ordered)).all()
        counts = {row.key: row.used - rows[row.key]["used"] for row in found}
        told = []
        for one in some:
            counts[one.key] += one.amount
            told.append(counts[one.key])
        return told
