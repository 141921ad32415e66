"""The native drawing endpoints (A-070, A-072, C-020 to C-022): requests to the real application; stand-in pictures
are disks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_pictures import content, infotext, opened, record
from illustrator_standin import IllustratorStandIn, disk
from problem_answers import assert_problem
from standin import StandIn

from serve.api.app import create_app
from serve.api.native.illustrations import folded
from serve.api.openapi.operation import inlined
from serve.diffusion.prompt import Piece, parse
from serve.errors import DeadlineExceeded, Overloaded
from serve.settings import LimitsSettings, PicturesSettings, Settings

A070, A072, C021 = "/api/illustrations/generate", "/generate", "/api/diffusion/generate"
LEAST: Mapping[str, dict[str, Any]] = {
    A070: {"prompt": "fox", "userId": "ada"},
    A072: {"prompt": "fox", "user_id": "ada"},
    C021: {"prompt": "fox"},
}
DOORS = list(LEAST)


def picture_of(body: Mapping[str, Any]) -> str:
    url: str = body.get("imageUrl") or body["image_url"]
    return url


@pytest.mark.parametrize("path", DOORS)
async def test_minimal_request_is_a_prompt(studio: httpx.AsyncClient, path: str) -> None:
    answer = await studio.post(path, json=LEAST[path])
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body.get("generationId") or body["generation_id"]
    assert body["metadata"]["model"] == "mini"
    assert picture_of(body).startswith("data:image/png;base64,")
    image = opened(picture_of(body))
    np.testing.assert_array_equal(np.asarray(image), disk(64, 64, 41))
    assert (infotext(image) or "").startswith("fox\nSteps: 8, Sampler: Euler, Schedule type: Automatic, CFG")


async def test_a070_folds_style_and_memory_into_the_prompt(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    style = {"artisticStyle": "flat", "colorPalette": ["teal", "sand"], "mood": "calm"}
    memory = {"title": "Day (one)", "content": "we met a fox", "date": "2024-05-01"}
    body = {**LEAST[A070], "stylePreferences": style, "memoryContext": memory, "subjectReferences": []}
    metadata = (await studio.post(A070, json=body)).json()["metadata"]
    (options,) = illustrator.asked
    assert options.prompt == r"fox, flat style, teal and sand colours, calm mood, Day \(one\), we met a fox"
    assert metadata["parameters"]["prompt"] == options.prompt
    assert metadata["parameters"]["stylePreferences"] == {**style, "colorPalette": "teal and sand"}
    assert metadata["parameters"]["memoryContext"] == memory
    assert metadata["parameters"]["numInferenceSteps"] == 8
    assert metadata["generationTime"] >= 0
    assert metadata["modelVersions"] == {"mini_unet": "1"}


def test_folded_text_has_weight_one() -> None:
    ((first, second),) = parse(folded("(a fox:1.5)", {"mood": r"[odd] \(one)"}, {}))
    assert first == Piece("a fox", 1.5)
    assert second == Piece(r", [odd] \(one) mood", 1.0)


async def test_a070_uses_camel_case(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    options = {"negativePrompt": "rain", "numInferenceSteps": 3, "guidanceScale": 2.5, "outputFormat": "webp"}
    answer = await studio.post(A070, json={**LEAST[A070], **options, "width": 96, "height": 64, "seed": 2**62 + 1})
    (drawn,) = illustrator.asked
    assert (drawn.negative_prompt, drawn.num_inference_steps, drawn.guidance_scale) == ("rain", 3, 2.5)
    assert (drawn.width, drawn.height, drawn.seed) == (96, 64, 2**62 + 1)
    image = opened(picture_of(answer.json()))
    assert (image.format, image.size) == ("WEBP", (96, 64))


@pytest.mark.parametrize(
    ("path", "extra", "field"),
    [
        (A070, {"subjectReferences": [{"name": "Ada", "imageUrl": "https://a/b.png"}]}, "subjectReferences"),
        (A072, {"subject_reference_url": "https://a/b.png"}, "subject_reference_url"),
    ],
)
async def test_references_are_refused_as_unsupported(
    studio: httpx.AsyncClient, path: str, extra: dict[str, Any], field: str
) -> None:
    answer = await studio.post(path, json={**LEAST[path], **extra})
    assert_problem(answer, 422, field)
    assert "not offered yet" in answer.json()["detail"]


async def test_a072_response_matches_its_document(studio: httpx.AsyncClient) -> None:
    body = {**LEAST[A072], "subject_reference_url": None, "style_scale": 0.8, "content_scale": 1.0, "seed": -1}
    response = (await studio.post(A072, json=body)).json()
    assert response.keys() == {"image_url", "generation_id", "metadata"}
    assert {"model", "parameters", "generation_time"} <= response["metadata"].keys()


async def test_c021_presets_and_qualities(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    presets = (await studio.get("/api/diffusion/presets")).json()
    assert list(presets["categories"]) == ["landscape", "portrait", "abstract", "fantasy", "sci-fi"]
    assert [quality["name"] for quality in presets["qualities"]] == ["draft", "standard", "high quality"]
    assert [quality["steps"]["mini"] for quality in presets["qualities"]] == [4, 8, 16]
    template = presets["categories"]["sci-fi"][1]
    body = {"prompt": "a fox", "negative_prompt": "rain", "preset": f"sci-fi/{template['name']}", "quality": "draft"}
    parameters = (await studio.post(C021, json=body)).json()["metadata"]["parameters"]
    (options,) = illustrator.asked
    assert options.prompt == template["prompt"].replace("{prompt}", "a fox")
    assert options.negative_prompt == f"rain, {template['negative_prompt']}"
    assert options.num_inference_steps == 4
    assert (parameters["preset"], parameters["quality"]) == (body["preset"], "draft")


async def test_c020_options(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    body = {"prompt": "fox", "steps": 5, "guidance": 7.5, "width": 64, "height": 96, "seed": 3, "sampler": "DPM++ 2M"}
    answer = (await studio.post(C021, json={**body, "n": 3, "quality": "high quality", "model": "turbo"})).json()
    (options,) = illustrator.asked
    assert (options.num_inference_steps, options.guidance_scale, options.model) == (5, 7.5, "turbo")
    assert answer["success"] is True
    assert [image["seed"] for image in answer["images"]] == [3, 4, 5]
    assert answer["image_url"] == answer["images"][0]["image_url"]
    assert len({image["image_url"] for image in answer["images"]}) == 3
    assert answer["metadata"]["parameters"]["sampler"] == "dpmpp_2m"


@pytest.mark.parametrize("path", DOORS)
async def test_prompt_to_svg(studio: httpx.AsyncClient, path: str) -> None:
    name = "outputFormat" if path == A070 else "output_format"
    url = picture_of((await studio.post(path, json={**LEAST[path], name: "svg"})).json())
    assert url.startswith("data:image/svg+xml;base64,")
    assert content(url).startswith(b"<svg")


@pytest.mark.parametrize(
    ("site", "requested", "expected"), [(True, False, False), (False, None, False), (False, True, True)]
)
async def test_metadata_can_be_switched_off(site: bool, requested: bool | None, expected: bool) -> None:
    settings = Settings(pictures=PicturesSettings(embed_metadata=site))
    transport = httpx.ASGITransport(create_app(StandIn(), settings, illustrator=IllustratorStandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        image = opened(picture_of((await door.post(C021, json={"prompt": "fox", "metadata": requested})).json()))
    assert (record(image) is not None, infotext(image) is not None) == (expected, expected)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt"),
    ({"prompt": " \n"}, "prompt"),
    ({"prompt": None}, "prompt"),
    ({"prompt": "x" * 100_000}, "prompt"),
    ({"prompt": ["fox"]}, "prompt"),
    ({"prompt": "half \ud800"}, "prompt"),
    ({"prompt": "nul \0"}, "prompt"),
    ({"negative_prompt": "x" * 100_000}, "negative_prompt"),
    ({"guidance_scale": float("nan")}, "guidance_scale"),
    ({"guidance_scale": float("inf")}, "guidance_scale"),
    ({"guidance_scale": "nan"}, "guidance_scale"),
    ({"guidance_scale": -1}, "guidance_scale"),
    ({"guidance_scale": 1000}, "guidance_scale"),
    ({"guidance_scale": {}}, "guidance_scale"),
    ({"num_inference_steps": 0}, "num_inference_steps"),
    ({"num_inference_steps": 10_000}, "num_inference_steps"),
    ({"num_inference_steps": 2.5}, "num_inference_steps"),
    ({"num_inference_steps": True}, "num_inference_steps"),
    ({"width": 0}, "width"),
    ({"width": 10**9}, "width"),
    ({"width": 10**400}, "width"),
    ({"height": 63}, "height"),
    ({"height": "tall"}, "height"),
    ({"seed": -2}, "seed"),
    ({"seed": 2**63}, "seed"),
    ({"sampler": "nothing"}, "sampler"),
    ({"sampler": 7}, "sampler"),
    ({"output_format": "gif"}, "output_format"),
    ({"output_format": 1}, "output_format"),
    ({"output_compression": 101}, "output_compression"),
    ({"metadata": "perhaps"}, "metadata"),
    ({"stepz": 3}, "stepz"),
]


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize(("bad", "field"), BAD, ids=[f"{f}-{i}" for i, (_, f) in enumerate(BAD)])
async def test_invalid_values_are_refused_by_name(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, path: str, bad: dict[str, Any], field: str
) -> None:
    camel = {
        "guidance_scale": "guidanceScale",
        "num_inference_steps": "numInferenceSteps",
        "output_format": "outputFormat",
    }
    camel |= {"negative_prompt": "negativePrompt", "output_compression": "outputCompression"}
    if path == A070:
        bad, field = {camel.get(name, name): value for name, value in bad.items()}, camel.get(field, field)
    answer = await studio.post(path, content=json.dumps({**LEAST[path], **bad}))
    assert_problem(answer, 400, field)
    assert illustrator.asked == [] or field in ("height", "sampler")


@pytest.mark.parametrize(
    ("path", "bad", "field"),
    [
        (A070, {"userId": None}, "userId"),
        (A070, {"userId": 7}, "userId"),
        (A070, {"userId": "x" * 257}, "userId"),
        (A070, {"subjectReferences": "Ada"}, "subjectReferences"),
        (A070, {"stylePreferences": "flat"}, "stylePreferences"),
        (A070, {"stylePreferences": {"mood": 3}}, "stylePreferences.mood"),
        (A070, {"stylePreferences": {"mod": "calm"}}, "stylePreferences.mod"),
        (A070, {"stylePreferences": {"colorPalette": [1]}}, "stylePreferences.colorPalette"),
        (A070, {"memoryContext": {"content": "x" * 32_001}}, "memoryContext.content"),
        (A070, {"memoryContext": {"content": "x" * 31_999}}, "memoryContext.content"),
        (A072, {"user_id": ""}, "user_id"),
        (A072, {"style_scale": 3}, "style_scale"),
        (A072, {"content_scale": "much"}, "content_scale"),
        (A072, {"subject_reference_url": 7}, "subject_reference_url"),
        (A072, {"steps": 3, "num_inference_steps": 4}, "steps"),
        (C021, {"steps": 0}, "steps"),
        (C021, {"guidance": float("nan")}, "guidance"),
        (C021, {"preset": "food"}, "preset"),
        (C021, {"preset": 7}, "preset"),
        (C021, {"quality": "best"}, "quality"),
        (C021, {"n": 11}, "n"),
        (C021, {"n": 0}, "n"),
    ],
)
async def test_invalid_values_of_single_endpoints(
    studio: httpx.AsyncClient, path: str, bad: dict[str, Any], field: str
) -> None:
    assert_problem(await studio.post(path, content=json.dumps({**LEAST[path], **bad})), 400, field)


@pytest.mark.parametrize("path", DOORS)
async def test_unknown_model_is_refused(studio: httpx.AsyncClient, path: str) -> None:
    assert_problem(await studio.post(path, json={**LEAST[path], "model": "sdxl"}), 404, "model")


BODIES = {
    "empty": b"", "text": b"red apple", "cut": b'{"prompt": "fox"', "list": b'["fox"]', "number": b"7",
    "deep": b'{"prompt": ' + b"[" * 100_000, "twice": b'{"prompt": "a", "prompt": "b"}', "latin": b'{"prompt": "\xff"}',
}  # fmt: skip


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("kind", BODIES)
async def test_bodies_that_are_not_objects_are_refused(studio: httpx.AsyncClient, path: str, kind: str) -> None:
    answer = await studio.post(path, content=BODIES[kind])
    assert_problem(answer, 400, None)
    assert "the body" in answer.json()["detail"]


@pytest.mark.parametrize("path", DOORS)
async def test_body_size_is_limited(path: str) -> None:
    settings = Settings(limits=LimitsSettings(max_body_bytes=1024))
    transport = httpx.ASGITransport(create_app(StandIn(), settings, illustrator=IllustratorStandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        assert_problem(await door.post(path, json={"prompt": "x" * 100_000}), 413, None)


@pytest.mark.parametrize("path", DOORS)
async def test_errors_of_the_illustrator_are_returned(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, path: str
) -> None:
    for failure in (Overloaded("too many"), DeadlineExceeded("too long")):
        illustrator.failure = failure
        answer = await studio.post(path, json=LEAST[path])
        assert answer.status_code == failure.status
        assert int(answer.headers["retry-after"]) >= 1


async def test_missing_illustrator_error_names_the_command_to_run(door: httpx.AsyncClient) -> None:
    for path in DOORS:
        answer = await door.post(path, json=LEAST[path])
        assert_problem(answer, 404, "model")
        assert "python -m build_engines illustrate" in answer.json()["detail"]
    assert_problem(await door.get("/api/diffusion/presets"), 404, "model")


@pytest.mark.parametrize("path", DOORS)
async def test_openapi_document_describes_the_endpoints(studio: httpx.AsyncClient, path: str) -> None:
    document = (await studio.get("/openapi.json")).json()
    described = inlined(document["paths"][path]["post"], document["components"]["schemas"])
    content = described["requestBody"]["content"]["application/json"]
    answer = await studio.post(path, json=content["example"])
    assert answer.status_code == 200, answer.text
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(schema["required"]) == answer.json().keys()
    assert set(content["example"]) <= content["schema"]["properties"].keys()
    assert described["summary"]
    assert document["paths"][path]["post"]["responses"]["422"] == {"$ref": "#/components/responses/Problem422"}
