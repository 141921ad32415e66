"""Trains the denoiser and its text encoder together: rectified flow on cached latents.

A latent x and noise n are mixed to (1 - sigma) x + sigma n, and the UNet predicts n - x from it, from the timestep
1000 sigma and from the caption (Liu et al., "Flow Straight and Fast", 2022). sigma is logit-normal (Esser et al.,
"Scaling Rectified Flow Transformers", 2024). A tenth of the captions is empty, for classifier-free guidance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from build_engines.mini.autoencoder import falling_rate
from build_engines.mini.captions import CaptionRule, vocabulary
from build_engines.mini.latents import Latents
from build_engines.mini.loop import Descent
from build_engines.mini.networks import make_text_encoder, make_unet, mixed_precision
from build_engines.mini.pictures import Pictures, Variant
from build_engines.mini.presets import MiniPreset
from build_engines.mini.tokenizer import UNKNOWN_WORD, encode, make_tokenizer

TRAIN_TIMESTEPS = 1000
_COLOURED_SHARE = 0.5


class Denoiser(nn.Module):
    """Token ids and noisy latents to the predicted velocity."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    def forward(self, noisy: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        """``noisy`` (B, C, 8, 8), ``timesteps`` (B,) in [0, 1000], ``ids`` (B, 24); returns (B, C, 8, 8)."""
        embeds = self.text_encoder(ids).last_hidden_state
        velocity: Tensor = self.unet(noisy, timesteps, embeds).sample
        return velocity


@dataclass(frozen=True)
class Rows:
    """Which rows of the latents show an icon as it is, and which show it in another colour."""

    original: tuple[int, ...]
    coloured: tuple[int, ...]

    def pick(self, rng: np.random.Generator) -> int:
        group = self.coloured if self.coloured and rng.random() < _COLOURED_SHARE else self.original
        return group[int(rng.integers(len(group)))]


def group_rows(variants: tuple[Variant, ...]) -> list[Rows]:
    """The rows of each icon, so that every icon is as likely as another."""
    found: dict[int, tuple[list[int], list[int]]] = {}
    for row, variant in enumerate(variants):
        found.setdefault(variant.index, ([], []))[variant.colour is not None].append(row)
    return [Rows(tuple(original), tuple(coloured)) for original, coloured in found.values()]


def make_denoiser(preset: MiniPreset, words: int) -> Denoiser:
    torch.manual_seed(preset.seed + 1)
    unet = make_unet(preset.flow, preset.autoencoder.channels)
    return Denoiser(make_text_encoder(preset.flow, words), unet).to(preset.device)


class FlowLearner(Descent[Denoiser]):
    """``average`` holds the exponential moving average of the weights, which is what draws.

    ``compiled``: the UNet through torch.compile, after two minutes of compiling, which pay on a CPU.
    """

    def __init__(self, preset: MiniPreset, pictures: Pictures, latents: Latents, compiled: bool = False) -> None:
        self.preset, self.pictures, self.latents, self.batch = preset, pictures, latents, preset.flow.batch
        words = vocabulary([e.name for e in pictures.entries])
        self.tokenizer: Tokenizer = make_tokenizer(words)
        self.model = make_denoiser(preset, self.tokenizer.get_vocab_size())
        self.average = make_denoiser(preset, self.tokenizer.get_vocab_size()).eval().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        if compiled:
            self.model.unet.compile()
        self.steps = preset.flow.samples // self.batch
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), 1.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self._rows = group_rows(latents.variants)
        self._rule = CaptionRule()

    def pick(self, n: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, noise (B, C, 8, 8), sigmas (B,) and token ids (B, 24) of step ``n``."""
        rng = np.random.default_rng((self.preset.seed, 2, n))
        rows = [self._rows[int(i)].pick(rng) for i in rng.integers(len(self._rows), size=self.batch)]
        ids = encode(self.tokenizer, [self._caption(rng, self.latents.variants[row]) for row in rows])
        wanted = self.latents.values[rows].astype(np.float32)
        noise = rng.standard_normal(wanted.shape, np.float32)
        sigmas = 1 / (1 + np.exp(-rng.standard_normal(self.batch, np.float32)))
        made = (torch.from_numpy(a).to(self.preset.device) for a in (wanted, noise, sigmas, ids))
        return next(made), next(made), next(made), next(made)

    def _caption(self, rng: np.random.Generator, variant: Variant) -> str:
        entry = self.pictures.entries[variant.index]
        return self._rule.write(rng, entry.name, entry.style, variant.colour, entry.own_colour, UNKNOWN_WORD)

    def step(self, n: int) -> Tensor:
        preset = self.preset.flow
        self.optimizer.param_groups[0]["lr"] = preset.learning_rate * falling_rate(
            n, self.steps, preset.warm_up_steps, preset.falling
        )
        wanted, noise, sigmas, ids = self.pick(n)
        share = sigmas[:, None, None, None]
        noisy = ((1 - share) * wanted + share * noise).contiguous(memory_format=torch.channels_last)
        with mixed_precision(self.preset.device):
            velocity = self.model(noisy, sigmas * TRAIN_TIMESTEPS, ids)
        loss = (velocity.float() - (noise - wanted)).square().mean()
        value = self.descend(loss, 1.0)
        self._follow(min(preset.ema_decay, (1 + n) / (20 + n)))
        return value

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def state(self) -> dict[str, Any]:
        return super().state() | {"average": self.average.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.average.load_state_dict(state["average"])

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())
