"""Clients that send too slowly, too much or too often: on real sockets, with health green meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from keyed_door import KeyedSite, keyed_site
from odd_requests import AttackRequest
from programs.long_form import length
from verdicts import resident_mib
from waiting import until
from whole_door import send_request, sockets

from serve.cluster.ray_environment import ray_environment
from serve.settings import HttpSettings, Settings
from serve.state import State

HEALTH = b"GET /health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
CLIENTS = 150
GREEN_S = 30.0
"""Time limit for responses of unaffected requests, on a busy machine too."""
CONNECTED_S = 90.0
"""How long slow senders stay connected here: below `limits.body_timeout_s` and HAProxy's default time for a head, and
enough for all concurrent checks on a busy machine."""


async def health(host: str, port: int) -> float:
    """Seconds until the response; it is 200."""
    began = time.monotonic()
    async with asyncio.timeout(2 * GREEN_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(HEALTH)
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return time.monotonic() - began


async def dripping(host: str, port: int, head: bytes, drop: bytes, every_s: float = 0.1) -> bytes:
    """Sends ``head`` and then ``drop`` repeatedly; returns the response.

    Raises TimeoutError after ``LISTENED_S``.
    """
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(head)

    async def drip() -> None:
        with contextlib.suppress(OSError):
            while True:
                writer.write(drop)
                await writer.drain()
                await asyncio.sleep(every_s)

    dropping = asyncio.create_task(drip())
    try:
        async with asyncio.timeout(CONNECTED_S):
            return await reader.read(100_000)
    finally:
        dropping.cancel()
        writer.close()


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without one"])
@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
async def test_slow_bodies_get_408(sqlite_state: State, framing: bytes, has_key: bool) -> None:
    """Each is ended after `limits.body_timeout_s` in total, at any drip rate, and occupies no place until then."""
    limits = {"body_timeout_s": 1.5}
    gateway = {"max_ongoing_requests": 4}
    async with keyed_site(sqlite_state, limits=limits, gateway=gateway) as site, sockets(site) as (host, port):
        key = (await site.key("ada")).secret
        key_header = b"X-API-Key: " + key.encode() + b"\r\n" if has_key else b""
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n" + key_header + framing + b"\r\n\r\n"
        drop = b"1\r\n{\r\n" if b"chunked" in framing else b"{"
        slow = [asyncio.create_task(dripping(host, port, head, drop)) for _ in range(CLIENTS)]
        await asyncio.sleep(0.3)
        assert await health(host, port) < GREEN_S
        async with site.door(key) as door:
            valid = await door.post("/v1/images/generations", json={"prompt": "a fox", "seed": 7})
            assert valid.status_code == 200, "places are for requests that are there"
        answers = await asyncio.gather(*slow)
        assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
        assert await health(host, port) < GREEN_S


async def test_endless_body_gets_413(sqlite_state: State) -> None:
    """The server reads on for a while, so that the sender can read the response; then it disconnects and keeps
    nothing."""
    async with keyed_site(sqlite_state, limits={"max_body_bytes": 100_000}) as site, sockets(site) as (host, port):
        key_header = b"X-API-Key: " + (await site.key("ada")).secret.encode() + b"\r\n"
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n" + key_header + b"Transfer-Encoding: chunked\r\n\r\n"
        before = resident_mib()
        piece = b"4000\r\n" + bytes(0x4000) + b"\r\n"
        answers = await asyncio.gather(*(dripping(host, port, head, piece, 0.0) for _ in range(20)))
        assert {answer[:12] for answer in answers} <= {b"HTTP/1.1 413", b""}
        assert b"HTTP/1.1 413" in {answer[:12] for answer in answers}
        assert resident_mib() - before < 100
        assert await health(host, port) < GREEN_S


PROXY = """
global
    log /dev/null local0
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend http_frontend
    bind *:{port}
    default_backend http-gateways
backend http-gateways
    server gateway 127.0.0.1:{gateway}
"""


@contextlib.contextmanager
def haproxy(folder: Path, gateway: int, request_s: int, **more: str) -> Iterator[int]:
    """The port of the real HAProxy, as the stack starts it except for ``more``, in front of ``gateway``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    path = folder / "haproxy.cfg"
    path.write_text(PROXY.format(port=port, gateway=gateway))
    environment = {**os.environ, **ray_environment(Settings()), "HAPROXY_REQUEST_S": str(request_s), **more}
    program = Path(__file__).parents[2] / "deployments" / "haproxy"
    running = subprocess.Popen([program, "-f", path], env=environment, cwd=folder)
    try:
        yield port
    finally:
        running.kill()
        running.wait()


async def test_haproxy_ends_slow_heads(sqlite_state: State, tmp_path: Path) -> None:
    """The gateway has no timeout for heads; HAProxy has one, and passes no part of them on."""
    async with keyed_site(sqlite_state) as site, sockets(site) as (host, gateway):
        with haproxy(tmp_path, gateway, 2) as port:
            await _wait_until_healthy(host, port)
            head = b"GET /v1/jobs HTTP/1.1\r\nHost: a\r\n"
            slow = [asyncio.create_task(dripping(host, port, head, b"X: y\r\n", 0.2)) for _ in range(CLIENTS)]
            await asyncio.sleep(0.5)
            assert await health(host, port) < GREEN_S
            answers = await asyncio.gather(*slow)
            assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
            assert await health(host, port) < GREEN_S


@pytest.mark.parametrize("piece", [b"a" * 12_000, b"X: y\r\n" * 2000], ids=["one line", "many lines"])
async def test_haproxy_refuses_oversized_heads(sqlite_state: State, tmp_path: Path, piece: bytes) -> None:
    """The gateway would keep the whole head; HAProxy passes at most 16 KiB of one on."""
    async with keyed_site(sqlite_state) as site, sockets(site) as (host, gateway):
        with haproxy(tmp_path, gateway, 5) as port:
            await _wait_until_healthy(host, port)
            before = resident_mib()
            for start in (b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nX: ", b"GET /"):
                with contextlib.suppress(ConnectionError):
                    answer = await dripping(host, port, start, piece, 0.001)
                    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 414", b"HTTP/1.1 431", b"")
            assert resident_mib() - before < 64
            assert await health(host, port) < GREEN_S


async def test_connections_per_address_are_limited(sqlite_state: State, tmp_path: Path) -> None:
    """127.0.0.2 is the attacker, and 127.0.0.1 another client."""
    bounds = {"HAPROXY_MOST_OF_ONE": "20", "HAPROXY_TRUSTED": "192.0.2.1"}
    async with keyed_site(sqlite_state) as site, sockets(site) as (host, gateway):
        with haproxy(tmp_path, gateway, 30, **bounds) as port:
            await _wait_until_healthy(host, port)
            held = []
            for _ in range(60):
                with contextlib.suppress(ConnectionError):
                    held.append(await asyncio.open_connection(host, port, local_addr=("127.0.0.2", 0)))
            ends = [asyncio.create_task(reader.read()) for reader, _ in held]
            await until(lambda: sum(end.done() for end in ends) >= len(ends) - 20)
            _, waiting = await asyncio.wait(ends, timeout=1)
            assert len(waiting) == 20, "the others were closed"
            assert await health(host, port) < GREEN_S
            for _, writer in held:
                writer.close()
            await asyncio.gather(*ends, return_exceptions=True)


def test_trusted_proxies_have_no_connection_limit() -> None:
    settings = Settings(http=HttpSettings(trusted_proxies=("10.0.0.0/8",)))
    assert ray_environment(settings)["HAPROXY_TRUSTED"] == "127.0.0.0/8 ::1 10.0.0.0/8"


async def _wait_until_healthy(host: str, port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError, AssertionError):
                await health(host, port)
                return
            await asyncio.sleep(0.05)


PARTS = length(5, 20)
"""Thousands of requests in a flood."""


@pytest.mark.slow
async def test_flood_of_one_address_is_rate_limited(sqlite_state: State) -> None:
    """Thousands of requests of one address: a hundred pass, other addresses are served, memory stays flat."""
    async with keyed_site(sqlite_state, rates={"per_address": True}) as site, sockets(site) as (host, port):
        key, request = (await site.key("ada")).secret, AttackRequest("GET", b"/v1/jobs", [])
        statuses: Counter[int | None] = Counter()
        warm = 0.0
        for part in range(PARTS):
            for _ in range(1000):
                statuses[(await send_request(site.whole, request, "203.0.113.66")).status] += 1
            warm = warm or resident_mib()
            if part % 4 == 0:
                assert await health(host, port) < GREEN_S
                async with site.door(key, peer="203.0.113.77") as ada:
                    assert (await ada.get("/v1/jobs")).status_code == 200
        assert statuses == {401: 100, 429: 1000 * PARTS - 100}
        assert resident_mib() - warm < 32


async def test_idle_connections_do_not_delay_others(site: KeyedSite) -> None:
    """Five hundred idle connections do not delay others."""
    async with sockets(site) as (host, port):
        idle = [await asyncio.open_connection(host, port) for _ in range(500)]
        before = resident_mib()
        assert await health(host, port) < GREEN_S
        for _, writer in idle:
            writer.write(b"P")
        assert await health(host, port) < GREEN_S
        assert resident_mib() - before < 64
        for _, writer in idle:
            writer.close()
