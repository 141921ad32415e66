"""History, gallery, favourites and downloads through the real application (C-043, C-044, C-047, C-140)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from standin import StandIn
from stateful_door import is_problem

from serve.api.app import create_app
from serve.settings import AccessSettings, DatabaseSettings, HttpSettings, Settings
from serve.state import State
from serve.state.tables import generations, results

START = datetime(2026, 1, 1, tzinfo=UTC)
PICTURE = b"\x89PNG\r\n\x1a\n not really, and long " * 20_000


@pytest.fixture
async def state(tmp_path: Path, sqlite_settings: DatabaseSettings) -> AsyncIterator[State]:
    http, access = HttpSettings(public_url="https://art.example/"), AccessSettings(required="off", insecure=True)
    opened = await State.open(Settings(state_dir=tmp_path, database=sqlite_settings, http=http, access=access))
    yield opened
    await opened.close()


def application(settings: Settings, state: State | None) -> FastAPI:
    return create_app(StandIn(), settings, state=state)


@pytest.fixture
async def client(state: State) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(state.settings, state), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as opened:
        yield opened


async def add(state: State, number: int, pictures: int = 1, **values: Any) -> None:
    row = {
        "id": f"g{number}", "user_id": "ada", "kind": "illustrate", "prompt": "Red apple, flat!", "model": "mini",
        "status": "completed", "parameters": {"guidance_scale": 7.5}, "created_at": START + timedelta(hours=number),
    }  # fmt: skip
    stored = await state.objects.put(PICTURE + str(number).encode(), "image/png")
    kept = [
        {
            "id": f"r{number}-{place}", "generation_id": row["id"], "place": place, "object": stored.name,
            "media_type": "image/png", "bytes": stored.bytes, "width": 64, "height": 64, "seed": 7 + place,
            "model": "mini", "created_at": START,
        }
        for place in range(pictures)
    ]  # fmt: skip
    async with state.database.write() as connection:
        await connection.execute(generations.insert().values(**row | values))
        if kept:
            await connection.execute(results.insert(), kept)


async def test_history_has_c_044_fields(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1, user_id="bob")
    await add(
        state, 2, completed_at=START, enhanced_prompt="a red apple", analysis={"mood": "calm"}, models=["diffusion"]
    )
    answer = await client.get("/api/generate/history", params={"userId": "ada"})
    assert answer.status_code == 200
    body = answer.json()
    assert body["nextCursor"] is None
    (generation,) = body["generations"]
    assert (generation["id"], generation["userId"], generation["prompt"]) == ("g2", "ada", "Red apple, flat!")
    assert (generation["enhancedPrompt"], generation["analysis"], generation["models"]) == (
        "a red apple",
        {"mood": "calm"},
        ["diffusion"],
    )
    assert (generation["status"], generation["priority"], generation["parameters"]) == (
        "completed",
        0,
        {"guidanceScale": 7.5},
    )
    assert (generation["createdAt"], generation["completedAt"]) == (
        "2026-01-01T02:00:00+00:00",
        "2026-01-01T00:00:00+00:00",
    )
    (result,) = generation["results"]
    assert result["imageUrl"] == "https://art.example/v1/results/r2-0"
    assert (result["id"], result["model"], result["score"]) == ("r2-0", "mini", None)
    assert result["generatedAt"] == "2026-01-01T00:00:00+00:00"
    assert (result["metadata"]["mediaType"], result["metadata"]["seed"]) == ("image/png", 7)


async def test_v1_has_the_same_fields_in_snake_case(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1)
    (listed,) = (await client.get("/v1/generations?user_id=ada")).json()["generations"]
    assert listed == (await client.get("/v1/generations/g1")).json()
    assert listed["parameters"] == {"guidance_scale": 7.5}
    assert listed["results"][0]["image_url"] == "https://art.example/v1/results/r1-0"
    assert listed["results"][0]["metadata"]["media_type"] == "image/png"


async def test_pages_and_filters(state: State, client: httpx.AsyncClient) -> None:
    for number in range(7):
        await add(state, number, 0, favorite=number % 2 == 0, rating=float(number))
    first = (await client.get("/v1/generations", params={"limit": 3, "sort": "oldest"})).json()
    query = {"limit": 3, "sort": "oldest", "cursor": first["next_cursor"]}
    second = (await client.get("/v1/generations", params=query)).json()
    assert [one["id"] for one in first["generations"] + second["generations"]] == ["g0", "g1", "g2", "g3", "g4", "g5"]

    async def ids(**query: Any) -> list[str]:
        answer = await client.get("/api/generate/history", params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["generations"]]

    assert await ids(favorite="true", q="APPLE red") == ["g6", "g4", "g2", "g0"]
    assert await ids(favorite="false", min_rating=4) == ["g5"]
    assert await ids(since="2026-01-01T03:00:00", until="2026-01-01T06:00:00+01:00") == ["g4", "g3"]
    assert await ids(sort="rating", limit=2) == ["g6", "g5"]
    assert await ids(status="failed") == await ids(kind="vectorize") == await ids(model="x") == []


WRONG = {
    "limit=0": "limit", "limit=101": "limit", "limit=x": "limit", "cursor=x": "cursor", "sort=best": "sort",
    "status=done": "status", "favorite=maybe": "favorite", "since=yesterday": "since", "page=2": "page",
    "until=0001-01-01T00:00:00%2B14:00": "until", "user_id=ada&userId=ada": "userId", "q=a+b+c+d+e+f+g+h+i": "q",
    "q=%00": "q", f"q={'x' * 257}": "q", "min_rating=nan": "min_rating", f"user_id={'x' * 257}": "user_id",
}  # fmt: skip


@pytest.mark.parametrize(("query", "field"), WRONG.items())
async def test_invalid_query_names_its_field(client: httpx.AsyncClient, query: str, field: str) -> None:
    for path in ("/api/generate/history", "/v1/generations"):
        answer = await client.get(f"{path}?{query}")
        assert is_problem(answer, 400, field)


async def test_favourites(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1)
    answer = await client.put("/v1/generations/g1/favorite?user_id=ada")
    assert (answer.status_code, answer.json()) == (200, {"id": "g1", "favorite": True})
    assert (await client.get("/v1/generations/g1")).json()["favorite"] is True
    answer = await client.delete("/v1/generations/g1/favorite?userId=ada")
    assert answer.json() == {"id": "g1", "favorite": False}
    assert (await client.put("/v1/generations/g1/favorite?user_id=bob")).status_code == 404
    assert is_problem(await client.put("/v1/generations/g1/favorite"), 400, "user_id")


async def test_deletion(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1)
    await add(state, 2, status="processing")
    assert (await client.delete("/v1/generations/g1")).status_code == 400
    assert (await client.delete("/v1/generations/g1?user_id=bob")).status_code == 404
    assert (await client.delete("/v1/generations/g2?user_id=ada")).status_code == 409
    answer = await client.delete("/v1/generations/g1?user_id=ada")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get("/v1/generations/g1")).status_code == 404


@pytest.mark.parametrize("name", ["nothing", "a%00b", "x" * 129, "%F0%9F%8D%8E", "a%0A"])
async def test_unknown_generation_returns_404(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/v1/generations/{name}")
    assert is_problem(answer, 404, "id") if name == "nothing" else is_problem(answer, 400, "generation_id")


async def test_download_has_every_picture_and_its_metadata(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1, 2)
    await add(state, 2, prompt="Füchse 狐/..\\", user_id="bob")
    await add(state, 3, 0, status="failed")
    answer = await client.get("/v1/generations/download?ids=g1,g2,g3,g1", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-disposition"] == 'attachment; filename="atelier-generations.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    names = [
        "001-Red-apple-flat-7.png",
        "002-Red-apple-flat-8.png",
        "003-Füchse-狐-7.png",
        "metadata.json",
    ]
    assert archive.namelist() == names
    assert archive.read(names[1]) == PICTURE + b"1"
    assert archive.getinfo(names[0]).compress_type == zipfile.ZIP_STORED
    entries = json.loads(archive.read("metadata.json"))["generations"]
    assert [one["id"] for one in entries] == ["g1", "g2", "g3"]
    assert [result["file"] for one in entries for result in one["results"]] == names[:3]


async def test_download_reports_a_missing_picture(state: State, client: httpx.AsyncClient) -> None:
    await add(state, 1)
    await add(state, 2)
    async with state.database.write() as connection:
        lost = sa.update(results).where(results.c.generation_id == "g1")
        await connection.execute(lost.values(object="0" * 64 + ".png"))
    answer = await client.get("/v1/generations/download?ids=g1,g2")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.namelist() == ["002-Red-apple-flat-7.png", "metadata.json"]
    entries = json.loads(archive.read("metadata.json"))["generations"]
    assert [one["results"][0]["file"] for one in entries] == [None, "002-Red-apple-flat-7.png"]


@pytest.mark.parametrize("ids", ["", ",", "g1,nothing", ",".join(f"g{n}" for n in range(501))])
async def test_download_of_unknown_ids_is_refused(state: State, client: httpx.AsyncClient, ids: str) -> None:
    await add(state, 1)
    answer = await client.get("/v1/generations/download", params={"ids": ids})
    assert is_problem(answer, 404, "id") if "nothing" in ids else is_problem(answer, 400, "ids")


async def test_missing_database_returns_503() -> None:
    transport = httpx.ASGITransport(application(Settings(), None), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
        answer = await client.get("/v1/generations")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
