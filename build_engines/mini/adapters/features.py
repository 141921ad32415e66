"""The image encoder of the starter family's IP-Adapter: the autoencoder's latents with what surrounds each of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 8
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class HiddenStates:
    """As transformers' vision models answer; the last but one is read."""

    hidden_states: tuple[Tensor, Tensor]


def features(latents: Tensor) -> Tensor:
    """(B, 64, 9 C + 8) of latents (B, C, 8, 8): each position's own and its neighbours', and where it is."""
    around = F.unfold(latents, 3, padding=1).transpose(1, 2)
    steps = (torch.arange(GRID, dtype=torch.float32) + 0.5) / GRID * torch.pi
    waves = torch.stack([steps.sin(), steps.cos(), (2 * steps).sin(), (2 * steps).cos()], -1)
    down = waves[:, None].expand(GRID, GRID, 4)
    across = waves[None].expand(GRID, GRID, 4)
    where = torch.cat([down, across], -1).reshape(1, GRID * GRID, 8)
    return torch.cat([around, where.expand(latents.shape[0], -1, -1)], -1)


class LatentFeatures(nn.Module):
    """Pixels (B, 3, 64, 64), normalised as CLIP's are, to `features`."""

    mean: Tensor
    std: Tensor

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder, self.config = autoencoder, _Sizes()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor, output_hidden_states: bool = True) -> HiddenStates:
        found = features(self.autoencoder.encoder(2 * (pixels * self.std + self.mean) - 1))
        return HiddenStates((found, found))


@dataclass(frozen=True)
class _Sizes:
    image_size: int = 64


def load(folder: Path) -> LatentFeatures:
    return LatentFeatures(AutoencoderTiny.from_pretrained(folder)).eval().requires_grad_(False)
