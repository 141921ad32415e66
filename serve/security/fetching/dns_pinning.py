"""DNS pinning: names are resolved once per connection, and all addresses checked, which defeats DNS rebinding."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_MAX_LOOKUPS = 8
"""Concurrent DNS lookups."""

AddressInfo = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
"""As `socket.getaddrinfo` returns it."""
Lookup = Callable[[str, int, socket.AddressFamily], AddressInfo]
AddressCheck = Callable[[str, str], bool]
"""Of a host as in the URL, and one of its numeric addresses."""


class PinnedResolver(AbstractResolver):
    """An aiohttp resolver that rejects names with any disallowed address.

    It has its own threads: a slow name server delays no other work of this process.
    """

    def __init__(self, may_call: AddressCheck, lookup: Lookup | None = None) -> None:
        self._may_call = may_call
        self._lookup = lookup or _lookup
        self._threads = ThreadPoolExecutor(_MAX_LOOKUPS, "guarded-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._threads, self._lookup, host, port, family)
        addresses = [(kind, str(sockaddr[0])) for kind, _, _, _, sockaddr in results]
        if not all(self._may_call(host, address) for _, address in addresses):
            raise PermissionError(errno.EACCES, "the name has an address that is not of the open Internet")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=flags)
            for kind, address in addresses
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int, family: socket.AddressFamily) -> AddressInfo:
    return socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
