"""The network: an encoder whose channel statistics are a picture's style, and a decoder that paints with others.

Adaptive instance normalisation (AdaIN: Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive
Instance Normalization", 2017) at each of four levels, with skips between encoder and decoder as in Sheng et al.,
"Avatar-Net" (2018): details stay, and each scale of a texture has its statistics. Random textures go in at each level,
as noise does in Karras et al. (2019): a network of convolutions alone leaves a flat area flat.

Colours themselves are a level, in opponent channels: the network adds to the picture in the style's colours, so that
what it has not learned stays that (as in Reinhard et al., "Color Transfer between Images", 2001).

The statistics are inputs of the decoder, those of the content too. So a large picture may be painted in tiles that do
not show, and styles are mixed, and their strength set, by mixing statistics: AdaIN is linear in them.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from serve.vector.textures import FIELDS

CHANNELS = (16, 32, 64, 128)
BLOCKS = 2
LEVELS = (3, *CHANNELS)
STATISTICS = 2 * sum(LEVELS)
"""Means of all channels of all levels, then their standard deviations."""
STEP = 2 ** (len(CHANNELS) - 1)
"""Sides must be multiples of it."""
REACH_PX = 64
"""How far from a pixel the input changes it notably."""
FARTHEST = 5.0
"""Deviations from the mean beyond which a feature counts no more: a few pixels must not outshine a style."""
_LEAST = 1e-2
"""Added to each variance: the contrast of a flat channel is not raised to a texture's."""


class Encoder(nn.Module):
    """Pictures (n, 3, h, w) in [-1, 1] to opponent colours, and features at 1, 1/2, 1/4 and 1/8 of their size."""

    opponent: Tensor

    def __init__(self) -> None:
        super().__init__()
        axes = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
        self.register_buffer("opponent", (axes / axes.norm(dim=1, keepdim=True))[..., None, None])
        self.first = nn.Conv2d(3, CHANNELS[0], 5, padding=2)
        pairs = itertools.pairwise(CHANNELS)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairs)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [F.leaky_relu(self.first(x), 0.2)]
        for layer in self.down:
            features.append(F.leaky_relu(layer(features[-1]), 0.2))
        return [F.conv2d(x, self.opponent), *features]

    def colours(self, opponent: Tensor) -> Tensor:
        """RGB of opponent colours."""
        return F.conv2d(opponent, self.opponent.transpose(0, 1))


def statistics(features: list[Tensor]) -> Tensor:
    """(n, STATISTICS) of the encoder's features."""
    means = [f.mean((2, 3)) for f in features]
    deviations = [
        ((f - m[..., None, None]).square().mean((2, 3)) + _LEAST).sqrt() for f, m in zip(features, means, strict=True)
    ]
    return torch.cat([*means, *deviations], 1)


def levels(values: Tensor) -> list[tuple[Tensor, Tensor]]:
    """(mean, deviation) of each level, (n, channels, 1, 1)."""
    parts = torch.split(values[..., None, None], [*LEVELS, *LEVELS], 1)
    return list(zip(parts[: len(LEVELS)], parts[len(LEVELS) :], strict=True))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.leaky_relu(self.first(x), 0.2))
        return out


class Level(nn.Module):
    """What comes from below, the skip, textures and the style's statistics to the features of one level."""

    def __init__(self, below: int, channels: int) -> None:
        super().__init__()
        self.below = nn.Conv2d(below, channels, 1)
        self.grain = nn.Conv2d(FIELDS, channels, 1, bias=False)
        self.mix = nn.Conv2d(channels, channels, 3, padding=1)
        self.style = nn.Linear(STATISTICS, 3 * channels)
        nn.init.normal_(self.style.weight, std=0.01)
        nn.init.zeros_(self.style.bias)

    def forward(self, below: Tensor, skip: Tensor, textures: Tensor, style: Tensor) -> Tensor:
        amount, scale, shift = self.style(style)[..., None, None].chunk(3, 1)
        mixed = skip + self.grain(textures) * (0.3 + amount)
        lower = self.below(below)
        if lower.shape[-1] != skip.shape[-1]:
            lower = F.interpolate(lower, scale_factor=2.0, mode="nearest")
        mixed = self.mix(mixed + lower)
        return F.leaky_relu(mixed * (1 + scale) + shift, 0.2) + skip


class StyleNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        deepest = CHANNELS[-1]
        self.enter = Level(deepest, deepest)
        self.blocks = nn.Sequential(*(Block(deepest) for _ in range(BLOCKS)))
        self.up = nn.ModuleList(Level(CHANNELS[i + 1], CHANNELS[i]) for i in reversed(range(len(CHANNELS) - 1)))
        self.last = nn.Conv2d(CHANNELS[0], 3, 5, padding=2)
        with torch.no_grad():
            self.last.weight.mul_(0.1)

    def forward(self, features: list[Tensor], own: Tensor, style: Tensor, textures: Tensor) -> Tensor:
        """Pictures (n, 3, h, w), about [-1, 1]. ``features`` and their statistics ``own`` of the content; ``style``
        (n, STATISTICS); ``textures`` (n, FIELDS, h, w)."""
        painted = [
            ((f - mean) / deviation).clamp(-FARTHEST, FARTHEST) * style_deviation + style_mean
            for f, (mean, deviation), (style_mean, style_deviation) in zip(
                features, levels(own), levels(style), strict=True
            )
        ]
        colours, *painted = painted
        grains = [textures]
        for _ in CHANNELS[1:]:
            grains.append(1.5 * F.avg_pool2d(grains[-1], 2))
        x = self.blocks(self.enter(painted[-1], painted[-1], grains[-1], style))
        for layer, skip, grain in zip(self.up, painted[-2::-1], grains[-2::-1], strict=True):
            x = layer(x, skip, grain, style)
        out: Tensor = self.encoder.colours(colours) + self.last(x)
        return out


def to_tensor(pixels: Tensor) -> Tensor:
    """(n, h, w, 3) of 8 bits to (n, 3, h, w) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0


class ServedEncoder(nn.Module):
    """As an engine: pictures (n, h, w, 3), 8 bits, to their statistics."""

    def __init__(self, network: StyleNetwork) -> None:
        super().__init__()
        self.encoder = network.encoder

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = statistics(self.encoder(to_tensor(image)))
        return found


class ServedPainter(nn.Module):
    """As an engine: pictures (n, h, w, 3), 8 bits, to painted ones."""

    def __init__(self, network: StyleNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, content: Tensor, style: Tensor, textures: Tensor) -> Tensor:
        features = self.network.encoder(to_tensor(image))
        out = self.network(features, content, style, textures.permute(0, 3, 1, 2))
        pixels: Tensor = ((out + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 1)
