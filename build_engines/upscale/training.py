"""Trains an upscaler for a time limit, and measures it against bicubic and Lanczos on icons that it has not seen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from build_engines.data.icons import Icon, load_split
from build_engines.upscale.network import Served, Upscaler
from build_engines.upscale.pictures import REDUCTIONS, Patches, Rgba, drawn, reduced
from serve.vector.compare import composite

PATCH_PX: Mapping[int, int] = {2: 40, 4: 28}
"""Side of the small patch, by scale."""
BATCH = 16
LEARNING_RATE = 2e-3
TEST_SIDE_PX = 192
CHARBONNIER = 0.02
PIXELS_IN_MEMORY_ICONS = 1500


@dataclass(frozen=True)
class Report:
    """Mean PSNR in dB over icons and reductions, on white: of the network and of Pillow's filters."""

    network: float
    bicubic: float
    lanczos: float
    icons: int

    @property
    def gain(self) -> float:
        """Over the better filter."""
        return self.network - max(self.bicubic, self.lanczos)


def train(scale: int, minutes: float, threads: int = 1, seed: int = 0, icons: Sequence[Icon] | None = None) -> Upscaler:
    """Until ``minutes`` of wall time have passed; the learning rate falls to zero by then."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    chosen = (load_split("train") if icons is None else icons)[:PIXELS_IN_MEMORY_ICONS]
    patches = Patches(chosen, scale, PATCH_PX[scale], rng)
    network = Upscaler(scale)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    began, limit_s = time.monotonic(), 60.0 * minutes
    with tqdm(patches.batches(BATCH), unit="step", desc=f"upscale_{scale}x") as steps:
        for small, large in steps:
            done = (time.monotonic() - began) / limit_s
            if done >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * done))
            loss = error(network(torch.from_numpy(small)), torch.from_numpy(large))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    network.eval()
    return network


def error(made: Tensor, real: Tensor) -> Tensor:
    """Charbonnier's, of premultiplied RGBA and of the picture on white, where the edge of the alpha shows."""
    on_white = [torch.cat([one, one[:, :3] + 1 - one[:, 3:]], dim=1) for one in (made, real)]
    found: Tensor = torch.sqrt((on_white[0] - on_white[1]) ** 2 + CHARBONNIER**2).mean() - CHARBONNIER
    return found


def evaluate(network: Upscaler, icons: Sequence[Icon] | None = None, most: int = 150) -> Report:
    """On ``icons`` (those held out), each reduced in all four ways."""
    served, scale = Served(network), network.scale

    def by_network(small: Rgba) -> Rgba:
        with torch.no_grad():
            answer: Rgba = served(torch.from_numpy(small[None].copy())).numpy()[0]
        return answer

    ways: dict[str, Callable[[Rgba], Rgba]] = {
        "network": by_network,
        "bicubic": lambda small: _filtered(small, scale, Image.Resampling.BICUBIC),
        "lanczos": lambda small: _filtered(small, scale, Image.Resampling.LANCZOS),
    }
    values: dict[str, list[float]] = {name: [] for name in ways}
    chosen = (load_split("test") if icons is None else icons)[:most]
    for icon in chosen:
        large = drawn(icon, TEST_SIDE_PX, scale)
        for how in REDUCTIONS:
            small = reduced(icon, large, scale, how)
            for name, way in ways.items():
                values[name].append(psnr(composite(way(small)), composite(large)))
    means = {name: round(float(np.mean(found)), 2) for name, found in values.items()}
    return Report(**means, icons=len(chosen))


def _filtered(small: Rgba, scale: int, method: Image.Resampling) -> Rgba:
    image = Image.fromarray(small, "RGBA").convert("RGBa")
    size = small.shape[1] * scale, small.shape[0] * scale
    return np.asarray(image.resize(size, method).convert("RGBA"))


def psnr(one: Rgba, other: Rgba) -> float:
    """In dB, at most 60."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return 60.0 if error == 0 else min(60.0, 10 * math.log10(255**2 / error))
