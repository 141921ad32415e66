"""The direct routes through the whole stack: a disconnect ends the drawing, but OpenAI's client may retry it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from whole_stack import Stack

pytestmark = pytest.mark.cluster

STEPS = 1000
"""Of the toy family: some seconds."""


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{stack.http}", timeout=120) as client:
        yield client


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex}"


def history(http: httpx.Client, user: str) -> list[dict[str, Any]]:
    answer = http.get("/v1/generations", params={"user_id": user})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["generations"]
    return found


def leave(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        http.post(path, json=body, timeout=0.5)


def test_a_repetition_joins_the_drawing(http: httpx.Client, user: str) -> None:
    """API_COMPAT 1: without key or seed, the retried request joins the first drawing, which outlives its first
    client."""
    body = {"prompt": "red apple", "user": user, "steps": STEPS}
    leave(http, "/v1/images/generations", body)
    answer = http.post("/v1/images/generations", json=body)
    assert answer.status_code == 200, answer.text
    (one,) = history(http, user)
    assert (one["id"], one["status"]) == (answer.json()["atelier"]["generation_id"], "completed")


def test_elsewhere_the_drawing_ends(http: httpx.Client, user: str) -> None:
    leave(http, "/generate", {"prompt": "red apple", "user_id": user, "steps": STEPS, "seed": 7})
    end = time.monotonic() + 60
    while not history(http, user) and time.monotonic() < end:
        time.sleep(0.1)
    (one,) = history(http, user)
    assert one["status"] == "cancelled"


def test_the_same_again_is_stored(http: httpx.Client, user: str) -> None:
    body = {"prompt": f"red apple {user}", "user_id": user, "seed": 7}
    answers = [http.post("/generate", json=body) for _ in range(2)]
    assert [answer.headers["x-atelier-cache"] for answer in answers] == ["miss", "hit"]
    pictures = [http.get(answer.json()["image_url"]) for answer in answers]
    assert pictures[0].status_code == 200, pictures[0].text
    assert pictures[0].content == pictures[1].content
