"""The latents of everything that the denoiser sees, made once with the finished encoder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderTiny

from build_engines.mini.autoencoder import to_tensor
from build_engines.mini.networks import mixed_precision
from build_engines.mini.pictures import Pictures, Rgb, Variant, variants

_CHUNK = 128


@dataclass(frozen=True)
class Latents:
    """``values``: (M, C, 8, 8), with a mean square of 1 over all; ``variants``: what each row shows.

    ``values`` is what the encoder gives times ``scale``, diffusers' ``scaling_factor``. There is no shift: training
    of the autoencoder holds the means at 0, and diffusers' pipeline of this class knows none.
    """

    values: npt.NDArray[np.float16]
    variants: tuple[Variant, ...]
    scale: float


@torch.no_grad()
def encode(model: AutoencoderTiny, pixels: Rgb, device: str = "cpu") -> npt.NDArray[np.float32]:
    """The encoder's latents (B, C, 8, 8) of pictures (B, 64, 64, 3), not scaled."""
    with mixed_precision(device):
        return np.asarray(model.encoder(to_tensor(pixels, device)).float().cpu().contiguous().numpy())


def make(model: AutoencoderTiny, pictures: Pictures, device: str = "cpu") -> Latents:
    """Encodes every variant and finds the scale."""
    model.to(device).eval()
    rows = variants(pictures)
    encoded = []
    for start in range(0, len(rows), _CHUNK):
        drawn = np.stack([pictures.draw(v) for v in rows[start : start + _CHUNK]])
        encoded.append(encode(model, drawn, device))
    values = np.concatenate(encoded)
    scale = float(1 / np.sqrt(np.mean(values.astype(np.float64) ** 2)))
    return Latents((values * scale).astype(np.float16), tuple(rows), scale)


def load_or_make(folder: Path, model: AutoencoderTiny, pictures: Pictures, device: str = "cpu") -> Latents:
    """Kept in ``latents.npy`` and ``latents.json`` of ``folder``."""
    path, facts = folder / "latents.npy", folder / "latents.json"
    if not facts.is_file():
        made = make(model, pictures, device)
        np.save(path, made.values)
        facts.write_text(json.dumps({"scale": made.scale, "variants": [asdict(v) for v in made.variants]}))
    stated = json.loads(facts.read_text())
    return Latents(np.load(path), tuple(Variant(**v) for v in stated["variants"]), stated["scale"])
