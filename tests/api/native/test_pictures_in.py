"""Drawings from pictures over the native routes, jobs and img2img, with the real Illustrator on engines that are
functions: uploads, data: URLs, results, references, masks, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawing_requests import PIXELS, PNG, b64, drawing_illustrator, drawn, pixels_at, url
from drawn_pictures import infotext, opened
from keyed_door import KeyedSite
from pictures import REFUSED, encode
from PIL import Image
from standin import StandIn

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.requests import IllustrateRequest
from serve.jobs.worker.execution import JobExecutor
from serve.settings import DatabaseSettings
from tests.jobs_standin import Hand

DIFFUSION, ILLUSTRATIONS, GENERATE, JOBS = (
    "/api/diffusion/generate", "/api/illustrations/generate", "/generate", "/v1/jobs"
)  # fmt: skip
IMG2IMG = "/sdapi/v1/img2img"
MASK_PIXELS = np.zeros((64, 64), np.uint8)
MASK_PIXELS[16:48, 16:40] = 255
MASK = encode(Image.fromarray(MASK_PIXELS))
EMPTY = encode(Image.new("L", (64, 64)))
SMALL = encode(Image.new("L", (32, 32), 255))


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    """SQLite alone: what is drawn does not depend on the database."""
    return sqlite_settings


@pytest.fixture
def illustrator(repository: Path) -> Illustrator:
    return drawing_illustrator(repository)


async def test_forms_and_json_draw_the_same_picture(ada: httpx.AsyncClient) -> None:
    fields = {"prompt": "red apple", "strength": 0.5, "seed": 3}
    first = await drawn(ada, DIFFUSION, json={**fields, "image": url()})
    texts = {name: str(value) for name, value in fields.items()}
    second = await drawn(ada, DIFFUSION, data=texts, files={"image": ("a.png", PNG, "image/png")})
    assert second["metadata"]["cached"] is True
    assert first["metadata"]["parameters"]["source"]["strength"] == 0.5
    assert first["metadata"]["parameters"]["source"]["image"]["width"] == 64
    plain = await drawn(ada, DIFFUSION, json={"prompt": "red apple", "seed": 3})
    pixels = [await pixels_at(ada, one["image_url"]) for one in (first, second, plain)]
    assert np.array_equal(pixels[0], pixels[1])
    assert not np.array_equal(pixels[0], pixels[2])
    assert "source" not in plain["metadata"]["parameters"]


async def test_mask_keeps_the_rest(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red", "image": url(), "mask": url(MASK), "mask_blur": 0, "seed": 1}
    result = await pixels_at(ada, (await drawn(ada, DIFFUSION, json=body))["image_url"])
    assert np.array_equal(result[MASK_PIXELS == 0], PIXELS[MASK_PIXELS == 0])
    assert not np.array_equal(result[MASK_PIXELS > 0], PIXELS[MASK_PIXELS > 0])
    files = {"image": ("a.png", PNG), "mask": ("m.png", MASK)}
    again = await drawn(ada, DIFFUSION, data={"prompt": "red", "mask_blur": "0", "seed": "1"}, files=files)
    assert again["metadata"]["cached"] is True


async def test_outpainting_adds_sides(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red", "image": url(), "seed": 1, "mask_blur": 0}
    for outpaint in ({"left": 16, "bottom": 8}, "left=16,bottom=8"):
        result = await drawn(ada, DIFFUSION, json={**body, "outpaint": outpaint})
        pixels = await pixels_at(ada, result["image_url"])
        assert pixels.shape == (72, 80, 3)
        assert np.array_equal(pixels[:64, 16:], PIXELS)


async def test_camel_case_and_the_service_behind_another(ada: httpx.AsyncClient) -> None:
    result = await drawn(
        ada, ILLUSTRATIONS, json={"prompt": "red", "image": url(), "mask": url(MASK), "maskCrop": True, "seed": 1}
    )
    assert result["metadata"]["parameters"]["source"]["mask_crop"] is True
    answer = await ada.post(ILLUSTRATIONS, json={"prompt": "red", "image": url(), "maskBlur": 9999})
    assert (answer.status_code, answer.json()["field"]) == (400, "maskBlur")
    files = {"image": ("a.png", PNG)}
    form = {"prompt": "red", "stylePreferences": '{"mood": "calm"}', "seed": "1"}
    result = await drawn(ada, ILLUSTRATIONS, data=form, files=files)
    assert result["metadata"]["parameters"]["prompt"] == "red, calm mood"
    result = await drawn(ada, GENERATE, data={"prompt": "red", "seed": "1"}, files=files)
    assert result["metadata"]["parameters"]["source"]["strength"] == 0.75


async def test_results_and_references_are_drawn_from_by_their_user(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    first = await drawn(ada, DIFFUSION, json={"prompt": "red apple", "seed": 1})
    result_id = httpx.URL(first["images"][0]["image_url"]).path.split("/")[3]
    form = {"subject_name": "cat", "user_id": "ada"}
    made = await ada.post("/api/references", data=form, files={"image": ("a.png", PNG)})
    reference_id = made.json()["id"]
    for field, value in (("result_id", result_id), ("reference_id", reference_id)):
        body = {"prompt": "red", field: value, "strength": 0.3, "seed": 1}
        result = await drawn(ada, DIFFUSION, json=body)
        assert result["metadata"]["parameters"]["source"]["strength"] == 0.3
        for client, wrong in ((bob, value), (ada, "0" * 32), (ada, "../x")):
            answer = await client.post(DIFFUSION, json={**body, field: wrong})
            assert (answer.status_code, answer.json()["field"]) == (404, field)
    both = {"prompt": "red", "result_id": result_id, "image": url()}
    answer = await ada.post(DIFFUSION, json=both)
    assert (answer.status_code, answer.json()["field"]) == (400, "result_id")


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"strength": 0}, 400, "strength"),
    ({"strength": 2}, 400, "strength"),
    ({"strength": -0.1}, 400, "strength"),
    ({"mask": url(SMALL)}, 400, "mask"),
    ({"mask": url(EMPTY)}, 400, "mask"),
    ({"mask": url(REFUSED["not_an_image"])}, 415, "mask"),
    ({"mask": url(REFUSED["truncated"])}, 422, "mask"),
    ({"mask": "data:,x"}, 400, "mask"),
    ({"mask_crop": True}, 400, "mask_crop"),
    ({"mask": url(MASK), "mask_crop": True, "outpaint": {"left": 8}}, 400, "mask_crop"),
    ({"mask_blur": 1000}, 400, "mask_blur"),
    ({"mask_fill": "red"}, 400, "mask_fill"),
    ({"fit": "best"}, 400, "fit"),
    ({"outpaint": {"left": -8}}, 400, "outpaint.left"),
    ({"outpaint": {"left": 100_000}}, 400, "outpaint.left"),
    ({"outpaint": {"up": 8}}, 400, "outpaint.up"),
    ({"outpaint": "left=8,left=9"}, 400, "outpaint"),
    ({"image": url(REFUSED["not_an_image"])}, 415, "image"),
    ({"image": url(b"")}, 422, "image"),
    ({"image": url(REFUSED["truncated"])}, 422, "image"),
    ({"image": url(REFUSED["bomb"])}, 413, "image"),
    ({"image": url(REFUSED["very_wide"])}, 413, "image"),
    ({"image": url(REFUSED["one_pixel"])}, 422, "image"),
    ({"image": "http://127.0.0.1/a.png"}, 400, "image"),
    ({"image": "https://169.254.169.254/latest"}, 400, "image"),
    ({"image": "file:///etc/passwd"}, 400, "image"),
    ({"image": None, "strength": 0.5}, 400, "strength"),
    ({"image": None, "mask": url(MASK)}, 400, "mask"),
    ({"width": 65}, 400, "width"),
]


@pytest.mark.parametrize(("values", "status", "field"), BAD, ids=range(len(BAD)))
@pytest.mark.parametrize("path", [DIFFUSION, JOBS])
async def test_bad_values_are_refused_by_name(
    ada: httpx.AsyncClient, site: KeyedSite, path: str, values: dict[str, Any], status: int, field: str
) -> None:
    body: dict[str, Any] = {"prompt": "red", "image": url(), "seed": 1, **values}
    answer = await ada.post(path, json={"kind": "illustrate", "input": body} if path == JOBS else body)
    if path == JOBS and values == {"image": url(REFUSED["truncated"])}:
        assert answer.status_code == 202  # pixels are decoded by the worker
        return
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert not [engine for engine, _ in site.illustrator.engine_set.client.calls if engine == "toy_unet"]


async def test_bad_forms_are_refused_by_name(ada: httpx.AsyncClient) -> None:
    png = ("a.png", PNG)
    cases: list[tuple[Any, dict[str, str], int, str]] = [
        ([("image", png), ("image", png)], {"prompt": "red"}, 400, "image"),
        ({"image": png, "prompt": png}, {}, 400, "prompt"),
        ({"image": png, "other": png}, {"prompt": "red"}, 400, "other"),
        ({"image": png}, {}, 400, "prompt"),
        ({"image": png}, {"prompt": "red", "unknown": "1"}, 400, "unknown"),
        ({"image": ("a.png", b"")}, {"prompt": "red"}, 422, "image"),
        ({"image": png}, {"prompt": "red", "outpaint": "{"}, 400, "outpaint"),
    ]
    for files, data, status, field in cases:
        answer = await ada.post(DIFFUSION, files=files, data=data)
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_job_draws_what_the_direct_route_draws(
    ada: httpx.AsyncClient, site: KeyedSite, illustrator: Illustrator
) -> None:
    """Its pictures are kept in the object store, and a worker loads them."""
    values = {"prompt": "red", "image": url(), "mask": url(MASK), "mask_blur": 0, "seed": 9}
    answer = await ada.post(JOBS, json={"kind": "illustrate", "input": values})
    assert answer.status_code == 202, answer.text
    hand = await Hand.of(site.state)
    (job,) = await hand.claim()
    assert isinstance(job.request, IllustrateRequest)
    assert job.request.options.source is not None
    assert job.request.options.source.image.data == b""
    result = await JobExecutor(site.state, StandIn(), illustrator).run(job, hand.leases)
    pixels = np.asarray(Image.open(io.BytesIO(result.outcome.files[0].data)))
    direct = await drawn(ada, DIFFUSION, json={**values, "steps": 6})
    assert np.array_equal(pixels, await pixels_at(ada, direct["image_url"]))
    batch = await ada.post(JOBS, json={"kind": "illustrate", "input": values | {"seed": 1}, "count": 2})
    assert batch.status_code == 202, batch.text
    form = {"prompt": "red", "image": url(), "userId": "ada"}
    answer = await ada.post("/api/generate", json=form)
    assert answer.status_code == 202, answer.text


async def test_img2img(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red", "init_images": [b64()], "denoising_strength": 0.5, "seed": 2, "steps": 8}
    answer = await drawn(ada, IMG2IMG, json=body)
    (image,) = answer["images"]
    assert opened(image).size == (64, 64)
    assert "Denoising strength: 0.5" in (infotext(opened(image)) or "")
    assert answer["parameters"]["init_images"] is None
    assert answer["parameters"]["denoising_strength"] == 0.5
    assert '"denoising_strength": 0.5' in answer["info"]


@pytest.mark.parametrize(
    "values",
    [
        {"inpaint_full_res": False, "mask_blur": 0},
        {"inpaint_full_res": True, "inpaint_full_res_padding": 8, "mask_blur": 0},
        {"inpaint_full_res": False, "mask_blur": 0, "inpainting_fill": 2},
    ],
)
async def test_img2img_with_a_mask(ada: httpx.AsyncClient, values: dict[str, Any]) -> None:
    """White is drawn anew; inverted, black; a mask of another size is scaled."""
    body = {"prompt": "red", "init_images": [url()], "mask": b64(MASK), "seed": 2, "steps": 8, **values}
    for invert in (0, 1):
        answer = await drawn(ada, IMG2IMG, json={**body, "inpainting_mask_invert": invert})
        pixels = np.asarray(opened(answer["images"][0]))
        kept = (255 if invert else 0) == MASK_PIXELS
        assert np.array_equal(pixels[kept], PIXELS[kept])
        assert not np.array_equal(pixels[~kept], PIXELS[~kept])
    assert (await ada.post(IMG2IMG, json={**body, "mask": b64(SMALL)})).status_code == 200


async def test_img2img_refuses_bad_values(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red", "init_images": [b64()], "mask": b64(MASK)}
    for name, value in (
        ("denoising_strength", 0), ("denoising_strength", 2), ("resize_mode", 9), ("inpainting_fill", 4),
        ("mask_blur", -1), ("inpaint_full_res_padding", 10**6), ("mask", b64(EMPTY)), ("inpainting_mask_invert", 2),
    ):  # fmt: skip
        answer = await ada.post(IMG2IMG, json={**body, name: value})
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"{name}: "), answer.text


async def test_variations_of_a_kept_site(ada: httpx.AsyncClient) -> None:
    """Drawn without a prompt, and stored."""
    answer = await drawn(ada, "/v1/images/variations", files={"image": ("a.png", PNG)}, data={"n": "2"})
    assert len({one["b64_json"] for one in answer["data"]}) == 2
    assert answer["atelier"]["parameters"]["prompt"] == ""
    body = {"prompt": "red", "images": [{"image_url": url()}], "seed": 3, "response_format": "url"}
    first, second = [await drawn(ada, "/v1/images/edits", json=body) for _ in range(2)]
    assert (first["atelier"]["cached"], second["atelier"]["cached"]) == (False, True)


async def test_picture_without_an_encoder_is_refused(
    ada: httpx.AsyncClient, illustrator: Illustrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pipeline,) = illustrator._pipelines.values()
    monkeypatch.setattr(pipeline, "has_encoder", False)
    answer = await ada.post(DIFFUSION, json={"prompt": "red", "image": url()})
    assert (answer.status_code, answer.json()["field"]) == (400, "image")
