"""Trains the autoencoder of transparent pictures: latents of unit variance, and a crisp picture back.

Pictures are premultiplied RGBA: what is transparent is (0, 0, 0, 0) whatever its colour was, and laying the picture on
a ground is linear. The loss is that of ``build_engines.mini.autoencoder``, over the premultiplied channels (the picture
on black) and over the picture on white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from build_engines.illustrate.parts import straight_alpha
from build_engines.mini.autoencoder import edge_loss, falling_rate, moments_loss, picture_loss
from build_engines.mini.corpus.pictures import Corpus, Rgba
from build_engines.mini.loop import Descent
from build_engines.mini.networks import mixed_precision
from build_engines.mini.training.networks import RgbaAutoencoder, make_autoencoder
from build_engines.mini.training.presets import AutoencoderPreset

_DRAWN_NOISE = 0.4
"""Largest deviation of the noise when the decoder is trained alone: the denoiser's latents are that far off."""
_MOMENT_WEIGHT = 0.02
_SHIFT_PX = 6
_COLOURED_SHARE = 0.3
"""Share of the pictures whose channels of colour change places."""


def to_tensor(rgba: Rgba) -> Tensor:
    """8-bit straight RGBA (B, H, W, 4) as premultiplied (B, 4, H, W) in [-1, 1], channels last in memory."""
    return premultiplied(torch.from_numpy(np.ascontiguousarray(rgba)))


def premultiplied(rgba: Tensor) -> Tensor:
    """``to_tensor`` of a tensor, on its device."""
    floats = rgba.permute(0, 3, 1, 2).float() / 255.0
    alpha = floats[:, 3:]
    return (torch.cat([floats[:, :3] * alpha, alpha], 1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def to_pixels(images: Tensor) -> Rgba:
    """The inverse of ``to_tensor``; colours are divided by alpha and clamped."""
    scaled = (straight_alpha((images.detach().float() / 2 + 0.5).clamp(0, 1)) * 255).round()
    return np.asarray(scaled.permute(0, 2, 3, 1).to("cpu", torch.uint8).contiguous().numpy())


def on_white(images: Tensor) -> Tensor:
    """Premultiplied RGBA in [-1, 1] laid on white: RGB in [-1, 1]."""
    return images[:, :3] - images[:, 3:] + 1


class AutoencoderLearner(Descent[RgbaAutoencoder]):
    """Learns from icons, mirrored, shifted by up to 6 pixels, and some with their channels of colour permuted. All
    icons are held on ``device``.

    ``decoder_only`` freezes the encoder (latents that were made with it stay valid) and trains the decoder alone.
    """

    def __init__(
        self, preset: AutoencoderPreset, corpus: Corpus, decoder_only: bool = False, seed: int = 0, device: str = "cpu"
    ) -> None:
        torch.manual_seed(seed)
        self.preset, self.corpus, self.batch, self.seed = preset, corpus, preset.batch, seed
        self.decoder_only, self.device = decoder_only, device
        self.steps = (preset.decoder_samples if decoder_only else preset.samples) // self.batch
        self.model = make_autoencoder(preset).to(device)
        self.model.encoder.requires_grad_(not decoder_only)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, 1.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        usable = [i for i, e in enumerate(corpus.entries) if not e.validates]
        weights = [1.0 if corpus.entries[i].concept[0] != "n" else 0.5 for i in usable]
        self._pixels = torch.from_numpy(np.asarray(corpus.pixels)[usable]).to(device)
        self._weights = torch.tensor(weights, device=device)

    def pick(self, generator: torch.Generator) -> Tensor:
        """Pictures of a step as ``to_tensor`` makes them, (B, 4, 128, 128)."""
        chosen = self._pixels[torch.multinomial(self._weights, self.batch, True, generator=generator)]
        chance = torch.rand((2, self.batch, 1), generator=generator, device=self.device)
        orders = torch.rand((self.batch, 3), generator=generator, device=self.device).argsort(1)
        orders = torch.where(chance[0] < _COLOURED_SHARE, orders, torch.arange(3, device=self.device))
        places = torch.cat([orders, torch.full_like(orders[:, :1], 3)], 1)
        chosen = chosen.gather(3, places[:, None, None].expand_as(chosen))
        size = chosen.shape[1]
        moves = torch.randint(2 * _SHIFT_PX + 1, (2, self.batch, 1), generator=generator, device=self.device)
        rows, columns = moves + torch.arange(size, device=self.device)
        columns = torch.where(chance[1] < 0.5, columns, columns.flip(1))
        padded = nn.functional.pad(chosen, (0, 0, *(_SHIFT_PX,) * 4))
        at = torch.arange(self.batch, device=self.device)[:, None, None]
        return premultiplied(padded[at, rows[:, :, None], columns[:, None]])

    def step(self, n: int) -> Tensor:
        self.optimizer.param_groups[0]["lr"] = self.preset.learning_rate * falling_rate(n, self.steps, 100, 0.4)
        generator = torch.Generator(self.device).manual_seed((self.seed << 40) + n)
        images = self.pick(generator)
        with mixed_precision(self.device):
            latents = self.model.encoder(images).float()
            noise = torch.randn(latents.shape, generator=generator, device=self.device)
            share = torch.rand((len(latents), 1, 1, 1), generator=generator, device=self.device)
            most = _DRAWN_NOISE if self.decoder_only else self.preset.noise
            made = self.model.decoder(latents + most * share * noise).float()
        loss = picture_loss(made, images) + edge_loss(made, images) + _MOMENT_WEIGHT * moments_loss(latents)
        loss = loss + 0.5 * picture_loss(on_white(made), on_white(images))
        return self.descend(loss, 1.0)


@torch.no_grad()
def reconstruct(model: RgbaAutoencoder, rgba: Rgba, chunk: int = 16) -> Rgba:
    """Pictures after the encoder and the decoder."""
    tensors = (to_tensor(rgba[i : i + chunk]).to(model.device) for i in range(0, len(rgba), chunk))
    return np.concatenate([to_pixels(model.decoder(model.encoder(images))) for images in tensors])


def laid_on(rgba: Rgba, ground: tuple[int, int, int] = (255, 255, 255)) -> npt.NDArray[np.uint8]:
    """Straight RGBA (..., 4) laid on a colour: RGB (..., 3)."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + np.asarray(ground, np.float32) * (1 - alpha)
    return np.asarray(np.rint(mixed), np.uint8)


def psnr(made: Rgba, wanted: Rgba) -> float:
    """Peak signal to noise ratio in dB on white and on black together, over all pictures."""
    errors = [
        np.mean((laid_on(made, g).astype(np.float32) - laid_on(wanted, g).astype(np.float32)) ** 2)
        for g in ((255, 255, 255), (0, 0, 0))
    ]
    return float(10 * np.log10(255.0**2 / max(float(np.mean(errors)), 1e-12)))
