"""Search of the gallery by likeness, with encoders that see colours alone (C-044; search by pictures and texts)."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from colour_encoders import write_encoders
from jobs_standin import with_settings
from keyed_door import KeyedSite, keyed_site
from PIL import Image

from serve.ensembles.embedder import Embedder, embedder_in
from serve.ensembles.requests import File, Outcome
from serve.jobs.records import insert_results, object_store_items
from serve.jobs.worker.picture_index import BATCH, index_pictures
from serve.state import State
from serve.state.embeddings import pending
from serve.state.tables import embeddings, generations

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path fill="#00f" d="M0 0h9v9H0z"/></svg>'


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_encoders(tmp_path / "engines")


@pytest.fixture
async def site(state: State, repository: Path) -> AsyncIterator[KeyedSite]:
    async with keyed_site(served_from(state, repository)) as opened:
        yield opened


def served_from(state: State, repository: Path) -> State:
    settings = with_settings(state.settings, illustrator={"model_repository": repository})
    return dataclasses.replace(state, settings=settings)


def embedder(repository: Path) -> Embedder:
    found = embedder_in(repository)
    assert found is not None
    return found


def picture(colour: str) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(made, "PNG")
    return made.getvalue()


async def add(state: State, name: str, data: bytes, media_type: str = "image/png", **values: Any) -> str:
    """A generation with one result, whose id is returned."""
    outcome = Outcome([File(data, media_type, 32, 32, 1)], {}, "mini", 1.0)
    stored = await state.objects.put_all(object_store_items(outcome.files))
    row = {"id": name, "user_id": "ada", "kind": "illustrate", "prompt": "x", "status": "completed",
           "created_at": datetime(2026, 1, 1, tzinfo=UTC)}  # fmt: skip
    async with state.database.write() as connection:
        await connection.execute(generations.insert().values(**row | values))
        return (await insert_results(connection, name, outcome, stored))[0]


async def found(client: httpx.AsyncClient, **query: Any) -> list[str]:
    answer = await client.get("/v1/generations/similar", params=query)
    assert answer.status_code == 200, answer.text
    return [one["generation"]["id"] for one in answer.json()["matches"]]


async def test_texts_and_pictures_find_what_is_alike_within_what_a_key_may_see(
    state: State, site: KeyedSite, admin: httpx.AsyncClient, repository: Path
) -> None:
    red = await add(state, "red", picture("red"))
    await add(state, "green", picture("lime"), favorite=True)
    await add(state, "blue", SVG, "image/svg+xml", kind="vectorize")
    await add(state, "hers", picture("red"), user_id="eve")
    await add(state, "broken", b"\x89PNG\r\n\x1a\n no picture")
    assert await index_pictures(state, embedder(repository)) == 5
    assert await index_pictures(state, embedder(repository)) == 0
    async with site.door((await site.key("ada", "user")).secret) as ada:
        assert (await found(ada, text="a red thing"))[0] == "red"
        assert (await found(ada, text="blue"))[0] == "blue"
        assert set(await found(ada, text="red")) == {"red", "green", "blue"}
        assert await found(ada, text="red", limit=1) == ["red"]
        assert await found(ada, text="red", favorite="true") == ["green"]
        assert await found(ada, text="blue", kind="illustrate", limit=1) != ["blue"]
        assert await found(ada, text="zyzzyva") == []
        assert "red" not in await found(ada, result_id=red)
        match = (await ada.get("/v1/generations/similar", params={"text": "red"})).json()["matches"][0]
        assert match["score"] > 0.99
        assert match["result_id"] == red == match["generation"]["results"][0]["id"]
        hers = await ada.get("/v1/generations/similar", params={"text": "red", "user_id": "eve"})
        assert hers.status_code == 403
    async with site.door((await site.key("eve", "user")).secret) as eve:
        assert await found(eve, text="red") == ["hers"]
        assert (await eve.get("/v1/generations/similar", params={"result_id": red})).status_code == 404
    assert set((await found(admin, text="red"))[:2]) == {"red", "hers"}


async def test_a_picture_that_is_not_indexed_yet_can_be_searched_for(
    state: State, admin: httpx.AsyncClient, repository: Path
) -> None:
    await add(state, "first", picture("red"))
    await index_pictures(state, embedder(repository))
    second = await add(state, "second", picture("#e01010"))
    assert await found(admin, result_id=second) == ["first"]


async def test_deleted_with_the_generation(state: State, admin: httpx.AsyncClient, repository: Path) -> None:
    await add(state, "gone", picture("red"))
    await index_pictures(state, embedder(repository))
    assert (await admin.delete("/v1/generations/gone", params={"user_id": "ada"})).status_code == 204
    async with state.database.read() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(embeddings)) == 0


async def test_indexing_is_bounded_and_begins_again_for_other_engines(state: State, repository: Path) -> None:
    for number in range(BATCH + 1):
        await add(state, f"g{number}", picture("red"))
    assert [await index_pictures(state, embedder(repository)) for _ in range(3)] == [BATCH, 1, 0]
    assert len(await pending(state.database, "another", 100)) == BATCH + 1


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ({}, 400, "text"),
        ({"text": "a", "result_id": "b"}, 400, "text"),
        ({"text": ""}, 400, "text"),
        ({"text": "a" * 257}, 400, "text"),
        ({"text": "a", "limit": 101}, 400, "limit"),
        ({"text": "a", "limit": 0}, 400, "limit"),
        ({"result_id": "nothing"}, 404, "result_id"),
    ],
)
async def test_bad_queries(admin: httpx.AsyncClient, query: dict[str, Any], status: int, field: str) -> None:
    answer = await admin.get("/v1/generations/similar", params=query)
    assert answer.status_code == status
    assert answer.json()["field"] == field


async def test_without_engines_it_says_so(state: State, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    without = served_from(state, tmp_path / "none")
    async with keyed_site(without) as opened, opened.door((await opened.key("ada", "user")).secret) as ada:
        answer = await ada.get("/v1/generations/similar", params={"text": "red"})
    assert answer.status_code == 501
    assert "build_engines train search" in json.dumps(answer.json())
