"""`SecretStore`: keys of outside services by name, in the database, encrypted with the site's secret (F 12).

The site's own keys, one per purpose, are derived from its secrets: the newest first, then those still valid."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from serve.errors import AtelierError, InvalidRequest, NotFound, StateUnavailable
from serve.security.identity.audit import Actor, record
from serve.settings import NAME, Settings
from serve.state import State
from serve.state.tables import insert_into, sealed_secrets, utc_now

MAX_SECRET = 16_384
"""Characters."""


class DecryptionFailed(AtelierError):
    """A stored secret cannot be decrypted: it was encrypted with another key, for another context, or changed since."""

    title = "Seal broken"
    kind = "seal-broken"


class SecretBox:
    """Fernet (AES-128-CBC, HMAC-SHA256) with its own key for each context, so that a row cannot be decrypted as
    another."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """``keys``: the first encrypts, all decrypt."""
        if not keys:
            raise ValueError("a key is needed")
        self._keys = tuple(keys)

    def encrypt(self, secret: SecretStr, context: str) -> str:
        """ASCII for the database. ``context`` names the row, such as ``outside-key:openai``."""
        text = secret.get_secret_value()
        if len(text) > MAX_SECRET:
            raise ValueError("too long to be a key")
        return self._fernet(context).encrypt(text.encode()).decode()

    def decrypt(self, sealed: str, context: str) -> SecretStr:
        """Raises DecryptionFailed."""
        try:
            return SecretStr(self._fernet(context).decrypt(sealed.encode()).decode())
        except (InvalidToken, ValueError):
            raise _decryption_error() from None

    def reencrypt(self, sealed: str, context: str) -> str:
        """The same, encrypted with the newest key. Raises DecryptionFailed."""
        try:
            return self._fernet(context).rotate(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            raise _decryption_error() from None

    def _fernet(self, context: str) -> MultiFernet:
        keys = [derive_key(key, f"vault/{context}") for key in self._keys]
        return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])


def secret_box_of(settings: Settings) -> SecretBox:
    """Raises StateUnavailable as ``keys_of`` does."""
    return SecretBox(keys_of(settings, "vault"))


def _decryption_error() -> DecryptionFailed:
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
MAX_LISTED = 1000


@dataclass(frozen=True)
class StoredSecret:
    """The public part of a secret."""

    name: str
    updated_at: datetime


class SecretStore:
    """For one event loop. Every method raises StateUnavailable; changes are in the audit log."""

    def __init__(self, state: State) -> None:
        self._database = state.database
        self._settings = state.settings
        self._secret_box: SecretBox | None = None

    async def get(self, name: str) -> SecretStr:
        """Raises NotFound, and DecryptionFailed when its key is no longer configured."""
        async with self._database.read() as connection:
            sealed: str | None = await connection.scalar(_GET, {"wanted": name})
        if sealed is None:
            raise _not_found(name)
        return (await self._box()).decrypt(sealed, _context(name))

    async def set(self, name: str, secret: SecretStr, actor: Actor) -> None:
        """Replaces a secret of that name. Raises InvalidRequest naming ``name`` or ``secret``, OutOfSpace."""
        if not _NAME.fullmatch(name):
            raise InvalidRequest("must be up to 40 small letters, digits, - and _", "name")
        if not 1 <= len(secret.get_secret_value()) <= MAX_SECRET:
            raise InvalidRequest(f"must have 1 to {MAX_SECRET} characters", "secret")
        row = {"name": name, "sealed": (await self._box()).encrypt(secret, _context(name)), "updated_at": utc_now()}
        insert = insert_into(sealed_secrets, self._database.is_sqlite).values(row)
        changed = {column: row[column] for column in ("sealed", "updated_at")}
        async with self._database.write() as connection:
            await connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changed))
            await record(connection, actor, "secret.set", name)

    async def reseal(self, actor: Actor) -> int:
        """Re-encrypts all secrets with the site's newest key, or none; returns their number. They stay readable
        meanwhile.

        Raises DecryptionFailed naming the secret, OutOfSpace.
        """
        box = await self._box()
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(_s.name, _s.sealed).order_by(_s.name))).all()
        sealed = await asyncio.to_thread(lambda: {row.name: _reencrypt(box, row.name, row.sealed) for row in rows})
        count = 0
        async with self._database.write() as connection:
            for row in rows:
                found = {"wanted": row.name, "before": row.sealed, "after": sealed[row.name]}
                if (await connection.execute(_RESEAL, found)).rowcount:  # skips secrets that were set meanwhile
                    await record(connection, actor, "secret.reseal", row.name)
                    count += 1
        return count

    async def remove(self, name: str, actor: Actor) -> None:
        """Raises NotFound."""
        async with self._database.write() as connection:
            done = await connection.execute(sa.delete(sealed_secrets).where(_s.name == name))
            if done.rowcount == 0:
                raise _not_found(name)
            await record(connection, actor, "secret.remove", name)

    async def list(self) -> Sequence[StoredSecret]:
        """By name."""
        query = sa.select(_s.name, _s.updated_at).order_by(_s.name).limit(MAX_LISTED)
        async with self._database.read() as connection:
            return [StoredSecret(row.name, row.updated_at) for row in await connection.execute(query)]

    async def _box(self) -> SecretBox:
        if self._secret_box is None:
            self._secret_box = await asyncio.to_thread(secret_box_of, self._settings)
        return self._secret_box


def _context(name: str) -> str:
    return f"outside-key:{name}"


def _reencrypt(box: SecretBox, name: str, sealed: str) -> str:
    try:
        return box.reencrypt(sealed, _context(name))
    except DecryptionFailed as error:
        raise DecryptionFailed(error.message, name) from None


def _not_found(name: str) -> NotFound:
    return NotFound(f"no secret is kept as {name[:64]!a}: atelier secrets list", "name")


def write_once(path: Path, content: bytes) -> None:
    """Writes a file readable by its owner only, atomically: of several processes, the first wins. Blocks.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # readable by its owner only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


FILE = "site-secret"
"""In `state_dir`, readable by its owner only; in no backup. Its holder can sign and decrypt as this site."""
_BYTES = 32
_FORMAT = re.compile(rb"[A-Za-z0-9_-]{43}")


def keys_of(settings: Settings, purpose: str) -> tuple[bytes, ...]:
    """As `site_keys`, from the settings."""
    configured = tuple(secret.get_secret_value() for secret in settings.secrets.keys)
    return site_keys(configured, settings.state_dir, purpose)


def site_keys(configured: tuple[str, ...], state_dir: Path, purpose: str) -> tuple[bytes, ...]:
    """Keys of 32 bytes, from `secrets.keys`, or else from a file, which is created if missing.

    Blocks for it. Raises StateUnavailable.
    """
    secrets_ = [secret.encode() for secret in configured] or [_read_or_create(state_dir / FILE)]
    return tuple(derive_key(secret, purpose) for secret in secrets_)


def derive_key(secret: bytes, purpose: str) -> bytes:
    """HKDF (RFC 5869): keys of different purposes are independent."""
    return HKDF(SHA256(), _BYTES, salt=None, info=f"atelier/{purpose}".encode()).derive(secret)


def _read_or_create(path: Path) -> bytes:
    try:
        if not path.exists():
            _create(path)
        content = path.read_bytes().removesuffix(b"\n")
    except OSError as error:
        message = f"{path.name} in state_dir cannot be used: {error.strerror}; or set secrets.keys"
        raise StateUnavailable(message) from error
    if not _FORMAT.fullmatch(content):
        raise StateUnavailable(f"{path.name} in state_dir is damaged: put it back, or set secrets.keys")
    return content


def _create(path: Path) -> None:
    write_once(path, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
