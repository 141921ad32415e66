"""Users with hidden tastes, rounds of choice and reward, and what each algorithm gains and loses.

A user likes each of ``ARMS`` arms with a chance that has two parts: one that all users share (some arms are better) and
one of its own. A picture that is liked gets a reward of C-056 (like, favourite, 4 or 5 stars), another
one none (-0.2) or a bad rating. Regret of a round: the expected reward of the user's best
arm, less that of the chosen one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serve.personalisation.bandits import ALGORITHMS, Arm, choose, update_arm, with_prior

ARMS = 8
LIKED = (0.5, 1.0, 0.5, 0.6)
DISLIKED = (-0.2, -0.2, -0.5, -1.0)
BASELINES = ("random", "best fixed arm")
Rewards = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """``drift_at``: the round after which each user's taste is drawn anew; None: never. ``half_life``: of old rewards,
    in rounds; None: nothing is forgotten. ``prior``: pulls that the average of everybody counts for."""

    users: int = 200
    rounds: int = 300
    drift_at: int | None = None
    half_life: float | None = None
    prior: float = 0.0
    epsilon: float = 0.1


@dataclass(frozen=True)
class Run:
    """Means over users by round: reward, regret."""

    reward: Rewards
    regret: Rewards


def tastes(users: int, rng: np.random.Generator) -> Rewards:
    """(users, ARMS) chances of being liked."""
    shared, own = rng.normal(0.0, 1.0, ARMS), rng.normal(0.0, 1.0, (users, ARMS))
    chances: Rewards = 1.0 / (1.0 + np.exp(-(shared + own)))
    return chances


def expected(chances: Rewards) -> Rewards:
    return chances * float(np.mean(LIKED)) + (1.0 - chances) * float(np.mean(DISLIKED))


def simulate(algorithm: str, setting: Setting, seed: int = 0) -> Run:
    """``algorithm``: one of `ALGORITHMS` or `BASELINES`."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(seed + 1)
    before, after = tastes(setting.users, shared), tastes(setting.users, shared)
    everybody = _everybody(before)
    reward, regret = np.zeros(setting.rounds), np.zeros(setting.rounds)
    for user in range(setting.users):
        arms = {name: Arm(name) for name in everybody}
        fixed = int(np.argmax(expected(before).mean(axis=0)))
        for number in range(setting.rounds):
            drifted = setting.drift_at is not None and number >= setting.drift_at
            chances = (after if drifted else before)[user]
            name = _pick(algorithm, arms, everybody, setting, fixed, rng)
            place = int(name)
            gained = rng.choice(LIKED if rng.random() < chances[place] else DISLIKED)
            if setting.half_life is not None:
                arms = {key: _aged(arm, 0.5 ** (1.0 / setting.half_life)) for key, arm in arms.items()}
            arms[name] = update_arm(arms[name], float(gained))
            values = expected(chances)
            reward[number] += gained / setting.users
            regret[number] += (values.max() - values[place]) / setting.users
    return Run(reward, regret)


def _everybody(chances: Rewards) -> dict[str, Arm]:
    """What the site knows of each arm from other users."""
    means = expected(chances).mean(axis=0)
    return {str(place): Arm(str(place), 100.0, 100.0 * means[place], 100.0 * chances[:, place].mean())
            for place in range(ARMS)}  # fmt: skip


def _pick(
    algorithm: str,
    arms: Mapping[str, Arm],
    everybody: Mapping[str, Arm],
    setting: Setting,
    fixed: int,
    rng: np.random.Generator,
) -> str:
    if algorithm == "random":
        return str(rng.integers(ARMS))
    if algorithm == "best fixed arm":
        return str(fixed)
    known = [with_prior(arm, everybody[name], setting.prior) for name, arm in arms.items()]
    used = next(one for one in ALGORITHMS if one == algorithm)
    return choose(used, known, rng, setting.epsilon).name


def _aged(arm: Arm, by: float) -> Arm:
    return Arm(arm.name, arm.pulls * by, arm.total * by, arm.wins * by)


def table(settings: Mapping[str, Setting], spans: Sequence[tuple[int, int]]) -> list[list[str]]:
    """Rows of (setting, algorithm, mean reward within each span of rounds, regret in sum)."""
    rows = []
    for title, setting in settings.items():
        for algorithm in (*BASELINES, *ALGORITHMS):
            run = simulate(algorithm, setting)
            means = [f"{run.reward[start:end].mean():+.3f}" for start, end in spans]
            rows.append([title, algorithm, *means, f"{run.regret.sum():.1f}"])
    return rows


def show(rows: Sequence[Sequence[str]], heads: Sequence[str], write: Callable[[str], None] = print) -> None:
    write(f"| {' | '.join(heads)} |")
    write(f"|{'---|' * len(heads)}")
    for row in rows:
        write(f"| {' | '.join(row)} |")
