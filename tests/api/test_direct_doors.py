"""The direct endpoints with a state: every vocabulary reports the cache, and pictures have URLs. A-070, A-072,
A-080, A-115, C-020, C-090, D-014, D-060; API_COMPAT 1. Both databases."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from drawn_pictures import content
from illustrator_standin import Gated, IllustratorStandIn, disk
from pictures import drawn, encode
from PIL import Image
from standin import StandIn

from serve.api.app import create_app
from serve.errors import EngineFailure, OutOfSpace
from serve.jobs.direct.service import DirectService
from serve.settings import Settings
from serve.state import State
from serve.state.tables import generations, measurements, utc_now

A070, A072, C021 = "/api/illustrations/generate", "/generate", "/api/diffusion/generate"
OPENAI, CONVERT, CONVERT_AI, ANALYZE = "/v1/images/generations", "/api/convert", "/api/convert-ai", "/api/analyze-image"
HEADER = "x-atelier-cache"


@dataclass(frozen=True)
class Door:
    """``body`` is JSON; without it, a picture is sent. ``read_cached`` reads the flag `cached` from a response body."""

    path: str
    user: str
    read_cached: Callable[[Mapping[str, Any]], Any]
    generation: Callable[[Mapping[str, Any]], str | None]
    body: Mapping[str, Any] = field(default_factory=dict)

    async def request(self, client: httpx.AsyncClient, headers: Mapping[str, str] = {}, **more: Any) -> httpx.Response:
        if not self.body:
            image = more.pop("image", None) or encode(drawn())
            return await client.post(self.path, files={"image": ("a.png", image)}, headers=headers)
        return await client.post(self.path, json={**self.body, **more}, headers=headers)


DOORS = [
    Door(
        A070, "ada", lambda body: body["metadata"]["cached"], lambda body: body["generationId"],
        {"prompt": "fox", "userId": "ada", "seed": 7, "stylePreferences": {"mood": "calm"}},
    ),
    Door(
        A072, "ben", lambda body: body["metadata"]["cached"], lambda body: body["generation_id"],
        {"prompt": "fox", "user_id": "ben", "seed": 7},
    ),
    Door(
        C021, "anonymous", lambda body: body["metadata"]["cached"], lambda body: body["generation_id"],
        {"prompt": "fox", "quality": "draft", "seed": 7},
    ),
    Door(
        OPENAI, "cy", lambda body: body["atelier"]["cached"], lambda body: body["atelier"]["generation_id"],
        {"prompt": "red fox", "user": "cy", "seed": 7},
    ),
    Door(CONVERT, "anonymous", lambda body: body["ai_metadata"]["cached"], lambda b: b["ai_metadata"]["generation_id"]),
    Door(
        CONVERT_AI, "anonymous", lambda body: body["ai_metadata"]["cached"], lambda b: b["ai_metadata"]["generation_id"]
    ),
]  # fmt: skip
DRAWING = [door for door in DOORS if door.body]


@contextlib.asynccontextmanager
async def studio_of(
    state: State, illustrator: IllustratorStandIn, settings: Settings | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    service, settings = StandIn(), settings or state.settings
    direct = DirectService(state, illustrator, service, settings)
    app = create_app(service, settings, illustrator=illustrator, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client
    await direct.close()


@pytest.fixture
async def studio(state: State, illustrator: IllustratorStandIn) -> AsyncIterator[httpx.AsyncClient]:
    async with studio_of(state, illustrator) as client:
        yield client


async def test_every_vocabulary_reports_the_cache(studio: httpx.AsyncClient, state: State) -> None:
    """Both requests are recorded in the history of the named user."""
    for door in DOORS:
        first, again = await door.request(studio), await door.request(studio)
        assert (first.status_code, again.status_code) == (200, 200), first.text
        assert (first.headers[HEADER], again.headers[HEADER]) == ("miss", "hit"), door.path
        assert (door.read_cached(first.json()), door.read_cached(again.json())) == (False, True)
        ids = door.generation(first.json()), door.generation(again.json())
        assert ids[0] != ids[1]
        async with state.database.read() as connection:
            for generation_id, cached in zip(ids, (False, True), strict=True):
                row = (await connection.execute(generations.select().where(generations.c.id == generation_id))).one()
                assert (row.user_id, row.direct, row.cached, row.status) == (door.user, True, cached, "completed")


async def test_equivalent_requests_of_two_vocabularies_share_the_cache(studio: httpx.AsyncClient) -> None:
    await studio.post(A072, json={"prompt": "fox", "user_id": "ada", "seed": 7, "steps": 8})
    answer = await studio.post(OPENAI, json={"prompt": "fox", "seed": 7, "size": "64x64"})
    assert answer.headers[HEADER] == "hit"


async def test_request_can_bypass_the_cache(studio: httpx.AsyncClient) -> None:
    for door in DOORS:
        await door.request(studio)
        for directive in ("no-cache", "No-Store, max-age=0"):
            answer = await door.request(studio, {"cache-control": directive})
            assert (answer.headers[HEADER], door.read_cached(answer.json())) == ("bypass", False), door.path
        assert (await door.request(studio)).headers[HEADER] == "hit"
    for door in DRAWING:
        answer = await door.request(studio, seed=-1)
        assert (answer.headers[HEADER], door.read_cached(answer.json())) == ("bypass", False)


async def test_pictures_have_urls(studio: httpx.AsyncClient) -> None:
    """A-115. Includes cached responses."""
    for door in DRAWING:
        for _ in range(2):
            body = (
                await door.request(studio, response_format="url") if door.path == OPENAI else await door.request(studio)
            ).json()
            url = body.get("imageUrl") or body.get("image_url") or body["data"][0]["url"]
            assert url.startswith("http://127.0.0.1:8000/v1/results/")
            picture = await studio.get(urlsplit(url).path)
            assert picture.headers["content-type"] == "image/png"
            with Image.open(io.BytesIO(picture.content)) as image:
                np.testing.assert_array_equal(np.asarray(image), disk(64, 64, 7))
    images = (await DRAWING[2].request(studio, n=2)).json()["images"]
    assert len({image["image_url"] for image in images}) == 2
    assert [image["seed"] for image in images] == [7, 8]


async def test_base64_and_url_return_the_same_picture(studio: httpx.AsyncClient) -> None:
    door = DRAWING[3]
    first, again = (await door.request(studio)).json(), (await door.request(studio)).json()
    assert content(first["data"][0]["b64_json"]) == content(again["data"][0]["b64_json"])
    assert first["usage"] == again["usage"]
    assert first["usage"]["input_tokens"] == 2


async def test_cached_metadata_equals_the_original(studio: httpx.AsyncClient) -> None:
    for door in DRAWING:
        first, again = (await door.request(studio)).json(), (await door.request(studio)).json()
        one, two = first.get("metadata") or first["atelier"], again.get("metadata") or again["atelier"]
        changed = {name for name in one if one[name] != two[name]}
        assert changed <= {"cached", "generation_id"}
        assert one["parameters"]["seed"] == 7
    assert (await DRAWING[0].request(studio)).json()["metadata"]["parameters"]["stylePreferences"] == {"mood": "calm"}


async def test_svg_response_reports_the_cache_in_its_header(studio: httpx.AsyncClient) -> None:
    files = {"image": ("a.png", encode(drawn()))}
    svgs = [await studio.post(CONVERT, files=files, params={"format": "svg"}) for _ in range(2)]
    assert [answer.headers[HEADER] for answer in svgs] == ["miss", "hit"]
    assert svgs[0].content == svgs[1].content
    # The same conversion, whatever the response format is.
    assert (await studio.post(CONVERT, files=files)).headers[HEADER] == "hit"


async def test_analyses_are_cached(studio: httpx.AsyncClient, state: State) -> None:
    """D-014: analyses are not recorded."""
    files = {"image": ("a.png", encode(drawn()))}
    answers = [await studio.post(ANALYZE, files=files) for _ in range(2)]
    assert [answer.headers[HEADER] for answer in answers] == ["miss", "hit"]
    one, two = (answer.json() for answer in answers)
    assert (one.pop("cached"), two.pop("cached")) == (False, True)
    assert one == two
    async with state.database.read() as connection:
        assert (await connection.execute(generations.select())).all() == []


async def test_every_endpoint_honours_the_idempotency_key(studio: httpx.AsyncClient) -> None:
    for place, door in enumerate(DOORS):
        key = {"idempotency-key": f"key {place}", "cache-control": "no-cache"}
        answers = [await door.request(studio, key) for _ in range(2)]
        ids = [door.generation(answer.json()) for answer in answers]
        assert ids[0] == ids[1], door.path
        assert answers[1].headers[HEADER] == "hit"
        other = await (
            door.request(studio, key, seed=8) if door.body else door.request(studio, key, image=encode(drawn(size=48)))
        )
        assert other.status_code == 422
        assert "Idempotency-Key" in other.text
        for bad in (b"", b"x" * 256, b"\xff", b"tab\there"):
            refused = await door.request(studio, {"idempotency-key": bad})  # type: ignore[dict-item]
            assert refused.status_code == 400, bad
            assert "Idempotency-Key" in refused.text


async def test_streams_are_recorded_and_cached(studio: httpx.AsyncClient, state: State) -> None:
    body = {"prompt": "fox", "seed": 7, "stream": True, "partial_images": 2, "user": "cy"}
    first, again = await studio.post(OPENAI, json=body), await studio.post(OPENAI, json=body)
    assert (first.headers[HEADER], again.headers[HEADER]) == ("miss", "hit")
    kinds = [[event["type"] for event in events_of(answer.text)] for answer in (first, again)]
    assert kinds == [
        ["image_generation.partial_image"] * 2 + ["image_generation.completed"],
        ["image_generation.completed"],
    ]
    one, two = events_of(first.text)[-1], events_of(again.text)[-1]
    assert one["b64_json"] == two["b64_json"]
    assert (one["atelier"]["cached"], two["atelier"]["cached"]) == (False, True)
    assert again.text.endswith("data: [DONE]\n\n")
    async with state.database.read() as connection:
        rows = (await connection.execute(generations.select().order_by(generations.c.seq))).all()
        assert len((await connection.execute(measurements.select())).all()) == 2
    assert [(row.user_id, row.status, row.cached) for row in rows] == [
        ("cy", "completed", False),
        ("cy", "completed", True),
    ]
    any_seed = await studio.post(OPENAI, json={**body, "seed": None})
    assert any_seed.headers[HEADER] == "bypass"


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_failures_are_recorded(studio: httpx.AsyncClient, illustrator: IllustratorStandIn, state: State) -> None:
    illustrator.failure = EngineFailure("the engine is ill")
    for door in DRAWING:
        assert (await door.request(studio)).status_code == 500
    illustrator.failure = None
    for door in DRAWING:
        assert (
            await door.request(studio, width=63) if door.path != OPENAI else await door.request(studio, n=0)
        ).status_code == 400
    async with state.database.read() as connection:
        rows = (await connection.execute(generations.select())).all()
    assert [row.status for row in rows] == ["failed"] * len(DRAWING)


def patient(settings: Settings) -> Settings:
    """A retry window that is long enough on a slow machine."""
    return settings.model_copy(update={"jobs": settings.jobs.model_copy(update={"abandoned_s": 60.0})})


async def test_openai_retry_joins_the_running_drawing(state: State) -> None:
    """A retry without an idempotency key after a disconnect joins the running drawing. At other endpoints a
    disconnect ends the drawing."""
    gated = Gated()
    async with studio_of(state, gated, patient(state.settings)) as studio:
        headers = {"x-stainless-retry-count": "0"}
        pending = asyncio.create_task(studio.post(OPENAI, json={"prompt": "fox"}, headers=headers))
        await gated.begun.acquire()
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        headers = {"x-stainless-retry-count": "1"}
        again = asyncio.create_task(studio.post(OPENAI, json={"prompt": "fox"}, headers=headers))
        await asyncio.sleep(0)
        gated.gate.set()
        assert (await again).status_code == 200
        assert (len(gated.asked), gated.cancelled) == (1, 0)
        gated.gate.clear()
        await gated.ended.acquire()
        pending = asyncio.create_task(studio.post(C021, json={"prompt": "fox"}))
        await gated.begun.acquire()
        pending.cancel()
        await gated.ended.acquire()
        assert gated.cancelled == 1


async def test_openai_retry_returns_the_completed_drawing(state: State, illustrator: IllustratorStandIn) -> None:
    """A retry returns the completed drawing. Requests without the retry header, with other parameters, of another
    user, or after `jobs.abandoned_s` draw again."""
    body = {"prompt": "fox", "user": "ada"}
    settings = patient(state.settings)
    async with studio_of(state, illustrator, settings) as studio:
        first = await studio.post(OPENAI, json=body, headers={"x-stainless-retry-count": "0"})
        for count in ("1", "2"):
            again = await studio.post(OPENAI, json=body, headers={"x-stainless-retry-count": count})
            assert (again.status_code, again.headers[HEADER]) == (200, "hit")
            assert again.json()["data"] == first.json()["data"]
            assert again.json()["atelier"]["generation_id"] == first.json()["atelier"]["generation_id"]
        streamed = await studio.post(OPENAI, json={**body, "stream": True}, headers={"x-stainless-retry-count": "1"})
        assert events_of(streamed.text)[-1]["b64_json"] == first.json()["data"][0]["b64_json"]
        assert len(illustrator.asked) == 1
        for more, count in (({}, "0"), ({"n": 2}, "1"), ({"user": "ben"}, "1"), ({"output_format": "webp"}, "1")):
            other = await studio.post(OPENAI, json={**body, **more}, headers={"x-stainless-retry-count": count})
            assert other.headers[HEADER] == "bypass", more
        bypass_cache = {"x-stainless-retry-count": "1", "cache-control": "no-cache"}
        assert (await studio.post(OPENAI, json=body, headers=bypass_cache)).headers[HEADER] == "bypass"
        assert len(illustrator.asked) == 6
        async with state.database.write() as connection:
            long_ago = utc_now() - timedelta(seconds=settings.jobs.abandoned_s)
            await connection.execute(generations.update().values(completed_at=long_ago))
        late = await studio.post(OPENAI, json=body, headers={"x-stainless-retry-count": "1"})
        assert late.headers[HEADER] == "bypass"


async def test_missing_object_store_returns_503(studio: httpx.AsyncClient, state: State) -> None:
    folder = state.settings.state_dir / "objects"
    folder.rename(folder.with_name("away"))
    for door in DOORS:
        answer = await door.request(studio)
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
    folder.with_name("away").rename(folder)
    for door in DOORS:
        assert (await door.request(studio)).headers[HEADER] == "miss"


async def test_full_disk_returns_507(state: State, illustrator: IllustratorStandIn) -> None:
    class Full:
        async def put_all(self, files: Any) -> Any:
            raise OutOfSpace("there is no space left to keep this")

    async with studio_of(replace(state, objects=Full()), illustrator) as studio:  # type: ignore[arg-type]
        for door in DOORS:
            assert (await door.request(studio)).status_code == 507
