"""The family as a diffusers folder, which the engines are built from."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from build_engines.mini.checkpoint import MODEL_INDEX, SavePart, save_parts
from build_engines.mini.corpus.pictures import SIDE_PX
from build_engines.mini.tokenizer import SPECIAL, UNKNOWN_WORD, make_tokenizer, save_tokenizer
from build_engines.mini.training.denoisers import Hybrid, Vector
from build_engines.mini.training.drawing import FEW_STEPS, GUIDANCE_SCALE, SHIFT, STEPS, Painter
from build_engines.mini.training.flow import ConditionedDenoiser
from build_engines.mini.training.hybrid import FEW_STEP_OFFSET, HybridDenoiser
from build_engines.mini.training.judges import CaptionJudge, shipped_judge
from build_engines.mini.training.networks import RgbaAutoencoder
from build_engines.mini.training.text import TOKENS, shipped
from build_engines.mini.training.vector import VectorDenoiser

_MODULE = "build_engines.mini.training"
_DENOISERS: dict[str, type[HybridDenoiser] | type[VectorDenoiser]] = {
    one.__name__: one for one in (HybridDenoiser, VectorDenoiser)
}
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


class LoadedDenoiser(nn.Module):
    """The networks of a checkpoint folder, as ``Painter`` calls them."""

    def __init__(self, text_encoder: CLIPTextModel, network: HybridDenoiser | VectorDenoiser) -> None:
        super().__init__()
        self.text_encoder, self.network = text_encoder, network

    def embed(self, ids: Tensor) -> Tensor:
        embeds: Tensor = self.text_encoder(ids).last_hidden_state
        return embeds

    def denoiser(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        velocity: Tensor = self.network.velocity(noisy, timesteps, text)
        return velocity


def holds_rgba(folder: Path) -> bool:
    """Whether the checkpoint in ``folder`` draws with alpha."""
    index = folder / "model_index.json"
    return index.is_file() and json.loads(index.read_text())["vae"][1] == "RgbaAutoencoder"


def goes_long_steps(folder: Path) -> bool:
    """Whether the checkpoint's denoiser was taught long steps."""
    return "few_step" in json.loads((folder / "scheduler" / "scheduler_config.json").read_text())


def load(folder: Path) -> Painter:
    """What draws, from a folder that ``save`` wrote."""
    index = json.loads((folder / "model_index.json").read_text())
    network = _DENOISERS[index["unet"][1]].from_pretrained(folder / "unet")
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", attn_implementation="eager")
    autoencoder = RgbaAutoencoder.from_pretrained(folder / "vae")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    config = network.config
    shape = (config.in_channels, config.sample_size, config.sample_size)
    model = LoadedDenoiser(text_encoder, network).eval()
    return Painter(model, autoencoder.eval(), tokenizer, autoencoder.config.scaling_factor, shape)


def save(
    painter: Painter,
    folder: Path,
    origin: Mapping[str, Any],
    judge: CaptionJudge | None = None,
    stand_ins: Mapping[str, str] | None = None,
    few_step: bool = False,
) -> None:
    """Writes the folder anew. ``judge``: as it was trained. ``few_step``: whether the denoiser has learned long steps.
    ``stand_ins``: words, and the word whose embedding each of them gets; those of the unknown word are left out of the
    tokenizer. Raises TypeError for a denoiser that no engine is made of (a UNet, a DiT)."""
    model = copy.deepcopy(painter.model)
    if not isinstance(model, ConditionedDenoiser) or not isinstance(model.denoiser, Hybrid | Vector):
        raise TypeError("engines are made of a hybrid or vector denoiser that was trained here")
    model.to("cpu")
    token = painter.tokenizer.get_vocab()
    unknown = {word for word, other in (stand_ins or {}).items() if other == UNKNOWN_WORD}
    words = [word for word in sorted(token, key=token.__getitem__) if word not in unknown]
    kept = [token[word] for word in words]
    tokens = {token[word]: token[other] for word, other in (stand_ins or {}).items()}
    tokenizer = make_tokenizer(words[len(SPECIAL) :])
    painter.autoencoder.register_to_config(scaling_factor=painter.scale)
    parts: dict[str, SavePart] = {
        "unet": model.denoiser.network.save_pretrained,
        "text_encoder": shipped(model.text_encoder, tokens, kept).save_pretrained,
        "vae": painter.autoencoder.save_pretrained,
        "tokenizer": lambda path: save_tokenizer(tokenizer, path, TOKENS),
    }
    name = type(model.denoiser.network).__name__
    index = MODEL_INDEX | {"unet": [_MODULE, name], "vae": [_MODULE, "RgbaAutoencoder"]}
    if judge is not None:
        parts["judge"], index["judge"] = shipped_judge(judge, kept).save_pretrained, [_MODULE, "CaptionJudge"]
    scheduler = {"few_step": {"steps": FEW_STEPS, "timestep_offset": FEW_STEP_OFFSET}} if few_step else {}
    save_parts(folder, parts, index, RGBA_ATELIER | {"origin": dict(origin)}, SHIFT, scheduler)
