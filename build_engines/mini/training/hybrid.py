"""The denoiser of convolutions and transformer layers (after UViT, Hoogeboom et al., "Simple diffusion", 2023).

Convolutions work at the latents' size, transformer layers at half of it, where most parameters are: there are only 16
positions for latents of 8x8, so that parameters cost little. What depends on the caption and the timestep alone is
computed once for a picture, not for each position.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from build_engines.mini.training.unet_interface import TextConditioned

_CONDITION = 256
_HIDDEN = 1024
_PRIOR_WIDTH = 64
_PRIOR_BASIS = 16
_FREQUENCIES = 4
"""Of the sines and cosines that positions are described by."""
_CROSS_EVERY = 2
FEW_STEP_OFFSET = 2000
"""What is added to a timestep where the step is one of a few long ones, which need no guidance (``few_step``)."""


def _modulation(condition: int, values: int) -> nn.Linear:
    """Scales, shifts and gates out of the condition; zero at the beginning, so that a layer begins as an identity."""
    made = nn.Linear(condition, values)
    nn.init.zeros_(made.weight)
    nn.init.zeros_(made.bias)
    return made


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """(B, N, W) over (B, M, W); plain products: the fused kind is slow for so few positions."""
    size = q.shape[-1] // heads
    q, k, v = (t.reshape(t.shape[0], -1, heads, size).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * size**-0.5).softmax(-1)
    read: Tensor = (weights @ v).transpose(1, 2).flatten(2)
    return read


def _normal(x: Tensor, width: int) -> Tensor:
    return F.layer_norm(x, (width,))


class _Convolutions(nn.Module):
    """Two 3x3 convolutions beside an identity, normalised over channels and modulated."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.first, self.second = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.modulation = _modulation(_CONDITION, 3 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition)[:, :, None, None].chunk(3, 1)
        normal = _normal(x.permute(0, 2, 3, 1), self.width).permute(0, 3, 1, 2)
        made: Tensor = x + (1 + gate) * self.second(F.silu(self.first(normal * (1 + scale) + shift)))
        return made


class _Layer(nn.Module):
    """Self attention, in every second layer attention to the text, and a feed-forward."""

    def __init__(self, width: int, heads: int, text_width: int, cross: bool) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))
        self.modulation = _modulation(_CONDITION, 6 * width)
        self.query = nn.Linear(width, width) if cross else None
        self.text = nn.Linear(text_width, 2 * width) if cross else None
        self.read = nn.Linear(width, width) if cross else None
        if self.read is not None:
            nn.init.zeros_(self.read.weight)
            nn.init.zeros_(self.read.bias)

    def forward(self, x: Tensor, condition: Tensor, text: Tensor) -> Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(condition)[:, None].chunk(6, -1)
        q, k, v = self.qkv(_normal(x, self.width) * (1 + scale) + shift).chunk(3, -1)
        x = x + gate * self.out(_attention(q, k, v, self.heads))
        if self.query is not None and self.text is not None and self.read is not None:
            k, v = self.text(text).chunk(2, -1)
            x = x + self.read(_attention(self.query(_normal(x, self.width)), k, v, self.heads))
        made: Tensor = x + gate2 * self.feed(_normal(x, self.width) * (1 + scale2) + shift2)
        return made


class HybridDenoiser(TextConditioned):
    """A UNet's inputs and outputs: ``sample`` (B, C, H, W), ``timestep`` (B,), text (B, T, W).

    Timesteps are in [0, 1000], or ``FEW_STEP_OFFSET`` higher for one of a few long steps.

    ``block_out_channels``: widths of the convolutions and of the transformer, which is ``layers`` deep and has
    ``heads``; ``blocks`` of convolutions stand before it and one more after it. Sides of latents are even; positions
    are described by where in the picture they are, so that any size can be run. ``addition_embed_type`` and
    ``time_cond_proj_dim`` are None, as in a UNet that is conditioned on text alone.

    The network does not have to pass the noise through: the velocity is the best linear guess from the sample alone,
    plus the network's output at unit variance (after Karras et al., "Elucidating the Design Space of Diffusion-Based
    Generative Models", 2022, for a flow of latents of unit variance). Part of that output is a linear layer of what the
    caption and the timestep alone say.
    """

    SENSITIVE_MODULES = ("enter", "up", "leave")

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int = 8,
        in_channels: int = 32,
        out_channels: int = 32,
        block_out_channels: Sequence[int] = (128, 384),
        heads: int = 6,
        layers: int = 10,
        blocks: int = 2,
        cross_attention_dim: int = 256,
        addition_embed_type: str | None = None,
        time_cond_proj_dim: int | None = None,
    ) -> None:
        super().__init__()
        narrow, wide = block_out_channels
        text = cross_attention_dim
        self.enter = nn.Conv2d(in_channels, narrow, 3, 1, 1)
        self.before = nn.ModuleList(_Convolutions(narrow) for _ in range(blocks))
        self.down, self.up = nn.Linear(4 * narrow, wide), nn.Linear(wide, 4 * narrow)
        self.places = nn.Sequential(nn.Linear(4 * _FREQUENCIES, _CONDITION), nn.SiLU(), nn.Linear(_CONDITION, wide))
        self.transformer = nn.ModuleList(_Layer(wide, heads, text, n % _CROSS_EVERY == 0) for n in range(layers))
        self.join = nn.Conv2d(2 * narrow, narrow, 1)
        self.after = nn.ModuleList(_Convolutions(narrow) for _ in range(blocks + 1))
        self.leave = nn.Conv2d(narrow, out_channels, 3, 1, 1)
        nn.init.zeros_(self.leave.weight)
        self.weigh, self.pooled = nn.Linear(text, 4), nn.Linear(4 * text, _HIDDEN)
        self.time = nn.Linear(_CONDITION, _HIDDEN)
        self.condition = nn.Linear(_HIDDEN, _CONDITION)
        self.prior = nn.Linear(_HIDDEN, _PRIOR_BASIS * _PRIOR_WIDTH)
        self.basis, self.paint = nn.Linear(wide, _PRIOR_BASIS), nn.Linear(_PRIOR_WIDTH, wide)
        self.mean = nn.Linear(_HIDDEN, out_channels * sample_size**2)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.mean.bias)
        self.to(memory_format=torch.channels_last)

    def velocity(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        return preconditioned(noisy, timesteps, self.residual(noisy, timesteps, text))

    def residual(self, noisy: Tensor, timesteps: Tensor, text: Tensor) -> Tensor:
        """What the network itself gives, of about unit variance."""
        hidden = F.silu(self._pool(text) + self.time(_sinusoids(timesteps)))
        condition = F.silu(self.condition(hidden))
        first = self.enter(noisy)
        for block in self.before:
            first = block(first, condition)
        tokens = F.pixel_unshuffle(first, 2)
        grid = tokens.shape[2:]
        places = self.places(_places(grid[0], grid[1]).to(noisy.device))
        x = self.down(tokens.flatten(2).transpose(1, 2)) + places + self._prior(hidden, places)
        for layer in self.transformer:
            x = layer(x, condition, text)
        x = self.up(_normal(x, self.down.out_features)).transpose(1, 2).unflatten(2, grid)
        y = self.join(torch.cat([F.pixel_shuffle(x, 2), first], 1).contiguous(memory_format=torch.channels_last))
        for block in self.after:
            y = block(y, condition)
        residual: Tensor = self.leave(F.silu(y)) + self._mean(hidden, noisy)
        return residual

    def _mean(self, hidden: Tensor, noisy: Tensor) -> Tensor:
        """What caption and timestep alone say about the output, in the shape of ``noisy``."""
        side = self.config.sample_size
        mean = self.mean(hidden).unflatten(1, (-1, side, side))
        return F.interpolate(mean, noisy.shape[2:], mode="bilinear", align_corners=False)

    def _pool(self, text: Tensor) -> Tensor:
        """The text (B, T, W) weighed by four learned weights of its tokens: (B, hidden)."""
        weights = self.weigh(text).softmax(1)
        pooled: Tensor = self.pooled((weights.transpose(1, 2) @ text).flatten(1))
        return pooled

    def _prior(self, hidden: Tensor, places: Tensor) -> Tensor:
        """What caption and timestep alone say about each position, (B, N, wide)."""
        basis = self.basis(places)
        painted: Tensor = self.paint(basis @ self.prior(hidden).unflatten(1, (_PRIOR_BASIS, _PRIOR_WIDTH)))
        return painted


def preconditioned(noisy: Tensor, timesteps: Tensor, residual: Tensor) -> Tensor:
    """The velocity n - x from z = (1 - s) x + s n: (2 s - 1) / v z + residual / sqrt(v), where v = s^2 + (1 - s)^2 is
    the variance of z, and s = timestep / 1000, of a few long steps (timestep - ``FEW_STEP_OFFSET``) / 1000."""
    flow = torch.where(timesteps < FEW_STEP_OFFSET, timesteps, timesteps - FEW_STEP_OFFSET)
    sigma = (flow.float() / 1000)[:, None, None, None]
    variance = sigma.square() + (1 - sigma).square()
    return (2 * sigma - 1) / variance * noisy + residual * variance.rsqrt()


def _sinusoids(timesteps: Tensor) -> Tensor:
    """(B, 256) of timesteps (B,)."""
    half = _CONDITION // 2
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=timesteps.device) / half)
    angles = timesteps[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def _places(height: int, width: int) -> Tensor:
    """(height * width, 16): sines and cosines of row and column, each in (0, 1)."""
    rates = math.pi * 2 ** torch.arange(_FREQUENCIES) / 2
    rows = ((torch.arange(height) + 0.5) / height)[:, None] * rates
    columns = ((torch.arange(width) + 0.5) / width)[:, None] * rates
    described = [rows.sin(), rows.cos()], [columns.sin(), columns.cos()]
    by_row, by_column = (torch.cat(part, -1) for part in described)
    spread = (by_row[:, None].expand(-1, width, -1), by_column[None].expand(height, -1, -1))
    return torch.cat(spread, -1).flatten(0, 1)
