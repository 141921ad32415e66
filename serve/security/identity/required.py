"""Whether requests need a key."""

from __future__ import annotations

from serve.settings import Settings
from serve.settings.loopback import is_reached_from_elsewhere


def is_required(settings: Settings) -> bool:
    """By ``auto`` also where a proxy on this machine brings requests from elsewhere, as `http.public_url` tells."""
    if settings.access.required != "auto":
        return settings.access.required == "on"
    return is_reached_from_elsewhere(settings.http.host, settings.http.public_url)
