"""The adapters of the starter family: what each learns from, how long, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from build_engines.mini import pictures
from build_engines.mini.adapters import corpus as corpora
from build_engines.mini.adapters.corpus import Corpus
from build_engines.mini.adapters.networks import Control, Lora, Reference
from build_engines.mini.adapters.styles import STYLES
from build_engines.mini.adapters.training import AdapterLearner, AdapterPreset
from build_engines.mini.captions import CaptionRule
from build_engines.mini.drawing import Painter
from build_engines.mini.latents import encode
from serve.diffusion.controls import canny

NO_REFERENCE = 0.1
"""Share of training without a reference, whose tokens are those of a picture of CLIP's mean colour."""


def canny_learner(painter: Painter, corpus: Corpus) -> AdapterLearner:
    def control(_rng: np.random.Generator, rows: list[int]) -> tuple[Tensor, ...]:
        edges = np.stack([canny(corpus.pictures.draw(corpus.variants[row])) for row in rows])
        return (torch.from_numpy(edges).permute(0, 3, 1, 2).float() / 255,)

    preset = AdapterPreset(700, 1e-3, CaptionRule(empty=0.3, styleless=0.2))
    return AdapterLearner(preset, painter, corpus, Control(painter.denoiser.unet), control)


def reference_learner(painter: Painter, corpus: Corpus) -> AdapterLearner:
    mean = np.rint(255 * np.asarray((0.48145466, 0.4578275, 0.40821073)))
    blank = encode(painter.autoencoder, np.broadcast_to(mean, (1, 64, 64, 3)).astype(np.uint8))[0]

    def reference(rng: np.random.Generator, rows: list[int]) -> tuple[Tensor, ...]:
        found = corpus.latents[[corpus.reference(rng, row) for row in rows]].astype(np.float32) / painter.scale
        found[rng.random(len(rows)) < NO_REFERENCE] = blank
        return (torch.from_numpy(found),)

    preset = AdapterPreset(500, 1e-3, CaptionRule(empty=0.35, styleless=0.3))
    return AdapterLearner(preset, painter, corpus, Reference(painter.denoiser.unet), reference)


def lora_learner(painter: Painter, corpus: Corpus) -> AdapterLearner:
    preset = AdapterPreset(300, 3e-3, CaptionRule(styleless=0.3))
    return AdapterLearner(preset, painter, corpus, Lora(painter.denoiser.unet), lambda _rng, _rows: ())


@dataclass(frozen=True)
class Adapter:
    """``kept``: where it lies below the folder of all, which differs by its kind; ``style``: a LoRA's."""

    kind: str
    name: str
    learner: Callable[[Painter, Corpus], AdapterLearner]
    kept: str
    style: str | None = None

    def corpus(self, painter: Painter, mini: Path, folder: Path) -> Corpus:
        """``mini``: where the icons are rendered to; ``folder``: where latents are kept."""
        style = None if self.style is None else STYLES[self.style]
        path = folder / f"latents-{self.style or 'icons'}.npy"
        return corpora.make(pictures.load(mini), painter.autoencoder, painter.scale, path, style)


ADAPTERS: Mapping[str, Adapter] = {
    one.name: one
    for one in (
        Adapter("canny", "canny", canny_learner, "canny"),
        *(Adapter("lora", name, lora_learner, f"{name}.safetensors", name) for name in STYLES),
        Adapter("ip", "ip", reference_learner, "ip/ip-adapter.safetensors"),
    )
}
KINDS = ("canny", "ip", "lora")
