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
from serve.security.signing.site_secret import site_keys
from serve.settings import Settings

EXPIRES, SIGNATURE = "expires", "signature"
PARAMETERS = (EXPIRES, SIGNATURE)
"""Of the query. Others, such as a format, are not signed: they change how what is there is shown, not what it is."""
SKEW_S = 30.0
"""Clocks of several machines may differ by this much."""
_SECONDS = re.compile(r"[0-9]{1,12}", re.ASCII)
_LONGEST_SIGNATURE = 64


class UrlSigner:
    """``keys``: the first signs, all of them are known."""

    def __init__(self, keys: Sequence[bytes], now: Callable[[], float] = time.time) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise ValueError("a key of 32 bytes is needed")
        self._keys = tuple(keys)
        self._now = now

    def signed(self, path: str, lifetime_s: float, user: str = "") -> str:
        """``path`` with the query that opens it, for that long, and for ``user`` if one is named."""
        expires = str(int(self._now() + lifetime_s))
        return f"{path}?{urlencode({EXPIRES: expires, SIGNATURE: _signature(self._keys[0], path, expires, user)})}"

    def opens(self, path: str, values: Mapping[str, str], user: str = "") -> bool:
        """Whether the query ``values`` opens ``path`` now. What is not signed at all opens nothing."""
        expires, given = values.get(EXPIRES, ""), values.get(SIGNATURE, "")
        if not _SECONDS.fullmatch(expires) or not given.isascii() or len(given) > _LONGEST_SIGNATURE:
            return False
        known = [hmac.compare_digest(_signature(key, path, expires, user), given) for key in self._keys]
        return any(known) and self._now() <= int(expires) + SKEW_S


def _signature(key: bytes, path: str, expires: str, user: str) -> str:
    """Each part with its length: none can lend characters to the next."""
    parts = [part.encode(errors="surrogatepass") for part in ("v1", path, expires, user)]
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return base64.urlsafe_b64encode(hmac.digest(key, text, "sha256")).decode().rstrip("=")


_PURPOSE = "links"


def is_limited(settings: Settings) -> bool:
    """Whether one needs a key to come in."""
    return settings.secrets.sign_links or is_key_required(settings)


def shown(settings: Settings, path: str, user: str = "", is_limited: Callable[[Settings], bool] = is_limited) -> str:
    """``path``, which has no query, as an answer tells it: signed for `secrets.link_s` where the site is limited."""
    return signer_of(settings).signed(path, settings.secrets.link_s, user) if is_limited(settings) else path


def opens(settings: Settings, path: str, values: Mapping[str, str], user: str = "") -> bool:
    """Whether who asks for ``path`` with the query ``values`` may come in without a key. For GET and HEAD alone."""
    return SIGNATURE in values and signer_of(settings).opens(path, values, user)


def signer_of(settings: Settings) -> UrlSigner:
    """Of this process. It needs the site's secret, so it is made at the first need."""
    return _signer(tuple(secret.get_secret_value() for secret in settings.secrets.keys), settings.state_dir)


@lru_cache(maxsize=8)
def _signer(keys: tuple[str, ...], state_dir: Path) -> UrlSigner:
    return UrlSigner(site_keys(keys, state_dir, _PURPOSE))
