"""External services that send faulty responses, stall or break (A-100, F 12): the call fails, and neither addresses
nor keys are in errors or logs."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from outside import (
    KEY,
    IllustratorStandIn,
    Service,
    answers,
    chain,
    chain_settings,
    in_base64,
    openai_answers,
    openai_step,
    picture,
)
from pydantic import SecretStr, ValidationError

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.errors import EngineLost, InvalidRequest
from serve.releases.fallback.external_services import nearest, service_of
from serve.releases.fallback.illustrator import with_fallback
from serve.settings import FallbackStep
from serve.state import State

FOX = IllustrateOptions("a fox", "grey, dull", seed=7, width=64, height=64)
ACCESS = "AKIDEXAMPLE:wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(openai_answers()).listening() as service:
        yield service


async def drawn_by(step: dict[str, Any], options: IllustrateOptions = FOX, **more: Any) -> Illustration:
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    key = more.pop("key", None)
    return await chain(primary, chain_settings(step, **more), **({"key": key} if key else {})).draw(options)


async def _moved(request: web.Request) -> web.StreamResponse:
    return web.Response(status=302, headers={"Location": "/elsewhere"})


async def _slow(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def _gzipped(request: web.Request) -> web.StreamResponse:
    body = gzip.compress(json.dumps({"data": [{"b64_json": picture()}]}).encode())
    return web.Response(body=body, headers={"Content-Encoding": "gzip"})


async def _cut_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


async def _no_json(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"<html>" + KEY.encode())


LIES = {
    "500": answers({"error": {"message": f"no such key {KEY}"}}, 500),
    "401": answers({"error": {"message": f"bad key {KEY}"}}, 401),
    "429": answers({}, 429),
    "redirect": _moved,
    "slow": _slow,
    "endless": _endless,
    "gzip": _gzipped,
    "cut off": _cut_off,
    "not JSON": _no_json,
    "a list": answers([1]),
    "deep": answers([[]]),
    "no data": answers({"data": []}),
    "data of another kind": answers({"data": ["x"]}),
    "a number": answers({"data": [{"b64_json": 7}]}),
    "not base64": openai_answers("***"),
    "not ASCII": openai_answers("é"),
    "not a picture": openai_answers(base64.b64encode(b"hello").decode()),
    "an SVG": openai_answers(base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode()),
    "broken": openai_answers(picture()[:80]),
    "empty": openai_answers(""),
    "too many pixels": openai_answers(in_base64(np.zeros((5000, 4, 3), np.uint8))),
}
NEVER_ENDS = {"slow", "endless"}


@pytest.mark.parametrize("lie", LIES)
async def test_faulty_response_fails_without_leaking_key_or_address(
    service: Service, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    service.answer = LIES[lie]
    with pytest.raises(EngineLost, match="gone") as caught:
        await drawn_by(openai_step(service.url, timeout_s=2 if lie in NEVER_ENDS else 20), max_bytes=100_000)
    output = f"{caught.value!r} {caplog.text}"
    assert KEY not in output
    assert f":{service.port}" not in output
    assert len(service.requests) == 1, "no retry, and no redirect is followed"


async def test_response_over_max_bytes_is_refused(service: Service) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (200, 200, 3)).astype(np.uint8)
    service.answer = openai_answers(in_base64(noise))
    with pytest.raises(EngineLost):
        await drawn_by(openai_step(service.url), max_bytes=20_000)
    assert (await drawn_by(openai_step(service.url), max_bytes=200_000)).served_by == "fallback:openai:cloud"


@pytest.mark.parametrize("model", ["gpt-image-2", "chatgpt-image-latest"])
async def test_nearest_supported_size_is_scaled_to_requested_size(service: Service, model: str) -> None:
    service.answer = openai_answers(picture(128))
    step = openai_step(service.url, sizes=["1024x1024", "1536x1024"], model=model)
    drawn = await drawn_by(step, IllustrateOptions("a fox", seed=7, width=96, height=64))
    assert drawn.pictures[0].pixels.shape == (64, 96, 3)
    assert service.requests[0][2] == {"model": model, "prompt": "a fox", "n": 1, "size": "1536x1024"}


async def test_transparency_becomes_white(service: Service) -> None:
    clear = np.zeros((64, 64, 4), np.uint8)
    service.answer = openai_answers(in_base64(clear))
    assert (await drawn_by(openai_step(service.url))).pictures[0].pixels.min() == 255


async def test_key_from_secret_store_by_name(service: Service) -> None:
    async def key(name: str) -> SecretStr:
        return SecretStr(f"{KEY} {name}")

    await drawn_by(openai_step(service.url, api_key=None, secret="cloud"), key=key)
    assert service.requests[0][1]["authorization"] == f"Bearer {KEY} cloud"
    with pytest.raises(EngineLost):
        await drawn_by(openai_step(service.url, api_key=None, secret="missing"))
    assert len(service.requests) == 1


def bedrock_step(url: str, model: str, **more: Any) -> dict[str, Any]:
    usual = {"kind": "bedrock", "name": "aws", "model": model, "region": "us-east-1", "base_url": url}
    return {**usual, "api_key": ACCESS, **more}


async def test_titan_on_bedrock(service: Service) -> None:
    service.answer = answers({"images": [picture()]})
    drawn = await drawn_by(bedrock_step(service.url, "amazon.titan-image-generator-v2:0"))
    assert drawn.served_by == "fallback:bedrock:aws"
    path, headers, body = service.requests[0]
    assert path == "/model/amazon.titan-image-generator-v2%3A0/invoke"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
    assert "/us-east-1/bedrock/aws4_request" in headers["authorization"]
    assert ACCESS.partition(":")[2] not in str(headers)
    assert body == {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a fox", "negativeText": "grey, dull"},
        "imageGenerationConfig": {"numberOfImages": 1, "width": 512, "height": 512, "seed": 7},
    }


async def test_nova_canvas_in_another_region_with_its_own_key(service: Service) -> None:
    service.answer = answers({"images": [picture()]})
    step = bedrock_step(service.url, "us.amazon.nova-canvas-v1:0", api_key="ABSKexample")
    await drawn_by(step, IllustrateOptions("a fox", seed=2**40, width=64, height=128, guidance_scale=40.0))
    _, headers, body = service.requests[0]
    assert headers["authorization"] == "Bearer ABSKexample"
    made = body["imageGenerationConfig"]
    assert (made["width"], made["height"], made["cfgScale"]) == (320, 320, 10.0)
    assert service_of(FallbackStep(**step)).size((64, 4096)) == (320, 1280)
    assert 0 <= made["seed"] <= 858_993_459


async def test_stability_on_bedrock(service: Service) -> None:
    service.answer = answers({"seeds": [7], "finish_reasons": [None], "images": [picture()]})
    await drawn_by(
        bedrock_step(service.url, "stability.stable-image-core-v1:1"),
        IllustrateOptions("a fox", "grey", seed=7, width=96, height=64),
    )
    assert service.requests[0][2] == {
        "prompt": "a fox", "mode": "text-to-image", "aspect_ratio": "3:2", "negative_prompt": "grey", "seed": 7,
        "output_format": "png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("stability.sd3-5-large-v1:0", {"finish_reasons": ["Filter reason: prompt"], "images": [picture()]}),
        ("amazon.nova-canvas-v1:0", {"images": [picture()], "error": "blocked by our filters"}),
        ("amazon.nova-canvas-v1:0", {"images": []}),
        ("amazon.nova-canvas-v1:0", {"message": "throttled"}),
    ],
)
async def test_refusals_of_bedrock_fail(service: Service, model: str, answer: Any) -> None:
    service.answer = answers(answer)
    with pytest.raises(EngineLost):
        await drawn_by(bedrock_step(service.url, model))
    assert len(service.requests) == 1


async def test_prompt_too_long_for_titan_is_not_truncated(service: Service) -> None:
    with pytest.raises(EngineLost):
        await drawn_by(
            bedrock_step(service.url, "amazon.titan-image-generator-v2:0"), IllustrateOptions("fox " * 200, seed=1)
        )
    assert service.requests == []


NOT_FOR_THIS: list[tuple[dict[str, Any], IllustrateOptions, Any, int]] = [
    ({"model": "amazon.titan-image-generator-v2:0"}, IllustrateOptions("fox " * 200, seed=1), {}, 200),
    ({"model": "stability.sd3-5-large-v1:0"}, IllustrateOptions("fox " * 2600, seed=1), {}, 200),
    ({"model": "stability.sd3-5-large-v1:0"}, FOX, {"finish_reasons": ["Filter reason"], "images": [""]}, 200),
    ({"model": "amazon.nova-canvas-v1:0"}, FOX, {"error": "blocked by our filters"}, 200),
    *(({"model": "amazon.nova-canvas-v1:0"}, FOX, {}, status) for status in (400, 413, 422)),
]


@pytest.mark.parametrize(("step", "options", "answer", "status"), NOT_FOR_THIS)
async def test_errors_caused_by_the_prompt_do_not_open_the_breaker(
    service: Service, step: dict[str, Any], options: IllustrateOptions, answer: Any, status: int
) -> None:
    """Otherwise one client could disable the service for all; the next step is called."""
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    async with Service(openai_answers()).listening() as other:
        steps = [bedrock_step(service.url, **step), openai_step(other.url)]
        fallback = chain(primary, chain_settings(*steps, breaker={"failures": 1, "share": 0}))
        service.answer = answers(answer, status)
        assert (await fallback.draw(options)).served_by == "fallback:openai:cloud"
        assert fallback.breakers["fallback:bedrock:aws"].state == "closed"
        service.answer = answers({}, 500)
        await fallback.draw(FOX)
        assert fallback.breakers["fallback:bedrock:aws"].state == "open"


def test_bedrock_address_and_unknown_models() -> None:
    step = FallbackStep(
        kind="bedrock", name="aws", model="stability.sd3-5-large-v1:0", region="eu-west-1", api_key=SecretStr(ACCESS)
    )
    url, _ = service_of(step).call(b"{}", step.api_key)
    assert str(url) == "https://bedrock-runtime.eu-west-1.amazonaws.com/model/stability.sd3-5-large-v1%3A0/invoke"
    with pytest.raises(ValueError, match="no model of Bedrock"):
        service_of(step.model_copy(update={"model": "meta.llama3-8b"}))


def test_nearest_size_prefers_the_aspect_ratio() -> None:
    assert nearest((640, 480), [(1024, 1024), (1024, 768), (512, 512)]) == (1024, 768)
    assert nearest((100, 100), [(1024, 1024), (512, 512)]) == (512, 512)


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "openai", "name": "x", "model": "m"},
        {"kind": "openai", "model": "m", "base_url": "https://a.example/v1"},
        {"kind": "openai", "name": "x", "model": "m", "base_url": "ftp://a.example"},
        {"kind": "openai", "name": "x", "model": "m", "base_url": "https://user:pw@a.example"},
        {"kind": "openai", "name": "x", "model": "m", "base_url": "https://a.example", "api_key": "k", "secret": "s"},
        {"kind": "openai", "name": "x", "model": "m", "base_url": "https://a.example", "sizes": ["0x5"]},
        {"kind": "bedrock", "name": "x", "model": "m"},
        {"kind": "bedrock", "name": "x", "model": "m", "region": "evil.example/#"},
        {"kind": "magic", "name": "x", "model": "m"},
        {"kind": "model", "model": "mini\r\nSet-Cookie: a=b"},
    ],
)
def test_invalid_steps_are_refused(step: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        chain_settings(step)


def test_duplicate_step_names_and_unknown_flags_are_refused() -> None:
    step = openai_step("http://127.0.0.1:9")
    with pytest.raises(ValidationError, match="same kind and name"):
        chain_settings(step, step)
    with pytest.raises(ValidationError, match="none of flags"):
        chain_settings(step, flag="new-ensemble")
    assert KEY not in repr(chain_settings(step))


async def test_unknown_bedrock_model_is_refused_at_start(state: State) -> None:
    settings = chain_settings(bedrock_step("http://127.0.0.1:9", "meta.llama3"))
    with pytest.raises(InvalidRequest, match=r"fallback\.steps: no model of Bedrock"):
        with_fallback(IllustratorStandIn(), replace(state, settings=settings))
