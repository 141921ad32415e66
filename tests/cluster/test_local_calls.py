"""Calls of a replica past Ray Serve, over its socket: results, errors, cancellation, and when Ray Serve makes the call.
No Ray."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import uvloop
from waiting import until

from serve.cluster.hop import address_lookup, call_server
from serve.cluster.hop.call_server import CALL_ADDRESS, CallAddress, CallServer
from serve.cluster.hop.local_calls import NOT_CALLED, LocalCalls
from serve.cluster.hop.remote import RemoteVectorizer
from serve.ensembles.vectorizer.vectorization import QualitySample, Vectorization, VectorizeOptions
from serve.errors import BadImage, DeadlineExceeded, EngineFailure, EngineUnavailable, Overloaded
from serve.observability import request_context
from serve.observability.request_context import Priority, RequestContext

pytestmark = pytest.mark.ray

MAX_BYTES = 1 << 20
MADE = Vectorization(
    "<svg>\u00e9</svg>", "simple", 0.5, "1", "vtracer", None, 0.25, 9, 1, {"layers": (1, 2)}, {"quality": "1"},
    {"trace": 0.1}, "00", 4, 5, 0.2, degraded=("note",), sample=QualitySample(b"\0\1", [[1.0, 2.0]]),
)  # fmt: skip


class Unknown(EngineFailure):
    """Of a class that has no frame."""


class Replica:
    """Answers by the bytes of the picture, and records the calls. ``hops``: calls through Ray Serve."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.hops: list[str] = []
        self.cancelled = 0
        self.free = asyncio.Event()
        self.server = CallServer(self.call, MAX_BYTES)
        self.address: CallAddress | None = self.server.address

    async def call(self, method: str, carrier: Any, *arguments: Any, urgency: Any) -> Any:
        self.calls.append((method, carrier, arguments, urgency))
        match arguments[0]:
            case b"bad":
                return BadImage("no pixels", "image")
            case b"full":
                return Overloaded("the queue is full", None, 7)
            case b"unknown":
                return Unknown("the picture cannot be processed")
            case b"slow":
                try:
                    await self.free.wait()
                except asyncio.CancelledError:
                    self.cancelled += 1
                    raise
        return MADE

    @property
    def answer(self) -> Replica:
        """As the handle of Ray Serve."""
        return self

    async def remote(self, method: str, carrier: Any, *arguments: Any, **named: Any) -> AsyncIterator[Any]:
        self.hops.append(method)
        yield self.address if method == CALL_ADDRESS else MADE


@pytest.fixture
async def replica() -> AsyncIterator[Replica]:
    made = Replica()
    await made.server.start()
    yield made
    made.free.set()
    await made.server.close(5.0)


async def connected(replica: Replica, timeout_s: float = 60.0) -> RemoteVectorizer:
    """Once the socket is found; the first call goes through Ray Serve."""
    proxy = RemoteVectorizer(replica, timeout_s, max_frame_bytes=MAX_BYTES)  # type: ignore[arg-type]
    await vectorize(proxy)
    calls = proxy._local_calls
    assert calls is not None
    await until(lambda: calls._connection is not None, 60)
    replica.hops.clear()
    return proxy


async def vectorize(proxy: RemoteVectorizer, picture: bytes = b"picture") -> Any:
    return await proxy.vectorize(picture, VectorizeOptions(tier=1, palette="#ff0000"))


async def test_a_call_and_its_result_arrive_whole(replica: Replica) -> None:
    proxy = await connected(replica)
    with request_context.use(RequestContext(priority=Priority.HIGH)):
        assert await vectorize(proxy, bytes(range(256)) * 1000) == MADE
    (method, _, arguments, (left_s, priority)) = replica.calls[-1]
    assert method == "vectorize"
    assert arguments == (bytes(range(256)) * 1000, VectorizeOptions(tier=1, palette="#ff0000"))
    assert 50 < left_s <= 60
    assert priority == Priority.HIGH
    assert replica.hops == []


async def test_many_calls_share_the_connection(replica: Replica) -> None:
    proxy = await connected(replica)
    held = asyncio.create_task(vectorize(proxy, b"slow"))
    assert await asyncio.gather(*(vectorize(proxy) for _ in range(50))) == [MADE] * 50
    replica.free.set()
    assert await held == MADE
    assert len(replica.server.connections) == 1
    assert replica.hops == []


async def test_errors_are_those_of_the_replica(replica: Replica) -> None:
    proxy = await connected(replica)
    with pytest.raises(BadImage, match="no pixels") as bad:
        await vectorize(proxy, b"bad")
    assert bad.value.field == "image"
    with pytest.raises(Overloaded) as full:
        await vectorize(proxy, b"full")
    assert full.value.retry_after_s == 7
    assert replica.hops == []


async def test_result_without_a_frame_comes_through_ray_serve(replica: Replica) -> None:
    assert await vectorize(await connected(replica), b"unknown") == MADE
    assert replica.hops == ["vectorize"]


async def test_call_above_the_limit_goes_through_ray_serve(replica: Replica) -> None:
    assert await vectorize(await connected(replica), bytes(MAX_BYTES)) == MADE
    assert replica.hops == ["vectorize"]


async def test_cancelled_call_ends_in_the_replica(replica: Replica) -> None:
    proxy = await connected(replica)
    held = asyncio.create_task(vectorize(proxy, b"slow"))
    await until(lambda: len(replica.calls) == 1, 60)
    held.cancel()
    await until(lambda: replica.cancelled == 1, 60)
    assert await vectorize(proxy) == MADE


@pytest.mark.parametrize("own", [True, False], ids=["of the request", "of the ensemble"])
async def test_late_call_ends_in_the_replica(replica: Replica, own: bool) -> None:
    proxy = await connected(replica, 60.0 if own else 0.05)
    context = RequestContext().with_timeout(0.05 if own else None)
    with request_context.use(context), pytest.raises(DeadlineExceeded, match="no answer within"):
        await vectorize(proxy, b"slow")
    await until(lambda: replica.cancelled == 1, 60)
    assert replica.hops == []


async def test_lost_connection_is_repeated_through_ray_serve_and_found_again(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address_lookup, "RETRY_S", 0.0)
    proxy = await connected(replica)
    held = asyncio.create_task(vectorize(proxy, b"slow"))
    await until(lambda: len(replica.calls) == 1, 60)
    for connection in list(replica.server.connections):
        connection.abort()
    assert await held == MADE
    await until(lambda: replica.cancelled == 1, 60)
    assert replica.hops == ["vectorize"]
    calls = proxy._local_calls
    assert calls is not None
    calls._lookup.due_at = 0.0
    await vectorize(proxy)
    await until(lambda: bool(calls._connection and not calls._connection.is_closing), 60)
    replica.hops.clear()
    assert await vectorize(proxy) == MADE
    assert replica.hops == []


async def test_closing_replica_finishes_its_calls_and_takes_no_more(replica: Replica) -> None:
    proxy = await connected(replica)
    held = asyncio.create_task(vectorize(proxy, b"slow"))
    await until(lambda: len(replica.calls) == 1, 60)
    closing = asyncio.create_task(replica.server.close(60.0))
    await until(lambda: replica.server.closing, 60)
    assert await vectorize(proxy) == MADE
    assert "vectorize" in replica.hops
    replica.free.set()
    assert await held == MADE
    await closing
    assert len(replica.calls) == 1


async def test_waiting_for_calls_of_a_closing_replica_has_an_end(replica: Replica) -> None:
    proxy = await connected(replica)
    held = asyncio.create_task(vectorize(proxy, b"slow"))
    await until(lambda: len(replica.calls) == 1, 60)
    await replica.server.close(0.01)
    assert await held == MADE
    assert "vectorize" in replica.hops


@pytest.mark.parametrize("where", ["another machine", "nowhere", "an old socket"])
async def test_replica_without_a_socket_here_is_called_through_ray_serve(replica: Replica, where: str) -> None:
    own = replica.server.address
    others = {"another machine": replace(own, machine="x"), "nowhere": None, "an old socket": replace(own, name="x")}
    replica.address = others[where]
    proxy = RemoteVectorizer(replica, 60.0, max_frame_bytes=MAX_BYTES)  # type: ignore[arg-type]
    for _ in range(3):
        assert await vectorize(proxy) == MADE
        await asyncio.sleep(0)
    assert replica.hops.count("vectorize") == 3
    assert replica.hops.count(CALL_ADDRESS) == 1
    assert replica.calls == []


async def test_only_the_methods_of_the_ensemble_are_called(replica: Replica) -> None:
    calls = await connected(replica)
    local = calls._local_calls
    assert local is not None
    assert not local.takes("__del__")
    assert await local.call("__del__", {}, (), (1.0, 0)) is NOT_CALLED  # the replica ends the connection
    assert replica.calls == []


async def test_callers_of_another_user_are_refused(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    monkeypatch.setattr(call_server.os, "getuid", lambda: user + 1)
    calls = LocalCalls(lambda method: asyncio.sleep(0, replica.address), MAX_BYTES)
    calls.takes("vectorize")
    await until(lambda: calls._connection is not None and calls._connection.is_closing, 60)
    assert not replica.server.connections


async def test_replica_that_cannot_be_reached_is_looked_for_later(replica: Replica) -> None:
    async def fails(_: str) -> Any:
        raise EngineUnavailable("no replica")

    calls = LocalCalls(fails, MAX_BYTES)
    assert not calls.takes("vectorize")
    finding = calls._lookup.running
    assert finding is not None
    await finding
    assert not calls.takes("vectorize")
    assert calls._lookup.running is finding, "not within a second"


def test_calls_in_the_event_loop_of_ray_serve() -> None:
    """uvloop, whose transports and addresses are not those of asyncio."""

    async def call() -> None:
        made = Replica()
        await made.server.start()
        proxy = await connected(made)
        assert await vectorize(proxy, bytes(500_000)) == MADE
        with pytest.raises(BadImage):
            await vectorize(proxy, b"bad")
        assert made.hops == []
        await made.server.close(5.0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(call())
