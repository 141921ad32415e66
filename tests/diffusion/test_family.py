"""The family of a manifest: what is read from it, and what stops a start."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from diffusers_reference import SD15
from pydantic import ValidationError

from serve.diffusion.family import load, parse
from serve.errors import InvalidRequest

TEXT = {"max_tokens": 77, "bos": 49406, "eos": 49407}
MINI: dict[str, Any] = {
    "name": "mini",
    "class": "stable-diffusion",
    "source": "var/mini",
    "revision": None,
    "prediction_type": "flow",
    "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    "latents": {"channels": 4, "downsample": 8},
    "text": [{"engine": "mini_text_encoder", **TEXT, "pad": 49407, "width": 768, "pooled_width": None}],
    "defaults": {"size": [512, 512], "num_inference_steps": 30, "guidance_scale": 7.5, "sampler": "flow_euler"},
    "sizes": {"multiple_of": 8, "min_px": 64, "max_px": 1024},
    "few_step": False,
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """A manifest whose family has ``value`` at the dotted ``path``, or nothing there if it is None."""
    family = copy.deepcopy(MINI)
    *parents, last = path.split(".")
    holder: Any = family
    for name in parents:
        holder = holder[int(name)] if name.isdigit() else holder[name]
    if value is None:
        del holder[last]
    else:
        holder[last] = value
    return {"family": family}


def test_a_family_is_read_from_the_manifest_of_its_unet(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"name": "mini_unet", "family": MINI}))
    family = load(manifest)
    assert family.prediction_type == "flow"
    assert family.scheduler.shift == 3.0
    assert family.engines == ("mini_text_encoder", "mini_unet", "mini_vae_decoder", "mini_vae_encoder")
    assert family.latents_shape(512, 256) == (4, 32, 64)
    assert family.defaults.size == (512, 512)
    with pytest.raises(ValidationError, match="frozen"):
        family.name = "other"


def test_a_family_of_two_encoders() -> None:
    """A-006: SDXL."""
    first = {"engine": "xl_text_encoder", **TEXT, "pad": 49407, "width": 768}
    second = {"engine": "xl_text_encoder_2", **TEXT, "pad": 0, "width": 1280, "pooled_width": 1280}
    defaults = {**MINI["defaults"], "sampler": "euler"}
    scheduler = {**SD15, "timestep_spacing": "leading", "steps_offset": 0}
    kind = {"name": "xl", "class": "stable-diffusion-xl", "prediction_type": "epsilon"}
    family = parse({"family": {**MINI, **kind, "text": [first, second], "defaults": defaults, "scheduler": scheduler}})
    assert family.text[1].pooled_width == 1280
    assert family.scheduler.steps_offset == 0
    with pytest.raises(InvalidRequest, match="pooled_width"):
        parse({"family": {**MINI, **kind, "text": [first], "defaults": defaults, "scheduler": scheduler}})


def test_timesteps_of_stable_diffusion_are_offset_as_its_pipeline_offsets_them() -> None:
    scheduler = {**SD15, "steps_offset": 0}
    defaults = {**MINI["defaults"], "sampler": "DPM++ 2M"}
    kind = {"prediction_type": "epsilon", "scheduler": scheduler, "defaults": defaults}
    assert parse({"family": {**MINI, **kind}}).scheduler.steps_offset == 1


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("scheduler", None, "family.scheduler"),
        ("latents.channels", None, "family.latents.channels"),
        ("text.0.bos", None, "family.text.0.bos"),
        ("text.0.max_tokens", 2, "family.text.0.max_tokens"),
        ("text", [], "family.text"),
        ("class", "stable-cascade", "family.class"),
        ("name", "../mini", "family.name"),
        ("colour", "red", "family.colour"),
        ("defaults.sampler", "ddim", "family.defaults.sampler"),
        ("defaults.sampler", "best", "family.defaults.sampler"),
        ("defaults.guidance_scale", float("nan"), "family.defaults.guidance_scale"),
        ("prediction_type", "sample", "family.scheduler.prediction_type"),
        ("scheduler.thresholding", True, "family.scheduler"),
    ],
)
def test_a_wrong_or_missing_field_is_named(path: str, value: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(changed(path, value))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("prediction_type", None, "prediction_type is missing"),
        ("defaults.size", [500, 512], "defaults.size"),
        ("defaults.size", [2048, 512], "defaults.size"),
        ("sizes.multiple_of", 4, "multiple_of"),
        ("sizes.min_px", 2000, "min_px"),
        ("defaults.num_inference_steps", 1001, "num_inference_steps"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(path: str, value: Any, reason: str) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        parse(changed(path, value))


def test_a_manifest_without_a_family_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="build the family again"):
        parse({"name": "quality"})
