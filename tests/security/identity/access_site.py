"""Shared helpers of the key tests: a settable clock, wrong keys, and the actor that creates keys."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from serve.security.identity.audit import Actor
from serve.security.identity.key_format import _checksum, new_key
from serve.state.database import Database
from serve.state.tables import keys

ME = Actor(address="command line of tester")
SITE = (b"0123456789abcdef0123456789abcdef",)

INJECTIONS = (
    "' OR '1'='1", "ada'; DROP TABLE keys; --", 'ada" OR ""="', "%", "_", "atl_%", "\\", "ada\0", "ada\r\nInjected: 1",
    "\x1b[2Jada", "\u202eada", "\ud800", "ａｄａ", "а́da", "ada ", " ada", "", "a" * 10_000, "😀", "{0}", "%s",
    "../../x",
)  # fmt: skip


class Clock:
    """In seconds; stands still until a test changes ``now``."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def wrong_key() -> str:
    """Well formed, and created by no site."""
    return new_key().secret


def with_other_secret(secret: str) -> str:
    """The same id and a valid checksum, with another secret part."""
    other = new_key()
    key_id = secret.split("_")[1]
    return with_checksum(f"atl_{key_id}_{other.secret.split('_')[2][:30]}")


def with_checksum(body: str) -> str:
    """``body`` with its checksum."""
    return body + _checksum(body)


async def set_key(database: Database, key_id: str, **values: Any) -> None:
    async with database.write() as connection:
        await connection.execute(sa.update(keys).where(keys.c.id == key_id).values(**values))


async def row_of(database: Database, key_id: str) -> Any:
    async with database.read() as connection:
        return (await connection.execute(sa.select(keys).where(keys.c.id == key_id))).one()
