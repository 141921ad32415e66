"""The family as a diffusers folder, which the engines are built from and every other tool of that format reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers import Tokenizer
from transformers import CLIPTextModel

from build_engines.mini.drawing import GUIDANCE_SCALE, STEPS, Painter
from build_engines.mini.flow import TRAIN_TIMESTEPS, Denoiser
from build_engines.mini.networks import DOWNSAMPLE
from build_engines.mini.pictures import SIDE_PX
from build_engines.mini.tokenizer import save_tokenizer

MODEL_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": diffusers.__version__,
    "feature_extractor": [None, None],
    "image_encoder": [None, None],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderTiny"],
}
ATELIER = {
    "defaults": {
        "size": [SIDE_PX, SIDE_PX],
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE_SCALE,
        "sampler": "flow_euler",
    },
    "sizes": {"multiple_of": DOWNSAMPLE, "min_px": SIDE_PX, "max_px": SIDE_PX},
    "few_step": False,
}
"""What serving takes as defaults for this family. It has learned one size only."""

SavePart = Callable[[Path], object]


def save(painter: Painter, folder: Path, origin: Mapping[str, Any]) -> None:
    """Writes the folder anew. ``origin``: what the weights come from; it ends in the engines' manifests."""
    painter.autoencoder.register_to_config(scaling_factor=painter.scale)
    parts: dict[str, SavePart] = {
        "unet": painter.denoiser.unet.save_pretrained,
        "text_encoder": painter.denoiser.text_encoder.save_pretrained,
        "vae": painter.autoencoder.save_pretrained,
        "tokenizer": lambda path: save_tokenizer(painter.tokenizer, path),
    }
    save_parts(folder, parts, MODEL_INDEX, ATELIER | {"origin": dict(origin)})


def save_parts(
    folder: Path,
    parts: Mapping[str, SavePart],
    model_index: Mapping[str, Any],
    atelier: Mapping[str, Any],
    shift: float = 1.0,
    schedule: Mapping[str, Any] | None = None,
) -> None:
    """Writes a diffusers folder of ``parts`` anew; a reader finds the old or the new one, not a mixture of files.
    ``schedule``: what the scheduler's configuration says besides."""
    staged, replaced = folder.with_name(f".{folder.name}.staged"), folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    for name, save_part in parts.items():
        save_part(staged / name)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS, shift=shift)
    scheduler.save_pretrained(staged / "scheduler")
    config = staged / "scheduler" / "scheduler_config.json"
    _write(config, json.loads(config.read_text()) | dict(schedule or {}))
    _write(staged / "model_index.json", model_index)
    _write(staged / "atelier.json", atelier)
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        os.replace(folder, replaced)
    os.replace(staged, folder)
    shutil.rmtree(replaced, ignore_errors=True)


def add_metrics(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Puts what was measured of the weights beside where they come from."""
    path = folder / "atelier.json"
    stated = json.loads(path.read_text())
    _write(path, stated | {"origin": stated["origin"] | {"metrics": dict(metrics)}})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def load(folder: Path, device: str = "cpu") -> Painter:
    """What draws, from a folder that ``save`` wrote. Raises FileNotFoundError with the command that makes one."""
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"no checkpoint in {folder}: run `python -m build_engines train mini`")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    unet.set_attn_processor(AttnProcessor())
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", attn_implementation="eager")
    autoencoder = AutoencoderTiny.from_pretrained(folder / "vae")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    denoiser = Denoiser(text_encoder, unet).to(device).eval()
    return Painter(denoiser, autoencoder.to(device).eval(), tokenizer, autoencoder.config.scaling_factor, device)
