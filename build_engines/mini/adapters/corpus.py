"""What adapters of the starter family learn from: latents of its own icons, as they are, recoloured, or in a style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny

from build_engines.mini.captions import CaptionRule
from build_engines.mini.flow import Rows, group_rows
from build_engines.mini.latents import encode
from build_engines.mini.pictures import Pictures, Rgb, Variant, variants
from build_engines.mini.tokenizer import UNKNOWN_WORD

_CHUNK = 64


@dataclass(frozen=True)
class Corpus:
    """``latents``: (M, 16, 8, 8) in the denoiser's space, of ``variants``. ``alike``: rows by name and colour."""

    pictures: Pictures
    variants: tuple[Variant, ...]
    latents: npt.NDArray[np.float16]
    rows: tuple[Rows, ...]
    alike: dict[tuple[str, str | None], list[int]]

    def pick(self, rng: np.random.Generator, batch: int) -> list[int]:
        """Rows, every icon as likely as another."""
        return [self.rows[int(i)].pick(rng) for i in rng.integers(len(self.rows), size=batch)]

    def caption(self, rng: np.random.Generator, row: int, rule: CaptionRule) -> str:
        variant = self.variants[row]
        entry = self.pictures.entries[variant.index]
        return rule.write(rng, entry.name, entry.style, variant.colour, entry.own_colour, UNKNOWN_WORD)

    def reference(self, rng: np.random.Generator, row: int) -> int:
        """A row of the same thing in the same colour: itself, mirrored, or as the other set draws it."""
        found = self.alike[self._key(self.variants[row])]
        return found[int(rng.integers(len(found)))]

    def _key(self, variant: Variant) -> tuple[str, str | None]:
        entry = self.pictures.entries[variant.index]
        return entry.name, variant.colour or entry.own_colour


def make(
    pictures: Pictures, autoencoder: AutoencoderTiny, scale: float, path: Path, style: Callable[[Rgb], Rgb] | None
) -> Corpus:
    """Encodes every icon, in the ``style`` where there is one and else some of them in other colours too; latents are
    kept in ``path``."""
    rows = _shown(pictures, coloured=style is None)
    if not path.is_file():
        parts = []
        for start in range(0, len(rows), _CHUNK):
            drawn = [pictures.draw(variant) for variant in rows[start : start + _CHUNK]]
            parts.append(encode(autoencoder, np.stack([style(one) if style else one for one in drawn])) * scale)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.concatenate(parts).astype(np.float16))
    latents = np.load(path)
    if len(latents) != len(rows):
        raise ValueError(f"{path} has {len(latents)} pictures and the icons make {len(rows)}: delete it")
    corpus = Corpus(pictures, tuple(rows), latents, tuple(group_rows(tuple(rows))), {})
    for row, variant in enumerate(corpus.variants):
        corpus.alike.setdefault(corpus._key(variant), []).append(row)
    return corpus


def _shown(pictures: Pictures, coloured: bool) -> list[Variant]:
    """Every icon once, and with ``coloured`` a part of the recoloured ones: encoding takes longer than training."""
    every = list(enumerate(variants(pictures)))
    return [v for i, v in every if (not v.flip if v.colour is None else coloured and i % 8 == 0)]


def noisy(
    latents: npt.NDArray[np.float16], rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(mixed with noise, timesteps, the velocity that is wanted), as `build_engines.mini.flow` trains."""
    wanted = torch.from_numpy(latents.astype(np.float32))
    noise = torch.from_numpy(rng.standard_normal(latents.shape, np.float32))
    sigmas = torch.from_numpy(1 / (1 + np.exp(-rng.standard_normal(len(latents), np.float32))))
    share = sigmas[:, None, None, None]
    return (1 - share) * wanted + share * noise, 1000 * sigmas, noise - wanted
