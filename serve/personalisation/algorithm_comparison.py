"""A/B of bandit algorithms: each user of a site has one of those that are compared, always the same (C-058, C-062)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from serve.personalisation.bandits import Algorithm
from serve.personalisation.feedback import Interaction
from serve.state.database import Database
from serve.state.tables import preferences

_Z = 1.96


@dataclass(frozen=True)
class Outcome:
    """Of the users of one algorithm. ``mean_reward`` is the mean of the users' own means, between ``low`` and ``high``
    with 95 % confidence; None for fewer users than two."""

    algorithm: Algorithm
    users: int
    interactions: int
    mean_reward: float | None
    low: float | None
    high: float | None


def assigned(user_id: str, compared: Sequence[Algorithm]) -> Algorithm:
    """By the user's name alone, so that every process finds the same."""
    digest = hashlib.sha256(f"taste algorithm|{user_id}".encode()).digest()
    return compared[int.from_bytes(digest[:8], "big") % len(compared)]


async def choosers(database: Database) -> set[str]:
    """The users who have set an algorithm themselves: they are in no comparison."""
    p = preferences.c
    async with database.read() as connection:
        rows = (await connection.execute(sa.select(p.user_id, p.document))).all()
    return {row.user_id for row in rows if row.document.get("algorithm") is not None}


def outcomes(
    compared: Sequence[Algorithm], by_user: Mapping[str, Sequence[Interaction]], without: Collection[str]
) -> list[Outcome]:
    """In the order of ``compared``. Users count alike, however much they say."""
    means: dict[Algorithm, list[float]] = {name: [] for name in compared}
    counts = dict.fromkeys(compared, 0)
    for user_id, found in by_user.items():
        if user_id in without or not found:
            continue
        name = assigned(user_id, compared)
        means[name].append(sum(one.reward for one in found) / len(found))
        counts[name] += len(found)
    return [_outcome(name, means[name], counts[name]) for name in compared]


def _outcome(name: Algorithm, means: Sequence[float], interactions: int) -> Outcome:
    if len(means) < 2:
        return Outcome(name, len(means), interactions, None, None, None)
    mean, half = float(np.mean(means)), _Z * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return Outcome(name, len(means), interactions, mean, mean - half, mean + half)
