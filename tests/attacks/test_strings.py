"""Texts of SQL, path, header and address injection, at the endpoints, with a valid key."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa
from forbidden_hosts import FORBIDDEN
from jobs_standin import with_settings
from keyed_door import KeyedSite, keyed_site
from odd_requests import AttackRequest, document_of, routes_of
from odd_values import BREAKS, SQL, TRAVERSAL
from pictures import drawn, encode
from programs.long_form import length
from pydantic import SecretStr
from whole_door import send_request, sockets

from serve.state import State, tables

FOX: dict[str, Any] = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
LOGO = encode(drawn(size=32))
FILTERS = {
    "/v1/generations": ("q", "user_id", "kind", "model", "status", "cursor", "sort", "batch_id", "since"),
    "/v1/jobs": ("user_id", "batch_id", "status", "kind", "cursor", "limit"),
    "/api/references": ("user_id", "subject_name", "cursor"),
    "/api/admin/keys": ("user_id", "cursor"),
    "/api/admin/audit": ("user_id", "key_id", "action", "subject", "address", "cursor"),
}


SHARES = length(3, 1)
"""Each route gets a third of the SQL texts, and each text of a path in one of its three spellings; `make attack` sends
all of them to all."""


async def counts(state: State) -> dict[str, int]:
    """The number of rows of each table."""
    async with state.database.read() as connection:
        found = {}
        for table in tables.metadata.sorted_tables:
            found[table.name] = (await connection.execute(sa.select(sa.func.count()).select_from(table))).scalar_one()
        return {name: count for name, count in found.items() if name not in ("counters", "workers")}


@pytest.mark.parametrize("text", SQL)
async def test_sql_in_every_string_has_no_effect(state: State, text: str) -> None:
    """It matches nothing of other users, changes nothing, and is stored verbatim."""
    async with keyed_site(state) as site:
        bob, admin = site.door((await site.key("bob")).secret), site.door((await site.key("root", "admin")).secret)
        job = (await admin.post("/v1/jobs", json=FOX)).json()["id"]
        before = await counts(state)
        for path, names in FILTERS.items():
            for name in names:
                for client in (bob, admin):
                    await _finds_nothing(client, path, name, text)
        routes = [one for one in routes_of(document_of(site.app)) if "{" in one.path and "model" not in one.path]
        for route in routes[SQL.index(text) % SHARES :: SHARES]:
            quoted = quote(text, safe="")
            path = "/".join(quoted if part.startswith("{") else part for part in route.path.split("/"))
            found = await bob.request(route.method, path)
            assert 400 <= found.status_code < 500, (route, found.text)
        assert await counts(state) == before
        assert (await bob.get(f"/v1/jobs/{job}")).status_code == 404
        await _is_stored_verbatim(bob, text)


async def _finds_nothing(client: httpx.AsyncClient, path: str, name: str, text: str) -> None:
    found = await client.get(path, params={name: text})
    assert found.status_code in (200, 400, 403, 404), (path, name, found.text)
    if found.status_code == 200:
        (rows,) = (value for value in found.json().values() if isinstance(value, list))
        assert rows == [], (path, name)


async def _is_stored_verbatim(client: httpx.AsyncClient, text: str) -> None:
    job = (await client.post("/v1/jobs", json={**FOX, "input": {"prompt": text}})).json()["id"]
    assert (await client.get(f"/v1/generations/{job}")).json()["prompt"] == text
    named = await client.post("/api/references", files={"image": ("a.png", LOGO)}, data={"subject_name": text})
    assert named.status_code == 201
    (found,) = (await client.get("/api/references", params={"subject_name": text})).json()["items"]
    assert found["subject_name"] == text


@pytest.fixture
def outside_content(tmp_path: Path) -> str:
    """Creates a file outside the served folders; returns its content."""
    (tmp_path / "secret.txt").write_text("the marked file")
    return "the marked file"


@pytest.mark.parametrize("text", [*TRAVERSAL, "../secret.txt", "../../secret.txt", "%2e%2e/secret.txt"])
async def test_path_traversal_in_every_name_has_no_effect(
    site: KeyedSite, outside_content: str, tmp_path: Path, text: str
) -> None:
    """In paths, queries, filenames and model names: no file is read, and none is written elsewhere."""
    created_key = await site.key("root", "admin")
    key = (b"x-api-key", created_key.secret.encode())
    routes = [one for one in routes_of(document_of(site.app)) if "{" in one.path]
    for number, route in enumerate(routes):
        ways = sorted({quote(text, safe=""), quote(text, safe="/.\\:~%"), text})
        for quoted in ways[(number + len(text)) % min(SHARES, len(ways)) :: SHARES]:
            path = "/".join(quoted if part.startswith("{") else part for part in route.path.split("/"))
            answer = await send_request(
                site.whole, AttackRequest(route.method, path.encode(errors="replace"), [key], b"{}")
            )
            assert answer.status is not None
            assert answer.status < 500, path
            assert outside_content.encode() not in answer.body
            assert b"root:" not in answer.body
    async with site.door(created_key.secret) as door:
        files = {"image": (text, LOGO, "image/png")}
        await door.post("/api/references", files=files, data={"subject_name": text[:60]})
        for name in ("model", "sampler", "preset", "quality"):
            found = await door.post("/api/diffusion/generate", json={"prompt": "a fox", name: text})
            assert found.status_code in (200, 400, 404)
        await door.post("/v1/jobs", json={"kind": "vectorize", "input": {"result_id": text}})
        await door.get("/v1/generations/download", params={"ids": text})
    for path in tmp_path.rglob("*"):  # noqa: ASYNC240
        assert path == tmp_path / "secret.txt" or path.is_relative_to(tmp_path / "state"), path
    for path in (tmp_path / "state" / "objects").rglob("*.*"):
        assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", [*BREAKS, "a\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK", "%0d%0aSet-Cookie: a=b"])
async def test_client_text_injects_no_response_header(site: KeyedSite, ada: httpx.AsyncClient, text: str) -> None:
    """Echoed texts: request ids, download names, URLs, idempotency keys."""
    job = (await ada.post("/v1/jobs", json=FOX)).json()["id"]
    quoted = quote(text, safe="").encode()
    url = (await ada.post("/v1/images/generations", json={"prompt": "x", "response_format": "url"})).json()["data"][0][
        "url"
    ]
    result = url.partition("/v1/results/")[2].partition("?")[0].encode()
    key = ada.headers["authorization"].encode()
    lines = [
        b"GET /v1/results/" + result + b"?download=1&format=" + quoted, b"GET /v1/jobs/" + job.encode() + b"/" + quoted,
        b"GET /v1/results/" + result + b"?download=" + quoted, b"GET /" + quoted, b"GET /v1/models/" + quoted,
        b"GET /v2/models/" + quoted,
    ]  # fmt: skip
    async with sockets(site) as (host, port):
        for line in lines:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(
                line + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: " + key + b"\r\nX-Request-Id: "
            )
            writer.write(text.encode().replace(b"\r", b"").replace(b"\n", b"") + b"\r\n\r\n")
            answer = await reader.read()
            writer.close()
            head = answer.partition(b"\r\n\r\n")[0]
            assert answer.startswith(b"HTTP/1.1 ")
            assert b"\nHTTP/1.1 " not in answer, answer
            names = [one.partition(b":")[0].lower() for one in head.split(b"\r\n")[1:]]
            assert b"set-cookie" not in names
            assert [one for one in names if names.count(one) > 1 and one != b"vary"] == []
            assert all(32 <= byte < 127 for one in head.split(b"\r\n") for byte in one), head


async def test_forbidden_urls_are_refused_at_every_endpoint(sqlite_state: State) -> None:
    """References by URL and webhooks, over http and https, at the endpoints."""
    secret = SecretStr("whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
    signing = State(
        sqlite_state.database, sqlite_state.objects, with_settings(sqlite_state.settings, webhooks={"secret": secret})
    )
    async with keyed_site(signing) as site, site.door((await site.key("ada")).secret) as ada:
        for url in (f"{scheme}://{host}/a.png" for host in FORBIDDEN for scheme in ("https", "http")):
            form = {"url": (None, url), "subject_name": (None, "cat")}
            found = await ada.post("/api/references", files=form)
            assert (found.status_code, found.json()["field"]) == (400, "url"), (url, found.text)
            found = await ada.post("/v1/jobs", json={**FOX, "webhook_url": url})
            assert (found.status_code, found.json()["field"]) == (400, "webhook_url"), (url, found.text)
            assert "127.0.0.1" not in found.json()["error"]
        assert (await ada.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/images/generations", "prompt"), ("/generate", "prompt"), ("/api/illustrations/generate", "prompt"),
        ("/api/diffusion/generate", "prompt"), ("/api/generate", "prompt"),
    ],
)  # fmt: skip
async def test_megabyte_prompt_is_refused(site: KeyedSite, ada: httpx.AsyncClient, path: str, field: str) -> None:
    """Nothing is drawn, and the response does not repeat it."""
    for text in ("a fox " * 180_000, "é" * 1_000_000, "(" * 1_000_000, "((a:1.5)" * 130_000):
        found = await ada.post(path, json={field: text})
        assert found.status_code in (400, 413), found.text[:200]
        assert len(found.content) < 2000
    assert (await ada.post("/v1/jobs", json={**FOX, "input": {"prompt": "a " * 500_000}})).status_code in (400, 413)
    assert site.illustrator.asked == []
    assert (await ada.post("/v1/images/generations", json={"prompt": "a fox", "seed": 7})).status_code == 200
