"""`SessionCookies`: the API key of a browser's session, encrypted in a cookie that scripts cannot read.

Nothing is stored: the key in the cookie is authenticated at each request, so that a revoked or expired key ends its
sessions at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import SecretStr

from serve.security.signing.secret_store import DecryptionFailed, SecretBox

COOKIE = "atelier_session"
LIFETIME_S = 30 * 86_400
_CONTEXT = "browser-session"
_PREFIX = f"{COOKIE}=".encode()
_MAX_COOKIE = 4096
"""Bytes, as browsers have it."""


class SessionCookies:
    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def seal(self, key: str) -> str:
        """The value of the cookie."""
        return self._box.encrypt(SecretStr(key), _CONTEXT)

    def key_in(self, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """The key in the session cookie; None without one, and for one that this site has not made."""
        for name, value in headers:
            if name != b"cookie" or _PREFIX not in value:
                continue
            for part in value.split(b";"):
                sealed = part.strip()
                if sealed.startswith(_PREFIX) and len(sealed) <= _MAX_COOKIE:
                    return self._unsealed(sealed[len(_PREFIX) :].decode("latin-1"))
        return None

    def _unsealed(self, sealed: str) -> str | None:
        try:
            return self._box.decrypt(sealed, _CONTEXT).get_secret_value()
        except DecryptionFailed:
            return None
