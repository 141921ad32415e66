"""Preview streams under /v1, on a real socket: format and order of events, heartbeats, errors, disconnects."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from drawn_pictures import infotext, opened
from illustrator_standin import IllustratorStandIn, family
from programs.http_server import listening
from standin import StandIn

from serve.api.app import create_app
from serve.api.http.models import validate
from serve.api.openai.image_models import ImagesBody
from serve.errors import EngineFailure, EngineLost
from serve.settings import PicturesSettings, Settings

PATH = "/v1/images/generations"
FAMILY = family("mini")


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[httpx.Client, IllustratorStandIn]]:
    illustrator = IllustratorStandIn(FAMILY)
    settings = Settings(pictures=PicturesSettings(heartbeat_s=0.1))
    application = create_app(StandIn(), settings, illustrator=illustrator)
    with listening(application) as address, httpx.Client(base_url=f"http://{address}", timeout=60) as client:
        yield client, illustrator


@pytest.fixture
def illustrator(shared: tuple[httpx.Client, IllustratorStandIn]) -> IllustratorStandIn:
    found = shared[1]
    found.step_s, found.failure, found.fails_after, found.cancelled, found.closed = 0.0, None, 0, 0, 0
    found.asked.clear()
    return found


@pytest.fixture
def client(shared: tuple[httpx.Client, IllustratorStandIn]) -> httpx.Client:
    return shared[0]


def body(**more: Any) -> dict[str, Any]:
    return {"prompt": "red apple", "stream": True, **more}


def events_of(text: str) -> list[dict[str, Any]]:
    """The data of the events; each event's name is its type."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields.get("data", "[DONE]") != "[DONE]":
            found.append(json.loads(fields["data"]))
            assert fields.get("event") == found[-1].get("type")
    return found


def until(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


@pytest.mark.parametrize("partial_images", [0, 1, 3])
def test_partial_images_precede_the_picture(
    client: httpx.Client, illustrator: IllustratorStandIn, partial_images: int
) -> None:
    answer = client.post(PATH, json=body(partial_images=partial_images, size="512x256", seed=5, output_format="jpeg"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-request-id"]
    assert answer.text.endswith("data: [DONE]\n\n")
    *partial, completed = events_of(answer.text)
    assert [event["partial_image_index"] for event in partial] == list(range(partial_images))
    common = {"b64_json", "created_at", "size", "quality", "background", "output_format", "type"}
    for event in partial:
        assert event.keys() == common | {"partial_image_index"}
        assert event["type"] == "image_generation.partial_image"
        image = opened(event["b64_json"])
        assert (image.format, image.size, infotext(image)) == ("JPEG", (128, 64), None)
    assert common | {"usage"} <= completed.keys()
    assert completed["type"] == "image_generation.completed"
    assert (completed["size"], completed["output_format"]) == ("128x64", "jpeg")
    assert completed["usage"]["input_tokens_details"] == {"text_tokens": 2, "image_tokens": 0}
    assert completed["usage"]["total_tokens"] == 2
    assert "Seed: 5" in (infotext(opened(completed["b64_json"])) or "")


def test_several_pictures_each_have_previews_and_completion(
    client: httpx.Client, illustrator: IllustratorStandIn
) -> None:
    events = events_of(client.post(PATH, json=body(partial_images=2, n=2, seed=5)).text)
    assert [event.get("partial_image_index") for event in events] == [0, 0, 1, 1, None, None]
    assert [event["seed"] for event in events[-2:]] == [5, 6]


@pytest.mark.parametrize("partial_images", [1, 2, 3])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7, 8, 11, 30, 39, 999])
def test_previews_are_spread_over_the_steps(steps: int, partial_images: int) -> None:
    """The requested number where there are enough steps, at the largest possible distance."""
    request = validate(ImagesBody, body(partial_images=partial_images, steps=steps)).parsed([FAMILY], True)
    made = [step for step in range(1, steps) if step % request.preview_every == 0]
    shown: list[int] = []
    for step in made:
        if len(shown) < partial_images and step * (partial_images + 1) >= steps * (len(shown) + 1):
            shown.append(step)
    assert len(shown) == min(partial_images, steps - 1)
    if steps > 4:
        gaps = [b - a for a, b in zip([0, *shown], [*shown, steps], strict=True)]
        assert max(gaps) <= 2 * steps / (partial_images + 1) + 1


def test_silent_stream_sends_comments(client: httpx.Client, illustrator: IllustratorStandIn) -> None:
    illustrator.step_s = 1.2
    answer = client.post(PATH, json=body(steps=1))
    assert answer.text.startswith(": still drawing\n\n")
    assert len(events_of(answer.text)) == 1
    illustrator.step_s = 60
    with client.stream("POST", PATH, json=body(steps=1)) as answer:
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(6)] == [": still drawing", ""] * 3


def test_error_before_the_first_event_is_a_status(client: httpx.Client, illustrator: IllustratorStandIn) -> None:
    illustrator.failure = EngineFailure("the engine is ill")
    answer = client.post(PATH, json=body())
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "engine_failure"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("failure", [EngineFailure("the engine is ill"), RuntimeError("secret of the inside")])
def test_error_in_mid_stream_is_an_event(
    client: httpx.Client, illustrator: IllustratorStandIn, failure: Exception
) -> None:
    illustrator.failure, illustrator.fails_after = failure, 5
    text = ""
    try:
        with client.stream("POST", PATH, json=body(partial_images=1)) as answer:
            for piece in answer.iter_text():
                text += piece
    except httpx.RemoteProtocolError:
        assert isinstance(failure, RuntimeError)  # unexpected errors are logged
    partial, last = events_of(text)
    assert partial["type"] == "image_generation.partial_image"
    assert last.keys() == {"error"}
    assert last["error"].keys() == {"message", "type", "param", "code"}
    assert last["error"]["code"] == "engine_failure"
    assert "secret" not in text
    assert "[DONE]" not in text


def test_error_in_mid_stream_has_retry_after(client: httpx.Client, illustrator: IllustratorStandIn) -> None:
    """The status and headers are sent by then."""
    illustrator.failure, illustrator.fails_after = EngineLost("the Illustrator is restarting; try again"), 5
    partial, last = events_of(client.post(PATH, json=body(partial_images=1)).text)
    assert partial["type"] == "image_generation.partial_image"
    assert (last["error"]["code"], last["error"]["retry_after"]) == ("engine_lost", EngineLost.retry_after_s)


@pytest.mark.parametrize("previews", [0, 3])
def test_client_disconnect_ends_the_drawing(
    client: httpx.Client, illustrator: IllustratorStandIn, previews: int
) -> None:
    illustrator.step_s = 0.3
    with client.stream("POST", PATH, json=body(steps=100, partial_images=previews)) as answer:
        assert answer.status_code == 200
        assert next(answer.iter_text())
    assert until(lambda: illustrator.closed == 1)
    assert illustrator.cancelled == 1
