"""The arithmetic of the bandits, and that they learn a taste: against random and the best fixed arm."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from loadtests.taste.simulate import Setting, simulate
from serve.personalisation.bandits import (
    Arm,
    beta_of,
    confidence_of,
    epsilon_greedy,
    forgetting,
    thompson_sampling,
    ucb,
    ucb_value,
    update_arm,
    with_prior,
)
from serve.personalisation.feedback import NO_INTERACTION, REWARDS, reward_of


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_rewards_are_those_of_c_056() -> None:
    assert [reward_of("rate", stars) for stars in range(1, 6)] == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert dict(REWARDS) == {"like": 0.5, "favorite": 1.0, "share": 0.8, "download": 0.6}
    assert NO_INTERACTION == -0.2


def test_arm_counts_pulls_wins_and_average() -> None:
    arm = Arm("mini")
    for reward in (0.5, -0.2, 1.0, 0.0):
        arm = update_arm(arm, reward)
    assert (arm.pulls, arm.wins, arm.score) == (4, 2, pytest.approx(0.325))


def test_epsilon_greedy_explores_with_probability_epsilon(rng: np.random.Generator) -> None:
    arms = [Arm("a", 10, 5, 7), Arm("b", 10, 1, 4), Arm("c", 10, -3, 1)]
    chosen = Counter(epsilon_greedy(arms, 0.3, rng).name for _ in range(3000))
    assert chosen["a"] / 3000 == pytest.approx(0.8, abs=0.03)
    assert {epsilon_greedy(arms, 0.0, rng).name for _ in range(50)} == {"a"}


def test_ucb_is_average_plus_bonus(rng: np.random.Generator) -> None:
    assert ucb_value(Arm("a", 4, 2.0, 3), 20) == pytest.approx(0.5 + math.sqrt(2 * math.log(20) / 4))
    assert ucb([Arm("a", 4, 2.0, 3), Arm("b")], 4, rng).name == "b"
    assert ucb([Arm("a", 100, 50.0, 60), Arm("b", 100, -20.0, 10)], 200, rng).name == "a"


def test_thompson_samples_beta_distributions(rng: np.random.Generator) -> None:
    assert beta_of(Arm("a", 4, 2.0, 3)) == (4.0, 2.0)
    arms = [Arm("a", 60, 30.0, 45), Arm("b", 60, -30.0, 10)]
    assert {thompson_sampling(arms, rng).name for _ in range(50)} == {"a"}
    assert confidence_of(arms[0], arms[1:], rng) > 0.95 > 0.05 > confidence_of(arms[1], arms[:1], rng)


def test_prior_counts_as_pulls_of_the_average() -> None:
    known = with_prior(Arm("a"), Arm("a", 100, 40.0, 70), 2.0)
    assert (known.pulls, known.score, known.wins) == (2.0, pytest.approx(0.4), pytest.approx(1.4))
    assert with_prior(Arm("a"), None, 2.0) == Arm("a")


def test_old_rewards_count_less() -> None:
    assert forgetting(3, 1.0) == [1.0, 0.5, 0.25]


SMALL = Setting(users=40, rounds=120)


@pytest.mark.parametrize("algorithm", ["epsilon_greedy", "ucb", "thompson"])
def test_bandit_converges(algorithm: str) -> None:
    run, chance = simulate(algorithm, SMALL), simulate("random", SMALL)
    assert run.reward[-40:].mean() > run.reward[:20].mean()
    assert run.regret.sum() < 0.7 * chance.regret.sum()


def test_epsilon_greedy_beats_the_best_fixed_arm() -> None:
    prior = Setting(users=40, rounds=120, prior=2.0)
    assert simulate("epsilon_greedy", prior).regret.sum() < 0.8 * simulate("best fixed arm", prior).regret.sum()


def test_prior_helps_at_a_cold_start() -> None:
    prior = Setting(users=40, rounds=10, prior=2.0)
    without = Setting(users=40, rounds=10)
    assert simulate("epsilon_greedy", prior).regret.sum() < simulate("epsilon_greedy", without).regret.sum()


def test_forgetting_helps_after_drift() -> None:
    settings = [Setting(users=40, rounds=200, drift_at=100, half_life=half_life) for half_life in (None, 30.0)]
    kept, forgotten = (simulate("epsilon_greedy", one).regret[100:].sum() for one in settings)
    assert forgotten < kept
