"""The body of ``txt2img``: what is honoured, what has no effect here and is told so, and what is refused.

Keys that are not known are ignored, for clients send others' (API_COMPAT 2). Sizes are snapped to what the model draws.
What a client leaves out is the model's own, and not that project's: 50 steps and 512 pixels do not suit every model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from serve.api.a1111 import samplers
from serve.api.a1111.options import CHECKPOINT, FORMATS
from serve.api.a1111.prompts import MOST_STYLES, styled, without_networks
from serve.api.http.drawing import Order, chosen
from serve.api.http.values import flag, mapping, number, text, whole, whole_within
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import (
    MAX_PICTURES,
    MAX_PROMPT_CHARACTERS,
    RANGES,
    SCALES,
    FamilyInfo,
    IllustrateOptions,
)
from serve.errors import InvalidRequest, Unsupported, rename_fields
from serve.state.job_states import new_id

MAX_SIDE = 16_384
"""Of a size that is snapped; above it nobody means it."""
MAX_TASK_ID = 256
DEFAULTS: Mapping[str, Any] = {
    "prompt": "", "negative_prompt": "", "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0,
    "seed_resize_from_h": -1, "seed_resize_from_w": -1, "sampler_name": None, "scheduler": None, "sampler_index": None,
    "batch_size": 1, "n_iter": 1, "steps": None, "cfg_scale": None, "width": None, "height": None,
    "restore_faces": False, "tiling": False, "eta": None, "s_churn": None, "s_tmin": None, "s_tmax": None,
    "s_noise": None, "s_min_uncond": None, "denoising_strength": None, "override_settings": {},
    "override_settings_restore_afterwards": True, "refiner_checkpoint": None, "refiner_switch_at": None,
    "enable_hr": False, "script_name": None, "script_args": [], "send_images": True, "save_images": False,
    "do_not_save_samples": False, "do_not_save_grid": False, "alwayson_scripts": {}, "force_task_id": None,
}  # fmt: skip
"""What an answer repeats of a request, and what it is where the request says nothing."""
_NOT_YET = {
    "enable_hr": "a second pass at a higher resolution",
    "refiner_checkpoint": "a refiner",
    "firstpass_image": "a first pass that is given",
}
_IDLE = ("restore_faces", "tiling", "subseed_strength", "s_churn", "eta", "s_min_uncond")
_NAMES = {"num_inference_steps": "steps", "guidance_scale": "cfg_scale", "sampler": "sampler_name", "n": "batch_size",
          "model": CHECKPOINT}  # fmt: skip


class UnknownScript(InvalidRequest):
    status = 422
    title = "Script not found"


@dataclass(frozen=True)
class DrawingRequest:
    """``pictures`` in all; ``notes`` are for the client; ``previews``: whether it may ask to see them on the way."""

    order: Order
    family: FamilyInfo
    pictures: int
    batch_size: int
    styles: Sequence[str]
    notes: Sequence[str]
    task_id: str
    previews: bool
    send_images: bool

    def preview_every(self, most: int) -> int:
        """Steps between previews, so that there are up to ``most`` of each picture."""
        steps = self.order.options.num_inference_steps or self.family.num_inference_steps
        return max(1, -(-steps // (most + 1))) if self.previews and most else 0


def parse(
    values: Mapping[str, Any], families: Sequence[FamilyInfo], options: Mapping[str, Any], unknown: Sequence[str]
) -> DrawingRequest:
    """``options`` hold for the request, ``unknown`` are checkpoints that it names and that there are none of.

    Raises InvalidRequest naming the key at fault, NotFound for a sampler, and Unsupported for what is not there yet.
    """
    _refuse_scripts(values)
    _refuse_what_is_not_yet(values)
    family = chosen(families, options[CHECKPOINT])
    size = _size(values, family)
    sampler_name = text(values, "sampler_name") or text(values, "sampler_index")
    sampler, notes = samplers.resolved(sampler_name, text(values, "scheduler"), family)
    prompt, negative_prompt, styles, more = _prompts(values)
    batch_size, pictures = _counts(values)
    with rename_fields(_NAMES):
        asked = IllustrateOptions(
            prompt=prompt,
            negative_prompt=negative_prompt,
            model=family.name,
            width=size[0],
            height=size[1],
            num_inference_steps=whole(values, "steps", told=RANGES["num_inference_steps"]),
            guidance_scale=number(values, "cfg_scale", told=SCALES["guidance_scale"]),
            sampler=sampler.name,
            seed=whole(values, "seed", told=RANGES["seed"]),
            n=pictures,
        )
    return DrawingRequest(
        order=Order(asked, Encoding(FORMATS[options["samples_format"]], metadata=options["enable_pnginfo"]), _NAMES),
        family=family,
        pictures=pictures,
        batch_size=batch_size,
        styles=styles,
        notes=[*_about(values, size, unknown), *notes, *more],
        task_id=text(values, "force_task_id", MAX_TASK_ID) or new_id(),
        previews=options["live_previews_enable"],
        send_images=flag(values, "send_images", True),
    )


def override_of(values: Mapping[str, Any]) -> Mapping[str, Any]:
    return mapping(values, "override_settings")


def _size(values: Mapping[str, Any], family: FamilyInfo) -> tuple[int, int]:
    width = whole_within(values, "width", 1, MAX_SIDE, family.width)
    return family.nearest_size(width, whole_within(values, "height", 1, MAX_SIDE, family.height))


def _counts(values: Mapping[str, Any]) -> tuple[int, int]:
    """(pictures of a batch, pictures in all)."""
    batch_size = whole_within(values, "batch_size", 1, MAX_PICTURES, 1)
    pictures = batch_size * whole_within(values, "n_iter", 1, MAX_PICTURES, 1)
    if pictures > MAX_PICTURES:
        raise InvalidRequest(
            f"times n_iter is {pictures} pictures; at most {MAX_PICTURES} fit one request", "batch_size"
        )
    return batch_size, pictures


def _prompts(values: Mapping[str, Any]) -> tuple[str, str, list[str], list[str]]:
    """The prompt and the negative one as they are drawn, the styles in them, and what to tell."""
    prompt, networks = without_networks(text(values, "prompt", MAX_PROMPT_CHARACTERS) or "")
    negative_prompt, others = without_networks(text(values, "negative_prompt", MAX_PROMPT_CHARACTERS) or "")
    styles = values.get("styles") or []
    if not isinstance(styles, list) or len(styles) > MOST_STYLES or not all(isinstance(one, str) for one in styles):
        raise InvalidRequest(f"must be a list of up to {MOST_STYLES} names", "styles")
    prompt, negative_prompt, unknown = styled(styles, prompt, negative_prompt)
    missing = list(dict.fromkeys([*networks, *others]))
    notes = [f"Networks not found: {', '.join(missing)}"] if missing else []
    notes += [f"Style not found: {name[:128]}" for name in unknown]
    return prompt, negative_prompt, [name for name in styles if name not in unknown], notes


def _about(values: Mapping[str, Any], size: tuple[int, int], unknown: Sequence[str]) -> list[str]:
    """What a client should know of what it sent."""
    width, height = size
    asked = whole(values, "width") or width, whole(values, "height") or height
    notes = [] if asked == size else [f"{asked[0]}x{asked[1]} is no size of this model; {width}x{height} is drawn"]
    notes += [f"Checkpoint not found: {title[:128]}" for title in unknown]
    return notes + [f"{name} has no effect here" for name in _IDLE if values.get(name)]


def _refuse_what_is_not_yet(values: Mapping[str, Any]) -> None:
    asked = {
        "enable_hr": flag(values, "enable_hr"),
        "refiner_checkpoint": text(values, "refiner_checkpoint", MAX_PROMPT_CHARACTERS) not in (None, "None"),
        "firstpass_image": bool(values.get("firstpass_image")),
    }
    for name, is_asked in asked.items():
        if is_asked:
            raise Unsupported(f"{_NOT_YET[name]} is not offered yet; leave it out", name)


def _refuse_scripts(values: Mapping[str, Any]) -> None:
    script = text(values, "script_name", MAX_PROMPT_CHARACTERS)
    if script is not None and script != "None":
        raise UnknownScript(f"Script '{script[:128]}' not found")
    for name in mapping(values, "alwayson_scripts"):
        raise UnknownScript(f"always on script {name[:128]} not found")
