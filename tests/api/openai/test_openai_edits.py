"""`POST /v1/images/edits` and `/variations`: parsed and validated in every shape that clients send, and drawn."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_pictures import opened
from illustrator_standin import IllustratorStandIn
from pictures import REFUSED, drawn, encode
from PIL import Image
from standin import StandIn
from test_openai_images import BAD, assert_error

from serve.api.app import create_app
from serve.settings import LimitsSettings, Settings

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
PNG = encode(drawn())
OPAQUE = encode(drawn("RGB"))
SMALL = encode(drawn(size=32))
LYING = encode(Image.new("RGB", (48, 32), (200, 10, 10)), "JPEG", exif=bytes.fromhex(
    "45786966000049492a000800000001001201030001000000060000000000000000"
))  # fmt: skip
"""A picture of 48 x 32 pixels whose EXIF orientation rotates it upright."""

Files = list[tuple[str, tuple[str, bytes, str]]]


def file(name: str, data: bytes = PNG, file_name: str = "a.png") -> tuple[str, tuple[str, bytes, str]]:
    return name, (file_name, data, "image/png")


def url(data: bytes = PNG) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def assert_not_offered(answer: httpx.Response, param: str) -> None:
    error = assert_error(answer, 400, param)
    assert error["code"] == "unsupported_operation"
    assert "/v1/images/generations" in error["message"]
    assert "x-should-retry" not in answer.headers  # 400 is never retried
    assert "retry-after" not in answer.headers


FORMS: list[Files] = [
    [file("image")],
    [file("image[]")],
    [file("image[]"), file("image[]", SMALL)],
    [file("image"), file("image", SMALL)],
    [file("image[]", file_name="/etc/passwd")],
    [file("image[]", file_name="../../../a\r\nb")],
    [file("image[]")] * 16,
    [file("image"), file("mask")],
    [file("image", OPAQUE), file("markup")],
    [file("image", encode(drawn("RGB"), "WEBP"))],
    [file("image"), file("reference", b"a key that nobody knows")],
    [file("image", LYING), file("mask", encode(Image.new("RGBA", (32, 48))))],
]


@pytest.mark.parametrize("files", FORMS, ids=range(len(FORMS)))
async def test_forms_are_accepted(studio: httpx.AsyncClient, illustrator: IllustratorStandIn, files: Files) -> None:
    """Every field as text."""
    fields = {
        "prompt": "a hat on it", "model": "gpt-image-2", "n": "2", "size": "auto", "quality": "high",
        "background": "transparent", "output_format": "webp", "output_compression": "80", "stream": "true",
        "partial_images": "2", "input_fidelity": "high", "user": "ada", "svg[model]": "x", "seed": "7",
        "svg[reasoning][effort]": "low", "moderation": "auto", "response_format": "", "unknown": "1",
    }  # fmt: skip
    answer = await studio.post(EDITS, data=fields, files=files)
    if sum(name.startswith("image") for name, _ in files) > 1:
        assert_not_offered(answer, "image")
        assert illustrator.asked == []
        return
    assert answer.status_code == 200, answer.text
    events = [line for line in answer.text.splitlines() if line.startswith("event: ")]
    assert events[-1] == "event: image_edit.completed"
    assert set(events) == {"event: image_edit.partial_image", "event: image_edit.completed"}
    source = illustrator.asked[-1].source
    assert source is not None
    assert (source.mask is None) == (len(files) == 1 or files[1][0] == "reference")
    assert source.resolved_strength == (0.75 if source.mask is None else 1.0)


async def test_long_prompt_fits_a_form(studio: httpx.AsyncClient) -> None:
    answer = await studio.post(EDITS, data={"prompt": "帽" * 32_000}, files=[file("image")])
    assert answer.status_code == 200, answer.text
    assert_error(await studio.post(EDITS, data={"prompt": "帽" * 32_001}, files=[file("image")]), 400, "prompt")


BODIES: list[dict[str, Any]] = [
    {"images": [{"image_url": url()}]},
    {"images": [{"image_url": url()}] * 16},
    {"images": [{"image_url": url(), "file_id": None}], "mask": {"image_url": url()}},
    {"images": [{"image_url": url(OPAQUE), "detail": "high"}], "markup": {"image_url": url()}, "mask": None},
    {"images": [{"image_url": url()}], "n": None, "size": None, "stream": None, "svg": {"model": "x"}, "other": [1]},
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_json_is_accepted(studio: httpx.AsyncClient, body: dict[str, Any]) -> None:
    answer = await studio.post(EDITS, json={"prompt": "a hat", **body})
    if len(body["images"]) > 1:
        assert_not_offered(answer, "images")
        return
    assert answer.status_code == 200, answer.text
    picture = opened(answer.json()["data"][0]["b64_json"])
    assert picture.size == tuple(map(int, answer.json()["size"].split("x"))) == (64, 64)


async def test_mask_is_white_where_the_clients_is_transparent(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    alpha = np.full((64, 64), 255, np.uint8)
    alpha[10:20, 30:40] = 0
    mask = Image.new("RGBA", (64, 64))
    mask.putalpha(Image.fromarray(alpha))
    answer = await studio.post(EDITS, data={"prompt": "a hat"}, files=[file("image"), file("mask", encode(mask))])
    assert answer.status_code == 200, answer.text
    source = illustrator.asked[-1].source
    assert source is not None
    assert source.mask is not None
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(source.mask.data))), 255 - alpha)


async def test_extensions_of_edits(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    fields = {"prompt": "a hat", "strength": "0.4", "outpaint": "left=32", "size": "96x64", "mask_blur": "2"}
    answer = await studio.post(EDITS, data=fields, files=[file("image")])
    assert answer.status_code == 200, answer.text
    options = illustrator.asked[-1]
    assert options.source is not None
    assert (options.source.strength, options.source.outpaint.left, options.source.mask_blur) == (0.4, 32, 2)
    assert (options.width, options.height) == (96, 64)
    for name, value in (("strength", "0"), ("strength", "2"), ("outpaint", "up=3"), ("mask_fill", "red")):
        answer = await studio.post(EDITS, data={**fields, name: value}, files=[file("image")])
        assert_error(answer, 400, name)


@pytest.mark.parametrize(
    ("bad", "param"), [one for one in BAD if one[1] != "sampler"], ids=lambda value: repr(value)[:80]
)  # validated by the Illustrator
async def test_invalid_values_are_refused_by_name(studio: httpx.AsyncClient, bad: dict[str, Any], param: str) -> None:
    body = {"prompt": "a hat", "images": [{"image_url": url()}], **bad}
    headers = {"content-type": "application/json"}
    assert_error(await studio.post(EDITS, content=json.dumps(body), headers=headers), 400, param)


WRONG_FORMS: list[tuple[dict[str, str], Files, int, str | None]] = [
    ({}, [file("image")], 400, "prompt"),
    ({"prompt": "a"}, [file("other")], 400, "image"),
    ({"prompt": "a", "image": "a.png"}, [file("mask")], 400, "image"),
    ({"prompt": "a"}, [file("image[]")] * 17, 400, "image"),
    ({"prompt": "a"}, [file("image[]")] * 100, 400, None),
    ({"prompt": "a"}, [file("image"), file("mask"), file("mask")], 400, "mask"),
    ({"prompt": "a"}, [file("image"), file("mask"), file("markup")], 400, "markup"),
    ({"prompt": "a"}, [file("image"), file("mask", SMALL)], 400, "mask"),
    ({"prompt": "a"}, [file("image", SMALL), file("image", PNG), file("markup", PNG)], 400, "markup"),
    ({"prompt": "a"}, [file("image"), file("mask", OPAQUE)], 400, "mask"),
    ({"prompt": "a"}, [file("image"), file("mask", encode(Image.new("RGBA", (64, 64), (0, 0, 0, 255))))], 400, "mask"),
    ({"prompt": "a"}, [file("image"), file("mask", b"no picture")], 415, "mask"),
    ({"prompt": "a"}, [file("image[]"), file("image[]", b"")], 422, "image[]"),
    ({"prompt": "a", "input_fidelity": "most"}, [file("image")], 400, "input_fidelity"),
    ({"prompt": "a", "stream": "true", "output_format": "svg"}, [file("image")], 400, "stream"),
]


@pytest.mark.parametrize(("fields", "files", "status", "param"), WRONG_FORMS, ids=range(len(WRONG_FORMS)))
async def test_invalid_forms_are_refused(
    studio: httpx.AsyncClient, fields: dict[str, str], files: Files, status: int, param: str | None
) -> None:
    assert_error(await studio.post(EDITS, data=fields, files=files), status, param)


@pytest.mark.parametrize("kind", [kind for kind in REFUSED if kind not in ("transparent", "truncated")])
async def test_bad_pictures_are_refused(studio: httpx.AsyncClient, kind: str) -> None:
    answer = await studio.post(EDITS, data={"prompt": "a"}, files=[file("image", REFUSED[kind])])
    assert 400 <= answer.status_code < 500
    assert_error(answer, answer.status_code, "image" if answer.json()["error"]["param"] else None)
    assert answer.json()["error"]["code"] != "unsupported_operation"


ONE = {"image_url": url()}
WRONG_BODIES: list[tuple[dict[str, Any], int, str]] = [
    ({"images": None}, 400, "images"),
    ({"images": []}, 400, "images"),
    ({"images": ONE}, 400, "images"),
    ({"images": [ONE] * 17}, 400, "images"),
    ({"image": url()}, 400, "images"),
    ({"images": [url()]}, 400, "images[0]"),
    ({"images": [ONE, {}]}, 400, "images[1]"),
    ({"images": [{"image_url": url(), "file_id": "file-1"}]}, 400, "images[0]"),
    ({"images": [{"file_id": "file-1"}]}, 400, "images[0].file_id"),
    ({"images": [{"image_url": 7}]}, 400, "images[0].image_url"),
    ({"images": [{"image_url": ""}]}, 400, "images[0].image_url"),
    ({"images": [{"image_url": "data:image/png,raw"}]}, 400, "images[0].image_url"),
    ({"images": [{"image_url": url(b"no picture")}]}, 415, "images[0].image_url"),
    ({"images": [{"image_url": "http://127.0.0.1/a.png"}]}, 400, "images[0].image_url"),
    ({"images": [{"image_url": "https://[::ffff:169.254.169.254]/latest"}]}, 400, "images[0].image_url"),
    ({"images": [{"image_url": "file:///etc/passwd"}]}, 400, "images[0].image_url"),
    ({"images": [ONE], "mask": "data:"}, 400, "mask"),
    ({"images": [ONE], "mask": {"image_url": url(SMALL)}}, 400, "mask.image_url"),
    ({"images": [ONE], "mask": {"image_url": url(OPAQUE)}}, 400, "mask.image_url"),
    ({"images": [ONE], "mask": ONE, "markup": ONE}, 400, "markup"),
    ({"images": [ONE], "input_fidelity": 1}, 400, "input_fidelity"),
]


@pytest.mark.parametrize(("body", "status", "param"), WRONG_BODIES, ids=range(len(WRONG_BODIES)))
async def test_invalid_json_is_refused(
    studio: httpx.AsyncClient, body: dict[str, Any], status: int, param: str
) -> None:
    assert_error(await studio.post(EDITS, json={"prompt": "a hat", **body}), status, param)


async def test_other_content_types_are_refused(studio: httpx.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/mixed"):
        assert_error(await studio.post(EDITS, content=b"a=b", headers={"content-type": kind}), 415, "Content-Type")
    assert_error(await studio.post(EDITS, content=b""), 415, "Content-Type")
    assert_error(await studio.post(EDITS, content=b"x", headers={"content-type": "multipart/form-data"}), 400, None)
    assert_error(await studio.post(EDITS, content=b"{", headers={"content-type": "application/json"}), 400, None)
    assert_error(await studio.post(VARIATIONS, json={"images": [ONE]}), 415, "Content-Type")


async def test_large_body_is_refused() -> None:
    settings = Settings(limits=LimitsSettings(max_body_bytes=1024))
    transport = httpx.ASGITransport(create_app(StandIn(), settings, illustrator=IllustratorStandIn()))
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as door:
        answer = await door.post(EDITS, data={"prompt": "a"}, files=[file("image", bytes(100_000))])
        assert_error(answer, 413, None)


async def test_variations(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    fields = {"model": "dall-e-2", "n": "2", "response_format": "url", "size": "512x512", "user": "ada"}
    answer = await studio.post(VARIATIONS, data=fields, files=[file("image")])
    assert answer.status_code == 200, answer.text
    assert [opened(one["url"]).size for one in answer.json()["data"]] == [(128, 128)] * 2
    source = illustrator.asked[-1].source
    assert source is not None
    assert source.strength == 0.7
    for bad, param in (({"n": "11"}, "n"), ({"size": "big"}, "size"), ({"response_format": "x"}, "response_format")):
        assert_error(await studio.post(VARIATIONS, data=bad, files=[file("image")]), 400, param)
    for files in ([file("image"), file("mask")], [file("image")] * 2):
        assert_error(await studio.post(VARIATIONS, files=files), 400, "image")
    assert_error(await studio.post(VARIATIONS, files=[file("image", b"no picture")]), 415, "image")


async def test_without_an_illustrator(door: httpx.AsyncClient) -> None:
    for path in (EDITS, VARIATIONS):
        error = assert_error(await door.post(path, data={"prompt": "a"}, files=[file("image")]), 404, "model")
        assert error["code"] == "model_not_found"


async def test_openapi_document_describes_edits_and_variations(studio: httpx.AsyncClient) -> None:
    paths = (await studio.get("/openapi.json")).json()["paths"]
    bodies = {path: paths[path]["post"]["requestBody"]["content"] for path in (EDITS, VARIATIONS)}
    assert bodies[EDITS].keys() == {"multipart/form-data", "application/json"}
    assert bodies[VARIATIONS].keys() == {"multipart/form-data"}
    assert all(paths[path]["post"]["summary"] for path in bodies)
