"""Rate limits over HTTP: headers, refusals in each endpoint's error format, and which client a request counts for
(C-092)."""

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
from serve.security.identity.sessions import SessionCookies
from serve.security.limits.counters import Counters
from serve.security.limits.limiter import Client, Limiter
from serve.security.signing.secret_store import SecretBox
from serve.settings import DatabaseSettings, HttpSettings, ProxySettings, RatesSettings, Settings
from serve.state import State
from serve.state.database import Database, database_url
from serve.state.migrate import migrate

TOKEN = "f" * 32
CLIENT = "203.0.113.9"
LISTENS = HttpSettings()

SESSIONS = SessionCookies(SecretBox([b"0" * 32]))


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
        return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60)

    def app(self, http: HttpSettings = LISTENS, **rates: Any) -> Any:
        settings = Settings(rates=RatesSettings(**rates), http=http, proxy=ProxySettings(token=SecretStr(TOKEN)))
        limiter = Limiter(settings.rates, Counters.create(settings.rates, self.database), Clock())
        self.limiters.append(limiter)
        authentication = Authentication(optional_keys(self.database, settings), limiter, SESSIONS, settings)
        return ClientAddress(create_app(StandIn(), settings, entrance=authentication), settings)


def optional_keys(database: Database, settings: Settings) -> Authenticator:
    state = State(database, None, settings)  # type: ignore[arg-type]  # nothing is stored
    return Authenticator(Keys(state, (b"0" * 32,)), required=False)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    opened = Site(database)
    yield opened
    for limiter in opened.limiters:
        await limiter.close()


async def statuses(door: httpx.AsyncClient, requests: int, path: str = "/v2", **headers: str) -> list[int]:
    codes = [(await door.get(path, headers=headers)).status_code for _ in range(requests)]
    return [codes.count(200), codes.count(429)]


async def test_default_limit_is_100_in_15_minutes(site: Site) -> None:
    async with site.door() as door:
        assert await statuses(door, 130) == [100, 30]


async def test_rate_limit_headers(site: Site) -> None:
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


async def test_429_has_the_error_format_of_each_api(site: Site) -> None:
    async with site.door(address_requests=1) as door:
        await door.get("/v2")
        native = await door.post("/api/convert", content=b"x")
        openai = await door.post("/v1/images/generations", json={})
        triton = await door.get("/v2/models/vectorize")
    assert native.status_code == openai.status_code == triton.status_code == 429
    assert native.headers["content-type"] == "application/problem+json"
    problem = native.json()
    assert problem["type"] == "urn:atelier:problem:too-many-requests"
    assert "1 requests per address in 15 minutes" in problem["detail"]
    assert problem["request_id"] == native.headers["x-request-id"]
    assert openai.json()["error"]["message"] == problem["detail"]
    assert triton.json() == {"error": problem["detail"]}


async def test_health_is_not_rate_limited(site: Site) -> None:
    async with site.door(address_requests=1) as door:
        for path in ("/health/live", "/v2/health/live") * 3:
            found = await door.get(path)
            assert found.status_code == 200
            assert not [name for name in found.headers if name.startswith("ratelimit")]
        assert await statuses(door, 3) == [1, 2]
        assert (await door.get("/health/live")).status_code == 200


async def test_cors_preflight_is_free_and_429_headers_are_exposed(site: Site) -> None:
    http = HttpSettings(allowed_origins=("https://studio.example",))
    preflight = {"Origin": "https://studio.example", "Access-Control-Request-Method": "POST"}
    async with site.door(http=http, address_requests=1) as door:
        for _ in range(3):
            assert (await door.options("/api/convert", headers=preflight)).status_code == 200
        await door.get("/v2")
        refused = await door.get("/v2", headers={"Origin": "https://studio.example"})
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == "https://studio.example"
    assert "RateLimit-Reset" in refused.headers["access-control-expose-headers"]


async def test_addresses_have_separate_limits_and_ipv6_by_subnet(site: Site) -> None:
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
async def test_forged_address_headers_do_not_evade_the_limit(site: Site, peer: str, name: str, value: str) -> None:
    async with site.door(peer, address_requests=5, loopback=True) as door:
        found = [(await door.get("/v2", headers={name: value.format(n)})).status_code for n in range(20)]
    assert found.count(200) == 5


async def test_clients_behind_a_trusted_proxy_have_separate_limits(site: Site) -> None:
    http = HttpSettings(trusted_proxies=("10.0.0.0/8",))
    async with site.door("10.1.2.3", http, address_requests=2) as door:
        for n in range(3):
            spoofed = {"X-Forwarded-For": f"192.0.2.{n}, {CLIENT}"}
            assert (await door.get("/v2", headers=spoofed)).status_code == (429 if n == 2 else 200)
        assert await statuses(door, 2, **{"X-Forwarded-For": "203.0.113.10"}) == [2, 0]


async def test_loopback_is_exempt_unless_it_forwards(site: Site) -> None:
    async with site.door("127.0.0.1", address_requests=2) as door:
        assert await statuses(door, 10) == [10, 0]
        assert "RateLimit-Limit" not in (await door.get("/v2")).headers
        assert await statuses(door, 10, **{"X-Forwarded-For": "192.0.2.1"}) == [2, 8]
    async with site.door("::1", address_requests=2, loopback=True) as door:
        assert await statuses(door, 10) == [2, 8]
    behind_own_proxy = {"X-Atelier-Peer": f"{TOKEN} {CLIENT}"}
    async with site.door("127.0.0.1", address_requests=2) as door:
        assert await statuses(door, 10, **behind_own_proxy) == [2, 8]


async def test_address_limit_can_be_disabled(site: Site) -> None:
    async with site.door(per_address=False) as door:
        assert await statuses(door, 150) == [150, 0]


async def test_hundred_thousand_requests_of_one_address_allow_100(site: Site) -> None:
    """A reduced number; `python -m loadtests.benchmarks.security` sends all of them."""
    limiter = Limiter(RatesSettings(), Counters.create(RatesSettings(), site.database), Clock())
    client = Client(None, CLIENT)
    found = [await limiter.take(client, "read") for _ in range(100_000)]
    assert sum(one.allowed for (one,) in found) == 100
    await limiter.close()


async def test_users_have_their_own_limit(site: Site) -> None:
    rates = RatesSettings(address_requests=10, user_requests=4)
    limiter = Limiter(rates, Counters.create(rates, site.database), Clock())
    found = [await limiter.take(Client("ada", CLIENT), "read") for _ in range(6)]
    assert [all(one.allowed for one in standings) for standings in found] == [True] * 4 + [False] * 2
    assert [one.rate.name for one in found[0]] == ["address", "user"]
    (left,) = await limiter.take(Client(None, CLIENT), "read")
    assert left.remaining == 10 - 4 - 1, "who was refused as a user did not use up the address's"
    await limiter.close()


async def test_users_can_be_exempt_from_the_address_limit(site: Site) -> None:
    rates = RatesSettings(address_requests=1, users_by_address=False)
    limiter = Limiter(rates, Counters.create(rates, site.database), Clock())
    found = [await limiter.take(Client("ada", CLIENT), "read") for _ in range(5)]
    assert all(one.allowed and one.rate.name == "user" for (one,) in found)
    await limiter.close()


async def test_costs_per_kind_of_request(site: Site) -> None:
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
        ("POST", "/api/captions/describe", "vectorize"),
        ("POST", "/api/style-transfer/transfer", "draw"),
        ("POST", "/api/style-transfer/svg", "vectorize"),
        ("POST", "/api/references", "write"),
        ("BREW", "/", "write"),
    ],
)
def test_kind_of_work_by_method_and_path(method: str, path: str, work: str) -> None:
    assert work_of(method, path) == work


def test_every_drawing_route_has_the_drawing_cost() -> None:
    app = create_app(StandIn(), Settings())
    posts = {path for path, methods in app.openapi()["paths"].items() if "post" in methods}
    drawing = {path for path in posts if "generat" in path or path == "/v1/jobs"}
    assert len(drawing) >= 6
    for path in drawing:
        concrete = path.replace("{name}", "illustrate").replace("{version}", "1")
        assert work_of("POST", concrete) == "draw", path


def test_websockets_are_rate_limited(tmp_path: Path) -> None:
    settings = Settings(database=DatabaseSettings(url=SecretStr(f"sqlite:///{tmp_path}/atelier.db")))
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    database = Database(database_url(settings), settings.database)
    rates = RatesSettings(address_requests=1, loopback=True)
    limiter = Limiter(rates, Counters.create(rates, database), lambda: NOW)
    authentication = Authentication(optional_keys(database, settings), limiter, SESSIONS, settings)
    limited = AuthenticationMiddleware(Refusals(app, answer), lambda: authentication)

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
