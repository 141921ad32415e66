"""Every door that draws keeps to the site's policy, and tells what was found (USERS_ASK 11; API_COMPAT 1)."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fake_safety_engine import NUDITY, Judged, policy, site, watched
from illustrator_standin import disk
from standin import StandIn

from serve.api.app import create_app
from serve.jobs.direct.service import DirectService
from serve.jobs.worker.execution import JobExecutor
from serve.jobs.worker.worker import Worker
from serve.settings import DatabaseSettings, ModerationSettings, Settings
from serve.state import State
from tests.api.drawn_pictures import opened

A070, A072, C021, OPENAI = (
    "/api/illustrations/generate",
    "/generate",
    "/api/diffusion/generate",
    "/v1/images/generations",
)
BODIES = {
    A070: {"prompt": "{}", "userId": "ada", "seed": 7}, A072: {"prompt": "{}", "user_id": "ada", "seed": 7},
    C021: {"prompt": "{}", "seed": 7}, OPENAI: {"prompt": "{}", "seed": 7, "size": "64x64"},
}  # fmt: skip
INFER = "/v2/models/illustrate/infer"
QUICK = {"poll_s": 0.01, "beat_s": 0.05, "progress_s": 0.0}


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    """Nothing here depends on which database it is."""
    return sqlite_settings


@pytest.fixture
def illustrator() -> Judged:
    return Judged()


@contextlib.asynccontextmanager
async def doors(
    settings: Settings, illustrator: Judged, chosen: ModerationSettings
) -> AsyncIterator[httpx.AsyncClient]:
    """With a state, a worker, and nothing in between."""
    settings = site(settings, chosen)
    settings = settings.model_copy(update={"jobs": settings.jobs.model_copy(update=QUICK)})
    state, service, draws = await State.open(settings), StandIn(), watched(illustrator, chosen)
    direct = DirectService(state, draws, service, settings)
    worker = Worker(state, JobExecutor(state, service, draws))
    await worker.start()
    app = create_app(service, settings, illustrator=draws, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=30) as client:
        yield client
    await worker.close()
    await direct.close()
    await state.close()


async def ask(client: httpx.AsyncClient, path: str, prompt: str, **more: Any) -> httpx.Response:
    return await client.post(path, json={**BODIES[path], **more, "prompt": prompt})


async def over(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=10"})
    for _ in range(2000):
        if answer.json()["status"] in ("completed", "failed"):
            break
        answer = await client.get(f"/v1/jobs/{job_id}")
    found: dict[str, Any] = answer.json()
    return found


def metadata(path: str, body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["atelier"] if path == OPENAI else body["metadata"]
    return found


@pytest.mark.parametrize("path", BODIES)
async def test_a_flag_is_in_the_answer(settings: Settings, illustrator: Judged, path: str) -> None:
    async with doors(settings, illustrator, policy("flag")) as client:
        clean, bad = await ask(client, path, "a fox"), await ask(client, path, "a massacre")
    told = [metadata(path, answer.json()) for answer in (clean, bad)]
    assert [one["flagged"] for one in told] == [False, True]
    assert told[1]["moderation"]["category"] == "violence"
    assert told[1]["moderation"]["reason"] == "prompt"


@pytest.mark.parametrize("path", BODIES)
async def test_refusals_of_prompts(settings: Settings, illustrator: Judged, path: str) -> None:
    async with doors(settings, illustrator, policy("refuse")) as client:
        answer = await ask(client, path, "a massacre")
    assert answer.status_code == 400
    told = answer.json()
    assert illustrator.asked == []
    if path == OPENAI:
        error = told["error"]
        assert (error["code"], error["type"], error["param"]) == (
            "content_policy_violation",
            "invalid_request_error",
            "prompt",
        )
        assert (error["category"], error["score"]) == ("violence", 1.0)
    else:
        assert told["type"] == "urn:atelier:problem:moderation-blocked"
        assert (told["field"], told["category"], told["score"]) == ("prompt", "violence", 1.0)
    assert "massacre" not in answer.text


async def test_pictures_are_refused_and_blurred(settings: Settings, illustrator: Judged) -> None:
    illustrator.answer = lambda image: [[0.9, 0.0]]
    async with doors(settings, illustrator, policy("refuse")) as client:
        answer = await ask(client, OPENAI, "a fox")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
        assert (answer.json()["error"]["param"], answer.json()["error"]["category"]) == (None, NUDITY)
    async with doors(settings, illustrator, policy("blur")) as client:
        answer = await ask(client, OPENAI, "a fox")
        body = answer.json()
        pixels = np.asarray(opened(body["data"][0]["b64_json"]))
        assert pixels.shape == (64, 64, 3)
        assert 0 < pixels.mean() < 255
        assert not np.array_equal(pixels, disk(64, 64, 7))
        assert body["atelier"]["moderation"]["action"] == "blur"


async def test_what_was_stored_under_another_policy_is_not_given(settings: Settings, illustrator: Judged) -> None:
    illustrator.answer = lambda image: [[0.9, 0.0]]
    answers = []
    for name in ("off", "flag", "blur", "blur"):
        async with doors(settings, illustrator, policy(name)) as client:
            answers.append(await ask(client, OPENAI, "a fox"))
    assert [answer.headers["x-atelier-cache"] for answer in answers] == ["miss", "miss", "miss", "hit"]
    assert [answer.json()["atelier"].get("flagged") for answer in answers] == [None, True, True, True]


async def test_what_nobody_looked_at_is_not_stored(settings: Settings, illustrator: Judged) -> None:
    illustrator.answer = lambda image: [[2.0, 0.0]]
    async with doors(settings, illustrator, policy("flag", on_failure="allow")) as client:
        first = await ask(client, OPENAI, "a fox")
        illustrator.answer = lambda image: [[0.9, 0.0]]
        again = await ask(client, OPENAI, "a fox")
    assert first.json()["atelier"]["moderation"]["unchecked"] is True
    assert (again.headers["x-atelier-cache"], again.json()["atelier"]["flagged"]) == ("miss", True)


async def test_openai_low(settings: Settings, illustrator: Judged) -> None:
    async with doors(settings, illustrator, policy("refuse")) as client:
        for moderation, status in (("auto", 400), (None, 400), ("low", 200), ("none", 400)):
            answer = await ask(client, OPENAI, "an acme fox", moderation=moderation)
            assert answer.status_code == status, moderation
        assert answer.json()["error"]["param"] == "moderation"


async def test_streams(settings: Settings, illustrator: Judged) -> None:
    illustrator.answer = lambda image: [[0.9, 0.0]]
    more = {"stream": True, "partial_images": 2}
    async with doors(settings, illustrator, policy("blur")) as client:
        lines = (await ask(client, OPENAI, "a fox", **more)).text.split("\n")
        found = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert [one["type"].split(".")[1] for one in found] == ["partial_image", "partial_image", "completed"]
        for one in found:
            assert not np.array_equal(np.asarray(opened(one["b64_json"])), disk(64, 64, 7))
        assert found[-1]["atelier"]["flagged"] is True
    async with doors(settings, illustrator, policy("refuse")) as client:
        assert (await ask(client, OPENAI, "a massacre", **more)).status_code == 400
        refused = await ask(client, OPENAI, "a fox", **more)
        assert "content_policy_violation" in refused.text
        assert "b64_json" not in refused.text


async def test_the_open_inference_door(settings: Settings, illustrator: Judged) -> None:
    illustrator.answer = lambda image: [[0.9, 0.0]]

    def body(prompt: str) -> dict[str, Any]:
        return {
            "inputs": [
                {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [prompt]},
                {"name": "seed", "datatype": "INT64", "shape": [1], "data": [7]},
            ],
            "outputs": [{"name": "metadata"}],
        }

    async with doors(settings, illustrator, policy("blur")) as client:
        found = (await client.post(INFER, json=body("a fox"))).json()
        told = json.loads(found["outputs"][0]["data"][0])
        assert (told["moderation"]["flagged"], told["moderation"]["action"]) == (True, "blur")
    async with doors(settings, illustrator, policy("refuse")) as client:
        answer = await client.post(INFER, json=body("a massacre"))
        assert answer.status_code == 400
        assert "violence" in answer.json()["error"]


async def test_jobs(settings: Settings, illustrator: Judged) -> None:
    """A prompt is refused when the job comes in, of a batch all; a picture when it is drawn."""
    job = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
    async with doors(settings, illustrator, policy("refuse")) as client:
        for body in (
            {"kind": "illustrate", "input": {"prompt": "a massacre"}},
            {"kind": "illustrate", "input": {}, "prompts": ["a fox", "blood-bath"]},
        ):
            answer = await client.post("/v1/jobs", json=body)
            assert (answer.status_code, answer.json()["category"]) == (400, "violence")
        assert (await client.post("/api/generate", json={"prompt": "a massacre"})).status_code == 400
        illustrator.answer = lambda image: [[0.9, 0.0]]
        found = await over(client, (await client.post("/v1/jobs", json=job)).json()["id"])
        assert (found["status"], found["error"]["type"]) == ("failed", "ModerationBlocked")
        assert (found["error"]["category"], found["attempt"]) == (NUDITY, 1)
    illustrator.step_s = 0.1  # previews that come while one is being kept are passed over
    async with doors(settings, illustrator, policy("blur")) as client:
        found = await over(client, (await client.post("/v1/jobs", json=job)).json()["id"])
        assert found["details"]["flagged"] is True
        kept = (await client.get(f"/v1/generations/{found['id']}")).json()
        assert kept["details"]["moderation"]["category"] == NUDITY
        preview = await client.get(found["preview_url"])
        shown = await client.get(found["results"][0]["url"])
        for answer in (preview, shown):
            assert answer.status_code == 200
            assert not np.array_equal(np.asarray(opened_bytes(answer.content)), disk(64, 64, 7))


def opened_bytes(data: bytes) -> Any:
    return opened(base64.b64encode(data).decode())
