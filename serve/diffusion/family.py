"""An illustration family: the engines that draw together, and what a caller of them has to know.

It is the object "family" of ``NAME_unet/manifest.json``, which ``build_engines`` wrote. Parsed once, when an ensemble
starts; a field that is missing, misspelt or out of range stops the start with the field's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from serve.diffusion.adapters import ControlNet, EngineAdapters, ImagePrompt
from serve.diffusion.samplers import by_name
from serve.diffusion.schedules import NoiseSchedule, PredictionType
from serve.errors import InvalidRequest

STARTERS = ("pictogram", "mini")
"""The families that this repository trains, the one that draws better first; a site's own come before them."""
_UNET = "_unet"
"""Suffix of a family's UNet engine; its manifest describes the family."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TextEncoder(_Part):
    """One text encoder: its engine, its chunk of tokens, its special tokens, the width of its embeddings."""

    engine: str = Field(min_length=1)
    max_tokens: int = Field(ge=3, le=4096)
    """Tokens of a chunk, the first and the last of which are ``bos`` and ``eos``."""
    bos: int = Field(ge=0)
    eos: int = Field(ge=0)
    pad: int = Field(ge=0)
    width: int = Field(ge=1)
    pooled_width: int | None = Field(None, ge=1)


class Latents(_Part):
    channels: int = Field(ge=1, le=64)
    downsample: int = Field(ge=1, le=64)
    """Pixels of the picture per latent pixel, along a side."""


class Judge(_Part):
    """The engine that says how well a picture fits its prompt, and the side of the pictures that it takes."""

    engine: str = Field(min_length=1)
    side_px: int = Field(ge=8, le=1024)


class Defaults(_Part):
    """Defaults of a request. ``size`` is (width, height) in pixels."""

    size: tuple[int, int]
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=0)
    sampler: str


class Sizes(_Part):
    """Sides in pixels, from ``min_px`` to ``max_px``, in multiples of ``multiple_of``."""

    multiple_of: int = Field(ge=1)
    min_px: int = Field(ge=1)
    max_px: int = Field(ge=1)

    def holds(self, side_px: int) -> bool:
        return self.min_px <= side_px <= self.max_px and side_px % self.multiple_of == 0

    def nearest_side(self, side_px: int) -> int:
        """The supported side nearest to ``side_px``."""
        step = self.multiple_of
        low, high = -(-self.min_px // step) * step, self.max_px // step * step
        return min(high, max(low, round(side_px / step) * step))

    def nearest(self, size: tuple[int, int]) -> tuple[int, int]:
        """The supported (width, height) nearest to ``size``, keeping its aspect ratio within the limits."""
        scale = min(1.0, self.max_px / max(size))
        scale = max(scale, self.min_px / min(size))
        return self.nearest_side(round(size[0] * scale)), self.nearest_side(round(size[1] * scale))


class Family(_Part):
    """Frozen and checked. Its engines: those of ``text``, ``NAME_unet``, ``NAME_vae_decoder``, ``NAME_vae_encoder``."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    architecture: Literal["stable-diffusion", "stable-diffusion-xl"] = Field(alias="class")
    source: str
    revision: str | None = None
    scheduler: NoiseSchedule
    latents: Latents
    text: tuple[TextEncoder, ...] = Field(min_length=1, max_length=2)
    defaults: Defaults
    sizes: Sizes
    few_step: bool = False
    alpha: bool = False
    """Whether the decoder answers with RGBA, straight alpha."""
    inpainting: bool = False
    """Whether the UNet takes a mask and the latents of the picture without its masked part after the sample."""
    judge: Judge | None = None
    adapters: Mapping[str, EngineAdapters] = Field(default_factory=dict)
    """What text encoders and UNet take besides, by part (``text_encoder``, ``unet``); empty: nothing."""
    zeros_for_no_prompt: bool = False
    """Whether the model was trained with zeros for an empty prompt, instead of its embedding."""

    @property
    def prediction_type(self) -> PredictionType:
        return self.scheduler.prediction_type

    @property
    def few_steps(self) -> int | None:
        """How many long steps the UNet was taught beside its usual ones; None: none."""
        return None if self.scheduler.few_step is None else self.scheduler.few_step.steps

    @property
    def unet(self) -> str:
        return self.name + _UNET

    @property
    def vae_decoder(self) -> str:
        return f"{self.name}_vae_decoder"

    @property
    def vae_encoder(self) -> str:
        return f"{self.name}_vae_encoder"

    @property
    def controls(self) -> Mapping[str, ControlNet]:
        """ControlNets by name."""
        return self.adapters["unet"].controls if "unet" in self.adapters else {}

    @property
    def image_prompt(self) -> ImagePrompt | None:
        return self.adapters["unet"].image_prompt if "unet" in self.adapters else None

    @property
    def engines(self) -> tuple[str, ...]:
        images = () if self.image_prompt is None else (self.image_prompt.engine,)
        return (*(encoder.engine for encoder in self.text), self.unet, self.vae_decoder, self.vae_encoder, *images)

    def latents_shape(self, width: int, height: int) -> tuple[int, int, int]:
        """(C, H, W) of the latents of a picture of ``width`` x ``height`` pixels."""
        return self.latents.channels, height // self.latents.downsample, width // self.latents.downsample

    @model_validator(mode="before")
    @classmethod
    def _complete_scheduler(cls, family: Any) -> Any:
        """The prediction type belongs to the schedule; diffusers' StableDiffusionPipeline sets steps_offset to 1."""
        if not isinstance(family, dict) or not isinstance(family.get("scheduler"), dict):
            return family
        if "prediction_type" not in family:
            raise ValueError("prediction_type is missing")
        rest = {name: value for name, value in family.items() if name != "prediction_type"}
        scheduler = {**family["scheduler"], "prediction_type": family["prediction_type"]}
        if family.get("class") == "stable-diffusion":
            scheduler["steps_offset"] = 1
        return {**rest, "scheduler": scheduler}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.sizes.min_px > self.sizes.max_px:
            raise ValueError("sizes: min_px is above max_px")
        if self.sizes.multiple_of % self.latents.downsample:
            raise ValueError("sizes.multiple_of is not a multiple of latents.downsample")
        if not all(self.sizes.holds(side) for side in self.defaults.size):
            raise ValueError("defaults.size is not one of sizes")
        if self.defaults.num_inference_steps > self.scheduler.num_train_timesteps:
            raise ValueError("defaults.num_inference_steps is above scheduler.num_train_timesteps")
        if self.architecture == "stable-diffusion-xl" and self.text[-1].pooled_width is None:
            raise ValueError("text: the last encoder of stable-diffusion-xl needs a pooled_width")
        by_name(self.defaults.sampler).check(self.prediction_type)
        return self


def parse(manifest: Mapping[str, Any]) -> Family:
    """The family in the manifest of a UNet engine.

    Raises ``InvalidRequest`` with the dotted name of the field at fault.
    """
    if "family" not in manifest:
        raise InvalidRequest("the manifest has none: it is not that of a UNet; build the family again", "family")
    try:
        return Family.model_validate(manifest["family"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidRequest(str(first["msg"]), ".".join(["family", *map(str, first["loc"])])) from error
    except InvalidRequest as error:
        raise InvalidRequest(error.message, "family.defaults.sampler") from error


def load(manifest: Path) -> Family:
    """The family that the file ``NAME_unet/manifest.json`` describes; errors as of ``parse``."""
    return parse(json.loads(manifest.read_text()))


def manifest_of(repository: Path, family: str) -> Path:
    return repository / f"{family}{_UNET}" / "manifest.json"


def families_in(repository: Path) -> tuple[str, ...]:
    """The names of the families in ``repository``: the site's own in order of the alphabet, then the starter's."""
    manifests = repository.glob(f"*{_UNET}/manifest.json")
    names = {manifest.parent.name.removesuffix(_UNET) for manifest in manifests}
    return (*sorted(names.difference(STARTERS)), *(name for name in STARTERS if name in names))
