"""A residual network with sub-pixel convolution (Shi et al. 2016, "ESPCN"; residual blocks as in Lim et al. 2017).

It adds to a bicubic enlargement, so that what it has not learned stays that. Colours are premultiplied with alpha
inside: what is transparent has no colour that could bleed into an edge.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS, BLOCKS = 32, 3


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.second(F.relu(self.first(x)))
        return out


class Upscaler(nn.Module):
    """Premultiplied RGBA (n, 4, h, w) from 0 to 1 to (n, 4, scale * h, scale * w)."""

    def __init__(self, scale: int, channels: int = CHANNELS, blocks: int = BLOCKS) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(4, channels, 3, padding=1)
        self.body = nn.Sequential(*(Block(channels) for _ in range(blocks)))
        self.tail = nn.Conv2d(channels, 4 * scale**2, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    @property
    def reach_px(self) -> int:
        """How far from a pixel the input still changes it: one for each convolution, two for bicubic."""
        return 2 + 2 * len(self.body)

    def forward(self, x: Tensor) -> Tensor:
        base = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        features = self.head(x)
        out: Tensor = base + F.pixel_shuffle(self.tail(features + self.body(features)), self.scale)
        return out


class Served(nn.Module):
    """As an engine: straight alpha (n, h, w, 4), 8 bits, in and out."""

    def __init__(self, network: Upscaler) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.permute(0, 3, 1, 2).to(torch.float32) / 255.0
        alpha = pixels[:, 3:]
        out = self.network(torch.cat([pixels[:, :3] * alpha, alpha], dim=1))
        alpha = out[:, 3:].clamp(0.0, 1.0)
        colours = (out[:, :3] / alpha.clamp(min=1.0 / 510.0)).clamp(0.0, 1.0)
        straight = torch.cat([colours, alpha], dim=1)
        return (straight * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1)
