"""A request without a model is drawn by the first family that offers what it asks for, at every door."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from typing import Any

import pytest
from illustrator_standin import family
from PIL import Image

from serve.api.a1111.drawing_models import Txt2ImgRequest
from serve.api.http.drawing import family_for
from serve.api.openai.image_models import ImagesBody
from serve.ensembles.illustrator.adapters import ControlUse, LoraUse, ReferenceUse
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.regions import Region
from serve.ensembles.illustrator.service import family_of

ICONS = replace(family("icons", 128, alpha=True), min_px=128, max_px=128, takes_pictures=False)
GUIDED = family("guided", takes_loras=True, takes_references=True, controls=("canny",))
INKED = family("inked", takes_loras=True, samplers=("lcm",))
FAMILIES = (ICONS, GUIDED, INKED)
OPTIONS = {"samples_format": "png", "live_previews_enable": True, "enable_pnginfo": False}


def picture() -> InputPicture:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "PNG")
    return InputPicture(hashlib.sha256(file.getvalue()).hexdigest(), 64, 64, file.getvalue())


def region(**what: Any) -> Region:
    return Region(box=(0.0, 0.0, 0.5, 0.5), prompt="a pear", **what)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, "icons"),
        ({"width": 128, "height": 128}, "icons"),
        ({"width": 64, "height": 64}, "guided"),
        ({"width": 4096}, "icons"),  # which no family draws: the default says so
        ({"loras": (LoraUse("ink"),)}, "guided"),
        ({"loras": (LoraUse("ink", families=("inked",)),)}, "inked"),
        ({"loras": (LoraUse("ink", families=("inked",)), LoraUse("old", families=("guided", "inked")))}, "inked"),
        ({"regions": (region(loras=(LoraUse("ink", families=("inked",)),)),)}, "inked"),
        ({"sampler": "lcm"}, "inked"),
        ({"sampler": "nobody's"}, "icons"),
        ({"regions": (region(loras=(LoraUse("ink"),)),)}, "guided"),
        ({"controls": (ControlUse("canny", picture()),)}, "guided"),
        ({"controls": (ControlUse("depth", picture()),)}, "icons"),
        ({"references": (ReferenceUse(picture()),)}, "guided"),
        ({"source": PictureSource(picture())}, "guided"),
        ({"model": "icons", "loras": (LoraUse("ink"),)}, "icons"),
        ({"model": "none"}, None),
    ],
)
def test_first_family_that_offers_what_is_asked_for_draws(asked: dict[str, Any], chosen: str | None) -> None:
    found = family_of(IllustrateOptions("an apple", **asked), FAMILIES)
    assert (found and found.name) == chosen


def test_without_families_there_is_none() -> None:
    assert family_of(IllustrateOptions("an apple"), ()) is None


@pytest.mark.parametrize(
    ("body", "known", "chosen"),
    [
        ({}, (), "icons"),
        ({"prompt": "apple <lora:ink:0.5>"}, ("ink",), "guided"),
        ({"prompt": "apple <lora:none:0.5>"}, (), "icons"),
        ({"alwayson_scripts": {"ControlNet": {"args": []}}}, (), "guided"),
    ],
)
def test_a1111_chooses_where_no_checkpoint_is_chosen(body: dict[str, Any], known: tuple[str, ...], chosen: str) -> None:
    request = Txt2ImgRequest.model_validate({"prompt": "apple", **body})
    assert request.parsed(body, FAMILIES, OPTIONS, (), None, known).family.name == chosen


@pytest.mark.parametrize(("prompt", "chosen"), [("apple", "icons"), ("apple <lora:ink:0.5>", "guided")])
def test_openai_chooses_where_the_model_is_none_of_the_sites(prompt: str, chosen: str) -> None:
    request = ImagesBody.model_validate({"prompt": prompt, "model": "gpt-image-1"})
    assert request.parsed(FAMILIES, metadata=False).order.options.model == chosen


def test_a_named_family_is_taken_as_it_is() -> None:
    assert family_for(FAMILIES, "icons", lambda one: one.takes_loras) is ICONS
    assert family_for(FAMILIES, None, lambda one: one.max_px > 10**6) is ICONS
