"""C-043's routes with C-044's fields, and the lanes of the queue."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from jobs_standin import Hand, application, install, with_settings
from keyed_door import keyed_site
from stateful_door import is_problem

from serve.errors import EngineFailure, InvalidRequest
from serve.settings import Settings
from serve.state import State


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_settings(settings, jobs={"max_failures": 1})


async def add_generation(door: httpx.AsyncClient, **values: Any) -> dict[str, Any]:
    answer = await door.post("/api/generate", json={"prompt": "a fox", "userId": "ana", **values})
    assert answer.status_code == 202, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_generation_with_c043_fields(door: httpx.AsyncClient, hand: Hand) -> None:
    generation = await add_generation(door, models=["diffusion"], priority="high", numInferenceSteps=3, seed=7, n=2)
    own = f"/api/generate/{generation['id']}"
    assert generation == {
        "success": True,
        "id": generation["id"],
        "status": "pending",
        "position": 1,
        "estimatedTime": None,
    }
    status = (await door.get(f"{own}/status")).json()
    assert (status["userId"], status["status"], status["progress"], status["position"]) == ("ana", "pending", 0.0, 1)
    assert (status["priority"], status["models"], status["completedAt"]) == (5, ["diffusion"], None)
    answer = await door.get(f"{own}/result")
    assert (answer.status_code, answer.json()) == (202, status)
    (claimed,) = await hand.claim()
    assert (claimed.request.options.num_inference_steps, claimed.request.options.n) == (3, 2)  # type: ignore[union-attr]
    await hand.show(claimed, 1, 3, preview=b"half")
    status = (await door.get(f"{own}/status")).json()
    assert (status["status"], status["step"], status["steps"]) == ("processing", 1, 3)
    assert status["previewUrl"].startswith(f"http://127.0.0.1:8000/v1/jobs/{generation['id']}/preview")
    await hand.complete(claimed)
    answer = await door.get(f"{own}/result")
    made = answer.json()
    assert (answer.status_code, made["status"], made["userId"], made["prompt"]) == (200, "completed", "ana", "a fox")
    (result,) = made["results"]
    assert result["imageUrl"] == f"http://127.0.0.1:8000/v1/results/{result['id']}"
    assert (result["model"], result["score"], result["metadata"]["seed"]) == ("mini", None, 7)
    assert result["generatedAt"] >= made["createdAt"]
    assert {"enhancedPrompt", "analysis", "models", "priority", "completedAt"} <= made.keys()
    assert is_problem(await door.delete(own), 409, "id")


async def test_failed_and_cancelled_generations(door: httpx.AsyncClient, hand: Hand) -> None:
    for error, status in ((EngineFailure("broke"), 500), (InvalidRequest("no such size", "width"), 400)):
        own = f"/api/generate/{(await add_generation(door))['id']}"
        await hand.leases.fail((await hand.claim())[0], error, 0.1)
        assert (await door.get(f"{own}/status")).json()["error"]["detail"] == error.message
        assert is_problem(await door.get(f"{own}/result"), status, error.field)
    own = f"/api/generate/{(await add_generation(door))['id']}"
    answer = await door.delete(own)
    assert (answer.status_code, answer.json()["success"], answer.json()["status"]) == (200, True, "cancelled")
    assert is_problem(await door.get(f"{own}/result"), 410)
    running = f"/api/generate/{(await add_generation(door))['id']}"
    await hand.claim()
    assert (await door.delete(running)).status_code == 202


@pytest.mark.parametrize(
    ("values", "status", "field"),
    [
        ({"prompt": ""}, 400, "prompt"),
        ({"models": "diffusion"}, 400, "models"),
        ({"models": []}, 400, "models"),
        ({"models": ["gan"]}, 400, "models"),
        ({"models": ["diffusion", "style-transfer"]}, 422, "models"),
        ({"priority": 99}, 400, "priority"),
        ({"userId": 3}, 400, "userId"),
        ({"width": 65}, 400, "width"),
        ({"numInferenceSteps": 0}, 400, "numInferenceSteps"),
        ({"num_inference_steps": 3}, 400, "num_inference_steps"),
        ({"quality": "best"}, 400, "quality"),
    ],
)
async def test_invalid_requests_are_refused(
    door: httpx.AsyncClient, values: dict[str, Any], status: int, field: str
) -> None:
    answer = await door.post("/api/generate", json={"prompt": "a fox", **values})
    assert is_problem(answer, status, field)


async def test_history_route_is_not_matched_as_an_id(state: State) -> None:
    app = application(state.settings)
    install(app, state)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        generation = await add_generation(door)
        history = await door.get("/api/generate/history")
        assert [one["id"] for one in history.json()["generations"]] == [generation["id"]]
        assert is_problem(await door.delete("/api/generate/history"), 404, "id")


async def test_queue_by_lane(door: httpx.AsyncClient, hand: Hand) -> None:
    for _ in range(3):
        await add_generation(door)
    paused = (await add_generation(door))["id"]
    await door.post(f"/v1/jobs/{paused}/pause")
    await hand.claim()
    queue = (await door.get("/v1/queue")).json()
    assert queue == {
        "lanes": {
            "illustrate": {"pending": 2, "processing": 1, "paused": 1, "slots": 4, "is_paused": False},
            "vectorize": {"pending": 0, "processing": 0, "paused": 0, "slots": 2, "is_paused": False},
        },
        "pending": 2,
        "processing": 1,
        "paused": 1,
    }


async def test_lane_is_paused_by_admins_only(state: State, door: httpx.AsyncClient, hand: Hand) -> None:
    await add_generation(door)
    lane = "/api/admin/lanes/illustrate"
    assert is_problem(await door.post(f"{lane}/pause"), 403)
    async with keyed_site(state) as site, site.door((await site.key("root", "admin")).secret) as admin:
        for _ in range(2):
            answer = await admin.post(f"{lane}/pause")
            assert (answer.status_code, answer.json()) == (200, {"lane": "illustrate", "is_paused": True})
        assert await hand.claim() == []
        assert (await door.get("/v1/queue")).json()["lanes"]["illustrate"]["is_paused"] is True
        await admin.post(f"{lane}/resume")
        assert len(await hand.claim()) == 1
        assert is_problem(await admin.post("/api/admin/lanes/x/pause"), 404, "lane")
