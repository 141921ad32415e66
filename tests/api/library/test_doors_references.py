"""Subject references over HTTP (A-021, A-022, A-073)."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pictures import REFUSED, drawn, encode
from PIL import Image
from stateful_door import Door, is_problem, opened

from serve.api.library import references, results
from serve.security.limits.admission_queue import AdmissionQueue

PATH = "/api/references"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with opened(tmp_path, max_per_user=3) as door:
        yield door


async def upload(door: Door, image: bytes | None = None, **fields: str) -> httpx.Response:
    files = {"image": ("../../cat.png", image if image is not None else encode(drawn()), "image/png")}
    return await door.client.post(PATH, files=files, data={"subject_name": "cat", "user_id": "ada lovelace", **fields})


async def test_upload_is_described_and_listed(door: Door) -> None:
    answer = await upload(door)
    reference = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{PATH}/{reference['id']}?user_id=ada%20lovelace"
    assert reference["file_name"] == f"ada_lovelace_cat_{reference['md5'][:8]}.png"
    assert (reference["subject_name"], reference["user_id"], reference["width"], reference["height"]) == (
        "cat",
        "ada lovelace",
        64,
        64,
    )
    assert (await door.client.get(answer.headers["location"])).json() == reference
    listed = (await door.client.get(PATH, params={"user_id": "ada lovelace"})).json()
    assert listed == {"items": [reference], "next_cursor": None}


async def test_picture_and_thumbnail_are_served_like_results(door: Door) -> None:
    reference = (await upload(door, encode(drawn("RGB", 600)))).json()
    base, user = f"{PATH}/{reference['id']}", {"user_id": "ada lovelace"}
    whole = await door.client.get(f"{base}/image", params=user)
    assert Image.open(io.BytesIO(whole.content)).size == (600, 600)
    assert len(whole.content) == reference["bytes"] == int(whole.headers["content-length"])
    assert whole.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert whole.headers["content-disposition"] == f'inline; filename="{reference["file_name"]}"'
    known = {"If-None-Match": whole.headers["etag"]}
    assert (await door.client.get(f"{base}/image", params=user, headers=known)).status_code == 304
    part = await door.client.get(f"{base}/image", params=user, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, whole.content[8:16])
    assert (await door.client.head(f"{base}/image", params=user)).headers["etag"] == whole.headers["etag"]
    small = await door.client.get(f"{base}/thumbnail", params={**user, "download": "1"})
    image = Image.open(io.BytesIO(small.content))
    assert (image.format, image.size) == ("WEBP", (256, 256))
    assert small.headers["content-disposition"].startswith("attachment")
    known = {"If-None-Match": small.headers["etag"]}
    assert (await door.client.get(f"{base}/thumbnail", params=user, headers=known)).status_code == 304


async def test_paging_and_filtering_by_name(door: Door) -> None:
    for name in ("cat", "dog", "cat"):
        await upload(door, subject_name=name)
    first = (await door.client.get(PATH, params={"user_id": "ada lovelace", "limit": 2})).json()
    assert [one["subject_name"] for one in first["items"]] == ["cat", "dog"]
    rest = {"user_id": "ada lovelace", "limit": 2, "cursor": first["next_cursor"]}
    second = (await door.client.get(PATH, params=rest)).json()
    assert (len(second["items"]), second["next_cursor"]) == (1, None)
    cats = (await door.client.get(PATH, params={"user_id": "ada lovelace", "subject_name": "cat"})).json()
    assert len(cats["items"]) == 2


async def test_reference_of_another_user_returns_404(door: Door) -> None:
    reference = (await upload(door)).json()
    for method, part in (("GET", ""), ("GET", "/image"), ("GET", "/thumbnail"), ("DELETE", "")):
        for name in (reference["id"], "none", "%00"):
            answer = await door.client.request(method, f"{PATH}/{name}{part}", params={"user_id": "bob"})
            assert is_problem(answer, 404, "id")
    assert (await door.client.get(PATH, params={"user_id": "bob"})).json()["items"] == []


async def test_deleted_reference_returns_404(door: Door) -> None:
    where = (await upload(door)).headers["location"]
    answer = await door.client.delete(where)
    assert (answer.status_code, answer.content) == (204, b"")
    assert is_problem(await door.client.get(where), 404, "id")
    assert is_problem(await door.client.delete(where), 404, "id")


@pytest.mark.parametrize("part", ["", "/x", "/x/image", "/x/thumbnail"])
@pytest.mark.parametrize("user", [None, "", "x" * 257, "\0"])
async def test_missing_or_invalid_user_id_is_refused(door: Door, part: str, user: str | None) -> None:
    query = {} if user is None else {"user_id": user}
    assert is_problem(await door.client.get(PATH + part, params=query), 400, "user_id")


@pytest.mark.parametrize(
    ("query", "field"),
    [({"limit": "0"}, "limit"), ({"limit": "101"}, "limit"), ({"cursor": "x"}, "cursor"), ({"sort": "x"}, "sort")],
)
async def test_invalid_page_queries_are_refused(door: Door, query: dict[str, str], field: str) -> None:
    assert is_problem(await door.client.get(PATH, params={"user_id": "ada", **query}), 400, field)


@pytest.mark.parametrize(
    ("fields", "files", "field"),
    [
        ({"user_id": "ada", "subject_name": "cat"}, {}, "image"),
        ({"user_id": "ada"}, {"image": b"x"}, "subject_name"),
        ({"subject_name": "cat"}, {"image": b"x"}, "user_id"),
        ({"user_id": "ada", "subject_name": "c" * 129}, {"image": b"x"}, "subject_name"),
        ({"user_id": "ada", "subject_name": "cat", "note": "x"}, {"image": b"x"}, "note"),
        ({"user_id": "ada", "subject_name": "cat", "image": "text"}, {"other": b"x"}, "other"),
        ({"subject_name": "cat"}, {"image": b"x", "user_id": b"ada"}, "user_id"),
    ],
)
async def test_invalid_forms_are_refused(
    door: Door, fields: dict[str, str], files: dict[str, bytes], field: str
) -> None:
    sent: dict[str, Any] = {name: (name, data, "image/png") for name, data in files.items()}
    answer = await door.client.post(PATH, data=fields, files=sent or {"image": (None, "text")})
    assert is_problem(answer, 400, field)


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_unusable_pictures_are_refused(door: Door, name: str) -> None:
    answer = await upload(door, REFUSED[name])
    assert answer.status_code in (400, 413, 415, 422)
    assert is_problem(answer, answer.status_code, "image")


async def test_references_of_a_user_are_limited(door: Door) -> None:
    """Includes concurrent uploads."""
    answers = await asyncio.gather(*(upload(door) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 201, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert "3 references" in refused.json()["detail"]


async def test_uploads_wait_in_a_bounded_queue(door: Door) -> None:
    turns = door.app.state.conversions = AdmissionQueue(max_concurrency=1, max_queued=0)
    async with turns.slot():
        answer = await upload(door)
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert (await upload(door)).status_code == 201


def test_openapi_document_describes_every_route() -> None:
    app = FastAPI()
    app.include_router(references.router)
    app.include_router(results.router)
    described = app.openapi()["paths"]
    assert set(described) == {
        PATH,
        f"{PATH}/{{reference_id}}",
        f"{PATH}/{{reference_id}}/image",
        f"{PATH}/{{reference_id}}/thumbnail",
        "/v1/results/{result_id}",
        "/v1/results/{result_id}/thumbnail",
        "/v1/results/{result_id}/metadata",
    }
    for path, operations in described.items():
        for operation in operations.values():
            own = [one for one in operation.get("parameters", []) if "$ref" not in one]
            named = {(one["name"], one["in"]) for one in own}
            assert len(named) == len(own)
            assert ("{" in path) == any(where == "path" for _, where in named)
