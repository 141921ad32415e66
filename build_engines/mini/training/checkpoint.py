"""The family as a diffusers folder, which the engines are built from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from build_engines.mini.checkpoint import MODEL_INDEX, SavePart, save_parts
from build_engines.mini.corpus.pictures import SIDE_PX
from build_engines.mini.tokenizer import save_tokenizer
from build_engines.mini.training.denoisers import Hybrid
from build_engines.mini.training.drawing import GUIDANCE_SCALE, STEPS, Painter
from build_engines.mini.training.text import TOKENS, shipped

_MODULE = "build_engines.mini.training"
RGBA_INDEX = MODEL_INDEX | {"unet": [_MODULE, "HybridDenoiser"], "vae": [_MODULE, "RgbaAutoencoder"]}
RGBA_ATELIER = {
    "defaults": {
        "size": [SIDE_PX, SIDE_PX],
        "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE_SCALE,
        "sampler": "flow_euler",
    },
    "sizes": {"multiple_of": 32, "min_px": SIDE_PX, "max_px": SIDE_PX},
    "few_step": False,
}
"""Sides are multiples of 32 px: the transformer's positions are 2x2 latents of 16 px."""


def save(painter: Painter, folder: Path, origin: Mapping[str, Any]) -> None:
    """Writes the folder anew. Raises TypeError for a denoiser that no engine is made of (a UNet, a DiT)."""
    if not isinstance(painter.model.denoiser, Hybrid):
        raise TypeError(f"engines are made of a hybrid denoiser, not of {type(painter.model.denoiser).__name__}")
    painter.autoencoder.register_to_config(scaling_factor=painter.scale)
    parts: dict[str, SavePart] = {
        "unet": painter.model.denoiser.network.save_pretrained,
        "text_encoder": shipped(painter.model.text_encoder).save_pretrained,
        "vae": painter.autoencoder.save_pretrained,
        "tokenizer": lambda path: save_tokenizer(painter.tokenizer, path, TOKENS),
    }
    save_parts(folder, parts, RGBA_INDEX, RGBA_ATELIER | {"origin": dict(origin)})
