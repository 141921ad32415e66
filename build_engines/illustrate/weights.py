"""Which files of a checkpoint hold a part's weights. Only safetensors: a pickle can run any code when it is opened."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from build_engines.illustrate.refusal import Refused

_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_VARIANTS = (None, "fp16")


@dataclass(frozen=True)
class Weights:
    """``files`` are relative to the checkpoint; ``variant`` is what ``from_pretrained`` takes to find them."""

    files: tuple[str, ...]
    variant: str | None


def find_weights(part: str, names: Collection[str]) -> Weights:
    """The weights of the folder ``part`` among the checkpoint's file ``names``: full precision first, then fp16.

    Raises Refused when there are none, or only pickles.
    """
    stem = _STEMS.get(part, "model")
    for variant in _VARIANTS:
        pattern = _pattern(part, stem, variant)
        files = tuple(sorted(name for name in names if pattern.fullmatch(name)))
        if files:
            return Weights(files, variant)
    if any(name.startswith(f"{part}/") and name.endswith(_PICKLES) for name in names):
        raise Refused(
            f"{part}/ holds its weights as pickle only, which is never opened: convert it where you trust it, "
            "with DiffusionPipeline.from_pretrained(SOURCE).save_pretrained(FOLDER, safe_serialization=True)"
        )
    raise Refused(f"{part}/ has no {stem}.safetensors: the checkpoint is incomplete")


def _pattern(part: str, stem: str, variant: str | None) -> re.Pattern[str]:
    """One file, or shards with their index."""
    dotted = f".{variant}" if variant else ""
    one = re.escape(f"{stem}{dotted}.safetensors")
    shard = re.escape(f"{stem}{dotted}") + r"-\d+-of-\d+\.safetensors"
    index = re.escape(f"{stem}.safetensors.index{dotted}.json")
    return re.compile(f"{re.escape(part)}/(?:{one}|{shard}|{index})")
