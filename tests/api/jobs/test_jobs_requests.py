"""`POST /v1/jobs`, accepted and refused requests: kinds and their inputs, batches, webhooks, headers (C-140, A-081)."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from jobs_standin import Hand, door_of, with_settings
from pictures import ACCEPTED, REFUSED
from pydantic import SecretStr
from stateful_door import is_problem

from serve.api.jobs import requests
from serve.ensembles.illustrator.service import FamilyInfo
from serve.ensembles.requests import File, IllustrateRequest, VectorizeRequest
from serve.errors import EngineUnavailable
from serve.settings import DatabaseSettings, Settings
from serve.state import State
from serve.state.tables import jobs

FOX = {"prompt": "a fox"}
SECRET = SecretStr("whsec_" + base64.b64encode(bytes(32)).decode())


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    """SQLite alone: request parsing does not depend on the database."""
    return sqlite_settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_settings(settings, jobs={"max_batch": 5}, webhooks={"secret": SECRET})


async def claimed_request(door: httpx.AsyncClient, hand: Hand, **body: Any) -> IllustrateRequest:
    """The request that a worker claims."""
    answer = await door.post("/v1/jobs", json={"kind": "illustrate", **body})
    assert answer.status_code == 202, answer.text
    (claimed,) = await hand.claim()
    assert isinstance(claimed.request, IllustrateRequest)
    return claimed.request


def url_of(picture: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


async def test_illustration_job(door: httpx.AsyncClient, hand: Hand) -> None:
    values = {
        "prompt": "a fox", "negative_prompt": "rain", "model": "turbo", "width": 96, "height": 64, "steps": 3,
        "guidance_scale": 2.5, "sampler": "ddim", "seed": 2**62 + 1, "n": 2, "output_format": "webp",
        "output_compression": 80, "metadata": False,
    }  # fmt: skip
    made = await claimed_request(door, hand, input=values)
    options = made.options
    assert (options.prompt, options.negative_prompt, options.model) == ("a fox", "rain", "turbo")
    assert (options.width, options.height, options.num_inference_steps) == (96, 64, 3)
    assert (options.guidance_scale, options.sampler, options.seed, options.n) == (2.5, "ddim", 2**62 + 1, 2)
    assert (made.encoding.format, made.encoding.quality, made.encoding.metadata) == ("webp", 80, False)


async def test_quality_sets_the_steps_of_the_model(door: httpx.AsyncClient, hand: Hand) -> None:
    made = await claimed_request(door, hand, input={**FOX, "quality": "high quality"})
    assert (made.options.num_inference_steps, made.more) == (16, {"quality": "high quality"})


async def test_prompt_to_svg(door: httpx.AsyncClient, hand: Hand) -> None:
    made = await claimed_request(door, hand, kind="prompt_to_svg", input=FOX)
    assert made.encoding.format == "svg"


async def test_random_seed_is_chosen_at_submission(door: httpx.AsyncClient, hand: Hand) -> None:
    """The seed is chosen when the job is submitted, so that a retry draws the same picture."""
    made = await claimed_request(door, hand, input={**FOX, "seed": -1})
    assert made.options.seed is not None
    assert made.options.seed >= 0


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "prompt"),
        ({"prompt": "  "}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({**FOX, "width": 65}, "width"),
        ({**FOX, "height": 10_000}, "height"),
        ({**FOX, "sampler": "magic"}, "sampler"),
        ({**FOX, "sampler": "lcm"}, "sampler"),
        ({**FOX, "steps": 0}, "steps"),
        ({**FOX, "seed": 2**63}, "seed"),
        ({**FOX, "n": 11}, "n"),
        ({**FOX, "quality": "best"}, "quality"),
        ({**FOX, "output_format": "gif"}, "output_format"),
        ({**FOX, "stepz": 3}, "stepz"),
        ({**FOX, "steps": 3, "num_inference_steps": 3}, "steps"),
    ],
)
async def test_invalid_illustration_inputs_are_refused(
    door: httpx.AsyncClient, values: dict[str, Any], field: str
) -> None:
    assert is_problem(await door.post("/v1/jobs", json={"kind": "illustrate", "input": values}), 400, field)
    assert (await door.get("/v1/jobs")).json()["jobs"] == []


async def test_unknown_model_returns_404(door: httpx.AsyncClient) -> None:
    answer = await door.post("/v1/jobs", json={"kind": "illustrate", "input": {**FOX, "model": "x"}})
    assert is_problem(answer, 404, "model")
    assert "mini" in answer.json()["detail"]


class Away(IllustratorStandIn):
    async def families(self) -> list[FamilyInfo]:
        raise EngineUnavailable("restarting")


class Stuck(IllustratorStandIn):
    async def families(self) -> list[FamilyInfo]:
        await asyncio.sleep(3600)
        return []


@pytest.mark.parametrize("kind", [Away, Stuck])
async def test_jobs_are_accepted_while_the_illustrator_is_unavailable(
    state: State, kind: type[IllustratorStandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "FAMILIES_TIMEOUT_S", 0.05)
    async with door_of(state, kind()) as door:
        sized = await door.post("/v1/jobs", json={"kind": "illustrate", "input": {**FOX, "width": 65}})
        assert sized.status_code == 202
        unknown = await door.post("/v1/jobs", json={"kind": "illustrate", "input": {**FOX, "quality": "draft"}})
        assert is_problem(unknown, 503)


async def test_illustration_job_without_an_illustrator_returns_404(state: State) -> None:
    async with door_of(state) as door:
        door._transport.app.state.illustrator = None  # type: ignore[attr-defined]
        assert is_problem(await door.post("/v1/jobs", json={"kind": "illustrate", "input": FOX}), 404, "model")


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"input": FOX}, 400, "kind"),
        ({"kind": "paint", "input": FOX}, 400, "kind"),
        ({"kind": "illustrate"}, 400, "prompt"),
        ({"kind": "illustrate", "input": [1]}, 400, "input"),
        ({"kind": "illustrate", "input": FOX, "inputs": {}}, 400, "inputs"),
        ({"kind": "illustrate", "input": FOX, "user_id": "x" * 257}, 400, "user_id"),
        ({"kind": "illustrate", "input": FOX, "user_id": "a\0"}, 400, "user_id"),
        ({"kind": "illustrate", "input": FOX, "priority": 11}, 400, "priority"),
        ({"kind": "illustrate", "input": FOX, "priority": "urgent"}, 400, "priority"),
        ({"kind": "illustrate", "input": FOX, "priority": 1.5}, 400, "priority"),
        ({"kind": "illustrate", "input": FOX, "webhook_url": "http://example.org"}, 400, "webhook_url"),
        ({"kind": "illustrate", "input": FOX, "webhook_url": "https://127.0.0.1/"}, 400, "webhook_url"),
        ({"kind": "illustrate", "input": FOX, "webhook_events": ["completed"]}, 400, "webhook_events"),
        (
            {"kind": "illustrate", "input": FOX, "webhook_url": "https://a.org", "webhook_events": ["x"]},
            400, "webhook_events",
        ),
        ({"kind": "illustrate", "input": FOX, "seeds": []}, 400, "seeds"),
        ({"kind": "illustrate", "input": FOX, "seeds": [1] * 6}, 400, "seeds"),
        ({"kind": "illustrate", "input": FOX, "seeds": [1, "x"]}, 400, "seeds"),
        ({"kind": "illustrate", "input": FOX, "seeds": [2**63]}, 400, "seeds"),
        ({"kind": "illustrate", "input": FOX, "count": 6}, 400, "count"),
        ({"kind": "illustrate", "input": FOX, "count": 0}, 400, "count"),
        ({"kind": "illustrate", "input": FOX, "count": 2, "seeds": [1]}, 400, "count"),
        ({"kind": "illustrate", "input": FOX, "prompts": ["a cat"]}, 400, "prompt"),
        ({"kind": "illustrate", "input": {}, "prompts": ["a cat", ""]}, 400, "prompts"),
        ({"kind": "illustrate", "input": {}, "prompts": ["a cat", "x" * 32_001]}, 400, "prompts"),
        ({"kind": "illustrate", "input": {}, "prompts": "a cat"}, 400, "prompts"),
        ({"kind": "prompt_to_svg", "input": {**FOX, "output_format": "png"}}, 400, "output_format"),
        ({"kind": "vectorize", "input": {}}, 400, "image"),
        ({"kind": "vectorize", "input": {"image": "https://example.org/a.png"}}, 400, "image"),
        ({"kind": "vectorize", "input": {"image": "data:image/png;base64,***"}}, 400, "image"),
        ({"kind": "vectorize", "input": {"result_id": "0" * 32}}, 404, "result_id"),
        ({"kind": "vectorize", "input": {"result_id": "x"}}, 404, "result_id"),
        ({"kind": "vectorize", "input": {"image": "data:image/png;base64,", "result_id": "x"}}, 400, "result_id"),
        ({"kind": "vectorize", "input": {"image": "x", "tier": "9"}}, 400, "tier"),
        ({"kind": "vectorize", "input": {"image": "x"}, "count": 2}, 400, "count"),
    ],
)  # fmt: skip
async def test_invalid_bodies_are_refused(
    door: httpx.AsyncClient, body: dict[str, Any], status: int, field: str
) -> None:
    assert is_problem(await door.post("/v1/jobs", json=body), status, field)
    assert (await door.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize("priority", [("low", -5), ("high", 5), (-10, -10), (3, 3), (None, 0)])
async def test_priorities(door: httpx.AsyncClient, priority: tuple[Any, int]) -> None:
    value, meant = priority
    body = {"kind": "illustrate", "input": FOX, "priority": value}
    assert (await door.post("/v1/jobs", json=body)).json()["priority"] == meant


async def test_fals_priority(door: httpx.AsyncClient) -> None:
    body, headers = {"kind": "illustrate", "input": FOX}, {"X-Fal-Queue-Priority": "low"}
    assert (await door.post("/v1/jobs", json=body, headers=headers)).json()["priority"] == -5
    assert (await door.post("/v1/jobs", json={**body, "priority": 2}, headers=headers)).json()["priority"] == 2
    answer = await door.post("/v1/jobs", json=body, headers={"X-Fal-Queue-Priority": "now"})
    assert is_problem(answer, 400, "X-Fal-Queue-Priority")


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("wait", 60), ("wait=5", 5), ("respond-async, wait=5", 5), ("wait=999", 60), ("wait=0", 0), ("wait=-1", 0),
        ("return=minimal", 0), ("", 0), ('wait="7"; x=1', 7), ("wait=1.5", 0),
    ],
)  # fmt: skip
def test_prefer(header: str, wait_s: float) -> None:
    assert requests.wait_s([header], 60) == wait_s


async def test_webhooks(door: httpx.AsyncClient, hand: Hand) -> None:
    body = {"kind": "illustrate", "input": FOX, "webhook_url": "https://example.org/hook"}
    await door.post("/v1/jobs", json={**body, "webhook_events": ["started", "started", "completed"]})
    (claimed,) = await hand.claim()
    assert claimed.webhook_url == "https://example.org/hook"
    async with hand.state.database.read() as connection:
        row = (await connection.execute(jobs.select())).one()
    assert row.webhook_events == ["started", "completed"]


async def test_without_a_secret_there_are_no_webhooks(state: State) -> None:
    silent = replace(state, settings=with_settings(state.settings, webhooks={"secret": None}))
    async with door_of(silent) as door:
        body = {"kind": "illustrate", "input": FOX, "webhook_url": "https://example.org/hook"}
        assert is_problem(await door.post("/v1/jobs", json=body), 400, "webhook_url")


@pytest.mark.parametrize("name", sorted(ACCEPTED))
async def test_json_and_form_pictures_are_stored_as_one_object(
    door: httpx.AsyncClient, hand: Hand, name: str, settings: Settings
) -> None:
    """The picture is stored before the job exists, with its bytes unchanged."""
    picture = ACCEPTED[name]
    values = {"image": url_of(picture), "tier": "2", "max_paths": 9, "validate": True}
    by_json = await door.post("/v1/jobs", json={"kind": "vectorize", "input": values})
    fields = {"tier": "2", "max_paths": "9", "validate": "true", "user_id": "ana", "priority": "low"}
    by_form = await door.post("/v1/jobs", files={"image": ("a", picture)}, data=fields)
    assert (by_json.status_code, by_form.status_code) == (202, 202), by_form.text
    assert (by_form.json()["user_id"], by_form.json()["priority"]) == ("ana", -5)
    first, second = await hand.claim("vectorize", 2)
    assert first.request == second.request
    assert isinstance(first.request, VectorizeRequest)
    assert (first.request.options.tier, first.request.options.max_paths, first.request.options.validate) == (2, 9, True)
    assert await hand.state.objects.get(first.request.image) == picture
    parameters = by_json.json()["parameters"]
    assert (parameters["tier"], parameters["input_sha256"]) == (2, first.request.image.partition(".")[0])


@pytest.mark.parametrize("name", sorted(set(REFUSED) - {"truncated", "transparent"}))
async def test_undecodable_pictures_are_refused(door: httpx.AsyncClient, name: str) -> None:
    """Refused by the image header, before anything is stored."""
    answer = await door.post("/v1/jobs", files={"image": ("a.png", REFUSED[name])})
    assert answer.status_code in (413, 415, 422), answer.text
    assert answer.json()["field"] in ("image", None)
    assert (await door.get("/v1/jobs")).json()["jobs"] == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "illustrate"}, "kind"),
        ({"prompt": "x"}, "prompt"),
        ({"result_id": "0" * 32}, "result_id"),
        ({"webhook_events": "x", "webhook_url": "https://a.org"}, "webhook_events"),
        ({"priority": "99"}, "priority"),
        ({"max_paths": "x"}, "max_paths"),
    ],
)
async def test_invalid_forms_are_refused(
    door: httpx.AsyncClient, logo: bytes, fields: dict[str, str], field: str
) -> None:
    assert is_problem(await door.post("/v1/jobs", files={"image": ("a", logo)}, data=fields), 400, field)


async def test_form_without_a_picture_is_refused(door: httpx.AsyncClient, logo: bytes) -> None:
    assert is_problem(await door.post("/v1/jobs", files={"picture": ("a", logo)}), 400, "picture")
    assert is_problem(await door.post("/v1/jobs", files={"tier": (None, "1")}), 400, "image")


async def test_stored_result_is_vectorized(door: httpx.AsyncClient, hand: Hand, logo: bytes) -> None:
    first = await door.post("/v1/jobs", json={"kind": "illustrate", "input": FOX})
    await hand.complete((await hand.claim())[0], File(logo, "image/png", 64, 64, 7), File(b"<svg/>", "image/svg+xml"))
    drawn = (await door.get(f"/v1/jobs/{first.json()['id']}")).json()["results"]
    body = {"kind": "vectorize", "input": {"result_id": drawn[0]["id"]}}
    assert (await door.post("/v1/jobs", json=body)).status_code == 202
    (claimed,) = await hand.claim("vectorize")
    assert isinstance(claimed.request, VectorizeRequest)
    assert await hand.state.objects.get(claimed.request.image) == logo
    body = {"kind": "vectorize", "input": {"result_id": drawn[1]["id"]}}
    assert is_problem(await door.post("/v1/jobs", json=body), 415, "result_id")
