"""Egress policy: which user-supplied URLs may be called. By default https on the public Internet only.

A URL is checked before each call and after each redirection. The addresses of its host are checked when resolved
(`serve.security.fetching.dns_pinning`), and the connection uses exactly those. Hosts are loopback, this machine, or
reachable by others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from yarl import URL

from serve.errors import InvalidRequest

MAX_URL = 2048
"""Characters."""
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?=[a-z_]){_LABEL}", re.ASCII)
"""As DNS knows them. A last label that begins with a digit would be an IPv4 address in one of its odd spellings."""
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")
_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))
"""Protocol assignments, relays and tunnels into IPv4, documentation: some Pythons take them for global."""
_METADATA = frozenset(map(ip_address, ("168.63.129.16",)))
"""What clouds tell their machines alone, from addresses that look like anybody's (Azure)."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True)
class Destinations:
    """``networks`` and ``hosts`` may be called though they are not of the open Internet; ``anywhere``: all may.

    ``ports`` None: any port.
    """

    plain_http: bool = False
    anywhere: bool = False
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()
    ports: frozenset[int] | None = None

    def may_call(self, host: str, address: str) -> bool:
        """Whether ``address``, in digits, may be called as what ``host`` stands for."""
        if self.anywhere or is_public(address):
            return True
        found = ip_address(address)
        if isinstance(found, IPv6Address) and found.scope_id is not None:
            return False
        return any(found in network for network in self.networks) or _bare(host) in self.hosts


def destinations(allow: tuple[str, ...], plain_http: bool = False, ports: frozenset[int] | None = None) -> Destinations:
    """``allow`` has networks such as 10.1.0.0/16 and names of hosts. Raises ValueError for what is neither."""
    networks, hosts = [], []
    for one in allow:
        if _NAME.fullmatch(name := _bare(one)):
            hosts.append(name)
        else:
            networks.append(ip_network(one))
    return Destinations(plain_http, False, tuple(networks), frozenset(hosts), ports)


def checked(url: str, allowed: Destinations, field: str) -> URL:
    """``url`` as it is called. Raises InvalidRequest naming ``field`` if it may not be."""
    if len(url) > MAX_URL:
        raise InvalidRequest(f"must have at most {MAX_URL} characters", field)
    if any(character <= " " or character == "\x7f" for character in url) or "#" in url:
        raise InvalidRequest("must have no spaces, control characters or fragment", field)
    try:
        parsed = URL(url)
        host, user, port = _bare(parsed.raw_host or ""), parsed.raw_user, parsed.port
    except ValueError:
        raise InvalidRequest("is not a URL that can be called", field) from None
    if parsed.scheme != "https" and not (allowed.plain_http and parsed.scheme == "http"):
        raise InvalidRequest("must begin with https://", field)
    if user is not None or parsed.raw_password is not None:
        raise InvalidRequest("must have no user name or password", field)
    if not port or (allowed.ports is not None and port not in allowed.ports):
        raise InvalidRequest("has a port that nobody listens on, or that this site does not call", field)
    _check_host(host, allowed, field)
    return parsed


def is_public(address: str) -> bool:
    """Whether ``address``, an IPv4 or IPv6 address in digits, is one of the open Internet's."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        if found in _NAT64:
            return is_public(str(IPv4Address(found.packed[-4:])))
        if found not in _UNICAST or found.scope_id is not None:  # IPv4 in IPv6's clothes is elsewhere, too
            return False
    if found in _METADATA or found.is_multicast:
        return False
    return found.is_global and not any(found in network for network in _NOT_PUBLIC)


def _bare(host: str) -> str:
    return host.lower().removesuffix(".")


def _check_host(host: str, allowed: Destinations, field: str) -> None:
    try:
        ip_address(host)
        may_be = allowed.may_call(host, host)
    except ValueError:  # a name, then
        if not _NAME.fullmatch(host):
            raise InvalidRequest("has a host that is neither a name nor an address", field) from None
        local = host == "localhost" or host.endswith(".localhost")
        may_be = not local or allowed.anywhere or host in allowed.hosts
    if not may_be:
        raise InvalidRequest("must be on the open Internet; this site calls no private addresses", field)


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
