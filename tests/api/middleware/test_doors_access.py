"""Keys at every endpoint: authentication, scopes, and access to objects of other users (A-071, A-120, B-083)."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from keyed_door import ME, KeyedSite, keyed_site
from pictures import drawn, encode

from serve.api.middleware.scopes import STUDIO_PAGES, needed
from serve.security.identity.roles import ADMIN, GENERATE, INFERENCE, METRICS, READ, SCOPES, WRITE
from serve.security.signing import signed_urls
from serve.state import State
from serve.state.tables import generations

FOX: dict[str, Any] = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
DRAW = {"prompt": "a fox", "seed": 7}


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as opened:
        yield opened


def every_route(app: FastAPI) -> set[tuple[str, str]]:
    """(method, path) of each route, documented or not, with a value for each path parameter."""
    found = set(_routes(app.routes, ""))
    documented = set(app.openapi()["paths"])
    assert documented <= {path for _, path in found}, "includes hidden routes"
    return {(method, re.sub(r"{[^}]+}", "0" * 32, path)) for method, path in found} | {("GET", "/none")}


def _routes(routes: Iterable[Any], prefix: str) -> Iterator[tuple[str, str]]:
    for route in routes:
        if hasattr(route, "original_router"):
            yield from _routes(route.original_router.routes, prefix + route.include_context.prefix)
        else:
            path = prefix + route.path.replace(":path}", "}")
            yield from ((method, path) for method in getattr(route, "methods", None) or ())


async def test_every_route_without_a_key_returns_401(site: KeyedSite) -> None:
    routes = [(method, path) for method, path in every_route(site.app) if needed(method, path) is not None]
    assert len(routes) > 60
    async with site.door() as anonymous:
        for method, path in routes:
            answer = await anonymous.request(method, path, content=b"{}" if method in ("POST", "PUT") else None)
            assert answer.status_code == 401, (method, path, answer.text)
            assert answer.headers["www-authenticate"], path
            assert answer.headers["x-request-id"]


async def test_public_routes(site: KeyedSite) -> None:
    open_ = {path for method, path in every_route(site.app) if needed(method, path) is None}
    files = {f"/docs/{name}" for name in ("start.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")}
    health = {f"{at}/health/{what}" for at in ("", "/v2") for what in ("live", "ready")}
    studio = {*STUDIO_PAGES, f"/studio/{'0' * 32}", "/api/session"}
    assert open_ == {*health, "/openapi.json", "/docs", *files, *studio}
    async with site.door() as anonymous:
        assert (await anonymous.get("/health/live")).status_code == 200
        assert (await anonymous.get("/openapi.json")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/jobs", READ), ("HEAD", "/v1/results/x", READ), ("GET", "/v2/models/x/stats", READ),
        ("GET", "/sdapi/v1/options", READ), ("POST", "/v1/jobs", GENERATE), ("POST", "/v1/jobs/x/cancel", GENERATE),
        ("DELETE", "/v1/jobs/x", GENERATE), ("PUT", "/v1/jobs/x/priority", GENERATE),
        ("POST", "/v1/images/generations", GENERATE), ("POST", "/v1/images/edits", GENERATE),
        ("POST", "/generate", GENERATE), ("DELETE", "/api/generate/x", GENERATE), ("POST", "/sdapi/v1/x", GENERATE),
        ("POST", "/api/convert-ai", GENERATE), ("POST", "/api/references", WRITE),
        ("DELETE", "/v1/generations/x", WRITE), ("PUT", "/v1/generations/x/favorite", WRITE),
        ("POST", "/v2/models/x/infer", INFERENCE), ("POST", "/v2/repository/index", INFERENCE),
        ("POST", "/api/admin/lanes/x/pause", ADMIN), ("GET", "/api/admin/fallback", ADMIN),
        ("GET", "/api/admin", ADMIN),
        ("GET", "/api/admin/quality", METRICS), ("POST", "/api/admin/quality", ADMIN), ("BREW", "/new", WRITE),
        ("GET", "/new", READ), ("POST", "/openapi.json", WRITE), ("GET", "/api/administrators", READ),
    ],
)  # fmt: skip
def test_scopes_of_requests(method: str, path: str, scope: str) -> None:
    assert needed(method, path) == scope


async def test_scopes_of_a_key_are_enforced(site: KeyedSite) -> None:
    requests: Mapping[str, tuple[str, str]] = {
        READ: ("GET", "/v1/jobs"), WRITE: ("POST", "/api/references"), GENERATE: ("POST", "/v1/jobs"),
        INFERENCE: ("POST", "/v2/models/plus_one/infer"), METRICS: ("GET", "/api/admin/quality"),
        ADMIN: ("POST", "/api/admin/lanes/illustrate/resume"),
    }  # fmt: skip
    for scope in SCOPES:
        made = await site.key("root", "admin", scopes=[scope])
        async with site.door(made.secret) as client:
            for wanted, (method, path) in requests.items():
                status = (await client.request(method, path)).status_code
                assert (status == 403) is (wanted != scope), (scope, wanted, status)


async def test_read_only_users_cannot_write(site: KeyedSite) -> None:
    async with site.door((await site.key("eve", "read-only")).secret) as eve:
        assert (await eve.get("/v1/jobs")).status_code == 200
        for method, path in every_route(site.app):
            if method in ("POST", "PUT", "DELETE", "PATCH") and needed(method, path) is not None:
                assert (await eve.request(method, path)).status_code == 403, (method, path)
    assert site.illustrator.asked == []


@pytest.mark.parametrize("way", ["bearer", "x-api-key", "basic"])
async def test_every_way_to_send_a_key(site: KeyedSite, way: str) -> None:
    secret = (await site.key("ada")).secret
    shown = {
        "bearer": {"Authorization": f"Bearer {secret}"},
        "x-api-key": {"X-API-Key": secret},
        "basic": {"Authorization": "Basic " + base64.b64encode(f"sd:{secret}".encode()).decode()},
    }
    async with site.door() as client:
        assert (await client.get("/v1/jobs", headers=shown[way])).status_code == 200


async def test_errors_have_the_shape_of_their_endpoint(site: KeyedSite) -> None:
    async with site.door("atl_wrong") as anonymous:
        native, openai = await anonymous.get("/v1/jobs"), await anonymous.post("/v1/images/generations", json=DRAW)
        triton = await anonymous.get("/v2/models/vectorize")
    assert {answer.status_code for answer in (native, openai, triton)} == {401}
    assert native.json()["type"] == "urn:atelier:problem:unauthorized"
    assert openai.json()["error"]["code"]
    assert isinstance(triton.json()["error"], str)
    for answer in (native, openai, triton):
        assert "atl_wrong" not in answer.text
        assert answer.headers["www-authenticate"]


async def test_body_of_a_refused_request_is_not_parsed(site: KeyedSite) -> None:
    async with site.door() as anonymous:
        answer = await anonymous.post("/v1/jobs", content=b"\x1f\x8b not gzip", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 401
        too_large = await anonymous.post("/api/convert", content=b"x" * (11 * 1024 * 1024))
        assert too_large.status_code in (401, 413)


async def test_jobs_of_other_users_return_404(
    site: KeyedSite, ada: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    job = (await ada.post("/v1/jobs", json=FOX)).json()
    assert job["user_id"] == "ada"
    batch = (await ada.post("/v1/jobs", json={**FOX, "count": 2})).json()
    own = f"/v1/jobs/{job['id']}"
    reads = [own, f"{own}/status", f"{own}/result", f"{own}/events", f"{own}/status/stream", f"{own}/preview"]
    reads += [f"/api/generate/{job['id']}/status", f"/v1/generations/{job['id']}", f"/v1/batches/{batch['id']}"]
    reads += [f"/v1/generations/download?ids={job['id']}", f"/v1/batches/{batch['id']}/download"]
    for path in reads:
        answer = await bob.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["detail"] == (await bob.get(path.replace(job["id"], "f" * 32))).json()["detail"] or (
            batch["id"] in path
        )
    changes = [("DELETE", own), ("DELETE", f"/api/generate/{job['id']}"), ("POST", f"/v1/batches/{batch['id']}/cancel")]
    changes += [("POST", f"{own}/{what}") for what in ("cancel", "pause", "resume", "retry")]
    changes += [("PUT", f"{own}/priority"), ("DELETE", f"/v1/generations/{job['id']}")]
    changes += [(method, f"/v1/generations/{job['id']}/favorite") for method in ("PUT", "DELETE")]
    for method, path in changes:
        body = {"priority": 1} if path.endswith("priority") else None
        assert (await bob.request(method, path, json=body)).status_code == 404, (method, path)
    assert (await ada.get(own)).json()["status"] == "pending", "unchanged by other users"
    assert (await admin.get(own)).status_code == 200
    assert (await admin.post(f"{own}/cancel")).status_code == 200


async def test_lists_contain_only_own_items(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, admin: httpx.AsyncClient
) -> None:
    mine = (await ada.post("/v1/jobs", json=FOX)).json()["id"]
    for path, name in (
        ("/v1/jobs", "jobs"),
        ("/v1/generations", "generations"),
        ("/api/generate/history", "generations"),
    ):
        assert [one["id"] for one in (await ada.get(path)).json()[name]] == [mine]
        assert (await bob.get(path)).json()[name] == []
        assert [one["id"] for one in (await admin.get(path)).json()[name]] == [mine]
        assert (await bob.get(path, params={"user_id": "ada"})).status_code == 403
        assert (await ada.get(path, params={"user_id": "ada"})).status_code == 200
        assert (await admin.get(path, params={"user_id": "bob"})).json()[name] == []


async def test_acting_for_another_user_is_refused(ada: httpx.AsyncClient, admin: httpx.AsyncClient) -> None:
    for body in ({**FOX, "user_id": "bob"}, {**FOX, "user_id": "root"}, {**FOX, "user_id": "anonymous"}):
        answer = await ada.post("/v1/jobs", json=body)
        assert (answer.status_code, answer.json()["field"]) == (403, "user_id")
    answer = await ada.post("/api/generate", json={"prompt": "x", "userId": "bob"})
    assert (answer.status_code, answer.json()["field"]) == (403, "userId")
    assert (await ada.post("/api/illustrations/generate", json={"prompt": "x", "userId": "bob"})).status_code == 403
    assert (await ada.get("/api/references", params={"user_id": "bob"})).status_code == 403
    assert (await ada.get("/api/references")).json()["items"] == []
    assert (await admin.post("/v1/jobs", json={**FOX, "user_id": "bob"})).json()["user_id"] == "bob"
    drawn_for = await ada.post("/api/illustrations/generate", json=DRAW)
    assert drawn_for.status_code == 200, "the key names the user"


async def test_results_need_their_owner_or_a_signed_url(
    site: KeyedSite, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    body = {**DRAW, "response_format": "url"}
    url = (await ada.post("/v1/images/generations", json=body)).json()["data"][0]["url"]
    path = url.removeprefix("http://127.0.0.1:8000")
    plain = path.partition("?")[0]
    assert "signature=" in path
    async with site.door() as anonymous:
        assert (await anonymous.get(path)).content.startswith(b"\x89PNG")
        assert (await anonymous.get(f"{path}&format=webp")).headers["content-type"] == "image/webp"
        assert (await anonymous.head(path)).status_code == 200
        for other in (
            plain,
            f"{plain}/thumbnail?{path.partition('?')[2]}",
            f"{plain}/metadata?{path.partition('?')[2]}",
        ):
            assert (await anonymous.get(other)).status_code == 401, other
        assert (await anonymous.get(path[:-1] + ("A" if path[-1] != "A" else "B"))).status_code == 401
        assert (await anonymous.post(path)).status_code == 401
        assert (await anonymous.delete(path.replace("results", "generations"))).status_code == 401
    assert (await ada.get(plain)).status_code == 200
    assert (await bob.get(plain)).status_code == 404
    assert (await bob.get(path)).status_code == 200, "a signed URL is valid for every user"


async def test_signed_urls_expire(site: KeyedSite, ada: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = await ada.post("/v1/images/generations", json={**DRAW, "response_format": "url"})
    path = answer.json()["data"][0]["url"].removeprefix("http://127.0.0.1:8000")
    signer = signed_urls.signer_of(site.state.settings)
    later = signer._now() + site.state.settings.secrets.link_s + 60
    monkeypatch.setattr(signer, "_now", lambda: later)
    async with site.door() as anonymous:
        assert (await anonymous.get(path)).status_code == 401


async def test_same_prompt_of_two_users_has_two_generations(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    """Both users may share one cached picture; each sees it under a URL of their own."""
    body = {**DRAW, "response_format": "url"}
    urls = [(await one.post("/v1/images/generations", json=body)).json()["data"][0]["url"] for one in (ada, bob)]
    plain = [url.removeprefix("http://127.0.0.1:8000").partition("?")[0] for url in urls]
    assert plain[0] != plain[1]
    for one, own, foreign in ((ada, *plain), (bob, *reversed(plain))):
        assert (await one.get(own)).status_code == 200
        assert (await one.get(foreign)).status_code == 404


async def test_job_with_a_result_of_another_user_is_refused(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    answer = await ada.post("/v1/images/generations", json={**DRAW, "response_format": "url"})
    result = answer.json()["data"][0]["url"].partition("?")[0].rpartition("/")[2]
    body = {"kind": "vectorize", "input": {"result_id": result}}
    assert (await ada.post("/v1/jobs", json=body)).status_code == 202
    refused = await bob.post("/v1/jobs", json=body)
    assert (refused.status_code, refused.json()["field"]) == (404, "result_id")


async def test_references_of_other_users_return_404(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, site: KeyedSite
) -> None:
    files = {"image": ("fox.png", encode(drawn()), "image/png")}
    kept = (await ada.post("/api/references", files=files, data={"subject_name": "fox"})).json()
    assert kept["user_id"] == "ada"
    own = f"/api/references/{kept['id']}"
    for path in (own, f"{own}/image", f"{own}/thumbnail"):
        assert (await ada.get(path)).status_code == 200
        assert (await bob.get(path)).status_code == 404
        assert (await bob.get(path, params={"user_id": "ada"})).status_code == 403
    assert (await bob.delete(own)).status_code == 404
    async with site.door() as anonymous:
        for name in ("image_url", "thumbnail_url"):
            shown = await anonymous.get(kept[name].removeprefix("http://127.0.0.1:8000"))
            assert (shown.status_code, shown.headers["content-type"].partition("/")[0]) == (200, "image")
    assert (await ada.delete(own)).status_code == 204


async def test_revoked_and_expired_keys_are_refused(site: KeyedSite) -> None:
    made = await site.key("ada")
    async with site.door(made.secret) as ada:
        assert (await ada.get("/v1/jobs")).status_code == 200
        await site.entrance.gate.keys.revoke(made.key.id, ME)
        refused = await ada.get("/v1/jobs")
    assert refused.status_code == 401
    assert "revoked" in refused.json()["detail"]


async def test_repeated_wrong_keys_are_throttled(state: State) -> None:
    async with keyed_site(state, access={"max_failures": 3}) as site, site.door() as anonymous:
        found = [
            (await anonymous.get("/v1/jobs", headers={"X-API-Key": f"atl_{n:016x}_{'x' * 36}"})).status_code
            for n in range(6)
        ]
        assert found[:3] == [401] * 3
        assert 429 in found[3:]
        async with site.door((await site.key("ada")).secret, peer="203.0.113.77") as ada:
            assert (await ada.get("/v1/jobs")).status_code == 200


async def test_rate_limit_by_user(state: State) -> None:
    async with keyed_site(state, rates={"per_user": True, "user_requests": 3}) as site:
        keys = [(await site.key(name)).secret for name in ("ada", "bob")]
        async with site.door(keys[0]) as ada, site.door(keys[1]) as bob:
            found = [await ada.get("/v1/jobs") for _ in range(5)]
            assert [answer.status_code for answer in found] == [200] * 3 + [429] * 2
            assert found[0].headers["RateLimit"].startswith('"user";r=2')
            assert (await bob.get("/v1/jobs")).status_code == 200


async def test_rate_limit_of_wrong_keys_by_address(state: State) -> None:
    async with keyed_site(state, rates={"per_address": True, "address_requests": 3}) as site, site.door() as anonymous:
        found = [(await anonymous.get("/v1/jobs")).status_code for _ in range(5)]
    assert found == [401] * 3 + [429] * 2


async def test_request_is_counted_once(state: State) -> None:
    """Counted before the body is read, and not again by the application."""
    async with keyed_site(state, rates={"per_user": True, "user_requests": 100}) as site:
        key = await site.key("ada")
        async with site.door(key.secret) as ada:
            left = [int((await ada.get("/v1/jobs")).headers["RateLimit-Remaining"]) for _ in range(2)]
    assert left == [99, 98]


async def test_refusals_have_cors_headers(state: State) -> None:
    async with (
        keyed_site(state, http={"allowed_origins": ("https://studio.example",)}) as site,
        site.door() as anonymous,
    ):
        refused = await anonymous.post("/v1/jobs", json=FOX, headers={"Origin": "https://studio.example"})
        headers = {"Origin": "https://studio.example", "Access-Control-Request-Method": "POST"}
        preflight = await anonymous.options(
            "/v1/jobs", headers={**headers, "Access-Control-Request-Headers": "authorization"}
        )
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://studio.example"
    assert preflight.status_code == 200


async def test_without_required_keys_callers_are_anonymous_non_admins(state: State) -> None:
    async with keyed_site(state, access={"required": "off"}) as site, site.door(peer="127.0.0.1") as local:
        assert (await local.post("/v1/jobs", json=FOX)).json()["user_id"] == "anonymous"
        assert (await local.post("/v1/jobs", json={**FOX, "user_id": "bob"})).json()["user_id"] == "bob"
        assert len((await local.get("/v1/jobs")).json()["jobs"]) == 2
        assert (await local.post("/api/admin/lanes/illustrate/pause")).status_code == 403
        assert (await local.get("/v1/jobs", headers={"Authorization": "Bearer sk-none"})).status_code == 200
        url = (await local.post("/v1/images/generations", json={**DRAW, "response_format": "url"})).json()
        assert "signature" not in url["data"][0]["url"]
        async with site.door((await site.key("root", "admin")).secret, peer="127.0.0.1") as root:
            assert (await root.post("/api/admin/lanes/illustrate/pause")).status_code == 200


async def test_ids_with_null_bytes_are_not_found(ada: httpx.AsyncClient) -> None:
    for path in ("/v1/results/%00", "/v1/results/a%00b/metadata", "/v1/generations/download?ids=%00"):
        assert (await ada.get(path)).status_code in (400, 404), path


async def test_public_pages_are_rate_limited_and_health_is_not(state: State) -> None:
    async with keyed_site(state, rates={"per_address": True, "address_requests": 3}) as site, site.door() as anonymous:
        paths = ("/docs", "/docs/swagger-ui-bundle.js", "/openapi.json", "/docs", "/openapi.json")
        assert [(await anonymous.get(path)).status_code for path in paths] == [200, 200, 200, 429, 429]
        assert (await anonymous.get("/health/live")).status_code == 200
        response = await anonymous.get("/health/ready")
    assert response.json() == {"status": "ready"}, "no details on a site that needs keys"


async def test_converting_a_result_needs_more_than_the_read_scope(site: KeyedSite, ada: httpx.AsyncClient) -> None:
    answer = await ada.post("/v1/images/generations", json={**DRAW, "response_format": "url"})
    signed = answer.json()["data"][0]["url"].removeprefix("http://127.0.0.1:8000")
    plain = signed.partition("?")[0]
    assert (await ada.get(f"{plain}?format=svg")).status_code == 200
    async with site.door((await site.key("ada", scopes=["read"])).secret) as reader, site.door() as anonymous:
        assert (await reader.get(plain)).status_code == 200
        assert (await reader.get(f"{plain}?format=svg")).status_code == 403
        assert (await anonymous.get(f"{signed}&format=svg")).status_code == 403


async def test_foreign_host_name_is_refused(state: State) -> None:
    """DNS rebinding: a host name of another site resolves to this server (A-120)."""
    async with keyed_site(state, access={"required": "off"}) as site, site.door(peer="127.0.0.1") as local:
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example"):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert (await local.get("/v1/generations", headers=headers)).status_code == 403
            assert (await local.post("/v1/jobs", json=FOX, headers=headers)).status_code == 403
        for host in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000", "atelier", "studio.localhost", "192.0.2.7"):
            assert (await local.get("/v1/generations", headers={"Host": host})).status_code == 200, host
    async with keyed_site(state, http={"public_url": "https://art.example"}) as site:
        key = await site.key("ada")
        async with site.door(key.secret) as ada:
            assert (await ada.get("/v1/me", headers={"Host": "other.example"})).status_code == 200, (
                "host names are not restricted where keys are required"
            )


@pytest.mark.parametrize("name", ["user", "safety_identifier"])
async def test_openai_user_field_does_not_change_the_owner(site: KeyedSite, ada: httpx.AsyncClient, name: str) -> None:
    """Ordinary clients send it with every request: it is echoed, and the pictures belong to the key's user."""
    answer = await ada.post("/v1/images/generations", json={**DRAW, name: "customer-17"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["safety_identifier"] == "customer-17"
    async with site.state.database.read() as connection:
        owners = [row.user_id for row in await connection.execute(generations.select())]
    assert owners == ["ada"]
