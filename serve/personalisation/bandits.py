"""Multi-armed bandits (C-051 to C-055): arms, three ways to choose one, priors, and forgetting.

A reward is from -1 to 1. An arm's ``pulls`` may be a fraction: old rewards, and rewards of other contexts, count less.
Own code: the library `mabwiser` needs scikit-learn, pandas and joblib, which serving does not install, and has neither
priors nor weights of single rewards.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Algorithm = Literal["epsilon_greedy", "ucb", "thompson"]
ALGORITHMS: tuple[Algorithm, ...] = ("epsilon_greedy", "ucb", "thompson")
EPSILON = 0.1


@dataclass(frozen=True)
class Arm:
    """``pulls``: rewards; ``total``: their sum; ``wins``: how many were positive. All are weighted."""

    name: str
    pulls: float = 0.0
    total: float = 0.0
    wins: float = 0.0

    @property
    def score(self) -> float:
        """The average reward; 0 without any."""
        return self.total / self.pulls if self.pulls else 0.0


def update_arm(arm: Arm, reward: float, weight: float = 1.0) -> Arm:
    return Arm(arm.name, arm.pulls + weight, arm.total + weight * reward, arm.wins + weight * (reward > 0))


def with_prior(arm: Arm, everybody: Arm | None, strength: float) -> Arm:
    """``arm`` as if it had ``strength`` more pulls at the average of ``everybody``, but not more than they have."""
    if everybody is None or not everybody.pulls or strength <= 0:
        return arm
    strength = min(strength, everybody.pulls)
    share = everybody.wins / everybody.pulls
    return Arm(arm.name, arm.pulls + strength, arm.total + strength * everybody.score, arm.wins + strength * share)


def epsilon_greedy(arms: Sequence[Arm], epsilon: float, rng: np.random.Generator) -> Arm:
    """With probability ``epsilon`` any arm, else the best; arms without pulls count as 0 (C-053)."""
    if rng.random() < epsilon:
        return arms[int(rng.integers(len(arms)))]
    best = max(arm.score for arm in arms)
    return _one_of([arm for arm in arms if arm.score == best], rng)


def ucb_value(arm: Arm, total_pulls: float) -> float:
    """``average + sqrt(2 ln(total) / pulls)`` (C-054); infinite for an arm without pulls."""
    if arm.pulls <= 0:
        return math.inf
    return arm.score + math.sqrt(2.0 * math.log(max(total_pulls, 1.0)) / arm.pulls)


def ucb(arms: Sequence[Arm], total_pulls: float, rng: np.random.Generator) -> Arm:
    values = [ucb_value(arm, total_pulls) for arm in arms]
    return _one_of([arm for arm, value in zip(arms, values, strict=True) if value == max(values)], rng)


def beta_of(arm: Arm) -> tuple[float, float]:
    """The Beta distribution of the chance of success, a reward r being (r + 1) / 2 of one (C-055)."""
    successes = 0.5 * (arm.total + arm.pulls)
    return 1.0 + max(0.0, successes), 1.0 + max(0.0, arm.pulls - successes)


def thompson_sampling(arms: Sequence[Arm], rng: np.random.Generator) -> Arm:
    samples = [rng.beta(*beta_of(arm)) for arm in arms]
    return arms[int(np.argmax(samples))]


def choose(algorithm: Algorithm, arms: Sequence[Arm], rng: np.random.Generator, epsilon: float = EPSILON) -> Arm:
    """One of ``arms``, of which there is at least one."""
    if algorithm == "epsilon_greedy":
        return epsilon_greedy(arms, epsilon, rng)
    if algorithm == "ucb":
        return ucb(arms, sum(arm.pulls for arm in arms), rng)
    return thompson_sampling(arms, rng)


def confidence_of(arm: Arm, others: Sequence[Arm], rng: np.random.Generator, samples: int = 200) -> float:
    """The probability that ``arm`` is the best, by samples of the Beta distributions of all arms."""
    if not others:
        return 1.0
    own = rng.beta(*beta_of(arm), samples)
    best = np.max([rng.beta(*beta_of(other), samples) for other in others], axis=0)
    return float(np.mean(own >= best))


def forgetting(count: int, half_life: float) -> list[float]:
    """Weights of ``count`` rewards, the newest first: halved after every ``half_life`` newer ones."""
    return [0.5 ** (place / half_life) for place in range(count)]


def blended(arms: Mapping[str, Arm], everybody: Mapping[str, Arm], strength: float) -> list[Arm]:
    return [with_prior(arm, everybody.get(name), strength) for name, arm in arms.items()]


def _one_of(arms: Sequence[Arm], rng: np.random.Generator) -> Arm:
    return arms[int(rng.integers(len(arms)))] if len(arms) > 1 else arms[0]
