"""Keys of other sites and invalid keys, ids of other users and guessed ids, at every endpoint (B-083)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc
import httpx
import pytest
import websockets
from keyed_door import ME, KeyedSite, keyed_site
from odd_requests import AttackRequest, Route, document_of, routes_of
from pictures import drawn, encode
from tritonclient.grpc import service_pb2 as pb
from whole_door import calls, send_request, sockets

from serve.api.middleware.scopes import needed
from serve.security.identity.users import set_disabled
from serve.settings import DatabaseSettings, Settings
from serve.state import State

FOX: dict[str, Any] = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
FOREIGN = [
    "another site's",
    "expired",
    "revoked",
    "of a disabled user",
    "cut",
    "changed",
    "of another id",
    "twice",
    "none",
]


async def invalid_key(site: KeyedSite, kind: str, other: KeyedSite) -> str:
    """A key of ``kind``; none is valid on this site."""
    made = await site.key("eve", expires_in=timedelta(seconds=0.001) if kind == "expired" else None)
    secret: str = made.secret
    if kind == "another site's":
        return str((await other.key("eve")).secret)
    if kind == "revoked":
        await site.entrance.gate.keys.revoke(made.key.id, ME)
    elif kind == "of a disabled user":
        await set_disabled(site.state.database, "eve", True, ME)
    elif kind == "of another id":
        return re.sub("atl_[0-9a-f]{16}", f"atl_{'0' * 16}", secret)
    changed = {"cut": secret[:-1], "changed": f"{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}", "none": ""}
    return changed.get(kind, f"{secret} {secret}" if kind == "twice" else secret)


@pytest.fixture
async def other(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[KeyedSite]:
    """A site with its own secret."""
    opened = await State.open(Settings(state_dir=tmp_path_factory.mktemp("other"), database=DatabaseSettings()))
    async with keyed_site(opened) as site:
        yield site
    await opened.close()


@pytest.mark.parametrize("kind", FOREIGN)
async def test_invalid_keys_are_refused_everywhere(site: KeyedSite, other: KeyedSite, kind: str) -> None:
    key = await invalid_key(site, kind, other)
    async with sockets(site) as (host, port), calls(site) as address:
        for route in routes_of(document_of(site.app)):
            if needed(route.method, route.path) is None:
                continue
            request = AttackRequest(
                route.method, re.sub(r"{[^}]+}", "0" * 32, route.path).encode(), [(b"x-api-key", key.encode())], b"{}"
            )
            answer = await send_request(site.whole, request, "198.18.7.7")
            assert answer.status in (401, 403, 429), (route, answer.status)
            assert (answer.status == 403) <= (kind == "of a disabled user")
        headers = {"Authorization": f"Bearer {key}"}
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(f"ws://{host}:{port}/v1/jobs/{'0' * 32}/ws", additional_headers=headers)
        async with grpc.aio.insecure_channel(address) as channel:
            for method in ("ModelInfer", "ServerMetadata", "RepositoryModelLoad"):
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call(b"", metadata=[("x-api-key", key)])
                assert refused.value.code().name in ("UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED")
    assert site.illustrator.asked == []


def by_id(routes: list[Route]) -> list[Route]:
    """The routes of one object that belongs to a user."""
    return [one for one in routes if re.search(r"{(job|generation|batch|result|reference)_id}", one.path)]


async def test_foreign_and_missing_objects_get_the_same_response(
    site: KeyedSite, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    """Status and text are equal at every route with an id: guessing reveals and changes nothing."""
    own = await _objects(ada)
    routes = by_id(routes_of(document_of(site.app)))
    assert len(routes) > 25
    for route in routes:
        (kind,) = re.findall(r"{(\w+)_id}", route.path)
        bodies = {"priority": {"priority": 1}, "favorite": None, "edit": {"rotate": 90}}
        body = bodies.get(route.path.rpartition("/")[2])
        path = route.path.replace("{object_name}", f"{'0' * 64}.png")
        responses = []
        for one in (own[kind], "f" * len(own[kind])):
            answer = await bob.request(route.method, re.sub(r"{[^}]+}", one, path), json=body)
            responses.append((answer.status_code, re.sub(r'"request_id": "[^"]*"', "", answer.text).replace(one, "")))
        assert responses[0] == responses[1], route
        assert responses[0][0] == 404, (route, responses)
    for kind, path in (("job", "/v1/jobs/"), ("result", "/v1/results/"), ("reference", "/api/references/")):
        assert (await ada.get(path + own[kind])).status_code == 200, kind


async def _objects(client: httpx.AsyncClient) -> dict[str, str]:
    """The id of one object of each kind."""
    job = (await client.post("/v1/jobs", json=FOX)).json()["id"]
    batch = (await client.post("/v1/jobs", json={**FOX, "count": 2})).json()["id"]
    url_request = {"prompt": "a fox", "seed": 7, "response_format": "url"}
    url = (await client.post("/v1/images/generations", json=url_request)).json()["data"][0]["url"]
    files = {"image": ("a.png", encode(drawn()))}
    reference = (await client.post("/api/references", files=files, data={"subject_name": "fox"})).json()["id"]
    result = url.partition("/v1/results/")[2].partition("?")[0]
    return {"job": job, "generation": job, "batch": batch, "result": result, "reference": reference}


async def test_ids_are_unpredictable(ada: httpx.AsyncClient) -> None:
    """Each has at least 122 random bits: known ids do not predict the next."""
    jobs = [(await ada.post("/v1/jobs", json=FOX)).json()["id"] for _ in range(40)]
    for name, one in (await _objects(ada)).items():
        assert re.fullmatch(r"[0-9a-f]{32,}|[\w-]{22,}", one), name
    for place in range(32):
        different = {one[place] for one in jobs}
        assert len(different) > 4 or place in (12, 16), f"character {place} is {different} in 40 ids"


@pytest.mark.parametrize("wrong", ["guessed", "of another path", "later", "without an end", "signed by another site"])
async def test_forged_signed_urls_are_refused(
    site: KeyedSite, other: KeyedSite, ada: httpx.AsyncClient, wrong: str
) -> None:
    own = await _objects(ada)
    url_request = {"prompt": "a fox", "seed": 7, "response_format": "url"}
    url = (await ada.post("/v1/images/generations", json=url_request)).json()["data"][0]["url"].partition(":8000")[2]
    async with other.door((await other.key("ada")).secret) as other_client:
        foreign = (
            (await other_client.post("/v1/images/generations", json=url_request))
            .json()["data"][0]["url"]
            .partition("?")[2]
        )
    path, _, query = url.partition("?")
    expiry = re.search(r"expires=(\d+)", query)
    assert expiry is not None
    forged_urls = {
        "guessed": f"{path}?expires={expiry[1]}&signature={'A' * 43}",
        "of another path": f"/v1/jobs/{own['job']}?{query}",
        "later": f"{path}?{query.replace(expiry[1], str(int(expiry[1]) + 9999))}",
        "without an end": f"{path}?{re.sub('expires=[0-9]+&?', '', query)}",
        "signed by another site": f"{path}?{foreign}",
    }
    async with site.door() as anonymous:
        assert (await anonymous.get(url)).status_code == 200
        assert (await anonymous.get(forged_urls[wrong])).status_code == 401


async def test_keys_in_urls_and_cookies_are_ignored(site: KeyedSite) -> None:
    """URLs are stored in logs and browser histories."""
    key = (await site.key("ada")).secret
    async with site.door() as anonymous:
        for query in (f"key={key}", f"api_key={key}", f"access_token={key}", f"token={key}", f"x-api-key={key}"):
            refused = await anonymous.get(f"/v1/jobs?{query}")
            assert refused.status_code == 401
            assert key not in refused.text
        cookies = {"Cookie": f"key={key}; authorization=Bearer {key}; x-api-key={key}"}
        assert (await anonymous.get("/v1/jobs", headers=cookies)).status_code == 401


async def test_ambiguous_grpc_key_metadata_is_refused(site: KeyedSite) -> None:
    """A key in capitals, in binary metadata, twice or beside another."""
    key, more = (await site.key("ada")).secret, (await site.key("bob")).secret
    async with calls(site) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
        odd: list[list[tuple[str, Any]]] = [
            [("x-api-key", key), ("x-api-key", more)], [("x-api-key", key), ("authorization", f"Bearer {more}")],
            [("x-api-key-bin", key.encode())], [("authorization", key)], [("user-id", "ada")], [("x-api-key", "")],
        ]  # fmt: skip
        for metadata in odd:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(b"", metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, metadata
            assert key not in str(refused.value)
        assert pb.ServerMetadataResponse.FromString(await call(b"", metadata=[("x-api-key", key)])).name
