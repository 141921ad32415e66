"""The denoisers that are compared: diffusers' UNet, a small diffusion transformer, ``hybrid`` and ``vector``.

Both take noisy latents (B, C, side, side), timesteps (B,) in [0, 1000] and text (B, T, width), and return the
velocity (B, C, side, side).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from torch.nn import functional as F

from build_engines.mini.training.hybrid import HybridDenoiser, preconditioned
from build_engines.mini.training.presets import DenoiserPreset
from build_engines.mini.training.vector import VectorDenoiser


class UNet(nn.Module):
    """``UNet2DConditionModel`` with cross attention at every level; pooled text is added to the timestep's embedding.

    Plain attention: the fused kind is slow for so few positions.
    """

    def __init__(self, preset: DenoiserPreset, channels: int, side: int) -> None:
        super().__init__()
        levels = len(preset.widths)
        self.unet = UNet2DConditionModel(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=preset.widths,
            layers_per_block=preset.layers,
            down_block_types=("CrossAttnDownBlock2D",) * levels,
            up_block_types=("CrossAttnUpBlock2D",) * levels,
            attention_head_dim=preset.heads,
            cross_attention_dim=preset.text_width,
            encoder_hid_dim=None,
            addition_embed_type="text",
            addition_embed_type_num_heads=preset.text_heads,
        )
        self.unet.set_attn_processor(AttnProcessor())
        self.unet.to(memory_format=torch.channels_last)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        velocity: Tensor = self.unet(noisy, timesteps, text).sample
        return velocity


class _Layer(nn.Module):
    """Self attention over positions and text together, and a feed-forward; both scaled and gated by the condition."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        normal = F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift
        batch, length, width = x.shape
        q, k, v = self.qkv(normal).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        x = x + gate * self.out((weights @ v).transpose(1, 2).reshape(batch, length, width))
        normal = F.layer_norm(x, x.shape[-1:]) * (1 + scale2) + shift2
        made: Tensor = x + gate2 * self.feed(normal)
        return made


class DiT(nn.Module):
    """A diffusion transformer (Peebles and Xie, 2023) whose sequence holds the text's tokens beside the positions.

    ``preset``: ``widths[0]`` wide, ``layers`` deep, ``patch`` positions to a side of one token.
    """

    def __init__(self, preset: DenoiserPreset, channels: int, side: int) -> None:
        super().__init__()
        width, self.patch, self.side = preset.widths[0], preset.patch, side
        inside = channels * preset.patch**2
        self.enter, self.text = nn.Linear(inside, width), nn.Linear(preset.text_width, width)
        self.places = nn.Parameter(torch.randn(1, (side // preset.patch) ** 2, width) * 0.02)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.pooled = nn.Linear(preset.text_width, width)
        self.layers = nn.ModuleList(_Layer(width, preset.heads[0]) for _ in range(preset.layers))
        self.modulation, self.leave = nn.Linear(width, 2 * width), nn.Linear(width, inside)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        width = self.enter.out_features
        rates = torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
        angles = timesteps[:, None].float() * rates
        condition = F.silu(self.time(torch.cat([angles.cos(), angles.sin()], 1)) + self.pooled(text.mean(1)))
        grid = self.side // self.patch
        tokens = F.pixel_unshuffle(noisy, self.patch).flatten(2).transpose(1, 2)
        x = torch.cat([self.enter(tokens) + self.places, self.text(text)], 1)
        for layer in self.layers:
            x = layer(x, condition)
        x = x[:, : grid * grid]
        shift, scale = self.modulation(condition)[:, None].chunk(2, -1)
        x = self.leave(F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)
        return F.pixel_shuffle(x.transpose(1, 2).unflatten(2, (grid, grid)), self.patch)


class Hybrid(nn.Module):
    """``HybridDenoiser`` of the preset's sizes."""

    def __init__(self, preset: DenoiserPreset, channels: int, side: int) -> None:
        super().__init__()
        self.network = HybridDenoiser(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=preset.widths,
            heads=preset.heads[-1],
            layers=preset.layers,
            blocks=preset.blocks,
            cross_attention_dim=preset.text_width,
        )
        self._residual: Callable[[Tensor, Tensor, Tensor], Tensor] = self.network.residual

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return preconditioned(noisy, timesteps, self._residual(noisy, timesteps, text))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the network; what depends on the noise level alone stays outside."""
        self._residual = torch.compile(self.network.residual, *args, **kwargs)


class Vector(nn.Module):
    """``VectorDenoiser`` of the preset's sizes."""

    def __init__(self, preset: DenoiserPreset, channels: int, side: int) -> None:
        super().__init__()
        self.network = VectorDenoiser(
            sample_size=side,
            in_channels=channels,
            out_channels=channels,
            components=min(preset.components, channels * side * side),
            width=preset.widths[0],
            layers=preset.layers,
            cross_attention_dim=preset.text_width,
        )

    def forward(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        velocity: Tensor = self.network.velocity(noisy, timesteps, text)
        return velocity


Denoiser = UNet | DiT | Hybrid | Vector
KINDS: dict[str, type[Denoiser]] = {"unet": UNet, "dit": DiT, "hybrid": Hybrid, "vector": Vector}


def make_denoiser(preset: DenoiserPreset, channels: int, side: int) -> Denoiser:
    return KINDS[preset.kind](preset, channels, side)
