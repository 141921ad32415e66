"""Signed URLs: a path, its expiry, its user, and an HMAC-SHA256 over them; valid for a while without an API key."""

from __future__ import annotations

import base64
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlencode

from serve.security.identity.authentication import is_key_required
from serve.security.signing.secret_store import site_keys
from serve.settings import Settings

EXPIRES, SIGNATURE = "expires", "signature"
PARAMETERS = (EXPIRES, SIGNATURE)
"""Of the query. Others, such as a format, are not signed: they change the representation, not the resource."""
SKEW_S = 30.0
"""Allowed clock difference between machines."""
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAX_SIGNATURE_LENGTH = 64


class UrlSigner:
    """``keys``: the first signs, all are accepted."""

    def __init__(self, keys: Sequence[bytes], now: Callable[[], float] = time.time) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise ValueError("a key of 32 bytes is needed")
        self._keys = tuple(keys)
        self._now = now

    def sign(self, path: str, lifetime_s: float, user: str = "") -> str:
        """``path`` with the query that grants access for that long, to ``user`` if one is named."""
        expires = str(int(self._now() + lifetime_s))
        return f"{path}?{urlencode({EXPIRES: expires, SIGNATURE: _signature(self._keys[0], path, expires, user)})}"

    def is_valid(self, path: str, values: Mapping[str, str], user: str = "") -> bool:
        """Whether the query ``values`` grants access to ``path`` now. An unsigned URL grants none."""
        expires, signature = values.get(EXPIRES, ""), values.get(SIGNATURE, "")
        if not _SECONDS.fullmatch(expires) or not signature.isascii() or len(signature) > _MAX_SIGNATURE_LENGTH:
            return False
        matches = [hmac.compare_digest(_signature(key, path, expires, user), signature) for key in self._keys]
        return any(matches) and self._now() <= int(expires) + SKEW_S


def _signature(key: bytes, path: str, expires: str, user: str) -> str:
    """Each part is prefixed with its length, so that parts cannot be shifted."""
    parts = [part.encode(errors="surrogatepass") for part in ("v1", path, expires, user)]
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")).decode().rstrip("=")


_PURPOSE = "links"


def requires_key(settings: Settings) -> bool:
    """Whether the site requires API keys, or signs all links."""
    return settings.secrets.sign_links or is_key_required(settings)


def public_url(
    settings: Settings, path: str, user: str = "", requires_key: Callable[[Settings], bool] = requires_key
) -> str:
    """``path``, which has no query, as it appears in answers: signed for `secrets.link_s` where keys are required."""
    return signer_of(settings).sign(path, settings.secrets.link_s, user) if requires_key(settings) else path


def is_valid(settings: Settings, path: str, values: Mapping[str, str], user: str = "") -> bool:
    """Whether the query ``values`` grants access to ``path`` without a key. For GET and HEAD only."""
    return SIGNATURE in values and signer_of(settings).is_valid(path, values, user)


def signer_of(settings: Settings) -> UrlSigner:
    """Of this process. Created when first needed, since it reads the site's secret."""
    return _signer(tuple(secret.get_secret_value() for secret in settings.secrets.keys), settings.state_dir)


@lru_cache(maxsize=8)
def _signer(keys: tuple[str, ...], state_dir: Path) -> UrlSigner:
    return UrlSigner(site_keys(keys, state_dir, _PURPOSE))
