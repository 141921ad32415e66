"""Trains the autoencoder of transparent pictures: latents of unit variance, and a crisp picture back.

Pictures are premultiplied RGBA: what is transparent is (0, 0, 0, 0) whatever its colour was, and laying the picture on
a ground is linear. The loss is that of ``build_engines.mini.autoencoder``, over the premultiplied channels (the picture
on black) and over the picture on white.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from build_engines.illustrate.parts import straight_alpha
from build_engines.mini.autoencoder import edge_loss, falling_rate, moments_loss, picture_loss
from build_engines.mini.colours import COLOURS
from build_engines.mini.corpus.pictures import Corpus, Rgba
from build_engines.mini.loop import Descent
from build_engines.mini.pictures import Variant
from build_engines.mini.training.networks import RgbaAutoencoder, make_autoencoder
from build_engines.mini.training.presets import AutoencoderPreset

LATENT_NOISE = 0.1
"""Standard deviation of the noise before decoding, in units of the latents' own."""
_DRAWN_NOISE = 0.4
"""Largest deviation of the noise when the decoder is trained alone: the denoiser's latents are that far off."""
_MOMENT_WEIGHT = 0.02
_SHIFT_PX = 6


def to_tensor(rgba: Rgba) -> Tensor:
    """8-bit straight RGBA (B, H, W, 4) as premultiplied (B, 4, H, W) in [-1, 1], channels last in memory."""
    floats = torch.from_numpy(np.ascontiguousarray(rgba)).permute(0, 3, 1, 2).float() / 255.0
    alpha = floats[:, 3:]
    return (torch.cat([floats[:, :3] * alpha, alpha], 1) * 2 - 1).contiguous(memory_format=torch.channels_last)


def to_pixels(images: Tensor) -> Rgba:
    """The inverse of ``to_tensor``; colours are divided by alpha and clamped."""
    scaled = (straight_alpha((images.detach().float() / 2 + 0.5).clamp(0, 1)) * 255).round()
    return np.asarray(scaled.permute(0, 2, 3, 1).to(torch.uint8).contiguous().numpy())


def on_white(images: Tensor) -> Tensor:
    """Premultiplied RGBA in [-1, 1] laid on white: RGB in [-1, 1]."""
    return images[:, :3] - images[:, 3:] + 1


class AutoencoderLearner(Descent[RgbaAutoencoder]):
    """Learns from originals and coloured variants, mirrored and shifted by up to 6 pixels.

    ``decoder_only`` freezes the encoder (latents that were made with it stay valid) and trains the decoder alone.
    """

    def __init__(self, preset: AutoencoderPreset, corpus: Corpus, decoder_only: bool = False, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.preset, self.corpus, self.batch, self.seed = preset, corpus, preset.batch, seed
        self.decoder_only = decoder_only
        self.steps = (preset.decoder_samples if decoder_only else preset.samples) // self.batch
        self.model = make_autoencoder(preset)
        self.model.encoder.requires_grad_(not decoder_only)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, 1.0, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
        usable = [i for i, e in enumerate(corpus.entries) if not e.validates]
        self._usable = np.asarray(usable)
        weights = np.asarray([1.0 if corpus.entries[i].concept[0] != "n" else 0.5 for i in usable])
        self._weights = weights / weights.sum()

    def pick(self, n: int) -> Rgba:
        """The pictures of step ``n``, (B, 128, 128, 4)."""
        rng = np.random.default_rng((self.seed, 1, n))
        chosen = rng.choice(self._usable, self.batch, p=self._weights)
        return np.stack([self._augmented(rng, int(i)) for i in chosen])

    def _augmented(self, rng: np.random.Generator, index: int) -> Rgba:
        entry = self.corpus.entries[index]
        coloured = entry.own_colour is not None and rng.random() < 0.3
        colour = str(rng.choice(list(COLOURS))) if coloured else None
        drawn = self.corpus.draw(Variant(index, colour, bool(rng.random() < 0.5)))
        dy, dx = rng.integers(-_SHIFT_PX, _SHIFT_PX + 1, 2)
        padded = np.pad(drawn, ((_SHIFT_PX,) * 2, (_SHIFT_PX,) * 2, (0, 0)))
        top, left = _SHIFT_PX + dy, _SHIFT_PX + dx
        return padded[top : top + drawn.shape[0], left : left + drawn.shape[1]]

    def step(self, n: int) -> float:
        self.optimizer.param_groups[0]["lr"] = self.preset.learning_rate * falling_rate(n, self.steps, 100, 0.4)
        generator = torch.Generator().manual_seed(n)
        images = to_tensor(self.pick(n))
        latents = self.model.encoder(images)
        noise = torch.randn(latents.shape, generator=generator)
        deviation = torch.full((len(latents), 1, 1, 1), LATENT_NOISE)
        if self.decoder_only:
            deviation = _DRAWN_NOISE * torch.rand(deviation.shape, generator=generator)
        made = self.model.decoder(latents + deviation * noise)
        loss = picture_loss(made, images) + edge_loss(made, images) + _MOMENT_WEIGHT * moments_loss(latents)
        loss = loss + 0.5 * picture_loss(on_white(made), on_white(images))
        return self.descend(loss, 1.0)


@torch.no_grad()
def reconstruct(model: RgbaAutoencoder, rgba: Rgba, chunk: int = 16) -> Rgba:
    """Pictures after the encoder and the decoder."""
    parts = [
        to_pixels(model.decoder(model.encoder(to_tensor(rgba[i : i + chunk])))) for i in range(0, len(rgba), chunk)
    ]
    return np.concatenate(parts)


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
