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
    """Whole or not at all, for its owner alone: of several processes that need one, the first is right. Blocks.

    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # readable by its owner alone
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
"""In `state_dir`, for its owner alone; in no backup. Whoever has it can sign and open what this site can."""
_BYTES = 32
_WHOLE = re.compile(rb"[A-Za-z0-9_-]{43}")


def keys_of(settings: Settings, purpose: str) -> tuple[bytes, ...]:
    """As ``site_keys``, of the settings."""
    told = tuple(secret.get_secret_value() for secret in settings.secrets.keys)
    return site_keys(told, settings.state_dir, purpose)


def site_keys(told: tuple[str, ...], state_dir: Path, purpose: str) -> tuple[bytes, ...]:
    """32 bytes each, of `secrets.keys` or else of a file, which is made if need be.

    Blocks for it. Raises StateUnavailable.
    """
    found = [secret.encode() for secret in told] or [_of_file(state_dir / FILE)]
    return tuple(derived(secret, purpose) for secret in found)


def derived(secret: bytes, purpose: str) -> bytes:
    """RFC 5869: a key that tells nothing of others."""
    return HKDF(SHA256(), _BYTES, salt=None, info=f"atelier/{purpose}".encode()).derive(secret)


def _of_file(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes().removesuffix(b"\n")
    except OSError as error:
        told = f"{path.name} in state_dir cannot be used: {error.strerror}; or set secrets.keys"
        raise StateUnavailable(told) from error
    if not _WHOLE.fullmatch(found):
        raise StateUnavailable(f"{path.name} in state_dir is damaged: put it back, or set secrets.keys")
    return found


def _make(path: Path) -> None:
    write_once(path, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
