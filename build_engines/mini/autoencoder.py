"""Trains the autoencoder: pictures to 8x8 latents of unit variance, and back, crisp.

Loss: mean absolute error at full, half and quarter size, absolute error of the differences between neighbouring
pixels (edges), and mean squared error. In place of a KL term each latent channel is held at mean 0 and variance 1,
and noise is added before decoding: that bounds what a latent can carry in the same way, keeps neighbouring latents
alike, and makes the decoder forgive the denoiser's errors.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from build_engines.mini.captions import flippable
from build_engines.mini.colours import COLOURS
from build_engines.mini.loop import Descent
from build_engines.mini.networks import make_autoencoder, mixed_precision
from build_engines.mini.pictures import Pictures, Rgb, Variant
from build_engines.mini.presets import MiniPreset

LATENT_NOISE = 0.08
"""Standard deviation of the noise before decoding, in units of the latents' own."""
_MOMENT_WEIGHT = 0.02
_SHIFT_PX = 3


def to_tensor(pixels: Rgb, device: str = "cpu") -> Tensor:
    """8-bit pictures (B, H, W, 3) as (B, 3, H, W) in [-1, 1], channels last in memory."""
    floats = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()
    return (floats / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)


def to_pixels(images: Tensor) -> Rgb:
    """The inverse of ``to_tensor``: round(clamp(x / 2 + 0.5) * 255)."""
    scaled = ((images.detach().float() / 2 + 0.5).clamp(0, 1) * 255).round()
    return np.asarray(scaled.permute(0, 2, 3, 1).to("cpu", torch.uint8).numpy())


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """The loss of the module's description; images (B, 3, H, W) in [-1, 1]."""
    loss = F.mse_loss(made, wanted)
    for _ in range(3):
        loss = loss + F.l1_loss(made, wanted) / 3
        made, wanted = F.avg_pool2d(made, 2), F.avg_pool2d(wanted, 2)
    return loss


def edge_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical differences of neighbouring pixels."""
    error = made - wanted
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def moments_loss(latents: Tensor) -> Tensor:
    """How far each channel's mean is from 0 and its variance from 1."""
    mean, variance = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
    return (mean.square() + (variance - 1).square()).mean()


def falling_rate(step: int, steps: int, warm_up: int, falling: float) -> float:
    """Factor of the learning rate: rises over ``warm_up`` steps, is 1, and falls to 0.02 over the last ``falling``."""
    rising = min(1.0, (step + 1) / max(warm_up, 1))
    start = steps * (1 - falling)
    if step < start:
        return rising
    return rising * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * (step - start) / max(steps - start, 1)))))


class AutoencoderLearner(Descent[AutoencoderTiny]):
    """Learns from originals and coloured variants, mirrored and shifted by up to 3 pixels.

    ``decoder_only`` freezes the encoder (latents that were made with it stay valid) and trains the decoder alone.
    """

    def __init__(self, preset: MiniPreset, pictures: Pictures, decoder_only: bool = False) -> None:
        torch.manual_seed(preset.seed)
        self.preset, self.pictures, self.batch = preset, pictures, preset.autoencoder.batch
        wanted = preset.autoencoder.decoder_samples if decoder_only else preset.autoencoder.samples
        self.steps = wanted // self.batch
        self.model: AutoencoderTiny = make_autoencoder(preset.autoencoder)
        self.model.to(preset.device, memory_format=torch.channels_last)
        self.model.encoder.requires_grad_(not decoder_only)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, 1.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        self._usable = [i for i, e in enumerate(pictures.entries) if e.trained and not e.validates]

    def pick(self, n: int) -> Rgb:
        """The pictures of step ``n``, (B, 64, 64, 3)."""
        rng = np.random.default_rng((self.preset.seed, 1, n))
        return np.stack([self._augmented(rng, int(i)) for i in rng.choice(self._usable, self.batch)])

    def _augmented(self, rng: np.random.Generator, index: int) -> Rgb:
        entry = self.pictures.entries[index]
        coloured = entry.own_colour is not None and rng.random() < 0.5
        colour = str(rng.choice(list(COLOURS))) if coloured else None
        flip = flippable(entry.name) and rng.random() < 0.5
        drawn = self.pictures.draw(Variant(index, colour, bool(flip)))
        dy, dx = rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2)
        padded = np.pad(drawn, ((_SHIFT_PX,) * 2, (_SHIFT_PX,) * 2, (0, 0)), mode="edge")
        top, left = _SHIFT_PX + dy, _SHIFT_PX + dx
        return padded[top : top + drawn.shape[0], left : left + drawn.shape[1]]

    def step(self, n: int) -> Tensor:
        rate = falling_rate(n, self.steps, 200, 0.4) * self.preset.autoencoder.learning_rate
        self.optimizer.param_groups[0]["lr"] = rate
        generator = torch.Generator().manual_seed(n)
        images = to_tensor(self.pick(n), self.preset.device)
        with mixed_precision(self.preset.device):
            latents = self.model.encoder(images).float()
            noise = torch.randn(latents.shape, generator=generator).to(latents.device)
            made = self.model.decoder(latents + LATENT_NOISE * noise).float()
        loss = picture_loss(made, images) + edge_loss(made, images) + _MOMENT_WEIGHT * moments_loss(latents)
        return self.descend(loss, 1.0)


@torch.no_grad()
def reconstruct(model: AutoencoderTiny, pixels: Rgb, device: str = "cpu") -> Rgb:
    """Pictures after the encoder and the decoder."""
    with mixed_precision(device):
        return to_pixels(model.decoder(model.encoder(to_tensor(pixels, device))))


def psnr(a: Rgb, b: Rgb) -> float:
    """Peak signal to noise ratio in dB, over all pictures together."""
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-12)))


def validation_pictures(pictures: Pictures) -> Rgb:
    """The icons that the autoencoder has not seen."""
    return np.stack([p for p, e in zip(pictures.pixels, pictures.entries, strict=True) if e.validates])
