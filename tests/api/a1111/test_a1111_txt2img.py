"""A1111's `txt2img`: requests of its clients, responses and errors (API_COMPAT 2; USERS_ASK 1, 5)."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import httpx
import numpy as np
import pytest
from drawn_pictures import infotext, opened, record
from hypothesis import given
from hypothesis import strategies as st
from illustrator_standin import IllustratorStandIn, disk, family
from problem_answers import LEAKS
from standin import StandIn

from serve.api.a1111.drawing_models import DEFAULTS
from serve.api.app import create_app
from serve.api.openapi.operation import inlined
from serve.errors import DeadlineExceeded, EngineFailure, InvalidRequest, Overloaded
from serve.jobs.direct.service import DirectService
from serve.settings import LimitsSettings, Settings
from serve.state import State
from serve.state.tables import generations

PATH = "/sdapi/v1/txt2img"
FOX = {"prompt": "a red fox", "seed": 7}
INFO = {
    "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed", "all_subseeds",
    "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size", "restore_faces",
    "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash", "seed_resize_from_w",
    "seed_resize_from_h", "denoising_strength", "extra_generation_params", "index_of_first_image", "infotexts",
    "styles", "job_timestamp", "clip_skip", "is_using_inpainting_conditioning", "version",
}  # fmt: skip
OF_OPEN_WEBUI = {"prompt": "fox", "batch_size": 2, "width": 512, "height": 512, "steps": 4, "negative_prompt": "text"}
OF_WEBUIAPI = {
    "enable_hr": False, "hr_scale": 2, "hr_upscaler": "Latent", "hr_second_pass_steps": 0, "hr_resize_x": 0,
    "hr_resize_y": 0, "hr_checkpoint_name": None, "hr_sampler_name": None, "hr_scheduler": None, "hr_prompt": "",
    "hr_negative_prompt": "", "denoising_strength": 0.7, "firstphase_width": 0, "firstphase_height": 0,
    "prompt": "fox", "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0.0, "seed_resize_from_h": 0,
    "seed_resize_from_w": 0, "batch_size": 1, "n_iter": 1, "steps": 4, "cfg_scale": 7.0, "width": 64, "height": 64,
    "restore_faces": False, "tiling": False, "do_not_save_samples": False, "do_not_save_grid": False,
    "negative_prompt": "", "eta": 1.0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "override_settings": {},
    "override_settings_restore_afterwards": True, "sampler_name": "Euler a", "scheduler": "automatic",
    "sampler_index": None, "script_name": None, "script_args": [], "send_images": True, "save_images": False,
    "alwayson_scripts": {},
}  # fmt: skip
OF_SILLYTAVERN = {
    "url": "http://127.0.0.1:8000", "auth": "any:secret of the client", "prompt": "fox", "negative_prompt": "text",
    "sampler_name": "DDIM", "scheduler": "normal", "steps": 4, "cfg_scale": 7, "width": 512, "height": 512,
    "restore_faces": False, "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 1.0, "hr_additional_modules": [],
    "denoising_strength": 0.7, "hr_second_pass_steps": 0, "clip_skip": 1, "save_images": True, "send_images": True,
    "override_settings": {"CLIP_stop_at_last_layers": 1, "forge_additional_modules": []},
    "override_settings_restore_afterwards": True, "do_not_save_grid": False, "do_not_save_samples": False,
}  # fmt: skip
OF_LIBRECHAT = {"prompt": "fox", "n": 3, "size": "64x64", "cfg_scale": 4.5, "sampler_index": "DPM++ 2M Karras"}


def assert_error(answer: httpx.Response, status: int, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()
    assert error.keys() == {"error", "detail", "body", "errors"}
    assert detail in error["detail"]
    assert not LEAKS.search(answer.text)


async def info_of(client: httpx.AsyncClient, **values: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json=values)
    assert answer.status_code == 200, answer.text
    info: dict[str, Any] = json.loads(answer.json()["info"])
    return info


async def test_minimal_request(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    """Omitted parameters have the defaults of the model."""
    body = (await studio.post(PATH, json={"prompt": "fox"})).json()
    assert body.keys() == {"images", "parameters", "info"}
    np.testing.assert_array_equal(np.asarray(opened(body["images"][0])), disk(64, 64, 41))
    (options,) = illustrator.asked
    assert (options.num_inference_steps, options.guidance_scale, options.width, options.sampler) == (
        None,
        None,
        64,
        "euler",
    )
    info = json.loads(body["info"])
    assert info.keys() >= INFO
    assert (info["steps"], info["cfg_scale"], info["seed"], info["index_of_first_image"]) == (8, 3.0, 41, 0)


async def test_pictures_and_their_metadata(studio: httpx.AsyncClient) -> None:
    sent = {**FOX, "negative_prompt": "text", "batch_size": 2, "n_iter": 2, "steps": 4, "cfg_scale": 2.5}
    body = (await studio.post(PATH, json={**sent, "sampler_name": "DDIM"})).json()
    info = json.loads(body["info"])
    assert info["all_seeds"] == [7, 8, 9, 10]
    assert (info["all_prompts"], info["all_negative_prompts"]) == (["a red fox"] * 4, ["text"] * 4)
    assert (info["batch_size"], info["sampler_name"], info["sd_model_name"]) == (2, "DDIM", "mini")
    for index, image in enumerate(map(opened, body["images"])):
        np.testing.assert_array_equal(np.asarray(image), disk(64, 64, 7 + index))
        assert infotext(image) == info["infotexts"][index]
    first = (
        "a red fox\nNegative prompt: text\nSteps: 4, Sampler: DDIM, Schedule type: Automatic, CFG scale: 2.5, Seed: 7"
    )
    assert info["infotexts"][0].startswith(f"{first}, Size: 64x64, Model: mini, Version: atelier ")
    assert body["parameters"].keys() >= sent.keys()
    assert body["parameters"]["cfg_scale"] == 2.5


@pytest.mark.parametrize("sent", [OF_OPEN_WEBUI, OF_WEBUIAPI, OF_SILLYTAVERN, OF_LIBRECHAT])
async def test_parameters_of_clients_are_honoured(studio: httpx.AsyncClient, sent: dict[str, Any]) -> None:
    answer = await studio.post(PATH, json=sent)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == sent.get("batch_size", 1)
    assert "secret of the client" not in answer.text


async def test_any_key_may_be_null_or_unknown(studio: httpx.AsyncClient) -> None:
    body = {**dict.fromkeys(OF_WEBUIAPI), "prompt": "fox", "hr_cfg": 1.0, "anything": {"deep": [None]}}
    assert (await studio.post(PATH, json=body)).status_code == 200


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((512, 512), (128, 128)),
        ((1536, 1024), (128, 88)),
        ((70, 61), (72, 64)),
        ((1, 1), (32, 32)),
        ((64, 64), (64, 64)),
    ],
)
async def test_sizes_are_snapped_and_reported(
    studio: httpx.AsyncClient, size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    info = await info_of(studio, **FOX, width=size[0], height=size[1])
    assert (info["width"], info["height"]) == drawn
    comments = (
        "" if size == drawn else f"{size[0]}x{size[1]} is no size of this model; {drawn[0]}x{drawn[1]} is drawn\n"
    )
    assert info["comments"] == comments


@pytest.mark.parametrize(
    ("name", "schedule", "drawn", "reported"),
    [
        ("Euler", None, "euler", ("Euler", "Automatic")),
        ("euler", "Automatic", "euler", ("Euler", "Automatic")),
        ("Euler a", "automatic", "euler_a", ("Euler a", "Automatic")),
        ("k_euler_a", "", "euler_a", ("Euler a", "Automatic")),
        ("DPM++ 2M", "Karras", "dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", "karras", "dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", None, "dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M Karras", "Uniform", "dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", None, "dpmpp_2m_karras", ("DPM++ 2M", "Karras")),
        ("DPM++ 2M", "Uniform", "dpmpp_2m", ("DPM++ 2M", "Uniform")),
        ("DPM++ 2M Uniform", None, "dpmpp_2m", ("DPM++ 2M", "Uniform")),
        (None, "Automatic", "euler", ("Euler", "Automatic")),
    ],
)
async def test_samplers_and_schedules(
    name: str | None, schedule: str | None, drawn: str, reported: tuple[str, str]
) -> None:
    """Without a schedule, "DPM++ 2M" means Karras sigmas in A1111."""
    known = family("mini", samplers=("euler", "euler_a", "dpmpp_2m", "dpmpp_2m_karras"))
    illustrator = IllustratorStandIn(known)
    async with client_of(illustrator) as client:
        info = await info_of(client, **FOX, sampler_name=name, scheduler=schedule)
    assert (illustrator.asked[0].sampler, info["sampler_name"], info["scheduler"]) == (drawn, *reported)
    assert f"Sampler: {reported[0]}, Schedule type: {reported[1]}, " in info["infotexts"][0]
    assert info["comments"] == ""


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("Euler", "Karras"),
        ("Euler Karras", None),
        ("Euler", "SGM Uniform"),
        ("Euler SGM Uniform", ""),
        ("Euler", "nothing"),
        ("Euler", "x" * 10_000),
    ],
)
async def test_unsupported_schedule_is_reported(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, name: str, schedule: str | None
) -> None:
    info = await info_of(studio, **FOX, sampler_name=name, scheduler=schedule)
    assert illustrator.asked[0].sampler == "euler"
    assert "is not offered with Euler; its own is used" in info["comments"]
    assert len(info["comments"]) < 300


@pytest.mark.parametrize("name", ["nothing", "DPM++ SDE Karras", "Karras", " ", "x" * 10_000])
async def test_unknown_sampler_is_refused(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, name: str
) -> None:
    for key in ("sampler_name", "sampler_index"):
        answer = await studio.post(PATH, json={**FOX, key: name})
        assert_error(answer, 404, "Sampler not found")
        assert answer.json()["detail"] == "Sampler not found"
    assert illustrator.asked == []


async def test_missing_networks_are_reported(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, caplog: pytest.LogCaptureFixture
) -> None:
    """Network tags are neither part of the prompt nor logged."""
    caplog.set_level(logging.INFO, "serve")
    prompt = "fox <lora:pixel art:0.8>, <b> <lyco:x:1:te=0.5><lora:pixel art:1>"
    info = await info_of(studio, prompt=prompt, negative_prompt="<hypernet:y> text")
    assert (illustrator.asked[0].prompt, illustrator.asked[0].negative_prompt) == ("fox , <b>", "text")
    assert info["comments"] == "Networks not found: pixel art, x, y\n"
    assert "1 notes" in caplog.text
    assert "pixel art" not in caplog.text


async def test_styles_are_templates(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    styles = (await studio.get("/sdapi/v1/prompt-styles")).json()
    one = next(style for style in styles if style["name"] == "portrait/studio")
    info = await info_of(studio, prompt="fox", negative_prompt="red", styles=["portrait/studio", "none such"])
    assert illustrator.asked[0].prompt == one["prompt"].replace("{prompt}", "fox")
    assert illustrator.asked[0].negative_prompt == f"red, {one['negative_prompt']}"
    assert (info["styles"], info["comments"]) == (["portrait/studio"], "Style not found: none such\n")


async def test_override_settings_apply_to_one_request(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    settings = {"sd_model_checkpoint": "turbo.safetensors [abc]", "samples_format": "webp", "enable_pnginfo": False}
    answer = await studio.post(PATH, json={**FOX, "override_settings": {**settings, "sd_vae": "x"}})
    image = opened(answer.json()["images"][0])
    assert (image.format, image.size, infotext(image), record(image)) == ("WEBP", (96, 96), None, None)
    assert json.loads(answer.json()["info"])["infotexts"][0].startswith("a red fox\nSteps: 2")
    info = await info_of(studio, **FOX, override_settings={"sd_model_checkpoint": "nothing"})
    assert (info["sd_model_name"], info["comments"]) == ("mini", "Checkpoint not found: nothing\n")
    assert [options.model for options in illustrator.asked] == ["turbo", "mini"]


async def test_options_without_effect_are_reported(studio: httpx.AsyncClient) -> None:
    info = await info_of(studio, **FOX, restore_faces=True, tiling=True, subseed_strength=0.5)
    assert info["comments"].splitlines() == [
        f"{name} has no effect here" for name in ("restore_faces", "tiling", "subseed_strength")
    ]


async def test_pictures_can_be_omitted(studio: httpx.AsyncClient) -> None:
    assert (await studio.post(PATH, json={**FOX, "send_images": False})).json()["images"] == []


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"prompt": ""}, 400, "prompt: "),
    ({"prompt": "<lora:x:1>"}, 400, "prompt: "),
    ({"prompt": ["fox"]}, 400, "prompt: "),
    ({"prompt": "x" * 100_000}, 400, "prompt: "),
    ({"prompt": "half \udfff"}, 400, "prompt: "),
    ({"negative_prompt": 7}, 400, "negative_prompt: "),
    ({"steps": 0}, 400, "steps: "),
    ({"steps": 1001}, 400, "steps: "),
    ({"cfg_scale": -1}, 400, "cfg_scale: "),
    ({"cfg_scale": float("nan")}, 400, "cfg_scale: "),
    ({"width": 0}, 400, "width: "),
    ({"height": 100_000}, 400, "height: "),
    ({"width": "wide"}, 400, "width: "),
    ({"seed": 2**64}, 400, "seed: "),
    ({"batch_size": 0}, 400, "batch_size: "),
    ({"batch_size": 4, "n_iter": 3}, 400, "batch_size: times n_iter is 12 pictures"),
    ({"n_iter": 1e9}, 400, "n_iter: "),
    ({"styles": "none"}, 400, "styles: "),
    ({"styles": ["x"] * 100}, 400, "styles: "),
    ({"override_settings": []}, 400, "override_settings: "),
    ({"override_settings": {"samples_format": "gif"}}, 400, "samples_format: "),
    ({"force_task_id": "x" * 257}, 400, "force_task_id: "),
    ({"send_images": "perhaps"}, 400, "send_images: "),
    ({"script_name": "X/Y/Z plot"}, 422, "Script 'X/Y/Z plot' not found"),
    ({"alwayson_scripts": {"ControlNet": {"args": []}}}, 422, "always on script ControlNet not found"),
    ({"alwayson_scripts": ["ADetailer"]}, 400, "alwayson_scripts: "),
    ({"enable_hr": True, "hr_scale": 1}, 400, "hr_scale: "),
    ({"enable_hr": True, "hr_scale": 9}, 400, "hr_scale: "),
    ({"enable_hr": True, "hr_resize_x": 16_000}, 400, "hr_resize_x: "),
    ({"enable_hr": True, "hr_upscaler": "best"}, 400, "hr_upscaler: "),
    ({"enable_hr": True, "denoising_strength": 2}, 400, "denoising_strength: "),
    ({"enable_hr": "perhaps"}, 400, "enable_hr: "),
    ({"refiner_checkpoint": "x"}, 501, "refiner_checkpoint: "),
    ({"firstpass_image": "x"}, 501, "firstpass_image: "),
]


@pytest.mark.parametrize(
    ("bad", "status", "detail"), BAD, ids=[f"{next(iter(b))}-{i}" for i, (b, *_) in enumerate(BAD)]
)
async def test_invalid_values_are_refused_by_name(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, bad: dict[str, Any], status: int, detail: str
) -> None:
    answer = await studio.post(PATH, content=json.dumps({**FOX, **bad}))
    assert_error(answer, status, detail)
    assert answer.json()["error"] == ("HTTPException" if status < 500 else "Unsupported")
    assert illustrator.asked == []


async def test_illustrator_errors_name_a1111s_field(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    illustrator.failure = InvalidRequest("does not serve this model", "sampler")
    assert_error(await studio.post(PATH, json=FOX), 400, "sampler_name: does not serve this model")


@pytest.mark.parametrize("body", [b"", b"fox", b'{"prompt"', b"[]", b'{"prompt": "a", "prompt": "b"}'])
async def test_bodies_that_are_not_objects_are_refused(studio: httpx.AsyncClient, body: bytes) -> None:
    assert_error(await studio.post(PATH, content=body), 400, "the body")


async def test_server_errors(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    for failure, again in ((Overloaded("many"), True), (DeadlineExceeded("late"), True), (EngineFailure("bad"), False)):
        illustrator.failure = failure
        answer = await studio.post(PATH, json=FOX)
        assert_error(answer, failure.status, failure.message)
        assert answer.json()["error"] == type(failure).__name__
        assert ("retry-after" in answer.headers) is again
    illustrator.failure = RuntimeError("secret of the inside")
    answer = await studio.post(PATH, json=FOX)
    assert_error(answer, 500, "an internal error")
    assert "secret" not in answer.text


async def test_large_body_is_refused() -> None:
    settings = Settings(limits=LimitsSettings(max_body_bytes=1024))
    async with client_of(IllustratorStandIn(), settings) as client:
        assert_error(await client.post(PATH, json={"prompt": "x" * 100_000}), 413, "the body")


async def test_without_an_illustrator(door: httpx.AsyncClient, studio: httpx.AsyncClient) -> None:
    assert_error(await door.post(PATH, json=FOX), 404, "there is no illustration model here")


async def test_without_a_family(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    illustrator.known = ()
    assert_error(await studio.post(PATH, json=FOX), 404, "there is no illustration model here")


async def test_cache_and_history_are_shared_with_other_endpoints(state: State, illustrator: IllustratorStandIn) -> None:
    """Cache and history: a drawing of another endpoint is a cache hit here."""
    service = StandIn()
    direct = DirectService(state, illustrator, service, state.settings)
    app = create_app(service, state.settings, illustrator=illustrator, state=state, direct=direct)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60) as client:
        first = await client.post("/generate", json={**FOX, "steps": 4, "user_id": "anonymous"})
        again = await client.post(PATH, json={**FOX, "steps": 4})
        other = await client.post(PATH, json={**FOX, "steps": 5}, headers={"cache-control": "no-cache"})
        kept = json.loads(other.json()["info"])["generation_id"]
        results = await client.get(f"/v1/generations/{kept}")
    await direct.close()
    words = [answer.headers["x-atelier-cache"] for answer in (first, again, other)]
    assert words == ["miss", "hit", "bypass"]
    assert len(illustrator.asked) == 2
    assert results.status_code == 200, results.text
    async with state.database.read() as connection:
        rows = (await connection.execute(generations.select().order_by(generations.c.seq))).all()
    assert [(row.direct, row.cached, row.status) for row in rows] == [
        (True, False, "completed"),
        (True, True, "completed"),
        (True, False, "completed"),
    ]


async def test_two_requests_for_a_random_seed_are_two_drawings(state: State) -> None:
    illustrator = IllustratorStandIn()
    illustrator.step_s = 0.01
    service = StandIn()
    direct = DirectService(state, illustrator, service, state.settings)
    app = create_app(service, state.settings, illustrator=illustrator, state=state, direct=direct)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier", timeout=60) as client:
        answers = await asyncio.gather(*(client.post(PATH, json={"prompt": "fox", "seed": -1}) for _ in range(2)))
    await direct.close()
    seeds = [json.loads(answer.json()["info"])["seed"] for answer in answers]
    assert len(illustrator.asked) == 2
    assert seeds[0] != seeds[1]


NAMES = st.sampled_from([*DEFAULTS, "sd_model_checkpoint", "unknown"])
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["Euler", "64"])
)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))
APPLICATION = create_app(StandIn(), Settings(), illustrator=IllustratorStandIn())


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.sampled_from(["txt2img", "img2img", "options"]))
def test_random_values(values: dict[str, Any], name: str) -> None:
    """Every request gets a response without a server error, in standard JSON."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(APPLICATION, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
            return await client.post(f"/sdapi/v1/{name}", content=json.dumps({"prompt": "fox", **values}))

    answer = asyncio.run(send())
    assert answer.status_code < 500 or answer.status_code == 501, answer.text
    json.loads(answer.text, parse_constant=lambda constant: pytest.fail(constant))


async def test_non_finite_numbers_are_returned_as_null(studio: httpx.AsyncClient) -> None:
    answer = await studio.post(
        PATH, content=json.dumps({**FOX, "denoising_strength": float("nan"), "script_args": [1e999]})
    )
    assert (answer.json()["parameters"]["denoising_strength"], answer.json()["parameters"]["script_args"]) == (
        None,
        [None],
    )


async def test_openapi_document_describes_txt2img(studio: httpx.AsyncClient) -> None:
    document = (await studio.get("/openapi.json")).json()
    described = inlined(document["paths"][PATH]["post"], document["components"]["schemas"])
    content = described["requestBody"]["content"]["application/json"]
    answer = await studio.post(PATH, json=content["example"])
    assert answer.status_code == 200, answer.text
    schema = described["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer.json().keys() == set(schema["required"])
    assert described["responses"].keys() >= {"400", "404", "422", "499", "501"}
    assert described["responses"]["400"] == {"$ref": "#/components/responses/A1111Error400"}
    assert document["components"]["schemas"]["A1111Error"]["required"] == ["error", "detail", "body", "errors"]


def client_of(illustrator: IllustratorStandIn, settings: Settings | None = None) -> httpx.AsyncClient:
    app = create_app(StandIn(), settings or Settings(), illustrator=illustrator)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://atelier", timeout=60)
