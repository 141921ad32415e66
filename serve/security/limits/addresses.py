"""Which address a request comes from, and which addresses count as one.

Whoever calls can write any header. What a proxy says of its client is believed when the proxy is one that the site
names, and no further: from the nearest hop backwards to the first that nobody vouches for.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Iterable, Sequence

from serve.settings import HttpSettings, Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Headers = Iterable[tuple[bytes, bytes]]

PEER = b"x-atelier-peer"
"""Set by the stack's HAProxy: its token, and the address that it was called from."""
FORWARDING = (b"x-forwarded-for", b"forwarded", b"x-real-ip")
"""A request with one of these came by a proxy, or pretends to."""

_MOST_HOPS = 32
_PORT = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+))(?::[0-9]{1,5})?")
_FORWARDED_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"(?P<quoted>[^"\\]*)"|(?P<token>[^;"\s]*))', re.IGNORECASE)
_ELEMENT = re.compile(r'(?:[^,"]|"[^"]*")+')
_SUBNET_BITS = 64


def parsed(text: str) -> Address | None:
    """An address, with or without a port. What embeds an IPv4 address is that one."""
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


def counted_as(address: str) -> str:
    """What requests from ``address`` are counted under: IPv6 by /64, which is what one subscriber has at least."""
    found = parsed(address)
    if found is None:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _SUBNET_BITS), strict=False))
    return str(found)


def is_loopback(address: str) -> bool:
    found = parsed(address)
    return found is not None and found.is_loopback


class ClientAddresses:
    """Tells the address of a client, as far as the site's own settings vouch for it."""

    def __init__(self, settings: Settings) -> None:
        http: HttpSettings = settings.http
        token = settings.proxy.token
        self._token = token.get_secret_value().encode() if token is not None else b""
        self._trusted = [ipaddress.ip_network(network) for network in http.trusted_proxies]
        self._header = http.forwarded_header.encode()
        self._hops = _forwarded if http.forwarded_header == "forwarded" else _x_forwarded_for

    def address_of(self, peer: str, headers: Headers) -> str:
        """``peer`` is who opened the connection; header names are in lower case. Empty for who has no address."""
        headers = list(headers)
        nearest = parsed(self._behind_own_proxy(headers) or peer)
        if nearest is None or not self._trusted:
            return "" if nearest is None else str(nearest)
        told = ",".join(value.decode("latin-1") for name, value in headers if name == self._header)
        for hop in self._hops(told):
            if not self._is_trusted(nearest) or hop is None:
                break
            nearest = hop
        return str(nearest)

    def _behind_own_proxy(self, headers: Headers) -> str | None:
        """Who called the stack's own proxy, when it was that proxy that called."""
        given = [value for name, value in headers if name == PEER]
        token, _, address = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        if not self._token or not hmac.compare_digest(token, self._token):
            return None
        return address.decode("latin-1")

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _x_forwarded_for(told: str) -> Sequence[Address | None]:
    """The hops, the nearest first; None where no address is told."""
    return [parsed(hop) for hop in reversed(told.split(",")[-_MOST_HOPS:])] if told else []


def _forwarded(told: str) -> Sequence[Address | None]:
    """The same of RFC 7239."""
    found = []
    for element in reversed(_ELEMENT.findall(told)[-_MOST_HOPS:]):
        match = _FORWARDED_FOR.search(element)
        found.append(None if match is None else parsed(match["quoted"] or match["token"] or ""))
    return found
