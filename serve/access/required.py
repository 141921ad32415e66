"""Whether requests need a key."""

from __future__ import annotations

from urllib.parse import urlsplit

from serve.loopback import is_loopback
from serve.settings import Settings


def is_required(settings: Settings) -> bool:
    """By ``auto`` also where a proxy on this machine brings requests from elsewhere, as `http.public_url` tells."""
    if settings.access.required != "auto":
        return settings.access.required == "on"
    return not is_loopback(settings.http.host) or _is_elsewhere(settings.http.public_url)


def _is_elsewhere(public_url: str | None) -> bool:
    """One that cannot be read is taken for one that is."""
    if public_url is None:
        return False
    try:
        return not is_loopback(urlsplit(public_url).hostname or "")
    except ValueError:
        return True
