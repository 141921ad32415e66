"""Which hosts are this machine alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether nobody elsewhere reaches what listens on ``host``, an address or a name."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_own(host: str) -> bool:
    """Whether ``host`` is the address of one machine on a network: neither loopback nor all that it has."""
    return not is_loopback(host) and host not in ("0.0.0.0", "::")


def is_reached_from_elsewhere(host: str, public_url: str | None) -> bool:
    """Whether others than this machine come to what listens on ``host`` and goes by ``public_url``."""
    return not is_loopback(host) or _is_elsewhere(public_url)


def _is_elsewhere(public_url: str | None) -> bool:
    """Whether others reach it by this address. One that cannot be read is taken for one that is."""
    if public_url is None:
        return False
    try:
        return not is_loopback(urlsplit(public_url).hostname or "")
    except ValueError:
        return True
