"""Trains the network for a time limit on painted pairs, and measures it on icons and scenes that it has not seen.

A scene with a painting of another scene must become what the same filter makes of it: pixel by pixel, as both have the
same texture fields, and by the local strength of edges and textures, which blur does not have: fixed filters (Gabor's,
with random colours), rectified and averaged over 8 pixels, at three scales (random filters carry textures well:
Ustyuzhaninov et al., "Texture Synthesis Using Shallow Convolutional Networks with Random Filters", 2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from build_engines.data.icons import Icon, load_split
from build_engines.style.network import StyleNetwork, statistics, to_tensor
from build_engines.style.pictures import GROUP, SIDE_PX, Painted, Places, paint_groups
from serve.vector.textures import window

BATCH = 8
CROP_PX = 72
LEARNING_RATE = 2e-3
GROUPS = 600
SNAPSHOT_STEPS = 100
ICONS = 2500
OWN_SHARE = 0.15
"""Of the samples: the style is the picture itself, and nothing may change."""


class Textures(nn.Module):
    """(n, 3, h, w) in [-1, 1] to rectified responses of fixed filters, one tensor a scale."""

    bank: Tensor

    def __init__(self, filters: int = 16, size: int = 7, scales: int = 3, seed: int = 5) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        ys, xs = np.mgrid[:size, :size] - size // 2
        window = np.exp(-(xs**2 + ys**2) / (2 * 1.7**2))
        made = []
        for i in range(filters):
            angle, frequency = np.pi * i / filters * 3, rng.choice([0.7, 1.1, 1.8])
            phase = rng.uniform(0, 2 * np.pi)
            wave = window * np.cos(frequency * (np.cos(angle) * xs + np.sin(angle) * ys) + phase)
            wave -= window * wave.sum() / window.sum()
            colour = np.ones(3) / 3 if i % 5 < 3 else rng.normal(0, 1, 3)
            kernel = colour[:, None, None] * wave
            made.append(kernel / np.abs(kernel).sum())
        self.register_buffer("bank", torch.tensor(np.stack(made), dtype=torch.float32))
        self.scales = scales

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for i in range(self.scales):
            x = F.avg_pool2d(x, 2) if i else x
            response = F.conv2d(x, self.bank, stride=1 if i else 2)
            found.append(torch.cat([F.relu(response), F.relu(-response)], 1))
        return found


def local(maps: list[Tensor]) -> list[Tensor]:
    """Mean and root mean square of responses over windows of 8 pixels of the picture, or 4 of the coarse ones."""
    made = []
    for _i, one in enumerate(maps):
        window = 4
        mean = F.avg_pool2d(one, window, window // 2)
        square = F.avg_pool2d(one.square(), window, window // 2)
        made += [mean, (square + 1e-5).sqrt()]
    return made


def overall(maps: list[Tensor]) -> list[Tensor]:
    """The mean and the correlations (Gram matrix) of responses over the whole picture."""
    made = []
    for one in maps:
        flat = one.flatten(2)
        made += [flat.mean(2), (flat @ flat.transpose(1, 2) / flat.shape[2] + 1e-6).sqrt()]
    return made


class Losses(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.textures = Textures()

    def forward(self, made: Tensor, wanted: Tensor, own: Tensor) -> Tensor:
        """``own`` (n,): 1 where the picture must stay as it is, pixel by pixel."""
        ours, theirs = self.textures(made), self.textures(wanted)
        per = F.l1_loss(F.avg_pool2d(made, 4), F.avg_pool2d(wanted, 4), reduction="none").mean((1, 2, 3))
        for a, b in zip(local(ours), local(theirs), strict=True):
            per = per + 4.0 * (a - b).abs().mean((1, 2, 3))
        for a, b in zip(overall(ours), overall(theirs), strict=True):
            per = per + 3.0 * (a - b).abs().flatten(1).mean(1)
        exact = (made - wanted).abs().mean((1, 2, 3))
        return (per + own * 2.0 * exact + exact).mean()


@dataclass(frozen=True)
class Batch:
    content: Tensor
    style: Tensor
    wanted: Tensor
    own: Tensor
    textures: Tensor


def draw(painted: Painted, rng: np.random.Generator, size: int) -> Batch:
    """Content, style and wanted picture of ``size`` random pairs; the style's picture is turned and mirrored."""
    groups, one = rng.integers(0, len(painted.painters), size), rng.integers(0, GROUP, size)
    other = (one + rng.integers(1, GROUP, size)) % GROUP
    own = rng.random(size) < OWN_SHARE
    content, wanted = painted.scenes[groups, one], painted.paintings[groups, one]
    kept = own[:, None, None, None]
    here, there = (cut(rng) for _ in range(2))
    content = np.where(kept & (rng.random(size) < 0.5)[:, None, None, None], wanted, content)
    wanted, style = np.where(kept, content, wanted), np.where(kept, content, painted.paintings[groups, other])
    crops = (content[here], np.where(kept, style[here], style[there]), wanted[here])
    tensors = [to_tensor(torch.from_numpy(np.ascontiguousarray(p))) for p in crops]
    textures = textures_at(painted.places[groups, one] + (here[1].start, here[2].start), CROP_PX)
    return Batch(tensors[0], tensors[1], tensors[2], torch.from_numpy(own.astype(np.float32)), textures)


def cut(rng: np.random.Generator) -> tuple[slice, slice, slice]:
    """A random square of CROP_PX, of all pictures of a batch."""
    top, left = rng.integers(0, SIDE_PX - CROP_PX + 1, 2)
    return slice(None), slice(top, top + CROP_PX), slice(left, left + CROP_PX)


def textures_at(places: Places, side_px: int) -> Tensor:
    """(n, FIELDS, side, side) of the texture fields at ``places`` (n, 2)."""
    parts = np.stack([window(0, int(top), int(left), side_px, side_px) for top, left in places])
    return torch.from_numpy(parts).permute(0, 3, 1, 2).contiguous()


def apply(network: StyleNetwork, content: Tensor, style: Tensor, textures: Tensor) -> Tensor:
    features = network.encoder(content)
    out: Tensor = network(features, statistics(features), statistics(network.encoder(style)), textures)
    return out


def train(
    minutes: float,
    threads: int = 1,
    seed: int = 0,
    groups: int = GROUPS,
    icons: Sequence[Icon] | None = None,
    snapshot: Callable[[StyleNetwork], object] | None = None,
    begin_with: StyleNetwork | None = None,
) -> StyleNetwork:
    """For ``minutes`` of processor time, not counting the painting; the rate falls to zero by then. ``snapshot`` is
    called every SNAPSHOT_STEPS steps. ``begin_with``: a network that is trained further."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    painted = paint_groups(groups, (load_split("train") if icons is None else icons)[:ICONS], seed)
    network, losses = begin_with or StyleNetwork(), Losses()
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    began, limit_s = time.process_time(), 60.0 * minutes
    with tqdm(unit="step", desc="style", mininterval=10) as bar:
        while (done := (time.process_time() - began) / limit_s) < 1:
            rate = min(1.0, done * 40 + 0.05) * 0.5 * (1 + math.cos(math.pi * done))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * rate
            batch = draw(painted, rng, BATCH)
            made = apply(network, batch.content, batch.style, batch.textures)
            loss = losses(made, batch.wanted, batch.own)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            bar.update()
            if snapshot is not None and bar.n % SNAPSHOT_STEPS == 0:
                snapshot(network)
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    return network.eval()


@dataclass(frozen=True)
class Report:
    """Distances to what the painting filter makes, means over unseen scenes: of ``network`` with a painting of another
    scene as the style, of the ``scene`` as it is and of the ``style``'s picture. ``own``: mean absolute error in levels
    of 255 where the style is the picture itself."""

    network: float
    scene: float
    style: float
    own: float
    pictures: int

    @property
    def gain(self) -> float:
        """Share of the scene's distance that is gone."""
        return 1 - self.network / self.scene


def evaluate(network: StyleNetwork, groups: int = 60, icons: Sequence[Icon] | None = None) -> Report:
    painted = paint_groups(groups, load_split("test") if icons is None else icons, seed=999)
    losses, none = Losses(), torch.zeros(1)
    values: dict[str, list[float]] = {"network": [], "scene": [], "style": [], "own": []}
    with torch.no_grad():
        for scenes, paintings, places in zip(painted.scenes, painted.paintings, painted.places, strict=True):
            content, wanted = (to_tensor(torch.from_numpy(p)) for p in (scenes[:1], paintings[:1]))
            style, textures = to_tensor(torch.from_numpy(paintings[1:2])), textures_at(places[:1], SIDE_PX)
            made = apply(network, content, style, textures)
            for name, one in (("network", made), ("scene", content), ("style", style)):
                values[name].append(float(losses(one, wanted, none)))
            same = apply(network, content, content, textures)
            values["own"].append(float((same - content).abs().mean()) * 127.5)
    means = {name: round(float(np.mean(found)), 4) for name, found in values.items()}
    return Report(**means, pictures=groups)
