"""The predictor in rounds, and the two engines that choose parameters, all judged by real traces."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from build_engines.data import Split, draw
from build_engines.labels.collect import Drawn
from build_engines.labels.store import LabelStore
from build_engines.presets import Preset
from build_engines.train.environment import predicted, real
from build_engines.train.networks import Policy, Quality, Tier1
from build_engines.train.policy import PolicySettings, train_policy
from build_engines.train.polish import train_quality
from build_engines.train.rounds import Ground, proposer, trace_proposed
from build_engines.train.search import compare_tier1, compare_with_search
from build_engines.train.tier1 import ascend, imitate, imitate_rows
from build_engines.train.trial import Trials
from serve.vector.parameters import CoverageParameters

Grounds = dict[Split, Ground]

_LARGEST_REAL_PX = 256
"""Real rewards of the policy come from pictures up to this size: traces there take a few tens of milliseconds."""
_PULLS = (3.0, 10.0, 30.0)


def learn_in_rounds(
    quality: Quality, grounds: Grounds, views: Tensor, rounds: int, steps: int, trials: Trials, store: LabelStore
) -> tuple[Quality, Grounds]:
    """`build_engines.train.rounds`, on training and validation pictures; ``views`` (V, M, 512) are the former's.

    Each round's labels are kept beside ``store``, for another run that begins with the same network.
    """
    grounds = dict(grounds)
    folder = store.folder
    key = proposer(quality, grounds["train"].rules, steps)
    for round_ in range(rounds):
        kept = LabelStore(f"{folder.name}-{key}-round{round_}", folder.parent)
        for split in ("train", "val"):
            grounds[split] = trace_proposed(quality, grounds[split], round_, trials, kept)
        train, val = grounds["train"], grounds["val"]
        quality = train_quality(quality, views, train.labels, val.embedding, val.labels, steps)
    return quality, grounds


def choose_tier1(
    quality: Quality, grounds: Grounds, everything: Tensor, trials: Trials, steps: int
) -> tuple[Tier1, dict[str, Any]]:
    """Several tier 1 networks, and the one that does best on validation pictures. ``everything`` (N, 512)."""
    train, val = grounds["train"], grounds["val"]
    starts = {
        "imitation": imitate(train.embedding, train.labels, steps),
        "rules": imitate_rows(train.embedding, train.rules, steps),
    }
    climbed = {
        f"ascent_from_{name}_pull_{pull:g}": ascend(start, quality, everything, steps, pull)
        for name, start in starts.items()
        for pull in _PULLS
    }
    report, tier1 = compare_tier1({**starts, **climbed}, trials, val.pictures, val.embedding)
    return tier1, report


def make_policy(
    preset: Preset, quality: Quality, tier1: Tier1, grounds: Grounds, everything: Tensor, trials: Trials, seed: int
) -> tuple[Policy, dict[str, Any]]:
    """PPO, and how its search compares with others on pictures of the test split."""
    train, test = grounds["train"], grounds["test"]
    small = [i for i, picture in enumerate(train.pictures) if _is_small(picture)]
    settings = PolicySettings(steps=preset.policy_steps, real_steps=preset.policy_real_steps)
    policy, act = train_policy(
        everything.numpy(),
        predicted(quality, everything.numpy()),
        real(trials, [train.pictures[i] for i in small]),
        train.embedding[small].numpy(),
        settings,
        CoverageParameters().to_unit(),
        seed,
    )
    count = preset.trial_pictures
    comparison = compare_with_search(
        act, tier1, quality, trials, test.pictures[:count], test.embedding[:count], preset.search_tries
    )
    return policy, {"settings": asdict(settings), "real_trials": comparison}


def _is_small(picture: Drawn) -> bool:
    return draw(picture.icon, picture.seed).size <= _LARGEST_REAL_PX
