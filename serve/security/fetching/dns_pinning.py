"""What names stand for, looked up once for each call: a name that changes its mind (DNS rebinding) gains nothing."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

_LOOK_UPS = 8
"""Names that are looked up at once."""

Found = Sequence[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]]
"""As `socket.getaddrinfo` tells it."""
LookUp = Callable[[str, int, socket.AddressFamily], Found]
MayCall = Callable[[str, str], bool]
"""Of a host as the URL has it, and one of its addresses in digits."""


class PinnedResolver(AbstractResolver):
    """Looks names up for aiohttp, and refuses one that has any address which may not be called.

    It has threads of its own: a name server that takes its time holds up no other work of this process.
    """

    def __init__(self, may_call: MayCall, look_up: LookUp | None = None) -> None:
        self._may_call = may_call
        self._look_up = look_up or _look_up
        self._threads = ThreadPoolExecutor(_LOOK_UPS, "guarded-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, self._look_up, host, port, family)
        addresses = [(kind, str(where[0])) for kind, _, _, _, where in found]
        if not all(self._may_call(host, address) for _, address in addresses):
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
