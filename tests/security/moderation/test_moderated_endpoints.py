"""Every drawing endpoint applies the site's policy and reports its findings (USERS_ASK 11; API_COMPAT 1)."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from fake_safety_engine import NUDITY, FakeSafetyIllustrator, moderated_illustrator, policy, with_moderation
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
    """The tests do not depend on the kind of database."""
    return sqlite_settings


@pytest.fixture
def illustrator() -> FakeSafetyIllustrator:
    return FakeSafetyIllustrator()


@contextlib.asynccontextmanager
async def client_of(
    settings: Settings, illustrator: FakeSafetyIllustrator, chosen: ModerationSettings
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, with state and a worker, in process."""
    settings = with_moderation(settings, chosen)
    settings = settings.model_copy(update={"jobs": settings.jobs.model_copy(update=QUICK)})
    state, service, illustrator_with_policy = (
        await State.open(settings),
        StandIn(),
        moderated_illustrator(illustrator, chosen),
    )
    direct = DirectService(state, illustrator_with_policy, service, settings)
    worker = Worker(state, JobExecutor(state, service, illustrator_with_policy))
    await worker.start()
    app = create_app(service, settings, illustrator=illustrator_with_policy, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        yield client
    await worker.close()
    await direct.close()
    await state.close()


async def post_prompt(client: httpx.AsyncClient, path: str, prompt: str, **more: Any) -> httpx.Response:
    return await client.post(path, json={**BODIES[path], **more, "prompt": prompt})


async def finished_job(client: httpx.AsyncClient, job_id: str) -> dict[str, Any]:
    answer = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=10"})
    for _ in range(2000):
        if answer.json()["status"] in ("completed", "failed"):
            break
        answer = await client.get(f"/v1/jobs/{job_id}")
    job: dict[str, Any] = answer.json()
    return job


def metadata(path: str, body: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = body["atelier"] if path == OPENAI else body["metadata"]
    return fields


@pytest.mark.parametrize("path", BODIES)
async def test_flag_is_in_the_response(settings: Settings, illustrator: FakeSafetyIllustrator, path: str) -> None:
    async with client_of(settings, illustrator, policy("flag")) as client:
        clean, bad = await post_prompt(client, path, "a fox"), await post_prompt(client, path, "a massacre")
    metadata_of_both = [metadata(path, answer.json()) for answer in (clean, bad)]
    assert [one["flagged"] for one in metadata_of_both] == [False, True]
    assert metadata_of_both[1]["moderation"]["category"] == "violence"
    assert metadata_of_both[1]["moderation"]["reason"] == "prompt"


@pytest.mark.parametrize("path", BODIES)
async def test_refused_prompt_returns_400(settings: Settings, illustrator: FakeSafetyIllustrator, path: str) -> None:
    async with client_of(settings, illustrator, policy("refuse")) as client:
        answer = await post_prompt(client, path, "a massacre")
    assert answer.status_code == 400
    problem = answer.json()
    assert illustrator.asked == []
    if path == OPENAI:
        error = problem["error"]
        assert (error["code"], error["type"], error["param"]) == (
            "content_policy_violation",
            "invalid_request_error",
            "prompt",
        )
        assert (error["category"], error["score"]) == ("violence", 1.0)
    else:
        assert problem["type"] == "urn:atelier:problem:moderation-blocked"
        assert (problem["field"], problem["category"], problem["score"]) == ("prompt", "violence", 1.0)
    assert "massacre" not in answer.text


async def test_flagged_pictures_are_refused_or_blurred(settings: Settings, illustrator: FakeSafetyIllustrator) -> None:
    illustrator.scores_of = lambda image: [[0.9, 0.0]]
    async with client_of(settings, illustrator, policy("refuse")) as client:
        answer = await post_prompt(client, OPENAI, "a fox")
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "content_policy_violation")
        assert (answer.json()["error"]["param"], answer.json()["error"]["category"]) == (None, NUDITY)
    async with client_of(settings, illustrator, policy("blur")) as client:
        answer = await post_prompt(client, OPENAI, "a fox")
        body = answer.json()
        pixels = np.asarray(opened(body["data"][0]["b64_json"]))
        assert pixels.shape == (64, 64, 3)
        assert 0 < pixels.mean() < 255
        assert not np.array_equal(pixels, disk(64, 64, 7))
        assert body["atelier"]["moderation"]["action"] == "blur"


async def test_cache_entries_of_another_policy_are_not_used(
    settings: Settings, illustrator: FakeSafetyIllustrator
) -> None:
    illustrator.scores_of = lambda image: [[0.9, 0.0]]
    answers = []
    for name in ("off", "flag", "blur", "blur"):
        async with client_of(settings, illustrator, policy(name)) as client:
            answers.append(await post_prompt(client, OPENAI, "a fox"))
    assert [answer.headers["x-atelier-cache"] for answer in answers] == ["miss", "miss", "miss", "hit"]
    assert [answer.json()["atelier"].get("flagged") for answer in answers] == [None, True, True, True]


async def test_unchecked_pictures_are_not_cached(settings: Settings, illustrator: FakeSafetyIllustrator) -> None:
    illustrator.scores_of = lambda image: [[2.0, 0.0]]
    async with client_of(settings, illustrator, policy("flag", on_failure="allow")) as client:
        first = await post_prompt(client, OPENAI, "a fox")
        illustrator.scores_of = lambda image: [[0.9, 0.0]]
        again = await post_prompt(client, OPENAI, "a fox")
    assert first.json()["atelier"]["moderation"]["unchecked"] is True
    assert (again.headers["x-atelier-cache"], again.json()["atelier"]["flagged"]) == ("miss", True)


async def test_openai_moderation_low_raises_the_threshold(
    settings: Settings, illustrator: FakeSafetyIllustrator
) -> None:
    async with client_of(settings, illustrator, policy("refuse")) as client:
        for moderation, status in (("auto", 400), (None, 400), ("low", 200), ("none", 400)):
            answer = await post_prompt(client, OPENAI, "an acme fox", moderation=moderation)
            assert answer.status_code == status, moderation
        assert answer.json()["error"]["param"] == "moderation"


async def test_streamed_pictures_are_moderated(settings: Settings, illustrator: FakeSafetyIllustrator) -> None:
    illustrator.scores_of = lambda image: [[0.9, 0.0]]
    more = {"stream": True, "partial_images": 2}
    async with client_of(settings, illustrator, policy("blur")) as client:
        lines = (await post_prompt(client, OPENAI, "a fox", **more)).text.split("\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert [one["type"].split(".")[1] for one in events] == ["partial_image", "partial_image", "completed"]
        for one in events:
            assert not np.array_equal(np.asarray(opened(one["b64_json"])), disk(64, 64, 7))
        assert events[-1]["atelier"]["flagged"] is True
    async with client_of(settings, illustrator, policy("refuse")) as client:
        assert (await post_prompt(client, OPENAI, "a massacre", **more)).status_code == 400
        refused = await post_prompt(client, OPENAI, "a fox", **more)
        assert "content_policy_violation" in refused.text
        assert "b64_json" not in refused.text


async def test_open_inference_requests_are_moderated(settings: Settings, illustrator: FakeSafetyIllustrator) -> None:
    illustrator.scores_of = lambda image: [[0.9, 0.0]]

    def body(prompt: str) -> dict[str, Any]:
        return {
            "inputs": [
                {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": [prompt]},
                {"name": "seed", "datatype": "INT64", "shape": [1], "data": [7]},
            ],
            "outputs": [{"name": "metadata"}],
        }

    async with client_of(settings, illustrator, policy("blur")) as client:
        result = (await client.post(INFER, json=body("a fox"))).json()
        metadata_output = json.loads(result["outputs"][0]["data"][0])
        assert (metadata_output["moderation"]["flagged"], metadata_output["moderation"]["action"]) == (True, "blur")
    async with client_of(settings, illustrator, policy("refuse")) as client:
        answer = await client.post(INFER, json=body("a massacre"))
        assert answer.status_code == 400
        assert "violence" in answer.json()["error"]


async def test_jobs_are_moderated(settings: Settings, illustrator: FakeSafetyIllustrator) -> None:
    """A prompt is refused on submission, in a batch for all jobs; a picture when it is drawn."""
    job = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}}
    async with client_of(settings, illustrator, policy("refuse")) as client:
        for body in (
            {"kind": "illustrate", "input": {"prompt": "a massacre"}},
            {"kind": "illustrate", "input": {}, "prompts": ["a fox", "blood-bath"]},
        ):
            answer = await client.post("/v1/jobs", json=body)
            assert (answer.status_code, answer.json()["category"]) == (400, "violence")
        assert (await client.post("/api/generate", json={"prompt": "a massacre"})).status_code == 400
        illustrator.scores_of = lambda image: [[0.9, 0.0]]
        job_status = await finished_job(client, (await client.post("/v1/jobs", json=job)).json()["id"])
        assert (job_status["status"], job_status["error"]["type"]) == ("failed", "ModerationBlocked")
        assert (job_status["error"]["category"], job_status["attempt"]) == (NUDITY, 1)
    illustrator.step_s = 0.1  # previews that arrive while one is being stored are skipped
    async with client_of(settings, illustrator, policy("blur")) as client:
        job_status = await finished_job(client, (await client.post("/v1/jobs", json=job)).json()["id"])
        assert job_status["details"]["flagged"] is True
        generation = (await client.get(f"/v1/generations/{job_status['id']}")).json()
        assert generation["details"]["moderation"]["category"] == NUDITY
        preview = await client.get(job_status["preview_url"])
        shown = await client.get(job_status["results"][0]["url"])
        for answer in (preview, shown):
            assert answer.status_code == 200
            assert not np.array_equal(np.asarray(opened_bytes(answer.content)), disk(64, 64, 7))


def opened_bytes(data: bytes) -> Any:
    return opened(base64.b64encode(data).decode())
