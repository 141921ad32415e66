"""Who calls over gRPC, by the metadata of his call; and which scope each method needs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

from serve.api.middleware.authentication import Authentication
from serve.security.identity.roles import INFERENCE, LOCAL, READ, Principal
from serve.security.limits.addresses import ClientAddresses
from serve.security.limits.limiter import Client, Work
from serve.settings import Settings

_OPEN = frozenset(["ServerLive", "ServerReady"])
_CHANGING = frozenset(["RepositoryModelLoad", "RepositoryModelUnload"])
_PEER = re.compile(r"ipv[46]:(?:%5B|\[)?(?P<address>[^\]%]+?)(?:%5D|\])?:\d+", re.IGNORECASE)


class Caller(Protocol):
    """What grpc.aio's context and Ray Serve's tell of a call."""

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]] | None: ...
    def peer(self) -> str: ...


class GrpcAuthentication:
    """``draws`` tells which models draw, which costs more."""

    def __init__(self, entrance: Authentication, settings: Settings, draws: Callable[[str], bool]) -> None:
        self._entrance = entrance
        self._origins = ClientAddresses(settings)
        self._draws = draws

    async def enter(self, method: str, call: Caller) -> tuple[Principal, Client | None]:
        """Nobody is counted for what is open to everybody. Raises Unauthorized, Forbidden, TooManyAttempts,
        TooManyRequests."""
        if method in _OPEN:
            return LOCAL, None
        headers = headers_of(call)
        address = self._origins.address_of(address_of(call.peer()), headers)
        infers = method in _CHANGING or method.endswith("Infer")
        principal, client = await self._entrance.admit(headers, address, INFERENCE if infers else READ)
        if not method.endswith("Infer"):
            await self._entrance.limiter.check(client, "write" if method in _CHANGING else "read")
        return principal, client

    async def count(self, client: Client | None, model: str) -> None:
        """An inference. Raises TooManyRequests."""
        work: Work = "draw" if self._draws(model) else "vectorize"
        if client is not None:
            await self._entrance.limiter.check(client, work)


def headers_of(call: Caller) -> list[tuple[bytes, bytes]]:
    """The metadata, as HTTP has its headers."""
    return [(_bytes(name).lower(), _bytes(value)) for name, value in call.invocation_metadata() or ()]


def address_of(peer: str) -> str:
    """Of gRPC's name of who opened the connection, such as ipv4:127.0.0.1:4242; empty for other sockets."""
    found = _PEER.fullmatch(peer)
    return found["address"] if found else ""


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")
