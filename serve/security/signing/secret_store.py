"""`SecretStore`: keys of outside services by name, in the database, encrypted with the site's secret (F 12)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr
from sqlalchemy.dialects import postgresql, sqlite

from serve.errors import AtelierError, InvalidRequest, NotFound
from serve.security.identity.audit import Actor, record
from serve.security.signing.site_secret import derived, keys_of
from serve.settings import NAME, Settings
from serve.state import State
from serve.state.tables import sealed_secrets, utc_now

MAX_SECRET = 16_384
"""Characters."""


class DecryptionFailed(AtelierError):
    """What is kept cannot be opened: sealed with other secrets, for another place, or changed since."""

    title = "Seal broken"
    kind = "seal-broken"


class SecretBox:
    """Fernet (AES-128-CBC, HMAC-SHA256) with keys of its own for each place, so that no row opens as another."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: the first seals, all of them open."""
        if not keys:
            raise ValueError("a key is needed")
        self._keys = tuple(keys)

    def seal(self, secret: SecretStr, place: str) -> str:
        """ASCII for a database. ``place`` says what it is of, such as ``outside-key:openai``."""
        text = secret.get_secret_value()
        if len(text) > MAX_SECRET:
            raise ValueError("too long to be a key")
        return self._fernet(place).encrypt(text.encode()).decode()

    def open(self, sealed: str, place: str) -> SecretStr:
        """Raises SealBroken."""
        try:
            return SecretStr(self._fernet(place).decrypt(sealed.encode()).decode())
        except (InvalidToken, ValueError):
            raise _broken() from None

    def resealed(self, sealed: str, place: str) -> str:
        """The same, sealed with the newest of the site's secrets. Raises SealBroken."""
        try:
            return self._fernet(place).rotate(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            raise _broken() from None

    def _fernet(self, place: str) -> MultiFernet:
        keys = [derived(key, f"vault/{place}") for key in self._keys]
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def vault_of(settings: Settings) -> SecretBox:
    """Raises StateUnavailable as ``keys_of`` does."""
    return SecretBox(keys_of(settings, "vault"))


def _broken() -> DecryptionFailed:
    return DecryptionFailed(
        "a kept key cannot be opened; give secrets.keys the secret that sealed it, or set the key again"
    )


_s = sealed_secrets.c
_GET = sa.select(_s.sealed).where(_s.name == sa.bindparam("wanted"))
_RESEAL = (
    sa.update(sealed_secrets)
    .where(_s.name == sa.bindparam("wanted"), _s.sealed == sa.bindparam("before"))
    .values(sealed=sa.bindparam("after"))
)
_NAME = re.compile(NAME, re.ASCII)
MOST = 1000


@dataclass(frozen=True)
class Kept:
    """What may be shown of one."""

    name: str
    updated_at: datetime


class SecretStore:
    """For one event loop. Every method raises StateUnavailable; those that change something are in the audit log."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._settings = state.settings
        self._vault: SecretBox | None = None

    async def get(self, name: str) -> SecretStr:
        """Raises NotFound, and SealBroken when it was sealed with what the site has no more."""
        async with self._database.read() as connection:
            sealed: str | None = await connection.scalar(_GET, {"wanted": name})
        if sealed is None:
            raise _unknown(name)
        return (await self._opened()).open(sealed, _place(name))

    async def set(self, name: str, secret: SecretStr, actor: Actor) -> None:
        """In place of what has the name. Raises InvalidRequest naming ``name`` or ``secret``, OutOfSpace."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest("must be up to 40 small letters, digits, - and _", "name")
        if not 1 <= len(secret.get_secret_value()) <= MAX_SECRET:
            raise InvalidRequest(f"must have 1 to {MAX_SECRET} characters", "secret")
        row = {"name": name, "sealed": (await self._opened()).seal(secret, _place(name)), "updated_at": utc_now()}
        insert = (sqlite if self._database.is_sqlite else postgresql).insert(sealed_secrets).values(row)
        changed = {column: row[column] for column in ("sealed", "updated_at")}
        async with self._database.write() as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))
            await record(connection, actor, "secret.set", name)

    async def reseal(self, actor: Actor) -> int:
        """Seals all with the newest of the site's secrets, or none; how many. They open as before meanwhile.

        Raises SealBroken naming one that does not open, OutOfSpace.
        """
        vault = await self._opened()
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(_s.name, _s.sealed).order_by(_s.name))).all()
        sealed = await asyncio.to_thread(lambda: {row.name: _resealed(vault, row.name, row.sealed) for row in rows})
        count = 0
        async with self._database.write() as connection:
            for row in rows:
                found = {"wanted": row.name, "before": row.sealed, "after": sealed[row.name]}
                if (await connection.execute(_RESEAL, found)).rowcount:  # not what was set meanwhile
                    await record(connection, actor, "secret.reseal", row.name)
                    count += 1
        return count

    async def remove(self, name: str, actor: Actor) -> None:
        """Raises NotFound."""
        async with self._database.write() as connection:
            done = await connection.execute(sa.delete(sealed_secrets).where(_s.name == name))
            if done.rowcount == 0:
                raise _unknown(name)
            await record(connection, actor, "secret.remove", name)

    async def list(self) -> Sequence[Kept]:
        """By name."""
        query = sa.select(_s.name, _s.updated_at).order_by(_s.name).limit(MOST)
        async with self._database.read() as connection:
            return [Kept(row.name, row.updated_at) for row in await connection.execute(query)]

    async def _opened(self) -> SecretBox:
        if self._vault is None:
            self._vault = await asyncio.to_thread(vault_of, self._settings)
        return self._vault


def _place(name: str) -> str:
    return f"outside-key:{name}"


def _resealed(vault: SecretBox, name: str, sealed: str) -> str:
    try:
        return vault.resealed(sealed, _place(name))
    except DecryptionFailed as error:
        raise DecryptionFailed(error.message, name) from None


def _unknown(name: str) -> NotFound:
    return NotFound(f"no secret is kept as {name[:64]!a}: atelier secrets list", "name")
