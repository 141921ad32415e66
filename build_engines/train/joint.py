"""Joint training of the embedding with its two first heads: the type and the quality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from build_engines.train.networks import ImageFeatures, LogoType, Quality
from build_engines.train.pictures import Labelled, Pictures
from serve.vector.parameters import EPSILON, WEIGHT_OVER, WEIGHT_UNDER

EMBED_BATCH = 64
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class JointData:
    """What one split trains or judges on."""

    pictures: Pictures
    labelled: Labelled


@dataclass(frozen=True)
class JointSettings:
    """``steps`` of ``batch`` pictures each, half of them labelled; one-cycle learning rate up to ``peak_rate``."""

    steps: int
    batch: int = 64
    peak_rate: float = 2e-3
    weight_decay: float = 1e-4
    kind_weight: float = 1.0
    quality_weight: float = 1.0


@dataclass(frozen=True)
class JointNetworks:
    features: ImageFeatures
    logo_type: LogoType
    quality: Quality

    @staticmethod
    def fresh() -> JointNetworks:
        return JointNetworks(ImageFeatures(), LogoType(), Quality())

    def modules(self) -> tuple[nn.Module, ...]:
        return self.features, self.logo_type, self.quality

    def train(self, training: bool = True) -> None:
        for module in self.modules():
            module.train(training)


def _to_torch(array: npt.NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def augment(rgba: Tensor, generator: torch.Generator) -> Tensor:
    """Per picture: mirrored and turned at random, colour channels in random order. Neither changes a label much."""
    out = rgba.clone()
    for i in range(len(out)):
        flips = [d for d in (0, 1) if torch.rand((), generator=generator) < 0.5]
        picture = torch.flip(out[i], flips) if flips else out[i]
        if torch.rand((), generator=generator) < 0.5:
            order = torch.randperm(3, generator=generator)
            picture = torch.cat([picture[..., order], picture[..., 3:]], dim=-1)
        out[i] = picture
    return out


def _batches(data: JointData, settings: JointSettings, seed: int) -> Iterator[tuple[Integers, Integers]]:
    """Per step: half a batch of any pictures, and half of labelled ones (indices into pictures and into labels)."""
    rng = np.random.default_rng(seed)
    for _ in range(settings.steps):
        yield (
            rng.integers(0, len(data.pictures), settings.batch // 2),
            rng.integers(0, len(data.labelled.index), settings.batch // 2),
        )


def train_joint(data: JointData, settings: JointSettings, seed: int = 0) -> JointNetworks:
    """Trains from scratch. Deterministic for one seed and one number of threads."""
    torch.manual_seed(seed)
    networks = JointNetworks.fresh()
    networks.train()
    networks.logo_type.normalise_by(*counted(data.pictures))
    weights = _class_weights(data.pictures.kind)
    targets = _to_torch(data.labelled.logarithms)
    candidates = _to_torch(data.labelled.candidates)
    parameters = [p for m in networks.modules() for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.peak_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.peak_rate, total_steps=settings.steps)
    generator = torch.Generator().manual_seed(seed)
    bar = tqdm(_batches(data, settings, seed), total=settings.steps, desc="embedding", unit="step")
    for step, (anywhere, rows) in enumerate(bar):
        chosen = np.concatenate([anywhere, data.labelled.index[rows]])
        embedding = networks.features(*_inputs(data.pictures, chosen, generator))
        logits = networks.logo_type.logits(embedding, *counted(data.pictures, chosen))
        kind_loss = F.cross_entropy(logits, _to_torch(data.pictures.shares[chosen]), weights)
        predicted = networks.quality.logarithms(embedding[len(anywhere) :], candidates[rows])
        quality_loss = quality_error(predicted, targets[rows])
        loss = settings.kind_weight * kind_loss + settings.quality_weight * quality_loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(kind=f"{kind_loss.item():.3f}", quality=f"{quality_loss.item():.3f}")
    networks.train(False)
    return networks


def _class_weights(kinds: npt.NDArray[np.int64]) -> Tensor:
    """The square root of inverse frequency, mean 1: rare types count more, but not so that common ones suffer."""
    counts = np.bincount(kinds, minlength=4).clip(1)
    weights = np.sqrt(counts.sum() / counts)
    return torch.tensor(weights / weights.mean(), dtype=torch.float32)


def counted(pictures: Pictures, chosen: Integers | None = None) -> tuple[Tensor, Tensor]:
    """What `logo_type` is told beside the embedding: statistics and structure, of all pictures or of those chosen."""
    rows = np.arange(len(pictures)) if chosen is None else chosen
    return _to_torch(pictures.statistics[rows]), _to_torch(pictures.structure[rows])


def _inputs(
    pictures: Pictures, chosen: npt.NDArray[np.int64], generator: torch.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    pixels, detail = _to_torch(pictures.pixels[chosen]), _to_torch(pictures.detail[chosen])
    if generator is not None:
        pixels, detail = augment(pixels, generator), augment(detail, generator)
    return pixels, detail, _to_torch(pictures.statistics[chosen])


_SCALES = (2.0, 2.0, 2.0, 1.5, 2.0)


def quality_error(predicted: Tensor, target: Tensor) -> Tensor:
    """Huber loss of the five logarithms, the absolute error of both SSIMs themselves (large ones matter more), and
    the error of what tells a picture's candidates apart: their worth less its mean over the picture."""
    scale = predicted.new_tensor(_SCALES)
    logarithmic = F.smooth_l1_loss(predicted / scale, target / scale, beta=0.25)
    ssim = (torch.exp2(predicted[..., :2].clamp(max=0.0)) - torch.exp2(target[..., :2])).abs().mean()
    apart = F.smooth_l1_loss(_worth_apart(predicted), _worth_apart(target), beta=0.25)
    return logarithmic + 2.0 * ssim + apart


def _worth_apart(logarithms: Tensor) -> Tensor:
    """(N, K, 5) → (N, K): a smooth stand-in for the utility (its weights of bytes averaged), centred per picture."""
    error = torch.exp2(logarithms[..., 1].clamp(max=0.0)) + EPSILON
    worth = -torch.log(error) - math.log(2) * (WEIGHT_OVER + WEIGHT_UNDER) / 2 * logarithms[..., 2]
    return worth - worth.mean(dim=1, keepdim=True)


@torch.no_grad()
def embed(features: ImageFeatures, pictures: Pictures, augmentation: int | None = None) -> Tensor:
    """(N, 512), in batches; of pictures augmented with the seed ``augmentation``, if it is given."""
    features.eval()
    generator = None if augmentation is None else torch.Generator().manual_seed(augmentation)
    parts = []
    for start in range(0, len(pictures), EMBED_BATCH):
        chosen = np.arange(start, min(len(pictures), start + EMBED_BATCH))
        parts.append(features(*_inputs(pictures, chosen, generator)))
    return torch.cat(parts)
