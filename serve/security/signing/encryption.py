"""Secrets at rest, such as keys of outside services: sealed with the site's, each for its own place."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from serve.errors import AtelierError
from serve.security.signing.site_secret import derived, keys_of
from serve.settings import Settings

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
