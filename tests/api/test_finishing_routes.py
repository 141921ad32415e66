"""Finished pictures over the native routes, jobs and AUTOMATIC1111's extras, with the real Illustrator on engines that
are functions; what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawing_requests import PIXELS, PNG, b64, drawn, pixels_at, url
from drawn_pictures import opened
from keyed_door import KeyedSite
from pictures import REFUSED, encode
from PIL import Image
from standin import StandIn

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.jobs.worker.execution import JobExecutor
from serve.settings import DatabaseSettings, IllustratorSettings
from tests.ensembles.drawn_family import engines, write_family
from tests.ensembles.finishing_engines import ANSWERS, repeated, write_finishers
from tests.jobs_standin import Hand

FINISH, DIFFUSION, JOBS, EXTRA = (
    "/api/pictures/finish", "/api/diffusion/generate", "/v1/jobs", "/sdapi/v1/extra-single-image"
)  # fmt: skip
LARGE = repeated(4)({"image": PIXELS[None]})["result"][0]


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return sqlite_settings


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finishers(write_family(tmp_path_factory.mktemp("repository")))


@pytest.fixture
def illustrator(repository: Path) -> Illustrator:
    found = engines()
    found.answers |= ANSWERS
    return Illustrator(IllustratorSettings(model_repository=repository), engines=found)  # type: ignore[arg-type]


async def test_pictures_are_enlarged_from_json_forms_results_and_jobs(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, site: KeyedSite, illustrator: Illustrator
) -> None:
    first = await drawn(ada, FINISH, json={"image": url(), "upscale": 4})
    assert np.array_equal(await pixels_at(ada, first["image_url"]), LARGE)
    assert first["metadata"]["parameters"]["finish"] == {"upscale": 4.0}
    assert first["metadata"]["model_versions"] == {"upscale_4x": "3"}
    again = await drawn(ada, FINISH, data={"upscale": "4"}, files={"image": ("a.png", PNG)})
    assert again["metadata"]["cached"] is True
    result_id = httpx.URL(first["image_url"]).path.split("/")[3]
    twice = await drawn(ada, FINISH, json={"result_id": result_id, "upscale": 2, "upscaler": "nearest"})
    assert np.array_equal((await pixels_at(ada, twice["image_url"]))[::2, ::2], LARGE)
    answer = await bob.post(FINISH, json={"result_id": result_id, "upscale": 2})
    assert (answer.status_code, answer.json()["field"]) == (404, "result_id")
    answer = await ada.post(JOBS, json={"kind": "finish", "input": {"image": url(), "upscale": 4}})
    assert answer.status_code == 202, answer.text
    hand = await Hand.of(site.state)
    (job,) = await hand.claim()
    outcome = (await JobExecutor(site.state, StandIn(), illustrator).run(job, hand.leases)).outcome
    assert (outcome.files[0].width, outcome.files[0].height) == (256, 256)


async def test_drawings_are_enlarged_and_drawn_twice(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red apple", "seed": 3, "steps": 4}
    plain = await pixels_at(ada, (await drawn(ada, DIFFUSION, json=body))["image_url"])
    large = await drawn(ada, DIFFUSION, json={**body, "upscale": 4})
    assert np.array_equal(await pixels_at(ada, large["image_url"]), plain.repeat(4, axis=0).repeat(4, axis=1))
    hires = {"scale": 2, "strength": 0.5, "num_inference_steps": 4}
    twice = await drawn(ada, DIFFUSION, json={**body, "hires": hires})
    assert (await pixels_at(ada, twice["image_url"])).shape == (128, 128, 3)
    assert twice["metadata"]["evaluations"] == 6
    form = {**{name: str(value) for name, value in body.items()}, "hires": json.dumps(hires)}
    again = await drawn(ada, DIFFUSION, files={name: (None, value) for name, value in form.items()})
    assert again["metadata"]["cached"] is True


async def test_plain_background_becomes_transparent(ada: httpx.AsyncClient) -> None:
    pixels = np.full((64, 64, 3), 255, np.uint8)
    pixels[16:48, 16:48] = (200, 30, 40)
    made = await drawn(ada, FINISH, json={"image": url(encode(Image.fromarray(pixels))), "remove_background": True})
    answer = await ada.get(httpx.URL(made["image_url"]).path, params=httpx.URL(made["image_url"]).params)
    rgba = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (rgba[0, 0, 3], rgba[32, 32, 3]) == (0, 255)


async def test_a1111_extras(ada: httpx.AsyncClient) -> None:
    names = [one["name"] for one in (await ada.get("/sdapi/v1/upscalers")).json()]
    assert names == ["None", "Nearest", "Lanczos", "upscale_2x", "upscale_4x"]
    single = await drawn(ada, EXTRA, json={"image": b64(), "upscaler_1": "upscale_4x", "upscaling_resize": 4})
    assert np.array_equal(np.asarray(opened(single["image"])), LARGE)
    unchanged = await drawn(ada, EXTRA, json={"image": b64()})
    assert np.array_equal(np.asarray(opened(unchanged["image"])), PIXELS)
    to_size = {"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 128, "upscaling_resize_h": 96}
    for crop, size in ((True, (128, 96)), (False, (96, 96))):
        cut = await drawn(ada, EXTRA, json={"image": url(), **to_size, "upscaling_crop": crop})
        assert opened(cut["image"]).size == size
    body = {"imageList": [{"data": b64(), "name": "a"}, {"data": b64(), "name": "b"}], "upscaler_1": "Nearest"}
    batch = await drawn(ada, "/sdapi/v1/extra-batch-images", json=body)
    assert [opened(one).size for one in batch["images"]] == [(128, 128)] * 2


async def test_a1111_enable_hr(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "red", "seed": 2, "steps": 4, "enable_hr": True, "hr_scale": 2, "denoising_strength": 0.5}
    answer = await drawn(ada, "/sdapi/v1/txt2img", json={**body, "hr_upscaler": "upscale_2x"})
    assert opened(answer["images"][0]).size == (128, 128)
    info = json.loads(answer["info"])
    assert info["denoising_strength"] == 0.5
    assert "Hires upscale: 2, Hires upscaler: upscale_2x" in info["infotexts"][0]
    latent = await drawn(ada, "/sdapi/v1/txt2img", json={**body, "hr_upscaler": "Latent", "hr_resize_x": 96})
    assert opened(latent["images"][0]).size == (96, 96)
    assert "Latent is done in pixels" in json.loads(latent["info"])["comments"]
    large = await drawn(ada, "/sdapi/v1/txt2img", json={**body, "width": 512, "height": 512, "hr_upscaler": "Nearest"})
    assert opened(large["images"][0]).size == (1024, 1024)
    assert "without a second pass" in json.loads(large["info"])["comments"]
    again = await drawn(ada, "/sdapi/v1/img2img", json={**body, "init_images": [b64()], "hr_upscaler": "Lanczos"})
    assert opened(again["images"][0]).size == (128, 128)


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"upscale": None}, 400, "upscale"),
    ({"upscale": 3}, 400, "upscale"),
    ({"upscale": 2, "upscaler": "best"}, 400, "upscaler"),
    ({"upscale": None, "upscaler": "lanczos"}, 400, "upscaler"),
    ({"image": None}, 400, "image"),
    ({"image": url(REFUSED["not_an_image"])}, 415, "image"),
    ({"image": url(REFUSED["truncated"])}, 422, "image"),
    ({"image": url(REFUSED["bomb"])}, 413, "image"),
    ({"image": "https://169.254.169.254/x"}, 400, "image"),
    ({"result_id": "0" * 32}, 400, "result_id"),
    ({"upscale": None, "restore_faces": True}, 501, "restore_faces"),
    ({"upscale": None, "remove_background": True}, 501, "remove_background"),
    ({"remove_background": True, "output_format": "jpeg"}, 400, "output_format"),
    ({"output_format": "svg"}, 400, "output_format"),
    ({"prompt": "x"}, 400, "prompt"),
]


@pytest.mark.parametrize(("values", "status", "field"), BAD, ids=range(len(BAD)))
async def test_bad_values_are_refused_by_name(
    ada: httpx.AsyncClient, values: dict[str, Any], status: int, field: str
) -> None:
    answer = await ada.post(FINISH, json={"image": url(), "upscale": 2, **values})
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    if status in (400, 415) and "truncated" not in str(values):
        job = await ada.post(JOBS, json={"kind": "finish", "input": {"image": url(), "upscale": 2, **values}})
        if field != "upscaler" or values.get("upscale") is None:  # only the Illustrator knows its engines
            assert (job.status_code, job.json()["field"]) == (status, field), job.text


@pytest.mark.parametrize(
    ("values", "status", "detail"),
    [
        ({"upscaler_1": "best"}, 400, "upscaler_1: "),
        ({"upscaling_resize": 99}, 400, "upscaling_resize: "),
        ({"resize_mode": 2}, 400, "resize_mode: "),
        ({"resize_mode": 1, "upscaling_resize_w": 0}, 400, "upscaling_resize_w: "),
        ({"resize_mode": 1, "upscaling_resize_w": 16_000}, 400, "upscaling_resize_w: "),
        ({"gfpgan_visibility": 1}, 501, "gfpgan_visibility: "),
        ({"image": b64(REFUSED["truncated"])}, 422, "image: "),
    ],
)
async def test_bad_extras_are_refused_by_name(
    ada: httpx.AsyncClient, values: dict[str, Any], status: int, detail: str
) -> None:
    answer = await ada.post(EXTRA, json={"image": b64(), "upscaler_1": "Lanczos", **values})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(detail), answer.text
    answer = await ada.post("/sdapi/v1/extra-batch-images", json={"imageList": [{"data": b64()}] * 17})
    assert answer.status_code == 400


async def test_hires_beyond_the_model_is_refused(ada: httpx.AsyncClient) -> None:
    for hires, field in (({"scale": 2}, "hires"), ({"scale": 9}, "hires.scale"), ({"steps": 2}, "hires.steps")):
        body = {"prompt": "red", "width": 512, "height": 512, "steps": 1, "hires": hires}
        answer = await ada.post(DIFFUSION, json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
