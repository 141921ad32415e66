"""`/api/style-transfer` and its jobs, with the real Illustrator on engines that are functions (C-011, C-012); what is
refused."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from keyed_door import KeyedSite, keyed_site
from pictures import REFUSED, encode
from PIL import Image
from standin import StandIn
from stateful_door import is_problem
from test_pictures_in import PIXELS, PNG, drawn, pixels_at, url

from serve.ensembles.illustrator.illustrator import Illustrator
from serve.jobs.worker.execution import JobExecutor
from serve.settings import DatabaseSettings, IllustratorSettings
from serve.state import State
from tests.ensembles.drawn_family import write_family
from tests.ensembles.style_engines import with_style_engines, write_style_engines
from tests.jobs_standin import Hand

TRANSFER, STYLES, SVG, JOBS = (
    "/api/style-transfer/transfer", "/api/style-transfer/styles", "/api/style-transfer/svg", "/v1/jobs"
)  # fmt: skip
DARK = encode(Image.fromarray(np.random.default_rng(0).integers(5, 60, (40, 40, 3)).astype(np.uint8)))


@pytest.fixture
def database_settings(sqlite_settings: DatabaseSettings) -> DatabaseSettings:
    return sqlite_settings


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_style_engines(write_family(tmp_path_factory.mktemp("repository")))


@pytest.fixture
def illustrator(repository: Path) -> Illustrator:
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=with_style_engines())  # type: ignore[arg-type]


@pytest.fixture
async def site(state: State, illustrator: Illustrator) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state, illustrator) as made:
        yield made


async def test_a_picture_is_painted_from_json_a_form_a_result_and_a_job(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient, site: KeyedSite, illustrator: Illustrator
) -> None:
    body = {"image": url(), "style_image": url(DARK), "seed": 3}
    first = await drawn(ada, TRANSFER, json=body)
    assert (await pixels_at(ada, first["image_url"])).mean() < 80 < PIXELS.mean()
    stated = first["metadata"]["parameters"]["restyle"]
    assert (stated["strength"], stated["styles"][0]["weight"]) == (1.0, 1.0)
    assert first["metadata"]["model_versions"] == {"style_painter": "2", "style_encoder": "2"}
    files = {"image": ("a.png", PNG), "style_image": ("s.png", DARK)}
    again = await drawn(ada, TRANSFER, data={"seed": "3"}, files=files)
    assert again["metadata"]["cached"] is True
    masks = [np.zeros(PIXELS.shape[:2], np.uint8) for _ in range(2)]
    masks[0][:, :20], masks[1][:, -20:] = 255, 255
    regions = [{"image": url(DARK), "mask": url(encode(Image.fromarray(mask)))} for mask in masks]
    made = await pixels_at(ada, (await drawn(ada, TRANSFER, json={"image": url(), "styles": regions}))["image_url"])
    assert np.array_equal(made[:, 20:-20], PIXELS[:, 20:-20])
    assert max(made[:, :20].mean(), made[:, -20:].mean()) < 80
    result_id = httpx.URL(first["image_url"]).path.split("/")[3]
    mixed = {"image": url(), "styles": [{"result_id": result_id, "weight": 2}, "swirls"], "preserve_colors": True}
    assert (await drawn(ada, TRANSFER, json=mixed))["success"] is True
    refused = await bob.post(TRANSFER, json=mixed)
    assert (refused.status_code, refused.json()["field"]) == (404, "styles[0].result_id")
    answer = await ada.post(JOBS, json={"kind": "restyle", "input": {**mixed, "upscale": 2, "upscaler": "nearest"}})
    assert answer.status_code == 202, answer.text
    listed = (await ada.get(JOBS, params={"kind": "restyle"})).json()["jobs"]
    assert [(one["id"], one["kind"]) for one in listed] == [(answer.json()["id"], "restyle")]
    assert (await ada.get(JOBS, params={"kind": "illustrate"})).json()["jobs"] == []
    assert is_problem(await ada.get(JOBS, params={"kind": "retouch"}), 400, "kind")
    hand = await Hand.of(site.state)
    (job,) = await hand.claim()
    outcome = (await JobExecutor(site.state, StandIn(), illustrator).run(job, hand.leases)).outcome
    assert (outcome.files[0].width, outcome.files[0].height) == (2 * PIXELS.shape[1], 2 * PIXELS.shape[0])


async def test_styles_have_pictures_palettes_and_other_names(ada: httpx.AsyncClient) -> None:
    answer = await ada.get(STYLES)
    styles = answer.json()["styles"]
    assert len(styles) >= 12
    assert all(len(style["colors"]) >= 2 for style in styles)
    for style in styles:
        picture = await ada.get(style["image_url"])
        assert picture.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(picture.content)).size == (288, 288)
    by_alias = await drawn(ada, TRANSFER, json={"image": url(), "style": "Van Gogh"})
    by_name = await drawn(ada, TRANSFER, json={"image": url(), "style": "swirls"})
    assert by_name["metadata"]["cached"] is True
    assert by_alias["metadata"]["parameters"]["restyle"]["styles"][0]["name"] == "swirls"
    assert (await ada.get(f"{STYLES}/none/image")).status_code == 404


async def test_an_svg_takes_a_palette_and_stays_an_svg(ada: httpx.AsyncClient) -> None:
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9" onload="x()"><script>1</script><defs>'
        '<linearGradient id="g"><stop stop-color="navy"/><stop offset="1" stop-color="#fff"/></linearGradient></defs>'
        '<rect width="9" height="9" fill="url(#g)"/><path d="M0 0H3V3Z" style="fill:rgb(255,0,0);stroke:none"/>'
        '<circle r="2"/></svg>'
    )
    answer = await drawn(ada, SVG, json={"svg": svg, "style": "woodcut"})
    palette = next(s["colors"] for s in (await ada.get(STYLES)).json()["styles"] if s["name"] == "woodcut")
    assert set(answer["colors"]) == {"#000080", "#ffffff", "#ff0000", "#000000"}
    assert set(answer["colors"].values()) <= set(palette)
    assert (answer["colors"]["#000000"], answer["colors"]["#ffffff"]) == (palette[0], palette[-1])
    (gradient,) = re.findall(r'<linearGradient id="(\w+-0)"', answer["svg"])
    assert f'fill="url(#{gradient})"' in answer["svg"]
    assert "script" not in answer["svg"]
    assert "onload" not in answer["svg"]
    other = await drawn(ada, SVG, json={"svg": answer["svg"], "style": "pixel"})
    assert gradient not in other["svg"], "both can be in one document"
    used = '<svg xmlns="http://www.w3.org/2000/svg"><path id="a" d="M0 0H1V1Z"/><g id="sun"><use href="#a"/></g></svg>'
    (name,) = re.findall(
        r'<path id="(\w+-0)"', made := (await drawn(ada, SVG, json={"svg": used, "style": "pixel"}))["svg"]
    )
    assert f'<use href="#{name}"' in made
    assert 'id="sun"' in made
    same = await drawn(ada, SVG, json={"svg": svg, "style": "woodcut", "strength": 0})
    assert all(before == after for before, after in same["colors"].items())


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"style": "nobody"}, 400, "style"),
    ({"style": None}, 400, "style"),
    ({"style_image": url()}, 400, "style_image"),
    ({"style": None, "style_image": url(encode(Image.new("RGB", (1, 1))))}, 422, "style_image"),
    ({"style": None, "style_image": url(encode(Image.new("RGB", (300, 8))))}, 400, "style_image"),
    ({"style": None, "style_image": url(REFUSED["not_an_image"])}, 415, "style_image"),
    ({"style": None, "style_image": url(REFUSED["bomb"])}, 413, "style_image"),
    ({"style": None, "style_image": "https://169.254.169.254/x"}, 400, "style_image"),
    ({"style": None, "styles": []}, 400, "styles"),
    ({"style": None, "styles": ["swirls"] * 5}, 400, "styles"),
    ({"style": None, "styles": [{"name": "nobody"}]}, 400, "styles[0].name"),
    ({"style": None, "styles": [{"weight": 1}]}, 400, "styles[0]"),
    ({"style": None, "styles": [{"name": "swirls", "image": url()}]}, 400, "styles[0].image"),
    ({"style": None, "styles": [{"name": "swirls", "weight": 11}]}, 400, "styles[0].weight"),
    ({"style": None, "styles": [{"name": "swirls", "weight": 0}]}, 400, "styles"),
    (
        {"style": None, "styles": [{"name": "swirls", "mask": url(encode(Image.new("L", (5, 5), 255)))}]},
        400,
        "styles[0].mask",
    ),
    ({"strength": 1.01}, 400, "strength"),
    ({"strength": "nan"}, 400, "strength"),
    ({"seed": -1}, 400, "seed"),
    ({"image": None}, 400, "image"),
    ({"image": url(REFUSED["truncated"])}, 422, "image"),
    ({"mask": url(encode(Image.new("L", (5, 5), 255)))}, 400, "mask"),
    ({"mask": url(encode(Image.new("L", (PIXELS.shape[1], PIXELS.shape[0]), 0)))}, 400, "mask"),
    ({"colour": "kept"}, 400, "colour"),
    ({"remove_background": True, "output_format": "jpeg"}, 400, "output_format"),
]


@pytest.mark.parametrize(("values", "status", "field"), BAD, ids=range(len(BAD)))
async def test_bad_values_are_refused_by_name(
    ada: httpx.AsyncClient, values: dict[str, Any], status: int, field: str
) -> None:
    body = {"image": url(), "style": "swirls", **values}
    answer = await ada.post(TRANSFER, json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_bad_svgs_are_refused_by_name(ada: httpx.AsyncClient) -> None:
    plain = '<svg xmlns="http://www.w3.org/2000/svg"/>'
    for values, status, field in (
        ({"svg": "<svg"}, 415, "svg"),
        ({"svg": plain.replace("/>", "><g>")}, 422, "svg"),
        ({"svg": "text"}, 415, "svg"),
        ({"svg": f'<!DOCTYPE svg [<!ENTITY a "b">]>{plain}'}, 422, "svg"),
        ({"svg": "x" * 5_000_001}, 400, "svg"),
        ({"style": "nobody"}, 400, "style"),
        ({"strength": 2}, 400, "strength"),
    ):
        answer = await ada.post(SVG, json={"svg": plain, "style": "pixel", **values})
        assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_a_form_has_styles_as_json_and_bad_base64_is_named(ada: httpx.AsyncClient) -> None:
    files = {"image": ("a.png", PNG)}
    data = {"styles": '[{"name": "mosaic", "weight": 2}, {"name": "dabs"}]', "strength": "0.5"}
    answer = await drawn(ada, TRANSFER, data=data, files=files)
    names = [style["name"] for style in answer["metadata"]["parameters"]["restyle"]["styles"]]
    assert names == ["mosaic", "dabs"]
    noise = np.random.default_rng(7).integers(0, 256, (220, 220, 3)).astype(np.uint8)
    large = url(encode(Image.fromarray(noise)))
    assert len(large) > 130_000
    as_text = await drawn(ada, TRANSFER, data={"image": large, "style": "dabs"}, files={"seed": (None, "1")})
    assert as_text["metadata"]["parameters"]["width"] == 220
    refused = await ada.post(TRANSFER, data={"image": large, "style": "x" * 32_001}, files={"seed": (None, "1")})
    assert is_problem(refused, 400, "style")
    broken = "data:image/png;base64," + base64.b64encode(PNG).decode()[:-3] + "!"
    refused = await ada.post(TRANSFER, json={"image": url(), "style_image": broken})
    assert (refused.status_code // 100, refused.json()["field"]) == (4, "style_image")


async def test_the_orchestrator_transfers_a_style_that_the_prompt_names(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "a fox, woodcut", "seed": 3, "steps": 2}
    chosen = (await ada.post("/api/orchestrator/select", json={"prompt": body["prompt"]})).json()["models"]
    transfer = next(one for one in chosen if one["kind"] == "style-transfer")
    assert transfer["available"] is True
    found = (await ada.post("/api/orchestrator/generate", json={**body, "models": ["style-transfer"]})).json()
    (made,) = found["results"]
    assert (made["model"], made["error"]) == ("style-transfer", None)
    assert made["metadata"]["parameters"]["restyle"]["styles"][0]["name"] == "woodcut"
    refused = await ada.post("/api/orchestrator/generate", json={"prompt": "a fox", "models": ["style-transfer"]})
    assert (refused.status_code, refused.json()["field"]) == (404, "models")
