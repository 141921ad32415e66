"""Tier 1: straight from the embedding to one candidate, in one small network.

Two steps. Imitation: of the best of each labelled picture's candidates by true reward, weighted by how much it gains,
or of the parameters that serving's rules choose without a model. Ascent: the frozen `quality` network's predicted
reward of the answer is climbed over all pictures, with a pull back to the imitation, for a predictor can be fooled far
from what it has seen. Which network is exported is decided by really tracing pictures of the validation split
(`build_engines.train.trial`).
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from build_engines.train.networks import Quality, Tier1
from build_engines.train.pictures import Labelled
from build_engines.train.reward import TIER1_LIMIT_MS, predicted_reward, true_reward

BATCH = 256


def imitate(embedding: Tensor, labels: Labelled, steps: int, seed: int = 0) -> Tier1:
    """``embedding`` (M, 512) of the labelled pictures. The target is each picture's best candidate by true reward."""
    torch.manual_seed(seed)
    rewards = true_reward(labels.measures, labels.measures[:, 0], TIER1_LIMIT_MS)
    best = rewards.argmax(axis=1)
    rows = np.arange(len(best))
    target = torch.from_numpy(labels.candidates[rows, best])
    gain = torch.from_numpy((rewards[rows, best] - np.median(rewards, axis=1)).clip(0.05, 2.0).astype(np.float32))
    return _fit(embedding, target, gain, steps, "tier 1: imitation")


def imitate_rows(embedding: Tensor, rows: npt.NDArray[np.float32], steps: int, seed: int = 0) -> Tier1:
    """A network that answers ``rows`` (M, 10) for ``embedding`` (M, 512)."""
    torch.manual_seed(seed)
    return _fit(embedding, torch.from_numpy(rows), torch.ones(len(rows)), steps, "tier 1: rules")


def _fit(embedding: Tensor, target: Tensor, gain: Tensor, steps: int, name: str) -> Tier1:
    network = Tier1()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in trange(steps, desc=name, unit="step"):
        chosen = torch.randint(0, len(target), (BATCH,))
        error = F.smooth_l1_loss(network(embedding[chosen]), target[chosen], reduction="none", beta=0.1).mean(dim=1)
        loss = (error * gain[chosen]).mean() / gain[chosen].mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    return network


def ascend(start: Tier1, quality: Quality, embedding: Tensor, steps: int, pull: float = 1.0, seed: int = 0) -> Tier1:
    """Climbs the predicted reward from ``start`` over the pictures of ``embedding`` (N, 512).

    Answers are jittered by 0.03 while training, so that the network climbs plateaus and not spikes.
    """
    torch.manual_seed(seed)
    network = copy.deepcopy(start)
    network.train()
    quality.eval()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4, weight_decay=1e-2)
    with torch.no_grad():
        anchor = start(embedding)
    for _ in trange(steps, desc="tier 1: ascent", unit="step"):
        chosen = torch.randint(0, len(embedding), (BATCH,))
        answer = network(embedding[chosen])
        tried = (answer + 0.03 * torch.randn_like(answer)).clamp(0, 1)
        reward = predicted_reward(quality, embedding[chosen], tried[:, None], TIER1_LIMIT_MS)
        loss = pull * F.mse_loss(answer, anchor[chosen]) - reward.mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    network.eval()
    return network
