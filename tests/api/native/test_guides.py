"""Control pictures and references over the native routes, jobs and A1111, with the real Illustrator on engines that are
functions; what is refused."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from drawing_requests import PNG, adapted_illustrator, drawn, pixels_at, url
from keyed_door import KeyedSite
from numpy.typing import NDArray
from pictures import encode
from PIL import Image

from serve.diffusion.family import parse
from serve.ensembles.illustrator.adapters import ControlUse, ReferenceUse
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.ensembles.illustrator.pipeline.adapter_bank import AdapterBank
from serve.ensembles.requests import IllustrateRequest
from serve.settings import DatabaseSettings
from serve.state import State
from tests.ensembles.drawn_family import FAMILY
from tests.jobs_standin import Hand

DIFFUSION, ILLUSTRATIONS, GENERATE = "/api/diffusion/generate", "/api/illustrations/generate", "/generate"
ADAPTERS = {
    "layers": {},
    "residuals": ["residual_0"],
    "controls": {"canny": {"file": "control_canny.onnx"}, "tile": {"file": "control_tile.onnx"}},
    "image_prompt": {
        "engine": "toy_image_encoder",
        "side_px": 16,
        "tokens": 2,
        "width": 4,
        "blocks": ["down_blocks.2.x.attn2", "mid_block.x.attn2", "up_blocks.0.x.attn2"],
        "levels": [1, 1, 0],
    },
}
BODY: dict[str, Any] = {"prompt": "red apple", "seed": 3}


CONTROL = {"type": "canny", "image": url(), "preprocessor": "canny"}


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return sqlite_settings


@pytest.fixture
def illustrator(state: State, tmp_path: Path) -> Illustrator:
    """Its UNet adds the mean of each row's control pictures, and of its references' tokens and scales."""

    def values_of(file: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return file["picture"] / 255 if "picture" in file else file["tokens"] * file["blocks"].sum()

    def encode_image(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        assert inputs["image"].shape == (1, 16, 16, 3)
        tokens = np.full((1, 2, 4), inputs["image"].mean() / 255, np.float32)
        return {"image_tokens": tokens, "no_image_tokens": 0 * tokens}

    return adapted_illustrator(tmp_path, state, ADAPTERS, values_of, toy_image_encoder=encode_image)


async def pixels(client: httpx.AsyncClient, path: str, **body: Any) -> NDArray[np.uint8]:
    made = await drawn(client, path, json={**BODY, **body})
    return await pixels_at(client, made.get("image_url") or made["imageUrl"])


async def test_controls_act_over_json_forms_jobs_and_a1111(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    plain = await pixels(ada, DIFFUSION)
    made = await drawn(ada, DIFFUSION, json={**BODY, "controls": [CONTROL]})
    ours = await pixels_at(ada, made["image_url"])
    assert not np.array_equal(ours, plain)
    assert made["metadata"]["parameters"]["controls"][0]["type"] == "canny"
    form = {**{name: str(value) for name, value in BODY.items()}, "controls": json.dumps([CONTROL])}
    again = await drawn(ada, DIFFUSION, files={name: (None, value) for name, value in form.items()})
    assert again["metadata"]["cached"] is True
    assert np.array_equal(await pixels(ada, DIFFUSION, controls=[{**CONTROL, "scale": 0}]), plain)
    late = await pixels(ada, DIFFUSION, controls=[{**CONTROL, "start": 0.5}])
    assert not np.array_equal(late, plain)
    assert not np.array_equal(late, ours)
    stacked = [CONTROL, {"type": "tile", "image": url(), "preprocessor": "tile", "scale": 0.4}]
    assert not np.array_equal(await pixels(ada, DIFFUSION, controls=stacked), ours)
    unit = {"module": "canny", "model": "control_v11p_sd15_canny [d14c016b]", "image": base64.b64encode(PNG).decode()}
    answer = await ada.post("/sdapi/v1/txt2img", json={**BODY, "alwayson_scripts": {"controlnet": {"args": [unit]}}})
    assert answer.status_code == 200, answer.text
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0]))).convert("RGB"))
    assert np.array_equal(image, ours)
    answer = await ada.post("/v1/jobs", json={"kind": "illustrate", "input": {**BODY, "controls": [CONTROL]}})
    assert answer.status_code == 202, answer.text
    (job,) = await (await Hand.of(site.state)).claim()
    assert isinstance(job.request, IllustrateRequest)
    (use,) = job.request.options.controls
    assert use.picture.data == b""
    assert use.picture.name in job.request.inputs


async def test_controlnet_lists_and_detect(ada: httpx.AsyncClient) -> None:
    assert (await ada.get("/controlnet/version")).json()["version"] > 0
    assert (await ada.get("/controlnet/model_list")).json() == {"model_list": ["canny", "tile"]}
    modules = (await ada.get("/controlnet/module_list")).json()["module_list"]
    assert {"none", "canny", "lineart_standard", "tile_resample"} <= set(modules)
    assert (await ada.get("/controlnet/control_types")).json()["control_types"]["Canny"]["model_list"] == [
        "None", "canny",
    ]  # fmt: skip
    for module in modules:
        body = {"controlnet_module": module, "controlnet_input_images": [base64.b64encode(PNG).decode()]}
        answer = await ada.post("/controlnet/detect", json={**body, "controlnet_processor_res": 64})
        assert answer.status_code == 200, answer.text
        image = Image.open(io.BytesIO(base64.b64decode(answer.json()["images"][0])))
        assert image.size == (64, 64)
        if module == "canny":
            assert set(np.unique(np.asarray(image))) == {0, 255}
    assert (await ada.post("/controlnet/detect", json={"controlnet_module": "depth"})).status_code == 400
    assert (await ada.post("/controlnet/detect", json={})).status_code == 400


async def test_references_by_url_id_and_name_draw_the_same(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    form = {"subject_name": "Bella"}
    stored = (await ada.post("/api/references", files={"image": ("b.png", PNG, "image/png")}, data=form)).json()
    plain = await pixels(ada, DIFFUSION)
    sent = await pixels(ada, DIFFUSION, references=[{"image": url()}])
    assert not np.array_equal(sent, plain)
    for choice in ({"reference_id": stored["id"]}, {"subject": "Bella"}):
        assert np.array_equal(await pixels(ada, DIFFUSION, references=[choice]), sent)
    weaker = await pixels(ada, DIFFUSION, references=[{"image": url(), "weight": 0.5}])
    styled = await pixels(ada, DIFFUSION, references=[{"image": url(), "style_scale": 1.5}])
    assert len({one.tobytes() for one in (plain, sent, weaker, styled)}) == 4
    named = await pixels(ada, ILLUSTRATIONS, subjectReferences=["Bella"])
    assert np.array_equal(named, sent)
    both = [{"name": "Bella"}, {"name": "x", "imageUrl": url(), "weight": 0.5}]
    assert not np.array_equal(await pixels(ada, ILLUSTRATIONS, subjectReferences=both), sent)
    scaled = await pixels(ada, GENERATE, subject_reference_url=url(), style_scale=1.5, content_scale=0.6)
    assert np.array_equal(scaled, styled)
    async with site.door((await site.key("bo")).secret) as bo:
        answer = await bo.post(DIFFUSION, json={**BODY, "references": [{"reference_id": stored["id"]}]})
        assert (answer.status_code, answer.json()["field"]) == (404, "references[0].reference_id")
        answer = await bo.post(ILLUSTRATIONS, json={**BODY, "subjectReferences": ["Bella"]})
        assert (answer.status_code, answer.json()["field"]) == (404, "subjectReferences[0]")


async def test_image_encoder_is_among_the_versions_and_control_pictures_end(
    illustrator: Illustrator, tmp_path: Path
) -> None:
    def picture(name: str) -> InputPicture:
        return InputPicture(name, 64, 64, PNG)

    made = await illustrator.draw(
        IllustrateOptions(
            "red apple", seed=3, references=(ReferenceUse(picture("r")),), controls=(ControlUse("tile", picture("c")),)
        )
    )
    assert "toy_image_encoder" in made.model_versions
    assert "toy_image_encoder" not in (await illustrator.draw(IllustrateOptions("red apple", seed=3))).model_versions
    assert [sorted(np.load(path).files) for path in (tmp_path / "bank").glob("*")] == [["blocks", "tokens"]] * 2


async def test_references_are_encoded_again_by_a_new_image_encoder(tmp_path: Path) -> None:
    calls = []

    async def encode_image(pixels: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        calls.append(pixels.shape)
        return {"image_tokens": np.zeros((1, 2, 4)), "no_image_tokens": np.zeros((1, 2, 4))}

    family = parse({"family": {**FAMILY, "adapters": {"unet": ADAPTERS}}})
    bank = AdapterBank(family, tmp_path)
    use = ReferenceUse(InputPicture("r", 64, 64, PNG))
    with bank.holding():
        slots = [await bank.references([use], encode_image, version, (64, 64)) for version in ("1", "1", "2")]
    assert len(calls) == 2
    assert slots[0][0].number == slots[1][0].number != slots[2][0].number


HALF = np.zeros((64, 64), np.uint8)
HALF[:, :32] = 255
MASK = url(encode(Image.fromarray(HALF)))
LEFT = {"left": 0, "top": 0, "width": 0.5, "height": 1}


async def test_reference_acts_where_its_mask_is(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    """B-031, with a UNet whose positions are independent: where the mask is black the picture is the one without the
    reference, where it is white the one with it; grey is in between."""
    plain, whole = await pixels(ada, DIFFUSION), await pixels(ada, DIFFUSION, references=[{"image": url()}])
    made = await drawn(ada, DIFFUSION, json={**BODY, "references": [{"image": url(), "mask": MASK}]})
    left = await pixels_at(ada, made["image_url"])
    assert np.array_equal(left[:, 32:], plain[:, 32:])
    assert np.array_equal(left[:, :32], whole[:, :32])
    assert not np.array_equal(plain[:, :32], whole[:, :32])
    assert made["metadata"]["parameters"]["references"][0]["mask"]["width"] == 64
    soft = url(encode(Image.fromarray(HALF // 2)))
    grey = await pixels(ada, DIFFUSION, references=[{"image": url(), "mask": soft}])
    assert len({one[:, :32].tobytes() for one in (plain, whole, grey)}) == 3
    both = [{"image": url(), "mask": MASK}, {"image": url(), "mask": MASK, "weight": 0.5}, {"image": url()}]
    assert not np.array_equal(await pixels(ada, DIFFUSION, references=both), left)
    body = {"kind": "illustrate", "input": {**BODY, "references": [{"image": url(), "mask": MASK}]}}
    assert (await ada.post("/v1/jobs", json=body)).status_code == 202
    (job,) = await (await Hand.of(site.state)).claim()
    assert isinstance(job.request, IllustrateRequest)
    mask = job.request.options.references[0].mask
    assert mask is not None
    assert (mask.data, mask.name in job.request.inputs) == (b"", True)
    same = job.request.with_inputs({name: await site.state.objects.get(name) for name in job.request.inputs})
    redrawn = await site.illustrator.draw(same.options)
    assert np.array_equal(redrawn.pictures[0].pixels, left)


async def test_reference_belongs_to_a_region(ada: httpx.AsyncClient) -> None:
    """A-060: in the region alone, sent or of the user's store, for regions and subjects alike."""
    form = {"subject_name": "Bella"}
    assert (await ada.post("/api/references", files={"image": ("b.png", PNG, "image/png")}, data=form)).is_success
    region = {"prompt": "red apple", "box": LEFT, "weight": 1, "feather": 0}
    plain, whole = await pixels(ada, DIFFUSION), await pixels(ada, DIFFUSION, references=[{"image": url()}])
    left = await pixels(ada, DIFFUSION, regions=[{**region, "references": [{"image": url()}]}])
    assert np.array_equal(left[:, 32:], plain[:, 32:])
    assert np.array_equal(left[:, :32], whole[:, :32])
    named = {**region, "name": "Bella", "references": [{"subject": "Bella"}]}
    assert np.array_equal(await pixels(ada, ILLUSTRATIONS, subjects=[named]), left)


PIXEL = url(encode(Image.new("RGB", (1, 1))))
BLACK = url(encode(Image.new("L", (8, 8))))
BROKEN = "data:image/png;base64,bm8="


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"controls": [{"type": "depth", "image": url()}]}, 400, "controls[0].type"),
        ({"controls": [{**CONTROL, "preprocessor": "depth"}]}, 400, "controls[0].preprocessor"),
        ({"controls": [{**CONTROL, "image": PIXEL}]}, 422, "controls[0].image"),
        ({"controls": [{**CONTROL, "image": BROKEN}]}, 415, "controls[0].image"),
        ({"controls": [{"type": "canny"}]}, 400, "controls[0].image"),
        ({"controls": [{**CONTROL, "result_id": "x"}]}, 400, "controls[0].result_id"),
        ({"controls": [{**CONTROL, "scale": 3}]}, 400, "controls[0].scale"),
        ({"controls": [{**CONTROL, "start": 0.6, "end": 0.6}]}, 400, "controls[0].end"),
        ({"controls": [CONTROL] * 5}, 400, "controls"),
        ({"references": [{}]}, 400, "references[0].image"),
        ({"references": [{"image": url(), "weight": -1}]}, 400, "references[0].weight"),
        ({"references": [{"image": BROKEN}]}, 415, "references[0].image"),
        ({"references": [{"image": url()}] * 5}, 400, "references"),
        ({"references": [{"subject": "nobody"}]}, 404, "references[0].subject"),
        ({"references": [{"image": url(), "mask": BROKEN}]}, 415, "references[0].mask"),
        ({"references": [{"image": url(), "mask": BLACK}]}, 400, "references[0].mask"),
        ({"regions": [{"prompt": "x", "box": LEFT, "references": [{}]}]}, 400, "regions[0].references[0].image"),
        (
            {"regions": [{"prompt": "x", "box": LEFT, "references": [{"image": url(), "mask": MASK}]}]},
            400,
            "regions[0].references[0].mask",
        ),
        (
            {"subjects": [{"name": "x", "references": [{"subject": "nobody"}]}]},
            404,
            "subjects[0].references[0].subject",
        ),
        (
            {
                "references": [{"image": url()}] * 3,
                "regions": [{"prompt": "x", "box": LEFT, "references": [{"image": url()}] * 2}],
            },
            400,
            "regions[0].references",
        ),
        ({"loras": "none"}, 400, "loras"),
    ],
)
async def test_bad_guides_are_refused(ada: httpx.AsyncClient, fields: dict[str, Any], status: int, field: str) -> None:
    answer = await ada.post(DIFFUSION, json={**BODY, **fields})
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


@pytest.mark.parametrize(
    ("unit", "field"),
    [
        ({"model": "depth"}, "model"),
        ({"model": "canny", "module": "depth"}, "module"),
        ({"model": "canny", "weight": 9}, "weight"),
        ({"model": "canny", "image": None}, "image"),
        ({"model": "canny", "guidance_start": 0.9, "guidance_end": 0.1}, "guidance_end"),
        ({"model": "canny" + " " * 300}, "model"),
        ({"model": "canny", "module": "n" * 300}, "module"),
    ],
)
async def test_bad_units_are_refused(ada: httpx.AsyncClient, unit: dict[str, Any], field: str) -> None:
    whole = {"module": "canny", "image": base64.b64encode(PNG).decode(), **unit}
    answer = await ada.post("/sdapi/v1/txt2img", json={**BODY, "alwayson_scripts": {"ControlNet": {"args": [whole]}}})
    assert answer.status_code == 400, answer.text
    assert f"alwayson_scripts.controlnet.args[0].{field}: " in answer.text


async def test_resize_mode_of_another_kind_is_the_default(ada: httpx.AsyncClient) -> None:
    unit = {"model": "canny", "image": base64.b64encode(PNG).decode(), "resize_mode": []}
    answer = await ada.post("/sdapi/v1/txt2img", json={**BODY, "alwayson_scripts": {"controlnet": {"args": [unit]}}})
    assert answer.status_code == 200, answer.text


CONTROL_PREVIEW = "/api/illustrations/controls/preview"


async def test_control_pictures_are_shown_before_drawing(ada: httpx.AsyncClient, site: KeyedSite) -> None:
    """At the size of the drawing, for a sent picture and a stored one; what is refused names its field."""
    body = {"image": url(), "preprocessor": "canny", "width": 96, "height": 32, "fit": "pad"}
    answer = await ada.post(CONTROL_PREVIEW, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert shown.shape == (32, 96, 3)
    assert set(np.unique(shown)) == {0, 255}
    form = {"subject_name": "Bella"}
    stored = (await ada.post("/api/references", files={"image": ("b.png", PNG, "image/png")}, data=form)).json()
    same = await ada.post(CONTROL_PREVIEW, json={**body, "image": None, "reference_id": stored["id"]})
    assert same.content == answer.content
    async with site.door((await site.key("bo")).secret) as bo:
        other = await bo.post(CONTROL_PREVIEW, json={"reference_id": stored["id"]})
        assert (other.status_code, other.json()["field"]) == (404, "reference_id")
    refused: list[tuple[dict[str, Any], int, str]] = [
        ({}, 400, "image"),
        ({"image": url(), "preprocessor": "depth"}, 400, "preprocessor"),
        ({"image": url(), "width": 4096}, 400, "width"),
        ({"image": PIXEL}, 422, "image"),
        ({"image": BROKEN}, 415, "image"),
        ({"image": url(), "result_id": "x"}, 400, "result_id"),
    ]
    wrong = await ada.post(CONTROL_PREVIEW, json=body, params={"preprocessor": "invert"})
    assert (wrong.status_code, wrong.json()["field"]) == (400, "preprocessor")
    for fields, status, field in refused:
        answer = await ada.post(CONTROL_PREVIEW, json=fields)
        assert (answer.status_code, answer.json()["field"]) == (status, field), fields


async def test_input_pictures_of_a_generation_are_read_again_by_their_owner(
    ada: httpx.AsyncClient, site: KeyedSite
) -> None:
    related = [{"subject": "Ada", "relation": "left of", "object": "Bo"}]
    sent = {**BODY, "controls": [CONTROL], "subjects": [{"name": "Ada"}, {"name": "Bo"}], "relationships": related}
    job = (await ada.post("/v1/jobs", json={"kind": "illustrate", "input": sent})).json()
    assert job["parameters"]["relationships"] == related
    assert [region["name"] for region in job["parameters"]["regions"]] == ["Ada", "Bo"]
    name = job["parameters"]["controls"][0]["picture"]["name"]
    path = f"/v1/generations/{job['id']}/inputs/{name}"
    answer = await ada.get(path)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PNG, "image/png")
    assert (await ada.get(path, headers={"If-None-Match": answer.headers["etag"]})).status_code == 304
    head = await ada.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(PNG)))
    other = f"/v1/generations/{job['id']}/inputs/{'0' * 64}.png"
    assert (await ada.get(other)).status_code == 404
    assert (await ada.get(f"/v1/generations/{job['id']}/inputs/passwd")).status_code == 400
    async with site.door((await site.key("bo")).secret) as bo:
        assert (await bo.get(path)).status_code == (await bo.head(path)).status_code == 404


async def test_offer_says_what_a_family_takes(ada: httpx.AsyncClient) -> None:
    offer = (await ada.get("/api/studio")).json()
    (family,) = offer["families"]
    assert (family["controls"], family["takes_references"], family["takes_loras"]) == (["canny", "tile"], True, True)
    assert family["reference_scales"] == ["style_scale", "content_scale"]
    assert family["takes_pictures"] is True
    assert {"none", "canny", "invert"} <= set(offer["preprocessors"])
    assert "left of" in offer["relations"]
    assert (offer["limits"]["max_loras"], offer["limits"]["max_regions"]) == (4, 8)


async def test_model_illustrate_takes_controls_references_and_loras(ada: httpx.AsyncClient) -> None:
    """B-030, B-031: the fields of the native routes as JSON in tensors, with pictures in them; what is refused."""

    async def drawn_by_model(**lists: Any) -> Any:
        inputs = {"prompt": BODY["prompt"], **{name: json.dumps(value) for name, value in lists.items()}}
        tensors = [{"name": n, "shape": [1], "datatype": "BYTES", "data": [value]} for n, value in inputs.items()]
        body = {"inputs": tensors, "parameters": {"seed": 3}, "outputs": [{"name": "image"}]}
        return await ada.post("/v2/models/illustrate/infer", json=body)

    reference = {"image": url(), "mask": MASK}
    regions = [{"prompt": "green pear", "box": LEFT, "references": [{"image": url()}]}]
    for lists in ({"controls": [CONTROL]}, {"references": [reference]}, {"regions": regions}):
        answer = await drawn_by_model(**lists)
        assert answer.status_code == 200, answer.text
        (image,) = answer.json()["outputs"]
        found = np.array(image["data"], np.uint8).reshape(image["shape"])[0]
        assert np.array_equal(found, await pixels(ada, DIFFUSION, **lists))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"references": [{"reference_id": "x"}]}, "references[0].reference_id: "),
        ({"references": [{"subject": "Bella"}]}, "references[0].subject: "),
        ({"references": [{"image": "https://a.example/x.png"}]}, "references[0].image: "),
        ({"controls": [{**CONTROL, "type": "depth"}]}, "controls[0].type: "),
        ({"loras": [{"name": "none"}]}, "loras: "),
    ]
    for lists, start in refused:
        answer = await drawn_by_model(**lists)
        assert (answer.status_code, answer.json()["error"][: len(start)]) == (400, start), answer.text
