"""The heads once more, on a finished embedding: cheap steps, stopped where the validation split is best."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import trange

from build_engines.train.joint import JointData, JointNetworks, counted, embed, quality_error
from build_engines.train.networks import ImageFeatures, LogoType, Quality
from build_engines.train.pictures import Labelled, Pictures

Integers = npt.NDArray[np.int64]
VIEWS = 3
"""Embeddings per training picture: as it is, and augmented twice."""
_BATCH = 128
_EVERY = 100
T = TypeVar("T", bound=nn.Module)


def polish(networks: JointNetworks, train: JointData, val: JointData, steps: int, seed: int = 0) -> JointNetworks:
    """New heads of ``networks``, each the best on ``val`` among its checkpoints; the embedding stays."""
    torch.manual_seed(seed)
    views = views_of(networks.features, train.pictures)
    known = embed(networks.features, val.pictures)
    logo_type = train_type(networks.logo_type, views, train.pictures, known, val.pictures, steps)
    quality = train_quality(
        networks.quality, views[:, train.labelled.index], train.labelled, known[val.labelled.index], val.labelled, steps
    )
    return JointNetworks(networks.features, logo_type, quality)


def views_of(features: ImageFeatures, pictures: Pictures) -> Tensor:
    """(VIEWS, N, 512): each picture as it is, and augmented."""
    return torch.stack([embed(features, pictures, augmentation=v or None) for v in range(VIEWS)])


def train_type(
    start: LogoType, views: Tensor, pictures: Pictures, known: Tensor, val_pictures: Pictures, steps: int
) -> LogoType:
    """``views`` (V, N, 512) are the embeddings of ``pictures``; ``known`` (N', 512) those of ``val_pictures``."""
    return _best(
        start,
        steps,
        lambda head: _type_loss(head, views, pictures),
        lambda head: _type_score(head, known, val_pictures),
    )


def train_quality(
    start: Quality, views: Tensor, labels: Labelled, known: Tensor, val_labels: Labelled, steps: int
) -> Quality:
    """``views`` (V, M, 512) are the embeddings of ``labels``; ``known`` (M', 512) those of ``val_labels``."""
    return _best(
        start,
        steps,
        lambda head: _quality_loss(head, views, labels),
        lambda head: _quality_score(head, known, val_labels),
    )


def _best(start: T, steps: int, loss: Callable[[T], Tensor], score: Callable[[T], float]) -> T:
    """``start`` trained on ``loss`` for ``steps``; the checkpoint with the lowest ``score``, itself included."""
    head = copy.deepcopy(start)
    best, least = copy.deepcopy(start), score(start.eval())
    optimizer = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], lr=5e-4, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in trange(1, steps + 1, desc=f"head: {type(start).__name__}", unit="step"):
        head.train()
        optimizer.zero_grad()
        loss(head).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if step % _EVERY == 0 and (now := score(head.eval())) < least:
            best, least = copy.deepcopy(head), now
    return best.eval()


def _pick(views: Tensor, index: Integers) -> Tensor:
    """Embeddings of pictures ``index``, each under a random view."""
    return views[torch.randint(0, len(views), (len(index),)), torch.from_numpy(index)]


def _type_loss(head: LogoType, views: Tensor, pictures: Pictures) -> Tensor:
    chosen = torch.randint(0, len(pictures), (_BATCH,)).numpy()
    logits = head.logits(_pick(views, chosen), *counted(pictures, chosen))
    return F.cross_entropy(logits, torch.from_numpy(pictures.shares[chosen]))


@torch.no_grad()
def _type_score(head: LogoType, embedding: Tensor, pictures: Pictures) -> float:
    return F.cross_entropy(head.logits(embedding, *counted(pictures)), torch.from_numpy(pictures.shares)).item()


def _quality_loss(head: Quality, views: Tensor, labels: Labelled) -> Tensor:
    rows = torch.randint(0, len(labels.index), (_BATCH // 2,)).numpy()
    predicted = head.logarithms(_pick(views, rows), torch.from_numpy(labels.candidates[rows]))
    return quality_error(predicted, torch.from_numpy(labels.logarithms[rows]))


@torch.no_grad()
def _quality_score(head: Quality, embedding: Tensor, labels: Labelled) -> float:
    predicted = head.logarithms(embedding, torch.from_numpy(labels.candidates))
    return quality_error(predicted, torch.from_numpy(labels.logarithms)).item()
