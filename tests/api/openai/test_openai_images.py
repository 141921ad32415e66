"""OpenAI's `POST /v1/images/generations` and `GET /v1/models`: requests of its clients, and the errors that they
parse."""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_pictures import content, infotext, opened, record
from illustrator_standin import IllustratorStandIn, disk, family
from problem_answers import LEAKS
from standin import StandIn

from serve.api.app import create_app
from serve.api.http.bodies import BodyTimeout
from serve.api.openai.image_models import snapped
from serve.api.openapi.operation import inlined
from serve.errors import (
    AtelierError,
    Conflict,
    DeadlineExceeded,
    EngineFailure,
    EngineLost,
    Forbidden,
    Overloaded,
    QuotaExceeded,
    StateUnavailable,
    TooManyAttempts,
    TooManyJobs,
    TooManyRequests,
    Unauthorized,
)
from serve.settings import LimitsSettings, Settings

PATH = "/v1/images/generations"
TYPES = {401: "authentication_error", 403: "permission_error", 429: "requests", 507: "insufficient_quota"}


def assert_error(answer: httpx.Response, status: int, param: str | None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert error["type"] == TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    assert error["message"]
    assert error["code"]
    assert not LEAKS.search(answer.text)
    return error


async def test_minimal_request(studio: httpx.AsyncClient) -> None:
    answer = await studio.post(PATH, json={"prompt": "red apple flat"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert isinstance(body["created"], int)
    (data,) = body["data"]
    np.testing.assert_array_equal(np.asarray(opened(data["b64_json"])), disk(64, 64, 41))
    assert (body["size"], body["output_format"], body["background"]) == ("64x64", "png", "opaque")
    usage = body["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (3, 0, 3)
    assert usage["input_tokens_details"] == {"text_tokens": 3, "image_tokens": 0}
    assert body["atelier"]["parameters"]["seed"] == data["seed"] == 41
    assert body["atelier"]["model_versions"] == {"mini_unet": "1"}


async def test_every_openai_member_is_accepted(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    body = {
        "prompt": "apple", "model": "gpt-image-2.6-sunburst", "n": 2, "size": "1024x1024", "quality": "high",
        "background": "transparent", "output_format": "webp", "output_compression": 80, "moderation": "low",
        "style": "vivid", "user": "ada", "safety_identifier": "hash", "complexity": "low", "frame_count": 9,
        "frame_duration_ms": 200, "svg": {"model": "x"}, "response_format": "b64_json", "stream": False,
        "partial_images": 2, "loras": [{"name": "x"}], "extra": {"deep": [1, {"a": None}]},
    }  # fmt: skip
    answer = (await studio.post(PATH, json=body)).json()
    assert (answer["size"], answer["quality"], answer["safety_identifier"]) == ("128x128", "high", "hash")
    assert [opened(data["b64_json"]).format for data in answer["data"]] == ["WEBP", "WEBP"]
    (options,) = illustrator.asked
    assert (options.model, options.n, options.num_inference_steps) == ("mini", 2, 16)


async def test_every_optional_member_may_be_null(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    document = (await studio.get("/openapi.json")).json()
    described = inlined(document["paths"][PATH]["post"], document["components"]["schemas"])
    names = described["requestBody"]["content"]["application/json"]["schema"]["properties"]
    answer = await studio.post(PATH, json={**dict.fromkeys(names), "prompt": "apple"})
    assert answer.status_code == 200, answer.text
    (options,) = illustrator.asked
    assert (options.n, options.width, options.seed, options.num_inference_steps) == (1, 64, None, 8)


async def test_extension_members_are_honoured(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    body = {"prompt": "apple", "seed": 9, "negative_prompt": "no text", "guidance_scale": 2.5, "sampler": "UniPC"}
    answer = (await studio.post(PATH, json={**body, "steps": 3, "quality": "high", "metadata": False})).json()
    (options,) = illustrator.asked
    assert (options.seed, options.negative_prompt, options.guidance_scale, options.sampler) == (
        9,
        "no text",
        2.5,
        "UniPC",
    )
    assert options.num_inference_steps == 3
    assert answer["usage"]["input_tokens"] == 3
    image = opened(answer["data"][0]["b64_json"])
    assert (infotext(image), record(image)) == (None, None)
    await studio.post(PATH, json={"prompt": "apple", "num_inference_steps": 4})
    assert illustrator.asked[1].num_inference_steps == 4


@pytest.mark.parametrize(
    ("model", "drawn_by"),
    [("mini", "mini"), ("turbo", "turbo"), ("dall-e-3", "mini"), ("", "mini"), (None, "mini"), ("x" * 5000, "mini")],
)
async def test_any_model_name_is_accepted(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, model: str | None, drawn_by: str
) -> None:
    assert (await studio.post(PATH, json={"prompt": "apple", "model": model})).status_code == 200
    assert illustrator.asked[0].model == drawn_by


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ("auto", (64, 64)),
        ("64x64", (64, 64)),
        ("512x512", (128, 128)),
        ("1536x1024", (128, 88)),
        ("1024x1792", (72, 128)),
        ("3840x2160", (128, 72)),
        ("16384x1", (128, 32)),
        ("1x1", (32, 32)),
        ("70x61", (72, 64)),
    ],
)
def test_sizes_are_snapped(size: str, drawn: tuple[int, int]) -> None:
    """To the nearest size of the family: sides of 32 to 128 px in steps of 8, with the same aspect ratio where
    possible."""
    assert snapped(size, family("mini")) == drawn


async def test_snapped_size_is_drawn_and_reported(studio: httpx.AsyncClient) -> None:
    body = (await studio.post(PATH, json={"prompt": "apple", "size": "1536x1024"})).json()
    assert body["size"] == "128x88"
    assert opened(body["data"][0]["b64_json"]).size == (128, 88)


async def test_data_urls_hold_the_picture(studio: httpx.AsyncClient) -> None:
    body = (await studio.post(PATH, json={"prompt": "apple", "response_format": "url", "output_format": "jpeg"})).json()
    (data,) = body["data"]
    assert "b64_json" not in data
    assert data["url"].startswith("data:image/jpeg;base64,")
    assert opened(data["url"]).format == "JPEG"


async def test_svg_output(studio: httpx.AsyncClient) -> None:
    body = (await studio.post(PATH, json={"prompt": "apple", "output_format": "svg", "n": 2})).json()
    assert body["output_format"] == "svg"
    assert all(content(data["b64_json"]).startswith(b"<svg") for data in body["data"])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "  "}, "prompt"),
    ({"prompt": "x" * 100_000}, "prompt"),
    ({"prompt": {}}, "prompt"),
    ({"prompt": "half \udfff"}, "prompt"),
    ({"n": 0}, "n"),
    ({"n": 11}, "n"),
    ({"n": "two"}, "n"),
    ({"n": 1.5}, "n"),
    ({"size": "0x64"}, "size"),
    ({"size": "1000000000x64"}, "size"),
    ({"size": "64x16385"}, "size"),
    ({"size": "axb"}, "size"),
    ({"size": "64"}, "size"),
    ({"size": "-64x64"}, "size"),
    ({"size": "64x64x64"}, "size"),
    ({"size": "٦٤x٦٤"}, "size"),
    ({"size": 64}, "size"),
    ({"model": 7}, "model"),
    ({"quality": "best"}, "quality"),
    ({"quality": 3}, "quality"),
    ({"background": "pink"}, "background"),
    ({"output_format": "gif"}, "output_format"),
    ({"output_format": "tiff"}, "output_format"),
    ({"output_compression": -1}, "output_compression"),
    ({"output_compression": 101}, "output_compression"),
    ({"response_format": "file"}, "response_format"),
    ({"stream": "perhaps"}, "stream"),
    ({"stream": True, "output_format": "svg"}, "stream"),
    ({"stream": True, "sampler": "nothing"}, "sampler"),
    ({"partial_images": 4}, "partial_images"),
    ({"partial_images": -1}, "partial_images"),
    ({"steps": 0}, "steps"),
    ({"steps": 10_000}, "steps"),
    ({"num_inference_steps": 10_000}, "num_inference_steps"),
    ({"guidance_scale": float("nan")}, "guidance_scale"),
    ({"guidance_scale": float("-inf")}, "guidance_scale"),
    ({"sampler": "nothing"}, "sampler"),
    ({"seed": "seven"}, "seed"),
    ({"seed": 2**64}, "seed"),
    ({"negative_prompt": 7}, "negative_prompt"),
]


@pytest.mark.parametrize(("bad", "param"), BAD, ids=[f"{param}-{i}" for i, (_, param) in enumerate(BAD)])
async def test_invalid_values_are_refused_by_name(studio: httpx.AsyncClient, bad: dict[str, Any], param: str) -> None:
    answer = await studio.post(PATH, content=json.dumps({"prompt": "apple", **bad}))
    error = assert_error(answer, 400, param)
    assert error["message"].startswith(f"{param}: ")


@pytest.mark.parametrize(
    "body", [b"", b"apple", b'{"prompt"', b"[]", b'"apple"', b'{"a":' * 100_000, b'{"prompt": "a", "prompt": "b"}']
)
async def test_bodies_that_are_not_objects_are_refused(studio: httpx.AsyncClient, body: bytes) -> None:
    assert "the body" in assert_error(await studio.post(PATH, content=body), 400, None)["message"]


async def test_every_v1_error_has_openais_shape(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    assert_error(await studio.get("/v1/nothing"), 404, None)
    assert_error(await studio.get(PATH), 405, None)
    assert_error(await studio.post(PATH, content=b"{}", headers={"content-encoding": "br"}), 415, "Content-Encoding")
    illustrator.failure = RuntimeError("secret of the inside")
    error = assert_error(await studio.post(PATH, json={"prompt": "apple"}), 500, None)
    assert "secret" not in error["message"]


async def test_large_body_is_refused() -> None:
    settings = Settings(limits=LimitsSettings(max_body_bytes=1024))
    transport = httpx.ASGITransport(create_app(StandIn(), settings, illustrator=IllustratorStandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        assert_error(await door.post(PATH, json={"prompt": "x" * 100_000}), 413, None)


@pytest.mark.parametrize(
    ("failure", "code", "retry_after", "should_retry"),
    [
        (Overloaded("many"), "overloaded", "1", "true"),
        (DeadlineExceeded("late"), "deadline_exceeded", "2", "true"),
        (StateUnavailable("away"), "state_unavailable", "5", "true"),
        (TooManyRequests("many", None, 60), "rate_limit_exceeded", "60", "true"),
        (TooManyRequests("many", None, 900), "rate_limit_exceeded", "900", "false"),
        (TooManyJobs("many"), "rate_limit_exceeded", "10", "true"),
        (TooManyAttempts("wrong keys", None, 5), "rate_limit_exceeded", "5", "false"),
        (QuotaExceeded("full"), "insufficient_quota", None, "false"),
        (EngineLost("died of it"), "engine_lost", "2", "false"),
        (EngineFailure("bad"), "engine_failure", None, "false"),
        (Conflict("not now"), "conflict", None, "false"),
        (BodyTimeout("it did not arrive"), "slow_body", None, "true"),
        (Unauthorized("a key is needed"), "invalid_api_key", None, None),
        (Forbidden("not with this key"), "insufficient_permissions", None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_errors_have_x_should_retry(
    studio: httpx.AsyncClient,
    illustrator: IllustratorStandIn,
    failure: AtelierError,
    code: str,
    retry_after: str | None,
    should_retry: str | None,
) -> None:
    illustrator.failure = failure
    answer = await studio.post(PATH, json={"prompt": "apple"})
    assert assert_error(answer, failure.status, None)["code"] == code
    assert (answer.headers.get("retry-after"), answer.headers.get("x-should-retry")) == (retry_after, should_retry)
    assert answer.headers.get("www-authenticate") == ("Bearer" if answer.status_code == 401 else None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/nothing", "/v1/images/" + "\u202e" * 200])
async def test_unsupported_routes_return_404(studio: httpx.AsyncClient, path: str) -> None:
    """The error has OpenAI's wording for unknown URLs."""
    error = assert_error(await studio.post(path, json={"messages": []}), 404, None)
    assert error["code"] == "unknown_url"
    assert error["message"].startswith("Invalid URL (POST /v1/")
    assert len(error["message"]) < 1000


async def test_request_id_of_the_client_is_echoed(studio: httpx.AsyncClient) -> None:
    answer = await studio.get("/v1/models/none", headers={"x-request-id": "mine-1"})
    assert answer.headers.get_list("x-request-id") == ["mine-1"]


async def test_models_are_listed(studio: httpx.AsyncClient) -> None:
    listed = (await studio.get("/v1/models")).json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["mini", "turbo"]
    mini = {"id": "mini", "object": "model", "created": 1_700_000_000, "owned_by": "atelier"}
    assert (await studio.get("/v1/models/mini")).json() == mini
    for unknown in ("gpt-image-2", "somebody/model", "somebody%2Fmodel", "x" * 5000):
        error = assert_error(await studio.get(f"/v1/models/{unknown}"), 404, "model")
        assert error["code"] == "model_not_found"
        assert len(error["message"]) < 200


async def test_without_an_illustrator(door: httpx.AsyncClient) -> None:
    error = assert_error(await door.post(PATH, json={"prompt": "apple"}), 404, "model")
    assert "python -m build_engines illustrate" in error["message"]
    assert (await door.get("/v1/models")).json() == {"object": "list", "data": []}
    assert_error(await door.get("/v1/models/mini"), 404, "model")


async def test_without_a_family(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    illustrator.known = ()
    error = assert_error(await studio.post(PATH, json={"prompt": "apple"}), 404, "model")
    assert "python -m build_engines illustrate" in error["message"]


async def test_openapi_document_describes_images_and_models(studio: httpx.AsyncClient) -> None:
    document = (await studio.get("/openapi.json")).json()
    paths = document["paths"]
    described = inlined(paths[PATH]["post"], document["components"]["schemas"])
    content = described["requestBody"]["content"]["application/json"]
    answer = await studio.post(PATH, json=content["example"])
    assert answer.status_code == 200, answer.text
    done = described["responses"]["200"]["content"]
    assert set(done["application/json"]["schema"]["required"]) <= answer.json().keys()
    assert "text/event-stream" in done
    assert described["responses"]["400"] == {"$ref": "#/components/responses/OpenAIError400"}
    error = document["components"]["schemas"]["OpenAIError"]["properties"]["error"]
    assert set(error["required"]) == assert_error(await studio.post(PATH), 400, None).keys()
    assert paths["/v1/models"]["get"]["summary"]
    assert paths["/v1/models/{model}"]["get"]["parameters"][0]["name"] == "model"
