"""The body of ``txt2img``: what has an effect, what has none (the answer's comments say so), and what is refused.

Keys that are not known are ignored, for clients send others' (API_COMPAT 2). Sizes are snapped to what the model draws.
What a client leaves out is the model's own, and not that project's: 50 steps and 512 pixels do not suit every model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field

from serve.api.a1111 import samplers
from serve.api.a1111.controlnet import SCRIPT
from serve.api.a1111.extras import upscaler_named
from serve.api.a1111.models import (
    FORMATS,
    MAX_TASK_ID,
    DrawnPicture,
    LenientModel,
    OptionsRequest,
    OrEmpty,
    OrNone,
)
from serve.api.a1111.options import CHECKPOINT, NO_OVERRIDE
from serve.api.a1111.prompts import MOST_STYLES, styled, without_networks
from serve.api.http.drawing import Count, Guidance, Order, Steps, family_for
from serve.api.http.models import Flag, Number, RequestModel, Text, Whole, validate
from serve.diffusion.noise import MAX_SEED
from serve.ensembles.illustrator.adapters import LoraUse
from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.finishing.finish import MAX_HIRES, Finish, Hires
from serve.ensembles.illustrator.illustration import MAX_PICTURES, MAX_PROMPT_CHARACTERS, IllustrateOptions
from serve.ensembles.illustrator.picture_source import PictureSource
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest, Unsupported, rename_fields
from serve.state.job_states import new_id

MAX_INIT_IMAGES = 16
MAX_SIDE = 16_384
"""Largest side in pixels that is rounded to a size of the model; above it the request is refused."""
DEFAULTS: Mapping[str, Any] = {
    "prompt": "", "negative_prompt": "", "styles": [], "seed": -1, "subseed": -1, "subseed_strength": 0,
    "seed_resize_from_h": -1, "seed_resize_from_w": -1, "sampler_name": None, "scheduler": None, "sampler_index": None,
    "batch_size": 1, "n_iter": 1, "steps": None, "cfg_scale": None, "width": None, "height": None,
    "restore_faces": False, "tiling": False, "eta": None, "s_churn": None, "s_tmin": None, "s_tmax": None,
    "s_noise": None, "s_min_uncond": None, "denoising_strength": None, "override_settings": {},
    "override_settings_restore_afterwards": True, "refiner_checkpoint": None, "refiner_switch_at": None,
    "enable_hr": False, "hr_scale": 2.0, "hr_upscaler": None, "hr_second_pass_steps": 0, "hr_resize_x": 0,
    "hr_resize_y": 0, "script_name": None, "script_args": [], "send_images": True, "save_images": False,
    "do_not_save_samples": False, "do_not_save_grid": False, "alwayson_scripts": {}, "force_task_id": None,
}  # fmt: skip
"""What an answer repeats of a request, and what it is where the request says nothing."""
DENOISING_STRENGTH = 0.75
IMG2IMG_DEFAULTS: Mapping[str, Any] = {
    "init_images": None, "mask": None, "denoising_strength": DENOISING_STRENGTH, "resize_mode": 0, "mask_blur": 4,
    "inpainting_fill": 0, "inpaint_full_res": True, "inpaint_full_res_padding": 0, "inpainting_mask_invert": 0,
    "include_init_images": False,
}  # fmt: skip
"""The same of img2img, besides."""
_IDLE = ("restore_faces", "tiling", "subseed_strength", "s_churn", "eta", "s_min_uncond")
_NAMES = {"num_inference_steps": "steps", "guidance_scale": "cfg_scale", "sampler": "sampler_name", "n": "batch_size",
          "model": CHECKPOINT, "hires": "enable_hr", "upscale": "hr_scale", "upscaler": "hr_upscaler"}  # fmt: skip


class UnknownScript(InvalidRequest):
    status = 422
    title = "Script not found"


Size = Annotated[Whole, Field(ge=1, le=MAX_SIDE, description="the nearest that the model draws is drawn")]
_Unavailable = Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS, description="not offered yet: 501")]


class _SecondPassFields(RequestModel):
    denoising_strength: Annotated[Number, Field(ge=0, le=1)] = DENOISING_STRENGTH


class Txt2ImgRequest(LenientModel):
    model_config = ConfigDict(
        json_schema_extra={
            "required": ["prompt"],
            "examples": [{"prompt": "red apple, flat", "seed": 7, "steps": 8, "sampler_name": "Euler"}],
        }
    )

    prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    negative_prompt: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS)] = ""
    styles: Annotated[
        list[str],
        FailFast(),
        Field(max_length=MOST_STYLES, description="names of GET prompt-styles"),
        OrEmpty,
    ] = Field(default_factory=list)
    seed: Annotated[Whole, Field(ge=-1, le=MAX_SEED, description="-1: any")] | None = None
    sampler_name: Annotated[Text | None, Field(description="one of GET samplers")] = None
    sampler_index: Annotated[Text | None, Field(description="an older name of sampler_name")] = None
    scheduler: Annotated[Text | None, Field(description="one of GET schedulers")] = None
    batch_size: Count = 1
    n_iter: Count = 1
    steps: Steps | None = None
    cfg_scale: Guidance | None = None
    width: Size | None = None
    height: Size | None = None
    override_settings: Annotated[OptionsRequest, Field(description="as of POST options, for this request")] = (
        NO_OVERRIDE
    )
    enable_hr: Annotated[Flag, Field(description="a second pass at a higher resolution")] = False
    hr_scale: Annotated[Number, Field(ge=0, description="of the second pass, above 1 to 4")] = 2.0
    hr_upscaler: Annotated[Text | None, Field(max_length=128, description="one of GET upscalers"), OrNone] = None
    hr_second_pass_steps: Annotated[Steps | None, Field(description="0: as many as the first pass has"), OrNone] = None
    hr_resize_x: Annotated[Whole, Field(ge=0, le=MAX_SIDE, description="in place of hr_scale, where above 0")] = 0
    hr_resize_y: Annotated[Whole, Field(ge=0, le=MAX_SIDE, description="as hr_resize_x")] = 0
    denoising_strength: Annotated[
        Any, Field(description="of the second pass, above 0 to 1; without one it has no effect")
    ] = None
    refiner_checkpoint: _Unavailable | None = None
    firstpass_image: Annotated[Any, Field(description="not offered yet: 501")] = None
    script_name: Annotated[Text, Field(max_length=MAX_PROMPT_CHARACTERS, description="there are none: 422")] | None = (
        None
    )
    alwayson_scripts: Annotated[dict[str, Any], Field(description="ControlNet's units, where the model has any")] = (
        Field(default_factory=dict)
    )
    send_images: Flag = True
    force_task_id: Annotated[
        Text | None, Field(max_length=MAX_TASK_ID, description="the id of POST /internal/progress")
    ] = None

    def parsed(
        self,
        values: Mapping[str, Any],
        families: Sequence[FamilyInfo],
        options: Mapping[str, Any],
        unknown: Sequence[str],
        source: PictureSource | None = None,
        known_loras: Collection[str] = (),
    ) -> DrawingRequest:
        """``values`` are the body as it was sent, ``options`` hold for the request, ``unknown`` are the checkpoints
        that it names and that do not exist, and ``source`` is the picture that is drawn from.

        Raises InvalidRequest naming the key at fault, NotFound for a sampler, and Unsupported for what is not offered.
        """
        family = family_for(families, options.get(CHECKPOINT), lambda one: self._suits(one, known_loras))
        self._refuse_unavailable(bool(family.controls))
        natural = (family.width, family.height) if source is None else family.nearest_size(*source.size)
        size = family.nearest_size(self.width or natural[0], self.height or natural[1])
        sampler, notes = samplers.resolved(self.sampler_name or self.sampler_index, self.scheduler, family)
        prompt, negative_prompt, styles, loras, more = self._prompts(known_loras)
        pictures = self._pictures()
        second, hr_notes = self._second_pass(size, family)
        with rename_fields(_NAMES):
            drawing = IllustrateOptions(
                prompt=prompt,
                negative_prompt=negative_prompt,
                model=family.name,
                width=size[0],
                height=size[1],
                num_inference_steps=self.steps,
                guidance_scale=self.cfg_scale,
                sampler=sampler.name,
                seed=self.seed,
                n=pictures,
                source=source,
                loras=loras,
                **second,
            )
        encoding = Encoding(FORMATS[options["samples_format"]], metadata=options["enable_pnginfo"])
        return DrawingRequest(
            order=Order(drawing, encoding, _NAMES),
            family=family,
            pictures=pictures,
            batch_size=self.batch_size,
            styles=styles,
            notes=[*self._notes(values, size, unknown), *notes, *more, *hr_notes],
            task_id=self.force_task_id or new_id(),
            previews=options["live_previews_enable"],
            send_images=self.send_images,
        )

    def _suits(self, family: FamilyInfo, known_loras: Collection[str]) -> bool:
        """Whether ``family`` takes what the request is guided by."""
        controlled = any(name.lower() == SCRIPT for name in self.alwayson_scripts)
        return (family.takes_loras or not known_loras) and (bool(family.controls) or not controlled)

    def _refuse_unavailable(self, takes_controls: bool) -> None:
        if self.script_name not in (None, "None"):
            raise UnknownScript(f"Script '{(self.script_name or '')[:128]}' not found")
        for name in self.alwayson_scripts:
            if name.lower() == SCRIPT and takes_controls:
                continue
            raise UnknownScript(f"always on script {name[:128]} not found")
        for field, what, is_wanted in (
            ("refiner_checkpoint", "a refiner", self.refiner_checkpoint not in (None, "None")),
            ("firstpass_image", "a first pass that is given", bool(self.firstpass_image)),
        ):
            if is_wanted:
                raise Unsupported(f"{what} is not offered yet; leave it out", field)

    def _second_pass(self, size: tuple[int, int], family: FamilyInfo) -> tuple[dict[str, Any], list[str]]:
        """Arguments of `IllustrateOptions` for ``enable_hr``, and notes for the client. Raises InvalidRequest."""
        if not self.enable_hr:
            return {}, []
        sides = [
            wanted / side for wanted, side in zip((self.hr_resize_x, self.hr_resize_y), size, strict=True) if wanted
        ]
        scale = max(sides) if sides else self.hr_scale
        if not 1 < scale <= MAX_HIRES:
            raise InvalidRequest(f"must be above 1 and at most {MAX_HIRES:g}", "hr_resize_x" if sides else "hr_scale")
        choice = upscaler_named(self.hr_upscaler, family.upscalers, "hr_upscaler")
        strength = validate(_SecondPassFields, {"denoising_strength": self.denoising_strength}).denoising_strength
        latent = (self.hr_upscaler or "").startswith("Latent")
        notes = [f"{self.hr_upscaler} is done in pixels, by {choice.upscaler or 'an engine'}"] if latent else []
        target = family.nearest_size(round(size[0] * scale), round(size[1] * scale))
        if strength == 0 or (target[0] <= size[0] and target[1] <= size[1]):
            what = f"{family.name} draws up to {family.max_px} px: it is enlarged, without a second pass"
            return {"finish": Finish(scale, choice.upscaler)}, [*notes, *([what] if strength else [])]
        return {"hires": Hires(scale, strength, self.hr_second_pass_steps, choice.upscaler)}, notes

    def _pictures(self) -> int:
        """Of all batches."""
        pictures = self.batch_size * self.n_iter
        if pictures > MAX_PICTURES:
            raise InvalidRequest(
                f"times n_iter is {pictures} pictures; at most {MAX_PICTURES} fit one request", "batch_size"
            )
        return pictures

    def lora_names(self) -> list[str]:
        """Those that the prompts name."""
        networks = without_networks(self.prompt)[1] | without_networks(self.negative_prompt)[1]
        return [name for name, lora in networks.items() if lora is not None]

    def _prompts(self, known_loras: Collection[str]) -> tuple[str, str, list[str], tuple[LoraUse, ...], list[str]]:
        """The prompt and the negative one as they are drawn, the styles in them, LoRAs, and notes for the client."""
        prompt, networks = without_networks(self.prompt)
        negative_prompt, others = without_networks(self.negative_prompt)
        prompt, negative_prompt, unknown = styled(self.styles, prompt, negative_prompt)
        networks |= others
        loras = [lora for name, lora in networks.items() if lora is not None and name in known_loras]
        missing = [name for name, lora in networks.items() if lora is None or name not in known_loras]
        notes = [f"Networks not found: {', '.join(missing)}"] if missing else []
        notes += [f"Style not found: {name[:128]}" for name in unknown]
        return prompt, negative_prompt, [name for name in self.styles if name not in unknown], tuple(loras), notes

    def _notes(self, values: Mapping[str, Any], size: tuple[int, int], unknown: Sequence[str]) -> list[str]:
        """Notes for the client on parts of its request that have no effect or are replaced."""
        width, height = size
        requested = self.width or width, self.height or height
        notes = (
            []
            if requested == size
            else [f"{requested[0]}x{requested[1]} is no size of this model; {width}x{height} is drawn"]
        )
        notes += [f"Checkpoint not found: {title[:128]}" for title in unknown]
        return notes + [f"{name} has no effect here" for name in _IDLE if values.get(name)]


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
        steps = self.order.steps_to_do(self.family)
        return max(1, -(-steps // (most + 1))) if self.previews and most else 0


class Txt2ImgResponse(BaseModel):
    images: list[DrawnPicture]
    parameters: dict[str, Any]
    info: Annotated[str, Field(description="a JSON object", examples=["{}"])]
