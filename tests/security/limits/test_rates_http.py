"""Limits as clients see them: headers, refusals in the words of each door, and who is counted as whom (C-092)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, WebSocket
from limited_site import NOW, Clock
from pydantic import SecretStr
from standin import StandIn
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from serve.api.app import answer, create_app
from serve.api.middleware.authentication import Authentication, AuthenticationMiddleware, Refusals
from serve.api.middleware.client_address import ClientAddress
from serve.api.middleware.rate_classes import work_of
from serve.api.middleware.response_headers import RequestId
from serve.security.identity.authentication import Authenticator
from serve.security.identity.keys import Keys
from serve.security.limits.counters import Counters
from serve.security.limits.limiter import Client, Limiter
from serve.settings import DatabaseSettings, HttpSettings, ProxySettings, RatesSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.migrate import migrate

TOKEN = "f" * 32
CLIENT = "203.0.113.9"
LISTENS = HttpSettings()


@pytest.fixture
async def database(sqlite_settings: DatabaseSettings) -> AsyncIterator[Database]:
    opened = Database(database_url(Settings(database=sqlite_settings)), sqlite_settings)
    yield opened
    await opened.close()


class Site:
    def __init__(self, database: Database) -> None:
        self.database = database
        self.limiters: list[Limiter] = []

    def door(self, peer: str = CLIENT, http: HttpSettings = LISTENS, **rates: Any) -> httpx.AsyncClient:
        """A client whose connection comes from ``peer``."""
        app = self.app(http, **rates)
        transport = httpx.ASGITransport(app, client=(peer, 5000), raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=30)

    def app(self, http: HttpSettings = LISTENS, **rates: Any) -> Any:
        settings = Settings(rates=RatesSettings(**rates), http=http, proxy=ProxySettings(token=SecretStr(TOKEN)))
        limiter = Limiter(settings.rates, Counters.create(settings.rates, self.database), Clock())
        self.limiters.append(limiter)
        entrance = Authentication(nobody_needs_a_key(self.database, settings), limiter, settings)
        return ClientAddress(create_app(StandIn(), settings, entrance=entrance), settings)


def nobody_needs_a_key(database: Database, settings: Settings) -> Authenticator:
    state = State(database, None, settings)  # type: ignore[arg-type]  # nothing is stored
    return Authenticator(Keys(state, (b"0" * 32,)), required=False)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    found = Site(database)
    yield found
    for limiter in found.limiters:
        await limiter.close()


async def statuses(door: httpx.AsyncClient, requests: int, path: str = "/v2", **headers: str) -> list[int]:
    found = [(await door.get(path, headers=headers)).status_code for _ in range(requests)]
    return [found.count(200), found.count(429)]


async def test_a_hundred_in_fifteen_minutes(site: Site) -> None:
    async with site.door() as door:
        assert await statuses(door, 130) == [100, 30]


async def test_what_headers_tell(site: Site) -> None:
    async with site.door(address_requests=2) as door:
        found = [await door.get("/v2") for _ in range(3)]
    reset_s = int(found[0].headers["RateLimit-Reset"])
    assert 1 <= reset_s <= 900
    for one, left in zip(found, (1, 0, 0), strict=True):
        assert one.headers["RateLimit-Policy"] == '"address";q=2;w=900'
        assert one.headers["RateLimit"] == f'"address";r={left};t={reset_s}'
        assert one.headers["RateLimit-Limit"] == "2"
        assert one.headers["RateLimit-Remaining"] == str(left)
    assert found[2].status_code == 429
    assert found[2].headers["Retry-After"] == str(reset_s)
    assert "Retry-After" not in found[1].headers


async def test_a_refusal_is_a_problem_in_the_words_of_the_door(site: Site) -> None:
    async with site.door(address_requests=1) as door:
        await door.get("/v2")
        native = await door.post("/api/convert", content=b"x")
        openai = await door.post("/v1/images/generations", json={})
        triton = await door.get("/v2/models/vectorize")
    assert native.status_code == openai.status_code == triton.status_code == 429
    assert native.headers["content-type"] == "application/problem+json"
    told = native.json()
    assert told["type"] == "urn:atelier:problem:too-many-requests"
    assert "1 requests per address in 15 minutes" in told["detail"]
    assert told["request_id"] == native.headers["x-request-id"]
    assert openai.json()["error"]["message"] == told["detail"]
    assert triton.json() == {"error": told["detail"]}


async def test_health_is_neither_counted_nor_told(site: Site) -> None:
    async with site.door(address_requests=1) as door:
        for path in ("/health/live", "/v2/health/live") * 3:
            found = await door.get(path)
            assert found.status_code == 200
            assert not [name for name in found.headers if name.startswith("ratelimit")]
        assert await statuses(door, 3) == [1, 2]
        assert (await door.get("/health/live")).status_code == 200


async def test_browsers_may_read_a_refusal_and_ask_before(site: Site) -> None:
    http = HttpSettings(allowed_origins=("https://studio.example",))
    asks = {"Origin": "https://studio.example", "Access-Control-Request-Method": "POST"}
    async with site.door(http=http, address_requests=1) as door:
        for _ in range(3):
            assert (await door.options("/api/convert", headers=asks)).status_code == 200
        await door.get("/v2")
        refused = await door.get("/v2", headers={"Origin": "https://studio.example"})
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == "https://studio.example"
    assert "RateLimit-Reset" in refused.headers["access-control-expose-headers"]


async def test_addresses_are_counted_apart_and_ipv6_by_subnet(site: Site) -> None:
    first, second, third = "2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:2::1"
    app = site.app(address_requests=3)
    found = []
    for peer in (first, second, first, second, third):
        transport = httpx.ASGITransport(app, client=(peer, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
            found.append((await door.get("/v2")).status_code)
    assert found == [200, 200, 200, 429, 200]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-For", "192.0.2.{}"),
        ("X-Forwarded-For", "127.0.0.1, 192.0.2.{}"),
        ("Forwarded", "for=192.0.2.{}"),
        ("X-Real-IP", "192.0.2.{}"),
        ("X-Atelier-Peer", "192.0.2.{}"),
        ("X-Atelier-Peer", " 192.0.2.{}"),
        ("X-Atelier-Peer", "e" * 32 + " 192.0.2.{}"),
    ],
)
@pytest.mark.parametrize("peer", [CLIENT, "127.0.0.1"])
async def test_another_address_in_every_request_gains_nothing(site: Site, peer: str, name: str, value: str) -> None:
    async with site.door(peer, address_requests=5, loopback=True) as door:
        found = [(await door.get("/v2", headers={name: value.format(n)})).status_code for n in range(20)]
    assert found.count(200) == 5


async def test_clients_behind_a_trusted_proxy_are_counted_apart(site: Site) -> None:
    http = HttpSettings(trusted_proxies=("10.0.0.0/8",))
    async with site.door("10.1.2.3", http, address_requests=2) as door:
        for n in range(3):
            spoofed = {"X-Forwarded-For": f"192.0.2.{n}, {CLIENT}"}
            assert (await door.get("/v2", headers=spoofed)).status_code == (429 if n == 2 else 200)
        assert await statuses(door, 2, **{"X-Forwarded-For": "203.0.113.10"}) == [2, 0]


async def test_this_machine_is_not_counted_unless_somebody_speaks_for_others(site: Site) -> None:
    async with site.door("127.0.0.1", address_requests=2) as door:
        assert await statuses(door, 10) == [10, 0]
        assert "RateLimit-Limit" not in (await door.get("/v2")).headers
        assert await statuses(door, 10, **{"X-Forwarded-For": "192.0.2.1"}) == [2, 8]
    async with site.door("::1", address_requests=2, loopback=True) as door:
        assert await statuses(door, 10) == [2, 8]
    behind_own_proxy = {"X-Atelier-Peer": f"{TOKEN} {CLIENT}"}
    async with site.door("127.0.0.1", address_requests=2) as door:
        assert await statuses(door, 10, **behind_own_proxy) == [2, 8]


async def test_it_can_be_switched_off(site: Site) -> None:
    async with site.door(per_address=False) as door:
        assert await statuses(door, 150) == [150, 0]


async def test_a_hundred_thousand_requests_of_one_address(site: Site) -> None:
    """As many as there is patience for here; `python -m loadtests.benchmarks.security` sends all of them."""
    limiter = Limiter(RatesSettings(), Counters.create(RatesSettings(), site.database), Clock())
    client = Client(None, CLIENT)
    found = [await limiter.take(client, "read") for _ in range(100_000)]
    assert sum(one.allowed for (one,) in found) == 100
    await limiter.close()


async def test_users_have_a_limit_of_their_own(site: Site) -> None:
    rates = RatesSettings(address_requests=10, user_requests=4)
    limiter = Limiter(rates, Counters.create(rates, site.database), Clock())
    found = [await limiter.take(Client("ada", CLIENT), "read") for _ in range(6)]
    assert [all(one.allowed for one in standings) for standings in found] == [True] * 4 + [False] * 2
    assert [one.rate.name for one in found[0]] == ["address", "user"]
    (left,) = await limiter.take(Client(None, CLIENT), "read")
    assert left.remaining == 10 - 4 - 1, "who was refused as a user did not use up the address's"
    await limiter.close()


async def test_users_may_be_free_of_their_address(site: Site) -> None:
    rates = RatesSettings(address_requests=1, users_by_address=False)
    limiter = Limiter(rates, Counters.create(rates, site.database), Clock())
    found = [await limiter.take(Client("ada", CLIENT), "read") for _ in range(5)]
    assert all(one.allowed and one.rate.name == "user" for (one,) in found)
    await limiter.close()


async def test_an_illustration_costs_more_than_a_status(site: Site) -> None:
    async with site.door(address_requests=100) as door:
        left = [100 - int((await door.get("/v1/jobs/x/status")).headers["RateLimit-Remaining"])]
        for path in ("/v1/images/generations", "/api/convert", "/api/references"):
            left.append(100 - int((await door.post(path)).headers["RateLimit-Remaining"]))
    assert left == [1, 6, 8, 9]


@pytest.mark.parametrize(
    ("method", "path", "work"),
    [
        ("GET", "/v1/jobs", "read"),
        ("HEAD", "/v1/results/x", "read"),
        ("POST", "/v1/jobs", "draw"),
        ("POST", "/v1/jobs/", "draw"),
        ("POST", "/v1/jobs/x/retry", "draw"),
        ("POST", "/v1/jobs/x/cancel", "write"),
        ("POST", "/v1/images/generations", "draw"),
        ("POST", "/generate", "draw"),
        ("POST", "/api/generate", "draw"),
        ("DELETE", "/api/generate/x", "write"),
        ("POST", "/api/illustrations/generate", "draw"),
        ("POST", "/api/diffusion/generate", "draw"),
        ("POST", "/sdapi/v1/txt2img", "draw"),
        ("POST", "/v2/models/illustrate/infer", "draw"),
        ("POST", "/v2/models/illustrate/versions/1/generate_stream", "draw"),
        ("POST", "/v2/models/vectorize/infer", "vectorize"),
        ("POST", "/api/convert-ai", "vectorize"),
        ("POST", "/api/references", "write"),
        ("BREW", "/", "write"),
    ],
)
def test_what_a_request_is_about(method: str, path: str, work: str) -> None:
    assert work_of(method, path) == work


def test_every_route_that_draws_costs_so() -> None:
    app = create_app(StandIn(), Settings())
    posts = {path for path, methods in app.openapi()["paths"].items() if "post" in methods}
    drawing = {path for path in posts if "generat" in path or path == "/v1/jobs"}
    assert len(drawing) >= 6
    for path in drawing:
        concrete = path.replace("{name}", "illustrate").replace("{version}", "1")
        assert work_of("POST", concrete) == "draw", path


def test_sockets_are_counted(tmp_path: Path) -> None:
    settings = Settings(database=DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/atelier.db")))
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    database = Database(database_url(settings), settings.database)
    rates = RatesSettings(address_requests=1, loopback=True)
    limiter = Limiter(rates, Counters.create(rates, database), lambda: NOW)
    entrance = Authentication(nobody_needs_a_key(database, settings), limiter, settings)
    limited = AuthenticationMiddleware(Refusals(app, answer), lambda: entrance)

    async def opened(scope: Any, receive: Any, send: Any) -> None:
        await migrate(database)
        await RequestId(limited)(scope, receive, send)

    with TestClient(opened) as client:
        with client.websocket_connect("/ws") as socket, pytest.raises(WebSocketDisconnect):
            socket.receive_text()
        with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws"):
            pass
        assert refused.value.status_code == 429
        assert refused.value.headers["RateLimit-Remaining"] == "0"


async def test_clients_without_an_address_share_one_count(site: Site) -> None:
    async with site.door("", address_requests=1) as door:
        assert await statuses(door, 3) == [1, 2]
