"""Comparisons by real traces: which tier 1 to ship, and whether PPO beats random search of equal time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from build_engines.data import draw
from build_engines.labels.candidates import candidates
from build_engines.labels.collect import Drawn
from build_engines.train.environment import rows_of
from build_engines.train.networks import Quality, Tier1
from build_engines.train.reward import TIER1_LIMIT_MS, predicted_reward
from build_engines.train.trial import Trials
from serve.ensembles.vectorizer.candidates import fixed_parameters
from serve.vector.features import extract
from serve.vector.parameters import LEARNED, CoverageParameters, to_candidate

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float32]
POOL = 1000
"""How many candidates tier 2 lets the `quality` engine rank."""


def compare_tier1(
    networks: Mapping[str, Tier1], trials: Trials, pictures: Sequence[Drawn], embedding: Tensor
) -> tuple[dict[str, Any], Tier1]:
    """Mean true reward on ``pictures`` of each network, of the defaults and of the rules; the best network too."""
    names = list(networks)
    with torch.no_grad():
        answers = [networks[n](embedding).numpy() for n in names]
    fixed = [_defaults(len(pictures)), rules_rows(pictures)]
    rewards = trials.rewards(pictures, np.stack([*answers, *fixed], axis=1), TIER1_LIMIT_MS).mean(axis=0)
    means = {name: round(float(v), 4) for name, v in zip([*names, "defaults", "rules"], rewards, strict=True)}
    best = max(names, key=lambda n: means[n])
    return {"chosen": best, "validation_pictures": len(pictures), "mean_true_reward": means}, networks[best]


def rules_rows(pictures: Sequence[Drawn]) -> Rows:
    """(N, 10): what serving chooses without any model, by how the picture was degraded."""
    found = (extract(draw(p.icon, p.seed).rgba) for p in pictures)
    return np.stack([to_candidate(fixed_parameters(features)) for features in found])


def _defaults(count: int) -> Rows:
    return np.repeat(to_candidate(CoverageParameters(refine=1))[None], count, axis=0)


def ranked(quality: Quality, embedding: Tensor, keep: int, seed: int = 0) -> Rows:
    """(N, keep, 10): the best of POOL sampled candidates per picture, by predicted reward."""
    pool = torch.from_numpy(np.stack([to_candidate(p) for p in candidates(POOL, seed)]))
    kept = []
    with torch.no_grad():
        for row in embedding:
            reward = predicted_reward(quality, row[None], pool[None])[0]
            kept.append(pool[reward.topk(keep).indices].numpy())
    return np.stack(kept)


def search(trials: Trials, pictures: Sequence[Drawn], start: Rows, tries: int, spread: float, seed: int) -> Floats:
    """Best true reward after each real try, (N, tries): ``start`` (N, 10) first, then Gaussian steps from the best.

    ``spread`` 0 draws every later try uniformly from the box instead.
    """
    rng = np.random.default_rng(seed)
    best_rows, history = start.copy(), []
    best = trials.rewards(pictures, start[:, None])[:, 0]
    history.append(best.copy())
    for _ in range(tries - 1):
        rows = best_rows.copy()
        moved = rng.random((len(rows), LEARNED)).astype(np.float32)
        if spread:
            mask = rng.random((len(rows), LEARNED)) < 0.5
            moved = rows[:, 1:-1] + mask * rng.normal(0, spread, (len(rows), LEARNED)).astype(np.float32)
        rows[:, 1:-1] = np.clip(moved, 0, 1)
        rewards = trials.rewards(pictures, rows[:, None])[:, 0]
        better = rewards > best
        best = np.where(better, rewards, best)
        best_rows[better] = rows[better]
        history.append(best.copy())
    return np.stack(history, axis=1)


def compare_with_search(
    act: Callable[[Floats], Floats],
    tier1: Tier1,
    quality: Quality,
    trials: Trials,
    pictures: Sequence[Drawn],
    embedding: Tensor,
    tries: int,
) -> dict[str, Any]:
    """Mean best true reward on test pictures after 1, 2, 4 ... real tries, for each way of choosing them.

    Every way gets the same number of tries: embedding and heads take under 10 ms against the 50 ms of a try.
    """
    with torch.no_grad():
        first = tier1(embedding).numpy()
    policy = rows_of(act(np.asarray(embedding.numpy(), np.float32)))
    top = trials.rewards(pictures, ranked(quality, embedding, tries))
    ways = {
        "random_search": search(trials, pictures, _defaults(len(pictures)), tries, 0.0, 1),
        "local_search_from_rules": search(trials, pictures, rules_rows(pictures), tries, 0.1, 2),
        "local_search_from_policy": search(trials, pictures, policy, tries, 0.1, 3),
        "local_search_from_tier1": search(trials, pictures, first, tries, 0.1, 4),
        "predictor_ranked": np.maximum.accumulate(top, axis=1),
    }
    at = sorted({2**k for k in range(8) if 2**k <= tries} | {tries})
    means = {name: {str(n): round(float(v[:, n - 1].mean()), 4) for n in at} for name, v in ways.items()}
    last = {name: v[str(tries)] for name, v in means.items()}
    return {
        "test_pictures": len(pictures),
        "mean_best_true_reward_after_tries": means,
        "policy_alone": means["local_search_from_policy"]["1"],
        "ppo_beats_random_search": last["local_search_from_policy"] > last["random_search"],
        "best_way": max(last, key=lambda name: last[name]),
    }
