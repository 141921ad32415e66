"""Draws with the family in torch: flow-match Euler with classifier-free guidance, for sheets and comparisons."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from build_engines.mini import drawing
from build_engines.mini.corpus.pictures import Rgba
from build_engines.mini.flow import TRAIN_TIMESTEPS
from build_engines.mini.tokenizer import encode
from build_engines.mini.training.autoencoder import laid_on, to_pixels
from build_engines.mini.training.hybrid import FEW_STEP_OFFSET
from build_engines.mini.training.networks import RgbaAutoencoder
from build_engines.mini.training.text import TOKENS

STEPS, GUIDANCE_SCALE = 20, 3.0
SHIFT = 4.0
"""Of the noise levels towards noise: what a picture shows is decided early, as a few components hold most of it."""
FEW_STEPS = 4
"""Long steps without guidance, which the stage ``few_step`` teaches."""
SHEET_PROMPTS = (
    ("red apple, noto", "red apple, flat", "banana, twemoji", "strawberry, glossy", "pizza, flat", "hamburger, noto"),
    ("grinning face, noto", "cat face, flat", "dog, noto", "owl, twemoji", "panda, glossy", "penguin, inked"),
    ("red car, flat", "blue car, noto", "airplane, twemoji", "rocket, flat", "bicycle, noto", "sailboat, glossy"),
    ("house, noto", "castle, flat", "christmas tree, twemoji", "cactus, noto", "sunflower, glossy", "tulip, flat"),
    ("red heart, flat", "yellow star, noto", "sun, flat", "umbrella, noto", "guitar, flat", "crown, glossy"),
    ("a cute kitten", "puppy", "automobile, flat", "a burger", "cello, noto", "sofa, flat"),
)
"""What a sheet of samples shows; the words of the last row are in no caption."""


def few_step_sigmas() -> npt.NDArray[np.float64]:
    """The noise levels of the long steps, from 1 down to 0: (5,), evenly spaced before they are shifted."""
    return drawing.shifted(np.linspace(1.0, 0.0, FEW_STEPS + 1), SHIFT)


class Draws(Protocol):
    """The networks of a step."""

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B, 16) to the text (B, 16, width)."""

    @property
    def denoiser(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Noisy latents, timesteps and text to velocities."""


def guided_step(
    model: Draws, latents: Tensor, embeds: Tensor, sigma: float, following: float, guidance_scale: float
) -> Tensor:
    """``latents`` (B, C, side, side) at the level ``following``; ``embeds``: of B captions, then of B empty ones."""
    times = torch.full((2 * len(latents),), sigma * TRAIN_TIMESTEPS, device=latents.device)
    both = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)
    guided, free = model.denoiser(both, times, embeds).float().chunk(2)
    return latents + (following - sigma) * (free + guidance_scale * (guided - free))


@dataclass(frozen=True)
class Painter:
    """The parts that draw. ``scale`` is that of ``Latents``."""

    model: Draws
    autoencoder: RgbaAutoencoder
    tokenizer: Tokenizer
    scale: float
    latent_shape: tuple[int, int, int]

    @torch.no_grad()
    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
    ) -> Rgba:
        """One picture (128, 128, 4) for each prompt; its noise comes from its own seed alone."""
        latents, embeds = self._noise(seeds), self._embedded([*prompts, *[""] * len(prompts)])
        for sigma, following in itertools.pairwise(drawing.flow_sigmas(steps, SHIFT)):
            latents = guided_step(self.model, latents, embeds, float(sigma), float(following), guidance_scale)
        return to_pixels(self.autoencoder.decoder(latents / self.scale))

    @torch.no_grad()
    def draw_in_few_steps(self, prompts: Sequence[str], seeds: Sequence[int]) -> Rgba:
        """``draw`` in four long steps without guidance, from the same noise."""
        latents, embeds = self._noise(seeds), self._embedded(prompts)
        for sigma, following in itertools.pairwise(few_step_sigmas()):
            times = torch.full((len(latents),), FEW_STEP_OFFSET + float(sigma) * TRAIN_TIMESTEPS, device=latents.device)
            noisy = latents.contiguous(memory_format=torch.channels_last)
            latents = latents + float(following - sigma) * self.model.denoiser(noisy, times, embeds)
        return to_pixels(self.autoencoder.decoder(latents / self.scale))

    def _noise(self, seeds: Sequence[int]) -> Tensor:
        noise = [np.random.default_rng(s).standard_normal(self.latent_shape, np.float32) for s in seeds]
        return torch.from_numpy(np.stack(noise)).to(self.autoencoder.device)

    def _embedded(self, captions: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(encode(self.tokenizer, captions, TOKENS)).to(self.autoencoder.device)
        return self.model.embed(ids)

    def draw_all(self, prompts: Sequence[str], seeds: Sequence[int], chunk: int = 16, few_steps: bool = False) -> Rgba:
        """``draw``, or ``draw_in_few_steps``, in batches."""
        draw = self.draw_in_few_steps if few_steps else self.draw
        starts = range(0, len(prompts), chunk)
        return np.concatenate([draw(prompts[i : i + chunk], seeds[i : i + chunk]) for i in starts])


def save_sheet(
    painter: Painter, path: Path, prompts: Sequence[str] = (), columns: int = 6, chunk: int = 9, few_steps: bool = False
) -> None:
    """Draws ``prompts`` (``SHEET_PROMPTS`` when empty) with fixed seeds on white into a PNG."""
    prompts = prompts or list(sum(SHEET_PROMPTS, ()))
    drawn = laid_on(painter.draw_all(prompts, range(len(prompts)), chunk, few_steps))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(drawing.sheet(list(drawn), prompts, columns, scale=1)).save(path)
