"""Reads a CLIP- or SigLIP-class folder of `transformers`: both towers, tokenizer, preprocessing, logit scale."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional as F

from build_engines.illustrate.refusal import Refused

CLASSES = {"clip": "CLIPModel", "siglip": "SiglipModel"}
"""Model types of ``config.json`` that are read."""
_RESAMPLINGS = {2: "bilinear", 3: "bicubic"}


@dataclass(frozen=True)
class Pictures:
    """Preprocessing, as ``preprocessor_config.json`` states it; ``fit``: crop or stretch."""

    side_px: int
    shortest_px: int
    fit: str
    resample: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Loaded:
    """``tokens``: positions of the text tower, padded with ``pad_id``."""

    model: Any
    kind: str
    pictures: Pictures
    tokenizer: Tokenizer
    tokens: int
    pad_id: int
    width: int
    logit_scale: float
    strips_punctuation: bool


class PictureInput(nn.Module):
    """A ``model`` of transformers that looks at 8-bit pictures (B, side, side, 3)."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Any, pictures: Pictures) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(pictures.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(pictures.std).view(1, 3, 1, 1))

    def pixels(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 3, side, side), as the model was trained on them."""
        return (image.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std


class PictureTower(PictureInput):
    """8-bit pictures (B, side, side, 3) to unit vectors (B, width)."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = self.model.vision_model(pixel_values=self.pixels(image)).pooler_output
        projection = getattr(self.model, "visual_projection", None)
        return F.normalize(pooled if projection is None else projection(pooled), dim=1)


class TextTower(nn.Module):
    """Token ids (B, tokens) to unit vectors (B, width)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        pooled = self.model.text_model(input_ids=ids).pooler_output
        projection = getattr(self.model, "text_projection", None)
        return F.normalize(pooled if projection is None else projection(pooled), dim=1)


def load(folder: Path) -> Loaded:
    """Raises Refused with the reason for a folder of another kind."""
    config = read_json(folder, "config.json")
    kind = str(config.get("model_type"))
    if kind not in CLASSES:
        known = ", ".join(CLASSES)
        raise Refused(f"config.json states model_type {kind!a}; checkpoints of these types are read: {known}")
    if not list(folder.glob("*.safetensors")):
        raise Refused(f"{folder.name} has no .safetensors; a pickle can run any code and is not opened")
    model = _model(folder, kind)
    tokenizer = read_tokenizer(folder)
    text = model.config.text_config
    words = tokenizer.get_vocab_size()
    if words > text.vocab_size:
        raise Refused(f"its tokenizer has {words} tokens, its text tower knows {text.vocab_size}")
    pictures = read_preprocessing(read_json(folder, "preprocessor_config.json"))
    sides = model.config.vision_config.image_size
    if pictures.side_px != sides:
        raise Refused(f"preprocessor_config.json states {pictures.side_px} px, its picture tower takes {sides} px")
    with torch.no_grad():
        width = int(TextTower(model)(torch.zeros(1, text.max_position_embeddings, dtype=torch.int64)).shape[1])
    return Loaded(
        model=model,
        kind=kind,
        pictures=pictures,
        tokenizer=tokenizer,
        tokens=int(text.max_position_embeddings),
        pad_id=_pad_id(folder, tokenizer, text),
        width=width,
        logit_scale=round(float(model.logit_scale.detach().exp().reshape(())), 4),
        strips_punctuation=kind == "siglip" and not _is_gemma(folder),
    )


def read_tokenizer(folder: Path) -> Tokenizer:
    """From ``tokenizer.json``, or converted by `transformers`. Raises Refused."""
    if (folder / "tokenizer.json").is_file():
        return Tokenizer.from_file(str(folder / "tokenizer.json"))
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever the libraries raise for other files
        raise Refused(f"its tokenizer cannot be loaded: {error}") from error
    backend = getattr(loaded, "backend_tokenizer", None)
    if backend is None:
        raise Refused("its tokenizer has no tokenizer.json; save it with a fast tokenizer's save_pretrained")
    return Tokenizer.from_str(backend.to_str())


def read_preprocessing(stated: dict[str, Any]) -> Pictures:
    """Raises Refused for what serving does not do, such as sides that differ."""
    size, crop = stated.get("size", 224), stated.get("crop_size")
    crops = bool(stated.get("do_center_crop", crop is not None)) and crop is not None
    side = _square(crop if crops else size)
    shortest = size.get("shortest_edge", side) if isinstance(size, dict) else int(size)
    resample = _RESAMPLINGS.get(int(stated.get("resample", 3)))
    if resample is None:
        raise Refused(
            f"preprocessor_config.json: resample {stated.get('resample')} is none of 2 (bilinear), 3 (bicubic)"
        )
    if abs(float(stated.get("rescale_factor", 1 / 255)) * 255 - 1) > 1e-3:
        raise Refused("preprocessor_config.json: rescale_factor is not 1/255")
    mean, std = ([float(v) for v in stated.get(name, [0.5] * 3)] for name in ("image_mean", "image_std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise Refused("preprocessor_config.json: image_mean and image_std need three values")
    return Pictures(
        side, int(shortest), "crop" if crops else "stretch", resample, (mean[0], mean[1], mean[2]),
        (std[0], std[1], std[2]),
    )  # fmt: skip


def _square(size: Any) -> int:
    if isinstance(size, dict):
        sides = {int(size[name]) for name in ("height", "width", "shortest_edge") if name in size}
        if len(sides) != 1:
            raise Refused("preprocessor_config.json: height and width of pictures differ")
        return sides.pop()
    return int(size)


def _model(folder: Path, kind: str) -> Any:
    import transformers

    try:
        loaded = getattr(transformers, CLASSES[kind]).from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, attn_implementation="eager"
        )
    except Exception as error:  # whatever the libraries raise for other files
        raise Refused(f"{folder.name} cannot be loaded: {error}") from error
    return loaded.eval()


def _pad_id(folder: Path, tokenizer: Tokenizer, text: Any) -> int:
    stated = read_json(folder, "tokenizer_config.json", {}).get("pad_token")
    token = stated.get("content") if isinstance(stated, dict) else stated
    found = None if token is None else tokenizer.token_to_id(token)
    return int(found if found is not None else (text.pad_token_id or 0))


def _is_gemma(folder: Path) -> bool:
    return "Gemma" in str(read_json(folder, "tokenizer_config.json", {}).get("tokenizer_class"))


def read_json(folder: Path, name: str, otherwise: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object of the folder; ``otherwise`` where there is no such file. Raises Refused."""
    path = folder / name
    if not path.is_file() and otherwise is not None:
        return otherwise
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise Refused(f"{folder.name} has no {name} that can be read") from None
    if not isinstance(found, dict):
        raise Refused(f"{name} is no object")
    return found
