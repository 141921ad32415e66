"""An encoder of pictures that judges drawings: trained on real icons only, never on anything drawn by the family.

Two augmented views of one icon in one colour belong together, everything else in the batch does not (NT-Xent: Chen et
al., "A Simple Framework for Contrastive Learning", 2020). Batches hold icons in several colours each, so that the
embedding tells colours apart as well as objects.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from build_engines.mini.autoencoder import falling_rate, to_tensor
from build_engines.mini.captions import flippable
from build_engines.mini.flow import group_rows
from build_engines.mini.loop import Descent
from build_engines.mini.networks import mixed_precision
from build_engines.mini.pictures import Pictures, Rgb, Variant, variants

EMBEDDING = 128
STEPS = 700
_ICONS, _COLOURS = 40, 3
_TEMPERATURE = 0.1
_CHUNK = 256


class PictureEncoder(nn.Module):
    """Pictures (B, 3, 64, 64) in [-1, 1] to unit vectors (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AvgPool2d(2)]
        for inside, outside, stride in ((3, 32, 1), (32, 64, 2), (64, 128, 2), (128, 128, 1), (128, 256, 2)):
            layers += [nn.Conv2d(inside, outside, 3, stride, 1), nn.GroupNorm(8, outside), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(256 * 16, EMBEDDING))

    def forward(self, images: Tensor) -> Tensor:
        return F.normalize(self.layers(images).float(), dim=1)


class JudgeLearner(Descent[PictureEncoder]):
    """Step ``n`` sees ``_ICONS`` icons, each in up to ``_COLOURS`` colours, twice."""

    batch = _ICONS * _COLOURS

    def __init__(self, pictures: Pictures, steps: int = STEPS, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.pictures, self.steps, self.seed = pictures, steps, seed
        self.model = PictureEncoder()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 1.0, weight_decay=0.01, fused=True)
        self._variants = variants(pictures, held_too=True)
        self._rows = group_rows(tuple(self._variants))

    def _pick(self, rng: np.random.Generator) -> list[Variant]:
        icons = rng.choice(len(self._rows), min(_ICONS, len(self._rows)), replace=False)
        found = []
        for icon in icons:
            rows = self._rows[int(icon)]
            coloured = rng.permutation(np.asarray(rows.coloured, np.int64))[: _COLOURS - 1]
            found += [self._variants[int(row)] for row in (rows.original[0], *coloured)]
        return found

    def _view(self, rng: np.random.Generator, chosen: list[Variant]) -> Tensor:
        """Each picture shifted, scaled, blurred, a little noisy, and mirrored where that is right."""
        flips = [flippable(self.pictures.entries[v.index].name) and rng.random() < 0.5 for v in chosen]
        drawn = [self.pictures.draw(Variant(v.index, v.colour, f)) for v, f in zip(chosen, flips, strict=True)]
        images = moved(rng, to_tensor(np.stack(drawn)))
        coarse = int(rng.integers(20, 65))
        blurred = F.interpolate(images, (coarse, coarse), mode="bilinear", antialias=True)
        images = F.interpolate(blurred, images.shape[-2:], mode="bilinear")
        noise = rng.standard_normal(images.shape, np.float32) * rng.uniform(0, 0.1)
        return images + torch.from_numpy(np.asarray(noise, np.float32))

    def step(self, n: int) -> Tensor:
        rng = np.random.default_rng((self.seed, 3, n))
        self.optimizer.param_groups[0]["lr"] = 2e-3 * falling_rate(n, self.steps, 50, 0.8)
        chosen = self._pick(rng)
        views = torch.cat([self._view(rng, chosen), self._view(rng, chosen)])
        with mixed_precision("cpu"):
            embedded = self.model(views.contiguous(memory_format=torch.channels_last))
        alike = embedded @ embedded.T / _TEMPERATURE
        alike = alike.masked_fill(torch.eye(len(alike), dtype=torch.bool), -torch.inf)
        count = len(chosen)
        loss = F.cross_entropy(alike, torch.cat([torch.arange(count) + count, torch.arange(count)]))
        return self.descend(loss)


def moved(rng: np.random.Generator, images: Tensor) -> Tensor:
    """Each image scaled by 0.9 to 1.12 and shifted by up to 4 of 64 pixels; what comes in at the border is white."""
    scale = rng.uniform(0.9, 1.12, len(images))
    shift = rng.uniform(-0.125, 0.125, (len(images), 2))
    matrices = np.zeros((len(images), 2, 3), np.float32)
    matrices[:, 0, 0] = matrices[:, 1, 1] = scale
    matrices[:, :, 2] = shift
    places = F.affine_grid(torch.from_numpy(matrices), list(images.shape), align_corners=False)
    return F.grid_sample(images - 1, places, align_corners=False) + 1


@torch.no_grad()
def embed(model: PictureEncoder, pixels: Rgb) -> npt.NDArray[np.float32]:
    """Unit vectors (B, 128) of pictures (B, 64, 64, 3)."""
    chunks = [model(to_tensor(pixels[i : i + _CHUNK])) for i in range(0, len(pixels), _CHUNK)]
    return np.asarray(torch.cat(chunks).numpy())
