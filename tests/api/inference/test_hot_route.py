"""Inference over HTTP by the route that passes by FastAPI: the same answers as by FastAPI, byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from keyed_door import KeyedSite, keyed_site, listening
from standin import Array, StandIn
from waiting import until

from loadtests.peers import wire
from serve.api.inference import hot_route
from serve.api.middleware.hot_routes import HotRoutes
from serve.errors import EngineFailure, Overloaded
from serve.observability.metrics import catalogue
from serve.settings import Settings
from serve.state import State


class Engine(StandIn):
    """``x`` of 7 fails as an engine does, of 8 as a bug does, of 9 as an overload; of 10 it never ends."""

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self.waiting = 0
        """Requests that began and never end."""

    async def infer(self, engine: str, inputs: Mapping[str, Array], **options: Any) -> dict[str, Array]:
        match float(inputs["x"].flat[0]) if inputs["x"].size else 0.0:
            case 7.0:
                raise EngineFailure("engine 'plus_one' failed")
            case 8.0:
                raise RuntimeError("bug")
            case 9.0:
                raise Overloaded("the queue of engine 'plus_one' is full", None, 3)
            case 10.0:
                self.waiting += 1
                await asyncio.Event().wait()
        return await super().infer(engine, inputs, **options)


@dataclass(frozen=True)
class Both:
    hot: KeyedSite
    plain: KeyedSite
    keys: dict[str, str]
    engine: Engine
    """Of ``hot``."""


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[State]:
    state = await State.open(Settings(state_dir=tmp_path))
    yield state
    await state.close()


@pytest.fixture
async def sites(state: State) -> AsyncIterator[Both]:
    """The same site twice, with and without the hot route; requests are counted by user."""
    async with AsyncExitStack() as stack:
        engines = Engine(), Engine()
        limited = {"per_user": True, "user_requests": 1_000_000}
        found = [
            await stack.enter_async_context(keyed_site(state, service=engine, hot=hot, rates=limited))
            for engine, hot in zip(engines, (True, False), strict=True)
        ]
        keys = {role: (await found[0].key(role, role)).secret for role in ("user", "read-only")}
        for site in found:
            await site.app.state.models.metadata("plus_one")
        yield Both(*found, keys, engines[0])


def binary(value: float = 1.0, rows: int = 1, **more: Any) -> tuple[bytes, dict[str, str]]:
    body, length = wire.request({"x": np.full((rows, 4), value, np.float32)}, **more)
    return body, {"Inference-Header-Content-Length": str(length), "Content-Type": "application/octet-stream"}


def as_json(value: float = 1.0, **more: Any) -> tuple[bytes, dict[str, str]]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [value] * 4}
    return json.dumps({"inputs": [tensor], **more}).encode(), {}


PATH = "/v2/models/plus_one/infer"
REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "binary": (PATH, *binary()),
    "json": (PATH, *as_json(id="a")),
    "version": ("/v2/models/plus_one/versions/1/infer", *as_json()),
    "unknown version": ("/v2/models/plus_one/versions/2/infer", *as_json()),
    "unknown model": ("/v2/models/minus_one/infer", *as_json()),
    "ensemble": ("/v2/models/vectorize/infer", *as_json()),
    "one output": (PATH, *as_json(outputs=[{"name": "y", "parameters": {"binary_data": True}}])),
    "large": (PATH, *binary(rows=4000)),
    "large json": (PATH, *as_json()[:1], {"Accept-Encoding": "gzip"}),
    "large and compressed": (PATH, binary(rows=400)[0], {**binary(rows=400)[1], "Accept-Encoding": "gzip"}),
    "too large": (PATH, *binary(rows=5000)),
    "no json": (PATH, b"{", {}),
    "no body": (PATH, b"", {}),
    "no header length": (PATH, binary()[0], {"Inference-Header-Content-Length": "x"}),
    "timeout": (PATH, *as_json(parameters={"timeout": -1})),
    "priority": (PATH, as_json()[0], {"X-Priority": "high"}),
    "bad deadline": (PATH, as_json()[0], {"X-Request-Timeout": "0"}),
    "deadline": (PATH, as_json()[0], {"X-Request-Timeout": "9"}),
    "missed deadline": (PATH, as_json(10.0)[0], {"X-Request-Timeout": "0.05"}),
    "failure": (PATH, *as_json(7.0)),
    "bug": (PATH, *as_json(8.0)),
    "overload": (PATH, *as_json(9.0)),
    "not finite": (PATH, *binary(float("nan"))),
    "other site": (PATH, as_json()[0], {"Origin": "http://elsewhere.example"}),
    "own page": (PATH, as_json()[0], {"Origin": "http://atelier"}),
    "own id": (PATH, as_json()[0], {"X-Request-Id": "mine"}),
    "no key": (PATH, as_json()[0], {"Authorization": ""}),
    "query": (f"{PATH}?a=b", *as_json()),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_both_routes_give_the_same_answer(sites: Both, name: str) -> None:
    path, body, headers = REQUESTS[name]
    answers = []
    for site in (sites.hot, sites.plain):
        async with site.door(sites.keys["user"]) as client:
            answers.append(await client.post(path, content=body, headers={"Accept-Encoding": "identity", **headers}))
    hot, plain = answers
    assert hot.status_code == plain.status_code
    if name == "bug":  # FastAPI renders it outside of all layers
        assert set(comparable(hot)) > set(comparable(plain))
    else:
        assert comparable(hot) == comparable(plain)
    assert hot.content == plain.content
    assert hot.status_code != 404 or "there is no model named" in hot.text or "no version" in hot.text


def comparable(answer: httpx.Response) -> list[tuple[str, str]]:
    """The headers without what differs from request to request."""
    vary = ("x-request-id", "ratelimit", "ratelimit-remaining", "ratelimit-reset")
    return sorted((name, "" if name in vary else value) for name, value in answer.headers.items())


async def test_scope_of_the_key_is_needed(sites: Both) -> None:
    async with sites.hot.door(sites.keys["read-only"]) as client:
        answer = await client.post(PATH, content=as_json()[0])
    assert answer.status_code == 403
    assert "error" in answer.json()


async def test_requests_are_counted_with_their_route(sites: Both) -> None:
    before = catalogue.REQUESTS.value("http", "/v2/models/{name}/infer", "200")
    async with sites.hot.door(sites.keys["user"]) as client:
        await client.post(PATH, content=as_json()[0])
    assert catalogue.REQUESTS.value("http", "/v2/models/{name}/infer", "200") == before + 1


async def test_ongoing_requests_are_counted(sites: Both) -> None:
    counts: list[int] = []
    settings = sites.hot.state.settings
    inference = hot_route.HotInference(sites.hot.app.state.models, settings)
    route = HotRoutes([inference], settings, answer_of(), counts.append)
    scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "extensions": {}}
    match = route.match(scope)
    assert match is not None
    assert match.route == hot_route._ROUTES[0]

    async def send(_: Any) -> None: ...

    async def receive() -> Any:
        await asyncio.Event().wait()

    await route.serve(match, scope, receive, send, as_json()[0])
    assert counts == [1, -1]


def answer_of() -> Any:
    from serve.api.app import answer

    return answer


async def test_client_that_disconnects_cancels_its_request(sites: Both) -> None:
    before = catalogue.REQUESTS.value("http", "/v2/models/{name}/infer", "499")
    async with listening(sites.hot) as address:
        host, _, port = address.partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        body = as_json(10.0)[0]
        head = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {sites.keys['user']}\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        await until(lambda: sites.engine.waiting == 1)
        writer.close()
        await until(lambda: catalogue.REQUESTS.value("http", "/v2/models/{name}/infer", "499") == before + 1, 60)


def test_paths_are_those_of_the_application() -> None:
    from serve.api.inference.http import router

    paths = {getattr(route, "path", "") for route in router.routes}
    assert set(hot_route._ROUTES) <= paths
    assert all(re.fullmatch(hot_route._PATH, route.format(name="a", version="1")) for route in hot_route._ROUTES)
