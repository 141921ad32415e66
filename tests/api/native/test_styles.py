"""Styles: the list, named bundles and mixtures in drawing requests, preferences, and the files that a site edits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from illustrator_standin import IllustratorStandIn
from standin import StandIn

from serve.api.app import create_app
from serve.api.native.styles import BUILT_IN, StyleBook
from serve.diffusion.styles import Style, mix, read_styles
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.requests import IllustrateRequest, from_json
from serve.errors import InvalidRequest
from serve.settings import PicturesSettings, Settings

DIFFUSION = "/api/diffusion/generate"
OWN = """
[[style]]
name = "house"
prompt = "house style"
negative_prompt = "text"
num_inference_steps = 3
guidance_scale = 5.5
sampler = "ddim"

[[style]]
name = "storybook"
prompt = "our own storybook"
"""


async def options_of(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, body: dict[str, Any], path: str = DIFFUSION
) -> IllustrateOptions:
    answer = await studio.post(path, json={"prompt": "a fox", **body})
    assert answer.status_code == 200, answer.text
    return illustrator.asked[-1]


async def test_styles_are_listed_by_what_they_are_for(studio: httpx.AsyncClient) -> None:
    lists = (await studio.get("/api/styles")).json()
    assert {name: {style["kind"] for style in found} for name, found in lists.items()} == {
        "artistic_styles": {"style"}, "color_palettes": {"palette"}, "moods": {"mood"},
    }  # fmt: skip
    assert all(palette["colors"] for palette in lists["color_palettes"])


async def test_style_adds_its_words(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    options = await options_of(studio, illustrator, {"styles": ["blueprint"], "negative_prompt": "rain"})
    assert options.prompt == "a fox, blueprint style, thin white lines on blue"
    assert options.negative_prompt == "rain, photo, shading"


@pytest.mark.parametrize(
    "styles",
    [
        [{"name": "blueprint", "weight": 0.6}, {"name": "ink", "weight": 1}],
        ["blueprint:0.6", "ink"],
        "blueprint:0.6, ink",
    ],
)
async def test_styles_are_mixed_with_weights(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn, styles: Any
) -> None:
    options = await options_of(studio, illustrator, {"styles": styles})
    assert options.prompt == "a fox, (blueprint style, thin white lines on blue:0.6), black and white colours"
    assert options.negative_prompt == "(photo, shading:0.6)"


async def test_preference_that_names_a_style_becomes_its_words(
    studio: httpx.AsyncClient, illustrator: IllustratorStandIn
) -> None:
    path, user = "/api/illustrations/generate", {"userId": "ada"}
    preferences = {"artisticStyle": "blueprint", "colorPalette": "warm", "mood": "serene"}
    options = await options_of(studio, illustrator, {**user, "stylePreferences": preferences}, path)
    words = "a fox, blueprint style, thin white lines on blue, warm colours, serene mood, quiet and still"
    assert options.prompt == words
    assert options.negative_prompt == "photo, shading, busy"
    plain = await options_of(studio, illustrator, {**user, "stylePreferences": {"artisticStyle": "flat"}}, path)
    assert (plain.prompt, plain.negative_prompt) == ("a fox, flat style", "")


@pytest.mark.parametrize(
    "styles",
    ["none", ["none"], [{"name": "blueprint", "weight": 0}], [{"name": "blueprint", "weight": 3}], [7],
     ["blueprint"] * 5, "blueprint:x", [{"weight": 1}], {"blueprint": 1}, ["../x"], [{"name": "blueprint", "x": 1}]],
    ids=repr,
)  # fmt: skip
async def test_bad_styles_are_refused_by_name(studio: httpx.AsyncClient, styles: Any) -> None:
    answer = await studio.post(DIFFUSION, json={"prompt": "a fox", "styles": styles})
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"].startswith("styles")


async def test_site_adds_and_replaces_styles_in_files(tmp_path: Path, illustrator: IllustratorStandIn) -> None:
    """Defaults of a style count where the request says nothing; a changed file is read again."""
    file = tmp_path / "own.toml"
    file.write_text(OWN)
    settings = Settings(pictures=PicturesSettings(styles=tmp_path))
    app = create_app(StandIn(), settings, illustrator=illustrator)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://atelier") as client:
        options = await options_of(client, illustrator, {"styles": ["house"], "guidance_scale": 2})
        assert (options.num_inference_steps, options.guidance_scale, options.sampler) == (3, 2.0, "ddim")
        assert (await options_of(client, illustrator, {"styles": ["storybook"]})).prompt == "a fox, our own storybook"
        file.write_text(OWN.replace("house style", "new style"))
        os.utime(file, ns=(1, 1))
        app.state.styles._checked_at = -100.0
        assert (await options_of(client, illustrator, {"styles": ["house"]})).prompt == "a fox, new style"
        file.write_text("[[style]")
        app.state.styles._checked_at = -100.0
        assert (await options_of(client, illustrator, {"styles": ["house"]})).prompt == "a fox, new style"


@pytest.mark.parametrize(
    "text",
    ["[[style]", "x = 1", '[[style]]\nname = "../x"\nprompt = "a"', '[[style]]\nname = "a"',
     '[[style]]\nname = "a"\nprompt = "a"\nsampler = "magic"', '[[style]]\nname = "a"\nprompt = "a"\ncolors = ["red"]',
     '[[style]]\nname = "a"\nprompt = "a"\nguidance_scale = nan', "style = 3", "\0"],
    ids=repr,
)  # fmt: skip
def test_site_does_not_start_with_a_bad_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(InvalidRequest, match=r"own\.toml: ") as raised:
        StyleBook(tmp_path)
    assert raised.value.field == "pictures.styles"
    assert str(tmp_path) not in str(raised.value)


async def test_palette_is_enforced_in_svg_alone(studio: httpx.AsyncClient, illustrator: IllustratorStandIn) -> None:
    answer = await studio.post(DIFFUSION, json={"prompt": "a fox", "styles": ["ink"], "output_format": "svg"})
    assert answer.status_code == 200, answer.text
    plain = (await studio.post(DIFFUSION, json={"prompt": "a fox", "styles": ["ink"]})).json()
    assert "palette" not in plain["metadata"]["parameters"]
    encoding = Encoding("svg", palette=("#000000", "#ffffff"))
    request = IllustrateRequest(IllustrateOptions("a fox"), encoding)
    assert request.to_json()["encoding"]["palette"] == ["#000000", "#ffffff"]
    again = from_json(request.to_json())
    assert isinstance(again, IllustrateRequest)
    assert again.encoding == encoding
    with pytest.raises(InvalidRequest):
        Encoding("svg", palette=("red",))


def test_heaviest_style_decides_a_default() -> None:
    light = Style(name="a", prompt="a", sampler="ddim", num_inference_steps=9)
    heavy = Style(name="b", prompt="b", sampler="euler")
    mixed = mix("x", "", [(light, 0.5), (heavy, 1.5)])
    assert mixed.prompt == "x, (a:0.5), (b:1.5)"
    assert mixed.defaults == {"sampler": "euler", "num_inference_steps": 9}
    assert len(read_styles(BUILT_IN.read_text())) > 8
