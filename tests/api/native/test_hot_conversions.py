"""Conversions by the route that passes by FastAPI: the same answers as by FastAPI."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from keyed_door import KeyedSite, keyed_site, listening
from standin import StandIn
from waiting import until

from loadtests.peers.whole_jobs import FORM, form
from serve.observability.metrics import catalogue
from serve.settings import Settings
from serve.state import State

CONVERT, CONVERT_AI = "/api/convert", "/api/convert-ai"
ANEW = {"Cache-Control": "no-cache"}


class Both(NamedTuple):
    hot: KeyedSite
    plain: KeyedSite
    keys: dict[str, str]
    service: StandIn
    """Of ``hot``."""


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncIterator[Both]:
    """The same site twice, with and without the hot routes; requests are counted by user."""
    state = await State.open(Settings(state_dir=tmp_path))
    async with AsyncExitStack() as stack:
        services = StandIn(), StandIn()
        limited = {"per_user": True, "user_requests": 1_000_000}
        found = [
            await stack.enter_async_context(keyed_site(state, service=service, hot=hot, rates=limited))
            for service, hot in zip(services, (True, False), strict=True)
        ]
        keys = {role: (await found[0].key(role, role)).secret for role in ("user", "read-only")}
        yield Both(*found, keys, services[0])
    await state.close()


REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "json": (CONVERT_AI, {}),
    "svg": (CONVERT_AI, {"headers": {"Accept": "image/svg+xml"}}),
    "fixed parameters": (CONVERT, {}),
    "png by query": (f"{CONVERT}?format=png&scale=2", {}),
    "compressed": (CONVERT_AI, {"headers": {"Accept-Encoding": "gzip"}}),
    "compressed upload": (CONVERT_AI, {"headers": {"Content-Encoding": "gzip"}}),
    "options": (CONVERT_AI, {"data": {"tier": "2", "validate": "true", "palette": "#ff0000"}}),
    "unknown field": (CONVERT_AI, {"data": {"tiers": "1"}}),
    "bad field": (CONVERT_AI, {"data": {"target_quality": "2"}}),
    "bad query": (f"{CONVERT_AI}?format=gif", {}),
    "no picture": (CONVERT_AI, {"files": {"image": ("a.png", b"no picture")}}),
    "no form": (CONVERT_AI, {"files": None, "json": {}}),
    "no image": (CONVERT_AI, {"files": {"other": ("a.png", b"")}}),
    "deadline": (CONVERT_AI, {"headers": {"X-Request-Timeout": "50"}}),
    "missed deadline": (CONVERT_AI, {"headers": {"X-Request-Timeout": "0.000001"}}),
    "bad deadline": (CONVERT_AI, {"headers": {"X-Request-Timeout": "0"}}),
    "bad idempotency key": (CONVERT_AI, {"headers": {"Idempotency-Key": b"\xe9"}}),
    "other site": (CONVERT_AI, {"headers": {"Origin": "http://elsewhere.example"}}),
    "own page": (CONVERT_AI, {"headers": {"Origin": "http://atelier"}}),
    "session without origin": (CONVERT_AI, {"headers": {"Cookie": "atelier_session=x", "Authorization": ""}}),
    "no key": (CONVERT_AI, {"headers": {"Authorization": ""}}),
    "another path": ("/api/convert-all", {}),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_routes_give_the_same_answer(sites: Both, logo: bytes, name: str) -> None:
    path, options = REQUESTS[name]
    headers = {"Accept-Encoding": "identity", **ANEW, **options.get("headers", {})}
    sent = {"files": {"image": ("a.png", logo)}, **options, "headers": headers}
    answers = []
    for site in (sites.hot, sites.plain):
        async with site.door(sites.keys["user"]) as client:
            answers.append(await client.post(path, **sent))
    hot, plain = answers
    assert hot.status_code == plain.status_code, (hot.text, plain.text)
    assert comparable(hot) == comparable(plain)
    assert body_of(hot) == body_of(plain)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "once"}])
async def test_answer_from_the_cache_is_the_same(sites: Both, logo: bytes, headers: dict[str, str]) -> None:
    bodies = []
    for site in (sites.hot, sites.plain, sites.hot):
        async with site.door(sites.keys["user"]) as client:
            answer = await client.post(CONVERT_AI, files={"image": ("a.png", logo)}, headers=headers)
        bodies.append((answer.headers["x-atelier-cache"], body_of(answer)))
    assert [status for status, _ in bodies] == ["miss", "hit", "hit"]
    assert bodies[1][1] == bodies[2][1]
    assert sites.service.begun == 1


def comparable(answer: httpx.Response) -> list[tuple[str, str]]:
    """The headers without what differs from request to request."""
    vary = ("x-request-id", "ratelimit", "ratelimit-remaining", "ratelimit-reset", "content-length")
    return sorted((name, "" if name in vary else value) for name, value in answer.headers.items())


def body_of(answer: httpx.Response) -> Any:
    """Without the ids and durations of a JSON body."""
    if "json" not in answer.headers["content-type"]:
        return answer.content
    vary = {"generation_id", "request_id", "processing_time", "timings_s", "cost"}
    return json.loads(
        answer.content, object_hook=lambda one: {name: value for name, value in one.items() if name not in vary}
    )


async def test_scope_of_the_key_is_needed(sites: Both, logo: bytes) -> None:
    async with sites.hot.door(sites.keys["read-only"]) as client:
        answer = await client.post(CONVERT_AI, files={"image": ("a.png", logo)})
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:atelier:problem:forbidden"


async def test_client_that_disconnects_cancels_its_conversion(sites: Both, logo: bytes) -> None:
    sites.service.gate = asyncio.Event()
    before = catalogue.REQUESTS.value("http", CONVERT_AI, "499")
    async with listening(sites.hot) as address:
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = form(logo)
        head = f"POST {CONVERT_AI} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sites.keys['user']}\r\n"
        writer.write(f"{head}Content-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        await until(lambda: sites.service.begun == 1, 60)
        writer.close()
        await until(lambda: sites.service.cancelled == 1, 60)
        await until(lambda: catalogue.REQUESTS.value("http", CONVERT_AI, "499") == before + 1, 60)
