"""A checkpoint as its configuration files tell it, and the refusal of those that the engines could not serve."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from build_engines.illustrate.refusal import Refused
from build_engines.illustrate.source import Source, Weights, find_weights

FamilyClass = Literal["stable-diffusion", "stable-diffusion-xl"]

PIPELINES: dict[str, FamilyClass] = {
    "StableDiffusionPipeline": "stable-diffusion",
    "LatentConsistencyModelPipeline": "stable-diffusion",
    "StableDiffusionXLPipeline": "stable-diffusion-xl",
    "StableDiffusionInpaintPipeline": "stable-diffusion",
    "StableDiffusionXLInpaintPipeline": "stable-diffusion-xl",
}
_CLASSES = {
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "unet": ("UNet2DConditionModel", "HybridDenoiser", "VectorDenoiser"),
    "vae": ("AutoencoderKL", "AutoencoderTiny", "RgbaAutoencoder"),
    "judge": ("CaptionJudge",),
}
OVERRIDES = ("defaults", "sizes", "few_step", "origin")
"""What atelier.json may have. ``origin`` tells of data, training and metrics, and goes into the manifests as it is."""


@dataclass(frozen=True)
class Checkpoint:
    """``index`` is model_index.json, ``overrides`` the optional atelier.json (its keys: OVERRIDES)."""

    source: Source
    index: dict[str, Any]
    overrides: dict[str, Any]

    @property
    def family_class(self) -> FamilyClass:
        return PIPELINES[self.index["_class_name"]]

    @property
    def text_encoders(self) -> tuple[str, ...]:
        xl = self.family_class == "stable-diffusion-xl"
        return ("text_encoder", "text_encoder_2") if xl else ("text_encoder",)

    @property
    def parts(self) -> tuple[str, ...]:
        return (*self.text_encoders, "unet", "vae", *(["judge"] if self.has_judge else []))

    @property
    def has_judge(self) -> bool:
        """Whether a judge of pictures and captions is among the parts; diffusers knows none."""
        return "judge" in self.index

    def class_of(self, part: str) -> str:
        return str(self.index[part][1])

    def folder(self, part: str) -> Path:
        return self.source.folder / part

    def config(self, part: str) -> dict[str, Any]:
        """The part's configuration as it is in its folder."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        return _read_json(self.source.folder / part / name)

    def weights(self, part: str) -> Weights:
        return find_weights(part, self.source.files())

    @property
    def latent_channels(self) -> int:
        return int(self.config("vae").get("latent_channels", 4))

    @property
    def picture_channels(self) -> int:
        """3 for RGB, 4 for RGBA."""
        return 4 if self.class_of("vae") == "RgbaAutoencoder" else 3

    @property
    def inpainting(self) -> bool:
        """Whether the UNet takes a mask and the latents of the masked picture after the sample."""
        return int(self.config("unet").get("in_channels", 4)) == 2 * self.latent_channels + 1

    @property
    def downsample(self) -> int:
        """Pixels per latent, along one axis."""
        config = self.config("vae")
        if stated := config.get("downsample"):
            return int(stated)
        blocks = config.get("block_out_channels") or config.get("encoder_block_out_channels") or [64]
        return int(2 ** (len(blocks) - 1))


def open_checkpoint(source: Source) -> Checkpoint:
    """Reads every configuration and finds every file of weights. Raises Refused at the first that does not fit."""
    if not (source.folder / "model_index.json").is_file():
        raise Refused(f"{source.folder} is not a checkpoint in diffusers' layout: it has no model_index.json")
    overrides = source.folder / "atelier.json"
    checkpoint = Checkpoint(
        source,
        _read_json(source.folder / "model_index.json"),
        _read_json(overrides) if overrides.is_file() else {},
    )
    _check_pipeline(checkpoint)
    for part in checkpoint.parts:
        _check_part(checkpoint, part)
    _check_unet(checkpoint)
    return checkpoint


def _check_pipeline(checkpoint: Checkpoint) -> None:
    name = str(checkpoint.index.get("_class_name"))
    if name not in PIPELINES:
        raise Refused(f"pipelines of the class {name} have no engines here; those that do: {', '.join(PIPELINES)}")
    unknown = set(checkpoint.overrides) - set(OVERRIDES)
    if unknown:
        raise Refused(f"atelier.json: unknown {', '.join(sorted(unknown))}; it may have {', '.join(OVERRIDES)}")


def _check_part(checkpoint: Checkpoint, part: str) -> None:
    library, name = (checkpoint.index.get(part) or [None, None])[:2]
    if library is None:
        refiner = " (an SDXL refiner alone cannot draw)" if part == "text_encoder" else ""
        raise Refused(f"the checkpoint has no {part}{refiner}")
    if name not in _CLASSES[part]:
        raise Refused(f"{part} is of the class {name}; engines can be made of {' or '.join(_CLASSES[part])}")
    checkpoint.config(part)
    checkpoint.weights(part)


def _check_unet(checkpoint: Checkpoint) -> None:
    config, channels = checkpoint.config("unet"), checkpoint.latent_channels
    takes = config.get("in_channels", 4)
    if takes not in (channels, 2 * channels + 1) or config.get("out_channels", 4) != channels:
        raise Refused(
            f"the UNet takes {takes} and gives {config.get('out_channels', 4)} channels, latents have {channels}"
        )
    added = "text_time" if checkpoint.family_class == "stable-diffusion-xl" else None
    if config.get("addition_embed_type") != added:
        raise Refused(
            f"the UNet's addition_embed_type is {config.get('addition_embed_type')}, "
            f"that of a {checkpoint.family_class} checkpoint is {added}"
        )
    for key in ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type"):
        if config.get(key) is not None:
            raise Refused(f"the UNet is conditioned on more than the prompt: {key} is {config[key]}")
    widths = [int(checkpoint.config(part)["hidden_size"]) for part in checkpoint.text_encoders]
    if config.get("cross_attention_dim") != sum(widths):
        raise Refused(
            f"the UNet attends to vectors of {config.get('cross_attention_dim')} values, "
            f"the text encoders give {' + '.join(map(str, widths))}"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise Refused(f"{path} is missing: the checkpoint is incomplete") from None
    except ValueError as error:
        raise Refused(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Refused(f"{path} does not hold an object")
    return content
