"""The autoencoder of transparent pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from build_engines.mini.training.presets import AutoencoderPreset


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity; the second begins at zero, so that no normalisation is needed."""

    def __init__(self, width: int) -> None:
        super().__init__()
        last = nn.Conv2d(width, width, 3, 1, 1)
        self.layers = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), last)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = x + self.layers(x)
        return made


class Autoencoder(nn.Module):
    """Premultiplied RGBA (B, 4, 128, 128) in [-1, 1] to latents (B, C, side, side) and back.

    The encoder begins with 4x4 pixels as channels, and the decoder ends with 2x2: convolutions at full size cost most
    and gain least. ``widths``: channels at 32x32, 16x16 and 8x8; the last is left out for latents of 16x16.
    """

    def __init__(self, preset: AutoencoderPreset) -> None:
        super().__init__()
        widths, blocks = preset.widths, preset.blocks
        down: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(64, widths[0], 3, 1, 1)]
        for level, width in enumerate(widths):
            down += [Block(width) for _ in range(blocks[level])]
            if level + 1 < len(widths):
                down.append(nn.Conv2d(width, widths[level + 1], 4, 2, 1))
        down += [nn.ReLU(), nn.Conv2d(widths[-1], preset.channels, 3, 1, 1)]
        up: list[nn.Module] = [nn.Conv2d(preset.channels, widths[-1], 3, 1, 1)]
        narrowing = [*reversed(widths), preset.last_width]
        for level, width in enumerate(narrowing):
            up += [Block(width) for _ in range(preset.decoder_blocks[level])]
            if level + 1 < len(narrowing):
                up += [nn.Conv2d(width, 4 * narrowing[level + 1], 1), nn.PixelShuffle(2)]
        up += [nn.ReLU(), nn.Conv2d(narrowing[-1], 16, 3, 1, 1), nn.PixelShuffle(2)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self._initialise()
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def _initialise(self) -> None:
        """Convolutions keep the variance of what comes in, so that latents have about unit variance from the start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.weight.any():
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=fan_in**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
