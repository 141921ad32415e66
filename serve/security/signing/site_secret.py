"""Keys of the site, one per purpose, derived from its secrets: the newest first, then those that are still valid."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from serve.errors import StateUnavailable
from serve.settings import Settings


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
