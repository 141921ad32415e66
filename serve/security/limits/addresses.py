"""The client address of a request, and the key that rate limits count it under.

Headers can be forged. A proxy's statement about its client is trusted only if the proxy is one that the site names:
hops are followed backwards from the nearest, to the first address that is no trusted proxy.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from serve.settings import HttpSettings, Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers = Iterable[tuple[bytes, bytes]]

PEER = b"x-atelier-peer"
"""Set by the stack's HAProxy: its token, and the address of its client."""
FORWARDING = (b"x-forwarded-for", b"forwarded", b"x-real-ip")
"""Headers of requests that came through a proxy, or claim so."""

_MAX_HOPS = 32
_MAX_PARSED = 4096
"""Addresses whose parsed form is remembered; a text of a header is at most as long as a header."""
_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?")
_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"(?P<quoted>[^"\\]*)"|(?P<token>[^;"\s]*))', re.IGNORECASE)
_ELEMENT = re.compile(r'(?:[^,"]|"[^"]*")+')
_SUBNET_BITS = 64


@lru_cache(_MAX_PARSED)
def parse_address(text: str) -> Address | None:
    """An address, with or without a port. An IPv4-mapped IPv6 address is returned as IPv4."""
    text = text.strip()
    if (match := _PORT.fullmatch(text)) is not None:
        text = match["six"] or match["four"]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def rate_limit_key(address: str) -> str:
    """The key for requests from ``address``: IPv6 by /64, the smallest allocation of a subscriber."""
    found = parse_address(address)
    if found is None:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _SUBNET_BITS), strict=False))
    return str(found)


def is_loopback(address: str) -> bool:
    found = parse_address(address)
    return found is not None and found.is_loopback


class ClientAddresses:
    """Determines client addresses under the site's settings."""

    def __init__(self, settings: Settings) -> None:
        http: HttpSettings = settings.http
        token = settings.proxy.token
        self._token = token.get_secret_value().encode() if token is not None else b""
        self._trusted = [ipaddress.ip_network(network) for network in http.trusted_proxies]
        self._header = http.forwarded_header.encode()
        self._hops = _forwarded if http.forwarded_header == "forwarded" else _x_forwarded_for

    def address_of(self, peer: str, headers: Headers) -> str:
        """``peer`` opened the connection; header names are lower case. Empty for a client without address."""
        headers = list(headers)
        nearest = parse_address(self._address_from_own_proxy(headers) or peer)
        if nearest is None or not self._trusted:
            return "" if nearest is None else str(nearest)
        value = ",".join(value.decode("latin-1") for name, value in headers if name == self._header)
        for hop in self._hops(value):
            if not self._is_trusted(nearest) or hop is None:
                break
            nearest = hop
        return str(nearest)

    def _address_from_own_proxy(self, headers: Headers) -> str | None:
        """The client of the stack's own proxy, if the request came through it."""
        values = [value for name, value in headers if name == PEER]
        token, _, address = values[0].partition(b" ") if len(values) == 1 else (b"", b"", b"")
        if not self._token or not hmac.compare_digest(token, self._token):
            return None
        return address.decode("latin-1")

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _x_forwarded_for(value: str) -> Sequence[Address | None]:
    """The hops, the nearest first; None for one without an address."""
    return [parse_address(hop) for hop in reversed(value.split(",")[-_MAX_HOPS:])] if value else []


def _forwarded(value: str) -> Sequence[Address | None]:
    """The same for RFC 7239."""
    found = []
    for element in reversed(_ELEMENT.findall(value)[-_MAX_HOPS:]):
        match = _FORWARDED_FOR.search(element)
        found.append(None if match is None else parse_address(match["quoted"] or match["token"] or ""))
    return found
