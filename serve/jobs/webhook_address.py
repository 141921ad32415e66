"""Whom webhooks may call: https on the open Internet, unless `webhooks.allow_private` says otherwise.

A URL is examined as a job comes in and again before each call. What its host stands for is examined as it is called,
and the connection goes to the very addresses that were: a name that changes its mind in between (DNS rebinding) gains
nothing.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from serve.errors import InvalidRequest
from serve.settings import Settings

MAX_URL = 2048
"""Characters."""
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,253}}\Z)({_LABEL}\.)*(?=[a-z_]){_LABEL}", re.ASCII)
"""As DNS knows them. A last label that begins with a digit would be an IPv4 address in one of its odd spellings."""
_NAT64 = ip_network("64:ff9b::/96")
_UNICAST = ip_network("2000::/3")
_NOT_PUBLIC = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20")))
"""Protocol assignments, relays and tunnels into IPv4, documentation: some Pythons take them for global."""
_LOOK_UPS = 8
"""Names that are looked up at once."""

Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
"""As `socket.getaddrinfo` tells it."""
LookUp = Callable[[str, int, socket.AddressFamily], Found]


def check_webhook(url: str, settings: Settings) -> None:
    """Raises InvalidRequest for one that may not be called, whatever its name stands for."""
    private = settings.webhooks.allow_private
    if settings.webhooks.secret is None:
        raise _refused("this site sends no webhooks: it has no webhooks.secret to sign them with")
    if len(url) > MAX_URL:
        raise _refused(f"must have at most {MAX_URL} characters")
    if any(character <= " " or character == "\x7f" for character in url) or "#" in url:
        raise _refused("must have no spaces, control characters or fragment")
    try:
        parsed = URL(url)
        host, user, port = (parsed.raw_host or "").removesuffix("."), parsed.raw_user, parsed.port
    except ValueError:
        raise _refused("is not a URL that can be called") from None
    if parsed.scheme != "https" and not (private and parsed.scheme == "http"):
        raise _refused("must begin with https://")
    if user is not None or parsed.raw_password is not None:
        raise _refused("must have no user name or password")
    if not port:
        raise _refused("has a port that nobody listens on")
    _check_host(host, private)


def is_public(address: str) -> bool:
    """Whether ``address``, an IPv4 or IPv6 address in digits, is one of the open Internet's."""
    found = ip_address(address)
    if isinstance(found, IPv6Address):
        if found in _NAT64:
            return is_public(str(IPv4Address(found.packed[-4:])))
        if found not in _UNICAST or found.scope_id is not None:  # IPv4 in IPv6's clothes is elsewhere, too
            return False
    return found.is_global and not found.is_multicast and not any(found in network for network in _NOT_PUBLIC)


class Addresses(AbstractResolver):
    """Looks names up for aiohttp, and refuses one that has an address which webhooks may not go to.

    It has threads of its own: a name server that takes its time holds up no other work of this process.
    """

    def __init__(self, may_call: Callable[[str], bool] | None = is_public, look_up: LookUp | None = None) -> None:
        """``may_call`` judges an address in digits; None: any may be called."""
        self._may_call = may_call
        self._look_up = look_up or _look_up
        self._threads = ThreadPoolExecutor(_LOOK_UPS, "webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._look_up, host, port, family)
        addresses = [(kind, str(where[0])) for kind, _, _, _, where in found]
        if self._may_call is not None and not all(self._may_call(address) for _, address in addresses):
            raise PermissionError(errno.EACCES, "the name has an address that is not of the open Internet")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=flags)
            for kind, address in addresses
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> Found:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)


def _check_host(host: str, private: bool) -> None:
    try:
        public = is_public(host)
    except ValueError:  # a name, then
        if not _NAME.fullmatch(host):
            raise _refused("has a host that is neither a name nor an address") from None
        public = host != "localhost" and not host.endswith(".localhost")
    if not public and not private:
        raise _refused("must be on the open Internet; this site calls no private addresses")


def _refused(why: str) -> InvalidRequest:
    return InvalidRequest(why, "webhook_url")
