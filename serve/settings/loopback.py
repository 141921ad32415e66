"""Classification of hosts: loopback, this machine, or reachable by others."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether ``host``, an address or a name, is reachable from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_own(host: str) -> bool:
    """Whether ``host`` is one network address: neither loopback nor a wildcard."""
    return not is_loopback(host) and host not in ("0.0.0.0", "::")


def is_reached_from_elsewhere(host: str, public_url: str | None) -> bool:
    """Whether other machines can reach a server that listens on ``host`` and is published as ``public_url``."""
    return not is_loopback(host) or _is_elsewhere(public_url)


def _is_elsewhere(public_url: str | None) -> bool:
    """Whether other machines can reach this address. Unparsable ones count as reachable."""
    if public_url is None:
        return False
    try:
        return not is_loopback(urlsplit(public_url).hostname or "")
    except ValueError:
        return True
