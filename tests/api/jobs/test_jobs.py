"""`/v1/jobs`: jobs are add_job, read, and controlled, on both databases (C-042, API_COMPAT 5)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
from jobs_standin import PICTURE, Hand, application, door_of, with_settings
from stateful_door import is_problem

from serve.errors import EngineFailure, InvalidRequest
from serve.state import State
from serve.state.job_states import transition
from serve.state.tables import jobs

NOBODY = "0" * 32
FOX: dict[str, Any] = {"kind": "illustrate", "input": {"prompt": "a fox", "seed": 7}, "user_id": "ana"}


async def add_job(door: httpx.AsyncClient, **changes: Any) -> str:
    answer = await door.post("/v1/jobs", json={**FOX, **changes})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def get_job(door: httpx.AsyncClient, job_id: str, what: str = "") -> dict[str, Any]:
    answer = await door.get(f"/v1/jobs/{job_id}{what}")
    assert answer.status_code in (200, 202), answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_adding_a_job(door: httpx.AsyncClient) -> None:
    answer = await door.post("/v1/jobs", json={**FOX, "priority": "high"})
    assert answer.status_code == 202
    job = answer.json()
    own = f"http://127.0.0.1:8000/v1/jobs/{job['id']}"
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert {name: job[name] for name in ("status", "position", "priority", "user_id", "kind", "progress")} == {
        "status": "pending", "position": 1, "priority": 5, "user_id": "ana", "kind": "illustrate", "progress": 0.0,
    }  # fmt: skip
    assert (job["request_id"], job["status_url"], job["response_url"], job["cancel_url"]) == (
        job["id"], f"{own}/status", f"{own}/result", f"{own}/cancel",
    )  # fmt: skip
    assert (job["parameters"]["prompt"], job["parameters"]["seed"], job["results"]) == ("a fox", 7, [])
    assert await get_job(door, job["id"]) == job
    assert (await get_job(door, await add_job(door)))["position"] == 2


async def test_job_lifecycle(door: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(door)
    status = await get_job(door, job_id, "/status")
    assert (status["status"], status["queue_position"], status["logs"]) == ("IN_QUEUE", 0, [])
    waiting = await door.get(f"/v1/jobs/{job_id}/result")
    assert (waiting.status_code, waiting.json()["status"]) == (202, "IN_QUEUE")
    (claimed,) = await hand.claim()
    await hand.show(claimed, 4, preview=b"half a fox")
    job = await get_job(door, job_id)
    assert (job["status"], job["progress"], job["step"], job["steps"], job["position"]) == (
        "processing",
        0.5,
        4,
        8,
        None,
    )
    assert (await get_job(door, job_id, "/status"))["status"] == "IN_PROGRESS"
    preview = await door.get(job["preview_url"])
    assert (preview.content, preview.headers["content-type"]) == (b"half a fox", "image/webp")
    assert preview.headers["cache-control"] == "no-store"
    await hand.complete(claimed)
    job = await get_job(door, job_id)
    assert (job["status"], job["progress"], job["attempt"], job["error"]) == ("completed", 1.0, 1, None)
    assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    (result,) = job["results"]
    assert (result["media_type"], result["seed"], result["bytes"]) == ("image/png", 7, len(PICTURE.data))
    assert result["url"] == f"http://127.0.0.1:8000/v1/results/{result['id']}"
    assert result["thumbnail_url"] == result["url"] + "/thumbnail"
    assert (await get_job(door, job_id, "/status"))["status"] == "COMPLETED"
    outcome = await door.get(f"/v1/jobs/{job_id}/result")
    assert (outcome.status_code, outcome.json()["results"], outcome.json()["details"]) == (200, [result], {"tokens": 3})


async def test_failure_is_returned_as_the_original_error(door: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(door)
    (claimed,) = await hand.claim()
    await hand.leases.fail(claimed, InvalidRequest("no such size", "width"), 0.1)
    job, status = await get_job(door, job_id), await get_job(door, job_id, "/status")
    assert (job["status"], job["error"]["detail"]) == ("failed", "no such size")
    assert (status["status"], status["error"], status["error_type"]) == ("COMPLETED", "no such size", "InvalidRequest")
    answer = await door.get(f"/v1/jobs/{job_id}/result")
    assert is_problem(answer, 400, "width")
    assert answer.json()["type"] == "urn:atelier:problem:invalid-request"


async def test_server_failure_is_a_5xx(door: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(door)
    (claimed,) = await hand.claim()
    error = {"type": "SomethingNew", "status": 504, "detail": "too slow", "field": None}
    await hand.leases.fail(claimed, EngineFailure("broke"), 0.1)
    async with hand.state.database.write() as connection:
        this = [jobs.c.generation_id == job_id]
        await transition(connection, this, "failed", {"error": error}, {"error": error}, status="failed")
    answer = await door.get(f"/v1/jobs/{job_id}/result")
    assert (answer.status_code, answer.json()["detail"]) == (504, "too slow")


async def test_cancelled_job_returns_410(door: httpx.AsyncClient, hand: Hand) -> None:
    waiting = await add_job(door)
    answer = await door.delete(f"/v1/jobs/{waiting}")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert (await door.put(f"/v1/jobs/{waiting}/cancel")).status_code == 200
    assert is_problem(await door.get(f"/v1/jobs/{waiting}/result"), 410)
    assert (await get_job(door, waiting, "/status"))["error_type"] == "Cancelled"

    running = await add_job(door)
    (claimed,) = await hand.claim()
    answer = await door.post(f"/v1/jobs/{running}/cancel")
    assert (answer.status_code, answer.json()["status"], answer.json()["wish"]) == (202, "processing", "cancel")
    await hand.leases.release(claimed)
    assert (await get_job(door, running))["status"] == "cancelled"


async def test_pause_and_resume(door: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(door)
    answer = await door.post(f"/v1/jobs/{job_id}/pause")
    assert (answer.status_code, answer.json()["status"], answer.json()["position"]) == (200, "paused", None)
    assert await hand.claim() == []
    assert (await get_job(door, job_id, "/status"))["queue_position"] is None
    answer = await door.put(f"/v1/jobs/{job_id}/resume")
    assert (answer.status_code, answer.json()["status"], answer.json()["position"]) == (200, "pending", 1)
    assert [job.id for job in await hand.claim()] == [job_id]


async def test_action_in_the_wrong_state_returns_409(door: httpx.AsyncClient, hand: Hand) -> None:
    job_id = await add_job(door)
    assert is_problem(await door.post(f"/v1/jobs/{job_id}/retry"), 409, "id")
    (claimed,) = await hand.claim()
    assert is_problem(await door.put(f"/v1/jobs/{job_id}/priority", json={"priority": 3}), 409, "id")
    await hand.complete(claimed)
    for act in ("cancel", "pause", "resume", "retry"):
        assert is_problem(await door.post(f"/v1/jobs/{job_id}/{act}"), 409, "id")
    assert is_problem(await door.get(f"/v1/jobs/{job_id}/preview"), 404, "id")


async def test_retry_and_change_of_priority(door: httpx.AsyncClient) -> None:
    first = await add_job(door)
    await door.post(f"/v1/jobs/{first}/cancel")
    answer = await door.post(f"/v1/jobs/{first}/retry")
    again = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{again['id']}")
    assert (again["retried_from"], again["parameters"]["seed"], again["user_id"]) == (first, 7, "ana")
    urgent = await add_job(door, user_id="ben")
    assert (await get_job(door, urgent))["position"] == 2
    answer = await door.put(f"/v1/jobs/{urgent}/priority", json={"priority": "high"})
    assert (answer.status_code, answer.json()["position"], answer.json()["priority"]) == (200, 1, 5)
    assert is_problem(await door.put(f"/v1/jobs/{urgent}/priority", json={"priority": 11}), 400, "priority")
    assert is_problem(await door.put(f"/v1/jobs/{urgent}/priority", json={}), 400, "priority")


async def test_paging(door: httpx.AsyncClient, hand: Hand) -> None:
    ids = [await add_job(door, user_id=user) for user in ("ana", "ben") * 4]
    await hand.complete((await hand.claim())[0])

    async def listed(**query: Any) -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            params = {**query, **({"cursor": cursor} if cursor else {})}
            page = (await door.get("/v1/jobs", params=params)).json()
            assert len(page["jobs"]) <= query.get("limit", 20)
            found += [job["id"] for job in page["jobs"]]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    assert await listed() == await listed(limit=3) == ids[::-1]
    assert await listed(user_id="ben", limit=2) == ids[1::2][::-1]
    assert await listed(status="completed") == [ids[0]]
    assert await listed(kind="vectorize") == []
    (done,) = (await door.get("/v1/jobs", params={"status": "completed"})).json()["jobs"]
    assert len(done["results"]) == 1
    for query, field in (("limit=0", "limit"), ("limit=101", "limit"), ("status=x", "status"), ("cursor=x", "cursor")):
        assert is_problem(await door.get(f"/v1/jobs?{query}"), 400, field)
    assert is_problem(await door.get("/v1/jobs?batch_id=x"), 404, "id")


async def test_same_idempotency_key_returns_the_same_job(door: httpx.AsyncClient) -> None:
    """API_COMPAT: clients retry requests whose response was lost."""
    headers = {"Idempotency-Key": "order 7"}
    answers = await asyncio.gather(*(door.post("/v1/jobs", json=FOX, headers=headers) for _ in range(5)))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [202]
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 4
    other = await door.post("/v1/jobs", json={**FOX, "priority": 3}, headers=headers)
    assert is_problem(other, 422, "Idempotency-Key")
    assert (await door.post("/v1/jobs", json={**FOX, "user_id": "ben"}, headers=headers)).status_code == 202
    for key in ("", "x" * 256, "tab\tinside"):
        assert is_problem(
            await door.post("/v1/jobs", json=FOX, headers={"Idempotency-Key": key}), 400, "Idempotency-Key"
        )


async def test_idempotency_key_of_a_batch_with_random_seeds(door: httpx.AsyncClient) -> None:
    """Random seeds do not make the body a different request."""
    body, headers = {"kind": "illustrate", "input": {"prompt": "a fox"}, "count": 3}, {"Idempotency-Key": "k"}
    first, second = [(await door.post("/v1/jobs", json=body, headers=headers)) for _ in range(2)]
    assert (first.status_code, second.status_code) == (202, 200)
    assert [job["id"] for job in first.json()["jobs"]] == [job["id"] for job in second.json()["jobs"]]
    assert len({job["seed"] for job in first.json()["jobs"]}) == 3


async def test_prefer_wait(door: httpx.AsyncClient, hand: Hand) -> None:
    """As at Replicate: the response comes at the end of the job or at the timeout."""
    pending = asyncio.create_task(door.post("/v1/jobs", json=FOX, headers={"Prefer": "respond-async, wait=30"}))
    while not (claimed := await hand.claim()):  # noqa: ASYNC110 (a database has no event)
        await asyncio.sleep(0.01)
    await hand.complete(claimed[0])
    answer = await pending
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.headers["preference-applied"] == "wait=30"
    answer = await door.post("/v1/jobs", json=FOX, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")


async def test_unknown_ids_are_not_found(door: httpx.AsyncClient) -> None:
    for job_id in (NOBODY, "x", "0" * 31, "A" * 32, "0" * 32 + "0", "%00" * 32):
        for path in ("", "/status", "/result", "/preview", "/events", "/status/stream"):
            assert is_problem(await door.get(f"/v1/jobs/{job_id}{path}"), 404, "id"), (job_id, path)
        for act in ("cancel", "pause", "resume", "retry"):
            assert is_problem(await door.post(f"/v1/jobs/{job_id}/{act}"), 404, "id")
        for path in ("", "/download"):
            assert is_problem(await door.get(f"/v1/batches/{job_id}{path}"), 404, "id")
        for path in ("status", "result"):
            assert is_problem(await door.get(f"/api/generate/{job_id}/{path}"), 404, "id")


async def test_too_many_jobs_of_a_user_return_429(state: State) -> None:
    bounded = replace(state, settings=with_settings(state.settings, jobs={"max_queued_per_user": 2}))
    async with door_of(bounded) as door:
        await add_job(door)
        await add_job(door)
        answer = await door.post("/v1/jobs", json=FOX)
        assert is_problem(answer, 429)
        assert int(answer.headers["retry-after"]) > 0


async def test_missing_state_returns_503(state: State) -> None:
    transport = httpx.ASGITransport(application(state.settings), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        for answer in (await door.post("/v1/jobs", json=FOX), await door.get("/v1/queue")):
            assert is_problem(answer, 503)
            assert "retry-after" in answer.headers
