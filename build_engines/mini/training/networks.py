"""The autoencoder of transparent pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
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


class RgbaAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Premultiplied RGBA (B, 4, H, W) in [-1, 1] to latents (B, C, H / downsample, W / downsample) and back.

    The encoder begins with 4x4 pixels as channels, and the decoder ends with 2x2: convolutions at full size cost most
    and gain least. ``widths``: channels at 1/4, 1/8 and 1/16 of the size; latents have the size of the last.
    ``blocks`` are the encoder's at each of these; ``decoder_blocks`` from the latents' size up, the last at 1/2 with
    ``last_width``. ``scaling_factor``: what latents are multiplied by for the denoiser.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 32,
        widths: Sequence[int] = (64, 128, 256),
        last_width: int = 32,
        blocks: Sequence[int] = (1, 1, 1),
        decoder_blocks: Sequence[int] = (2, 2, 2, 1),
        downsample: int = 16,
        in_channels: int = 4,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        del downsample, scaling_factor
        down: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(16 * in_channels, widths[0], 3, 1, 1)]
        for level, width in enumerate(widths):
            down += [Block(width) for _ in range(blocks[level])]
            if level + 1 < len(widths):
                down.append(nn.Conv2d(width, widths[level + 1], 4, 2, 1))
        down += [nn.ReLU(), nn.Conv2d(widths[-1], latent_channels, 3, 1, 1)]
        up: list[nn.Module] = [nn.Conv2d(latent_channels, widths[-1], 3, 1, 1)]
        narrowing = [*reversed(widths), last_width]
        for level, width in enumerate(narrowing):
            up += [Block(width) for _ in range(decoder_blocks[level])]
            if level + 1 < len(narrowing):
                up += [nn.Conv2d(width, 4 * narrowing[level + 1], 1), nn.PixelShuffle(2)]
        up += [nn.ReLU(), nn.Conv2d(narrowing[-1], 4 * in_channels, 3, 1, 1), nn.PixelShuffle(2)]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)
        self._initialise()
        self.to(memory_format=torch.channels_last)

    def encode(self, image: Tensor) -> AutoencoderTinyOutput:
        return AutoencoderTinyOutput(self.encoder(image))

    def decode(self, latents: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        made = self.decoder(latents)
        return DecoderOutput(made) if return_dict else (made,)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Convolutions keep the variance of what comes in, so that latents have about unit variance from the start."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.weight.any():
                fan_in = module.weight[0].numel()
                nn.init.normal_(module.weight, std=fan_in**-0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


def make_autoencoder(preset: AutoencoderPreset) -> RgbaAutoencoder:
    made: RgbaAutoencoder = RgbaAutoencoder(
        latent_channels=preset.channels,
        widths=preset.widths,
        last_width=preset.last_width,
        blocks=preset.blocks,
        decoder_blocks=preset.decoder_blocks,
        downsample=2 ** (len(preset.widths) + 1),
    )
    return made
