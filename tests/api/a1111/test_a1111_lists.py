"""Lists and options of A1111's clients, metadata of pictures (`png-info`), and routes that are not implemented."""

from __future__ import annotations

import base64
import io
from typing import Any

import httpx
import pytest
from drawn_pictures import record
from illustrator_standin import IllustratorStandIn, family
from pictures import drawn, encode
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from standin import StandIn
from test_a1111_txt2img import assert_error, client_of

from serve.api import a1111
from serve.api.a1111.pictures import parse_infotext
from serve.api.app import create_app
from serve.errors import NotFound, Unauthorized
from serve.settings import ImageLimitsSettings, Settings, VectorizerSettings

LOGO = base64.b64encode(encode(drawn())).decode()
API = "/sdapi/v1"


@pytest.mark.parametrize(
    "name",
    ["loras", "latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks", "face-restorers",
     "realesrgan-models", "script-info", "extensions"],
)  # fmt: skip
async def test_unsupported_lists_are_empty(studio: httpx.AsyncClient, name: str) -> None:
    answer = await studio.get(f"{API}/{name}")
    assert (answer.status_code, answer.json()) == (200, [])


async def test_unsupported_routes_return_the_expected_empty_shapes(studio: httpx.AsyncClient) -> None:
    shapes = {
        f"{API}/embeddings": {"loaded": {}, "skipped": {}},
        f"{API}/scripts": {"txt2img": [], "img2img": []},
        "/internal/ping": {},
        "/controlnet/version": {"version": 0},
        "/controlnet/model_list": {"model_list": []},
        "/controlnet/module_list": {"module_list": [], "module_detail": {}},
        "/controlnet/control_types": {"control_types": {}},
    }
    for path, shape in shapes.items():
        assert (await studio.get(path)).json() == shape
    for name in ("checkpoints", "loras", "vae"):
        answer = await studio.post(f"{API}/refresh-{name}")
        assert (answer.status_code, answer.json()) == (200, None)
    assert (await studio.get(f"{API}/cmd-flags")).json()["api"] is True
    memory = (await studio.get(f"{API}/memory")).json()
    assert memory["ram"]["total"] == memory["ram"]["free"] + memory["ram"]["used"] > memory["ram"]["free"] > 0
    assert memory["cuda"] == {"error": "unavailable"}


async def test_models_are_listed(studio: httpx.AsyncClient, door: httpx.AsyncClient) -> None:
    first, second = (await studio.get(f"{API}/sd-models")).json()
    assert (first["title"], first["model_name"], second["title"]) == ("mini", "mini", "turbo")
    assert first.keys() == {"title", "model_name", "hash", "sha256", "filename", "config"}
    assert (await door.get(f"{API}/sd-models")).json() == []


async def test_samplers_and_schedulers_are_listed(door: httpx.AsyncClient) -> None:
    known = family("mini", samplers=("euler", "dpmpp_2m", "dpmpp_2m_karras")), family("flow", samplers=("flow_euler",))
    async with client_of(IllustratorStandIn(*known)) as client:
        samplers = (await client.get(f"{API}/samplers")).json()
        schedulers = (await client.get(f"{API}/schedulers")).json()
        assert [one["name"] for one in samplers] == ["Euler", "DPM++ 2M", "Flow Euler"]
        assert "k_dpmpp_2m" in samplers[1]["aliases"]
        assert [one["options"] for one in samplers] == [{}, {"scheduler": "karras"}, {}]
        assert [(one["name"], one["label"]) for one in schedulers] == [
            ("automatic", "Automatic"),
            ("uniform", "Uniform"),
            ("karras", "Karras"),
        ]
        assert all({"aliases", "default_rho", "need_inner_model"} < one.keys() for one in schedulers)
        for sampler in samplers[:2]:
            for scheduler in schedulers:
                body = {"prompt": "fox", "sampler_name": sampler["name"], "scheduler": scheduler["name"]}
                assert (await client.post(f"{API}/txt2img", json=body)).status_code == 200
    assert (await door.get(f"{API}/samplers")).json() == []


async def test_options_accept_the_whole_dictionary(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    """Open WebUI reads all options, changes the model, and posts all of them."""
    options = (await studio.get(f"{API}/options")).json()
    assert (options["sd_model_checkpoint"], options["samples_format"]) == ("mini", "png")
    options["sd_model_checkpoint"] = "turbo"
    answer = await studio.post(f"{API}/options", json={**options, "unknown": {"a": 1}, "sd_vae": "other"})
    assert (answer.status_code, answer.json()) == (200, None)
    assert (await studio.get(f"{API}/options")).json() == options
    await studio.post(f"{API}/txt2img", json={"prompt": "fox"})
    override = {"sd_model_checkpoint": "mini"}
    await studio.post(f"{API}/txt2img", json={"prompt": "fox", "override_settings": override})
    await studio.post(f"{API}/txt2img", json={"prompt": "fox"})
    assert [request.model for request in illustrator.asked] == ["turbo", "mini", "turbo"]


async def test_chosen_model_that_is_gone_falls_back_to_the_default(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    await studio.post(f"{API}/options", json={"sd_model_checkpoint": "turbo"})
    illustrator.known = illustrator.known[:1]
    async with client_of(illustrator) as client:
        assert (await client.get(f"{API}/options")).json()["sd_model_checkpoint"] == "mini"


@pytest.mark.parametrize(
    ("bad", "status", "detail"),
    [
        ({"sd_model_checkpoint": "nothing"}, 404, "model 'nothing' not found"),
        ({"sd_model_checkpoint": 7}, 400, "sd_model_checkpoint: "),
        ({"samples_format": "gif"}, 400, "samples_format: "),
        ({"live_previews_enable": "perhaps"}, 400, "live_previews_enable: "),
    ],
)
async def test_invalid_options_are_refused(
    studio: httpx.AsyncClient, bad: dict[str, Any], status: int, detail: str
) -> None:
    before = (await studio.get(f"{API}/options")).json()
    assert_error(await studio.post(f"{API}/options", json={"enable_pnginfo": False, **bad}), status, detail)
    assert (await studio.get(f"{API}/options")).json() == before


async def test_options_without_an_illustrator(door: httpx.AsyncClient) -> None:
    assert (await door.get(f"{API}/options")).json()["sd_model_checkpoint"] is None


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
async def test_png_info_returns_generation_parameters(studio: httpx.AsyncClient, kind: str) -> None:
    """Metadata round trip for every format, with and without a `data:` URL."""
    body = {"prompt": "fox, red: (big:1.2)\nand calm", "negative_prompt": "text, frame", "seed": 7}
    drawn_one = (
        await studio.post(f"{API}/txt2img", json={**body, "override_settings": {"samples_format": kind}})
    ).json()["images"][0]
    for image in (drawn_one, f"data:image/{kind};base64,{drawn_one}", base64.encodebytes(base64.b64decode(drawn_one))):
        text = image if isinstance(image, str) else image.decode()
        info = (await studio.post(f"{API}/png-info", json={"image": text})).json()
        assert info["info"].startswith("fox, red: (big:1.2)\nand calm\nNegative prompt: text, frame\nSteps: 8")
        assert info["parameters"].items() >= {
            "Prompt": body["prompt"], "Negative prompt": "text, frame", "Steps": "8", "Sampler": "Euler",
            "Schedule type": "Automatic", "CFG scale": "3", "Seed": "7", "Size-1": "64", "Size-2": "64",
            "Model": "mini",
        }.items()  # fmt: skip
    if kind == "png":
        assert record(Image.open(io.BytesIO(base64.b64decode(drawn_one)))) is not None
        assert info["items"].keys() == {"atelier", "XML:com.adobe.xmp"}


async def test_png_info_of_a_picture_without_metadata(studio: httpx.AsyncClient) -> None:
    assert (await studio.post(f"{API}/png-info", json={"image": LOGO})).json() == {
        "info": "", "items": {}, "parameters": {},
    }  # fmt: skip


async def test_png_info_caps_text_chunks(studio: httpx.AsyncClient) -> None:
    """C-102: a few compressed bytes that inflate to a megabyte each."""
    texts = PngInfo()
    for index in range(40):
        texts.add_text(f"text {index}", "x" * 1_000_000, zip=True)
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG", pnginfo=texts)
    sent = base64.b64encode(stream.getvalue()).decode()
    answer = await studio.post(f"{API}/png-info", json={"image": sent})
    assert len(sent) < 100_000
    assert len(answer.content) < 3_000_000
    assert answer.status_code in (200, 422)


PICTURES = [("png-info", "image"), ("extra-single-image", "image"), ("interrogate", "image")]


@pytest.mark.parametrize(("name", "field"), PICTURES)
async def test_png_info_refuses_invalid_pictures(studio: httpx.AsyncClient, name: str, field: str) -> None:
    for bad, status in (
        ("", 400),
        ("not base64!", 400),
        ("data:image/png,raw", 400),
        ("data:image/png;base64,@@@@", 400),
        ("http://127.0.0.1/a.png", 400),
        ("https://example.org/a.png", 400),
        (7, 400),
        (base64.b64encode(b"no picture").decode(), 415),
        (LOGO[:40], 415),
    ):
        answer = await studio.post(f"{API}/{name}", json={field: bad})
        assert_error(answer, status, f"{field}: ")


async def test_too_large_picture_is_refused(studio: httpx.AsyncClient) -> None:
    settings = Settings(vectorizer=VectorizerSettings(image=ImageLimitsSettings(max_bytes=100)))
    async with client_of(IllustratorStandIn(), settings) as client:
        assert_error(await client.post(f"{API}/png-info", json={"image": LOGO}), 413, "image: ")


async def test_unimplemented_routes_return_501(studio: httpx.AsyncClient) -> None:
    picture = {"image": LOGO}
    for path, body, detail in (
        (f"{API}/img2img", {"prompt": "fox", "init_images": [LOGO, LOGO]}, "several pictures at once are not offered"),
        (f"{API}/interrogate", {**picture, "model": "clip"}, "nothing describes pictures here yet"),
        ("/controlnet/detect", {}, "there is no ControlNet here yet"),
    ):
        assert_error(await studio.post(path, json=body), 501, detail)


@pytest.mark.parametrize(
    ("body", "status", "detail"),
    [
        ({}, 404, "Init image not found"),
        ({"init_images": []}, 404, "Init image not found"),
        ({"init_images": None}, 404, "Init image not found"),
        ({"init_images": LOGO}, 400, "init_images: "),
        ({"init_images": [7]}, 400, "init_images: "),
        ({"init_images": [LOGO] * 17}, 400, "init_images: "),
        ({"init_images": ["bm8gcGljdHVyZQ=="]}, 415, "init_images: "),
        ({"init_images": [LOGO], "mask": "bm8gcGljdHVyZQ=="}, 415, "mask: "),
    ],
)
async def test_img2img_validates_its_pictures(
    studio: httpx.AsyncClient, body: dict[str, Any], status: int, detail: str
) -> None:
    assert_error(await studio.post(f"{API}/img2img", json=body), status, detail)


async def test_interrogate_errors_have_a1111s_shape(studio: httpx.AsyncClient) -> None:
    assert_error(await studio.post(f"{API}/interrogate", json={}), 404, "Image not found")
    assert_error(await studio.post(f"{API}/interrogate", json={"image": LOGO, "model": "x"}), 404, "Model not found")


@pytest.mark.parametrize(
    "name", ["server-kill", "server-restart", "server-stop", "unload-checkpoint", "reload-checkpoint", "nothing"]
)
async def test_unsupported_routes_return_404(studio: httpx.AsyncClient, name: str) -> None:
    assert_error(await studio.post(f"{API}/{name}"), 404, "Not Found")


async def test_wrong_methods_and_paths_return_405_and_404(studio: httpx.AsyncClient) -> None:
    assert_error(await studio.get(f"{API}/txt2img"), 405, "Method Not Allowed")
    assert_error(await studio.post(f"{API}/samplers"), 405, "Method Not Allowed")
    for path in ("/internal/nothing", "/controlnet/nothing"):
        assert_error(await studio.get(path), 404, "Not Found")


async def test_missing_key_returns_a_basic_challenge() -> None:
    """A-071: a Basic challenge instead of Bearer."""
    app = create_app(StandIn(), Settings())

    @app.get(f"{API}/test-only")
    async def refused() -> None:
        raise Unauthorized("needs an API key")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://atelier") as client:
        answer = await client.get(f"{API}/test-only")
    assert_error(answer, 401, "needs an API key")
    assert answer.headers["www-authenticate"] == 'Basic realm="atelier"'
    assert "www-authenticate" not in a1111.as_error(NotFound("x")).headers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("  \n ", {}),
        ("fox", {"Prompt": "fox", "Negative prompt": ""}),
        ("fox\nNegative prompt: a\nb\nSteps: 1, Sampler: Euler, Seed: 3", {
            "Prompt": "fox", "Negative prompt": "a\nb", "Steps": "1", "Sampler": "Euler", "Seed": "3",
        }),
        ("fox\nSteps: 1, Sampler: Euler", {"Prompt": "fox\nSteps: 1, Sampler: Euler", "Negative prompt": ""}),
        ('f\nSteps: 1, Lora hashes: "a: 1, b: 2", Size: 8x9, odd, Version: v1.10', {
            "Prompt": "f", "Negative prompt": "", "Steps": "1", "Lora hashes": "a: 1, b: 2", "Size-1": "8",
            "Size-2": "9", "Version": "v1.10",
        }),
        ('f\nA: "x\\"y", B: "unclosed, C: 3', {
            "Prompt": "f", "Negative prompt": "", "A": 'x"y', "B": '"unclosed', "C": "3",
        }),
    ],
)  # fmt: skip
def test_infotext_parsing(text: str, found: dict[str, str]) -> None:
    assert parse_infotext(text) == found


@pytest.mark.parametrize(
    "text", ["a" * 99_999, 'a:"' * 33_333, ",a:" * 33_333, 'a:"\\' * 25_000, "a " * 49_999, '"' * 99_999]
)
def test_infotext_parsing_is_linear(text: str) -> None:
    """A parser of quadratic time would take minutes."""
    assert parse_infotext(f"x\n{text}")["Prompt"].startswith("x")
