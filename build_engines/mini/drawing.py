"""Draws with the family in torch: flow-match Euler with classifier-free guidance, for grids and for the evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from tokenizers import Tokenizer

from build_engines.mini.autoencoder import to_pixels
from build_engines.mini.flow import TRAIN_TIMESTEPS, Denoiser
from build_engines.mini.networks import GRID, mixed_precision
from build_engines.mini.pictures import Rgb
from build_engines.mini.tokenizer import encode

STEPS, GUIDANCE_SCALE = 20, 4.0
GRID_PROMPTS = (
    ("red apple, noto", "red apple, flat", "banana, flat", "strawberry, noto", "pizza, flat", "hamburger, flat"),
    ("grinning face, noto", "grinning face, flat", "cat face, flat", "dog, noto", "owl, noto", "panda, flat"),
    ("red car, flat", "blue car, noto", "airplane, noto", "rocket, flat", "bicycle, flat", "sailboat, noto"),
    ("house, noto", "castle, flat", "christmas tree, flat", "cactus, noto", "sunflower, noto", "tulip, flat"),
    ("red heart, flat", "blue heart, noto", "yellow star, flat", "sun, noto", "crescent moon, flat", "rainbow, noto"),
    ("crown, noto", "key, flat", "umbrella, noto", "guitar, flat", "blue bus, noto", "green balloon, flat"),
    (
        "blue strawberry, flat",
        "purple frog, noto",
        "pink turtle, flat",
        "owl, flat",
        "rocket, noto",
        "blue pizza, flat",
    ),
)
"""What a grid of samples shows; the last row recombines what training has not shown together."""


@dataclass(frozen=True)
class Painter:
    """The parts that draw. ``scale`` is the autoencoder's scaling factor."""

    denoiser: Denoiser
    autoencoder: AutoencoderTiny
    tokenizer: Tokenizer
    scale: float
    device: str = "cpu"

    @torch.no_grad()
    def draw(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        steps: int = STEPS,
        guidance_scale: float = GUIDANCE_SCALE,
    ) -> Rgb:
        """One picture (64, 64, 3) for each prompt; its noise comes from its own seed alone."""
        ids = encode(self.tokenizer, [*prompts, *[""] * len(prompts)])
        channels = self.denoiser.unet.config.in_channels
        noise = [np.random.default_rng(s).standard_normal((channels, GRID, GRID), np.float32) for s in seeds]
        latents = torch.from_numpy(np.stack(noise)).to(self.device)
        sigmas = flow_sigmas(steps)
        with mixed_precision(self.device):
            embeds = self.denoiser.text_encoder(torch.from_numpy(ids).to(self.device)).last_hidden_state
            for sigma, following in itertools.pairwise(sigmas):
                times = torch.full((2 * len(latents),), float(sigma) * TRAIN_TIMESTEPS, device=self.device)
                both = self.denoiser.unet(torch.cat([latents, latents]), times, embeds).sample.float()
                guided, free = both.chunk(2)
                latents = latents + float(following - sigma) * (free + guidance_scale * (guided - free))
            return to_pixels(self.autoencoder.decoder(latents / self.scale))


def flow_sigmas(steps: int, shift: float = 1.0) -> npt.NDArray[np.float64]:
    """From 1 down to 0, (steps + 1,): those of diffusers' FlowMatchEulerDiscreteScheduler with ``shift``."""
    least = shifted(np.array([1 / TRAIN_TIMESTEPS]), shift)[0]
    return np.append(shifted(np.linspace(1.0, least, steps), shift), 0.0)


def shifted(sigmas: npt.NDArray[np.float64], shift: float) -> npt.NDArray[np.float64]:
    """Noise levels in [0, 1] moved towards noise, where ``shift`` is above 1."""
    return shift * sigmas / (1 + (shift - 1) * sigmas)


def draw_all(
    painter: Painter, prompts: Sequence[str], seeds: Sequence[int], chunk: int = 32, steps: int = STEPS
) -> Rgb:
    """``Painter.draw`` in chunks, for many prompts."""
    starts = range(0, len(prompts), chunk)
    return np.concatenate([painter.draw(prompts[i : i + chunk], seeds[i : i + chunk], steps) for i in starts])


def sheet(pictures: Sequence[Rgb], titles: Sequence[str], columns: int, scale: int = 2) -> Rgb:
    """A contact sheet: each picture enlarged ``scale`` times, its title below in small letters."""
    cells = [_cell(p, t, scale) for p, t in zip(pictures, titles, strict=True)]
    blank = np.full_like(cells[0], 255)
    cells += [blank] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[i : i + columns]) for i in range(0, len(cells), columns)])


def _cell(picture: Rgb, title: str, scale: int) -> Rgb:
    height, width = (scale * side for side in picture.shape[:2])
    cell = np.full((height + 30, width + 8, 3), 255, np.uint8)
    cell[2 : 2 + height, 4 : 4 + width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    letters = max(8, width // 6)
    for line, start in enumerate(range(0, min(len(title), 2 * letters), letters)):
        where = (4, height + 13 + 12 * line)
        text = title[start : start + letters]
        cv2.putText(cell, text, where, cv2.FONT_HERSHEY_SIMPLEX, 0.34, (60, 60, 60), 1, cv2.LINE_AA)
    return cell


def save_grid(painter: Painter, path: Path) -> None:
    """Draws ``GRID_PROMPTS`` with fixed seeds into a PNG."""
    prompts = list(sum(GRID_PROMPTS, ()))
    made = draw_all(painter, prompts, range(len(prompts)))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet(list(made), prompts, len(GRID_PROMPTS[0]))).save(path)
