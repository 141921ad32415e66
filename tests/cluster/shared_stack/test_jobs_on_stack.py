"""Jobs through the whole stack, while its processes are killed: no job is lost, and no event is sent twice."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from programs.studio_browser import CHROMIUM, WAIT_MS, launched
from whole_stack import Stack, kill

pytestmark = pytest.mark.cluster

STEPS = 500
"""Of the toy family: long enough to be seen at work by who asks twenty times a second."""
LIMIT_S = 120


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{stack.http}", timeout=60) as client:
        yield client


def add(http: httpx.Client, seed: int, **options: Any) -> str:
    asked = {"prompt": "red apple", "seed": seed, "num_inference_steps": STEPS, **options}
    answer = http.post("/v1/jobs", json={"kind": "illustrate", "input": asked})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    assert answer.headers["location"].endswith(f"/v1/jobs/{job_id}")
    return job_id


def until(http: httpx.Client, job_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Retries, as clients do, while a process is being replaced."""
    end = time.monotonic() + LIMIT_S
    found: dict[str, Any] = {}
    while time.monotonic() < end:
        try:
            answer = http.get(f"/v1/jobs/{job_id}")
        except httpx.TransportError:
            time.sleep(0.2)
            continue
        if answer.status_code == 503:
            time.sleep(0.2)
            continue
        found = answer.json()
        assert answer.status_code == 200, answer.text
        if is_so(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"not so within {LIMIT_S} s: {found}")


def done(job: dict[str, Any]) -> bool:
    assert job["status"] not in ("failed", "cancelled"), job
    return bool(job["status"] == "completed")


def under_way(job: dict[str, Any]) -> bool:
    return bool(job["status"] == "processing" and 0.05 < job["progress"] < 0.9)


def paused(job: dict[str, Any]) -> bool:
    return bool(job["status"] == "paused")


def picture(http: httpx.Client, job: dict[str, Any]) -> np.ndarray:
    answer = http.get(f"/v1/results/{job['results'][0]['id']}")
    assert answer.status_code == 200
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def undisturbed(http: httpx.Client, seed: int) -> np.ndarray:
    """The same request by a direct route, which must not be served from the cache."""
    asked = {"prompt": "red apple", "seed": seed, "steps": STEPS, "response_format": "url"}
    answer = http.post("/v1/images/generations", json=asked, headers={"Cache-Control": "no-cache"}, timeout=LIMIT_S)
    assert answer.headers["x-atelier-cache"] == "bypass"
    return np.asarray(Image.open(io.BytesIO(http.get(answer.json()["data"][0]["url"]).content)))


def test_a_job_from_its_request_to_its_picture(http: httpx.Client) -> None:
    job_id = add(http, 1, num_inference_steps=40)
    job = until(http, job_id, done)
    assert picture(http, job).shape == (64, 64, 3)
    events = http.get(f"/v1/jobs/{job_id}/events").json()["events"]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert (events[0]["event"], events[-1]["event"]) == ("queued", "completed")
    again = http.post("/v1/images/generations", json={"prompt": "red apple", "seed": 1, "steps": 40})
    assert again.headers["x-atelier-cache"] == "hit"


def test_a_killed_worker_loses_nothing(http: httpx.Client, stack: Stack) -> None:
    jobs = [add(http, seed) for seed in (11, 12)]
    until(http, jobs[0], under_way)
    kill(stack.pids("ServeReplica:atelier:Worker"))
    found = [until(http, job_id, done) for job_id in jobs]
    assert found[0]["attempt"] >= 2
    for job, seed in zip(found, (11, 12), strict=True):
        assert np.array_equal(picture(http, job), undisturbed(http, seed))


def test_a_killed_illustrator_loses_nothing(http: httpx.Client, stack: Stack) -> None:
    job_id = add(http, 21)
    until(http, job_id, under_way)
    kill(stack.pids("ServeReplica:atelier:Illustrator"))
    assert np.array_equal(picture(http, until(http, job_id, done)), undisturbed(http, 21))


def events_of(http: httpx.Client, job_id: str, after: int) -> Iterator[tuple[int, str]]:
    """(number, kind) by SSE, until the stream ends or breaks."""
    headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
    number = 0
    with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=LIMIT_S) as answer:
        if answer.status_code != 200:
            return
        for line in answer.iter_lines():
            if line.startswith("id:"):
                number = int(line[3:])
            elif line.startswith("event:"):
                yield number, line[6:].strip()


def test_a_killed_gateway_breaks_a_stream_that_goes_on_without_a_gap(http: httpx.Client, stack: Stack) -> None:
    job_id = add(http, 31)
    seen: list[tuple[int, str]] = []
    killed = False
    end = time.monotonic() + LIMIT_S
    while (not seen or seen[-1][1] != "completed") and time.monotonic() < end:
        try:
            for event in events_of(http, job_id, seen[-1][0] if seen else 0):
                seen.append(event)
                if event[1] == "progress" and not killed:
                    killed = True
                    kill(stack.pids("ServeReplica:atelier:Gateway"))
        except httpx.TransportError:
            time.sleep(0.2)
    assert killed
    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert seen == [(event["id"], event["event"]) for event in http.get(f"/v1/jobs/{job_id}/events").json()["events"]]


@pytest.fixture
def queue_page(stack: Stack) -> Iterator[Page | None]:
    """The studio's queue in a browser; None without one."""
    if CHROMIUM is None:
        yield None
        return
    with launched() as browser:
        page = browser.new_page(base_url=f"http://{stack.http}")
        page.set_default_timeout(WAIT_MS)
        page.goto("/queue")
        page.get_by_role("heading", name="Queue").wait_for()
        yield page


def test_everything_is_killed_at_once_and_goes_on_after_a_start(
    http: httpx.Client, stack: Stack, queue_page: Page | None
) -> None:
    """A page of the studio that is open meanwhile says so, reconnects, and resumes the job that was paused before."""
    jobs = [add(http, seed) for seed in (41, 42, 43)]
    http.post(f"/v1/jobs/{jobs[2]}/pause").raise_for_status()
    until(http, jobs[2], paused)
    until(http, jobs[0], under_way)
    kill(stack.pids())
    if queue_page is not None:
        expect(queue_page.get_by_role("alert")).to_contain_text("does not answer")
    started = stack.atelier("up", "--detach")
    assert started.returncode == 0, started.stderr
    until(http, jobs[2], paused)
    if queue_page is None:
        http.post(f"/v1/jobs/{jobs[2]}/resume").raise_for_status()
    else:
        expect(queue_page.get_by_role("alert")).to_have_count(0)
        queue_page.get_by_role("button", name="Resume red apple").click()
    for job_id, seed in zip(jobs, (41, 42, 43), strict=True):
        job = until(http, job_id, done)
        assert np.array_equal(picture(http, job), undisturbed(http, seed))
    history = http.get("/v1/generations", params={"limit": 100}).json()
    assert set(jobs) <= {item["id"] for item in history["generations"]}


def test_the_page_of_the_interface_names_every_door(http: httpx.Client) -> None:
    paths = json.loads(http.get("/openapi.json").content)["paths"]
    for path in (
        "/v1/jobs",
        "/v1/jobs/{job_id}/events",
        "/api/generate",
        "/api/generate/history",
        "/v1/batches/{batch_id}",
    ):
        assert path in paths
