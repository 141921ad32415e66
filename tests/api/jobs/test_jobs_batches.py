"""Batches: one prompt and many seeds, many prompts, their progress, their results as one ZIP (A-081, C-140)."""

from __future__ import annotations

import asyncio
import io
import json
import zipfile
from typing import Any

import httpx
import pytest
from jobs_standin import Hand
from stateful_door import is_problem

FOX = {"prompt": "a fox", "negative_prompt": "rain"}


async def add_batch(door: httpx.AsyncClient, values: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = await door.post("/v1/jobs", json={"kind": "illustrate", "input": values, "user_id": "ana", **more})
    assert answer.status_code == 202, answer.text
    batch: dict[str, Any] = answer.json()
    assert batch["id"] == batch["batch_id"]
    assert answer.headers["location"] == f"/v1/batches/{batch['id']}"
    return batch


def each(batch: dict[str, Any], name: str) -> list[Any]:
    return [job[name] for job in batch["jobs"]]


@pytest.mark.parametrize(
    ("values", "more", "seeds"),
    [
        (FOX, {"seeds": [5, 9, 2**63 - 1]}, [5, 9, 2**63 - 1]),
        ({**FOX, "seed": 40}, {"count": 3}, [40, 41, 42]),
        ({**FOX, "seed": 2**63 - 1}, {"count": 2}, [2**63 - 1, 0]),
        ({**FOX, "seed": 40, "n": 4}, {"count": 3}, [40, 44, 48]),
    ],
)
async def test_one_prompt_and_many_seeds(
    door: httpx.AsyncClient, values: dict[str, Any], more: dict[str, Any], seeds: list[int]
) -> None:
    """``count`` draws distinct seeds."""
    batch = await add_batch(door, values, **more)
    assert each(batch, "seed") == seeds
    whole = [(await door.get(f"/v1/jobs/{id_}")).json()["parameters"] for id_ in each(batch, "id")]
    assert [(one["seed"], one["negative_prompt"]) for one in whole] == [(seed, "rain") for seed in seeds]


async def test_many_prompts(door: httpx.AsyncClient) -> None:
    batch = await add_batch(door, {"negative_prompt": "rain"}, prompts=["a fox", "a cat"])
    assert each(batch, "prompt") == ["a fox", "a cat"]
    assert (await door.get(f"/v1/batches/{batch['batch_id']}")).json() == batch
    listed = (await door.get("/v1/jobs", params={"batch_id": batch["batch_id"]})).json()["jobs"]
    assert [job["prompt"] for job in listed] == ["a cat", "a fox"]


async def test_batch_lists_its_jobs_in_brief(door: httpx.AsyncClient, hand: Hand) -> None:
    """As in the schema: members that many jobs share are not repeated for each."""
    long = "a fox " * 100
    batch = await add_batch(door, {}, prompts=[long, "a cat"])
    (drawn,) = await hand.claim()
    await hand.complete(drawn)
    schemas = (await door.get("/openapi.json")).json()["components"]["schemas"]
    body = (await door.get(f"/v1/batches/{batch['id']}")).json()
    assert set(body) == set(schemas["BatchInfo"]["properties"])
    first, second = body["jobs"]
    assert set(first) == set(second) == set(schemas["BriefJob"]["properties"])
    assert (first["status"], first["progress"], first["prompt"]) == ("completed", 1.0, long[:200])
    (result,) = first["results"]
    assert (await door.get(result["url"])).status_code == 200
    assert (second["status"], second["prompt"], second["error"], second["results"]) == ("pending", "a cat", None, [])


async def test_progress_and_the_results_as_a_zip(door: httpx.AsyncClient, hand: Hand) -> None:
    batch = await add_batch(door, FOX, count=3)
    own = f"/v1/batches/{batch['batch_id']}"
    assert is_problem(await door.get(f"{own}/download"), 409, "id")
    first, second = await hand.claim(most=2)
    await hand.complete(first)
    await hand.show(second, 4, 8)
    body = (await door.get(own)).json()
    assert body["counts"] == {"completed": 1, "processing": 1, "pending": 1}
    assert (body["progress"], body["over"]) == (0.5, False)
    assert list(await unpacked(door, own)) == ["001-a-fox-7.png", "metadata.json"]
    await hand.complete(second)
    await hand.do_all()
    body = (await door.get(own)).json()
    assert (body["counts"], body["progress"], body["over"]) == ({"completed": 3}, 1.0, True)
    files = await unpacked(door, own)
    described = json.loads(files["metadata.json"])["generations"]
    assert [one["id"] for one in described] == [job["id"] for job in batch["jobs"]]
    assert len(files) == 4


async def unpacked(door: httpx.AsyncClient, own: str) -> dict[str, bytes]:
    answer = await door.get(f"{own}/download")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


async def test_cancelling_a_batch(door: httpx.AsyncClient, hand: Hand) -> None:
    batch = await add_batch(door, FOX, count=3)
    own = f"/v1/batches/{batch['batch_id']}"
    (claimed,) = await hand.claim()
    answer = await door.post(f"{own}/cancel")
    assert (answer.status_code, answer.json()["counts"]) == (202, {"processing": 1, "cancelled": 2})
    await hand.leases.release(claimed)
    answer = await door.post(f"{own}/cancel")
    assert (answer.status_code, answer.json()["counts"]) == (200, {"cancelled": 3})


async def test_waiting_for_a_whole_batch(door: httpx.AsyncClient, hand: Hand) -> None:
    body = {"kind": "illustrate", "input": FOX, "count": 3}
    pending = asyncio.create_task(door.post("/v1/jobs", json=body, headers={"Prefer": "wait=30"}))
    done = 0
    async with asyncio.timeout(60):
        while done < 3:
            for claimed in await hand.claim():
                await hand.complete(claimed)
                done += 1
            await asyncio.sleep(0.01)
    answer = await pending
    assert (answer.status_code, answer.json()["over"]) == (200, True)
