"""Insights into one user's taste, and cohorts of users (C-058)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from serve.errors import NotFound
from serve.personalisation.profile import DIMENSIONS, Profile
from serve.state.database import Database
from serve.state.job_states import ANONYMOUS
from serve.state.tables import feedback, generations, users, utc_now

MIN_PULLS = 3
COHORTS = ("all", "active", "new", "silent")
"""All users with generations; those with feedback within 7 days; whose first generation is of the last 7 days; those
with generations and without any feedback."""
COHORT_DAYS = 7


def insights(profile: Profile) -> list[dict[str, Any]]:
    """Sentences with the figures that they rest on, the surest first."""
    found: list[dict[str, Any]] = []
    for dimension in DIMENSIONS:
        arms = [arm for arm in profile.counted[dimension].values() if arm.pulls >= MIN_PULLS]
        if not arms:
            continue
        best, worst = max(arms, key=lambda arm: arm.score), min(arms, key=lambda arm: arm.score)
        if best.score > 0:
            found.append(_insight(dimension, "best", best.name, best.score, best.pulls))
        if worst is not best and worst.score < 0:
            found.append(_insight(dimension, "worst", worst.name, worst.score, worst.pulls))
    halves = _trend(profile)
    if halves is not None:
        found.append(halves)
    return sorted(found, key=lambda one: -abs(one["score"]) * one["pulls"] ** 0.5)


def _insight(dimension: str, kind: str, name: str, score: float, pulls: float) -> dict[str, Any]:
    verb = "likes most" if kind == "best" else "likes least"
    text = f"of {dimension}s, this user {verb} {name}: {score:+.2f} on average in {round(pulls)} interactions"
    return {"kind": kind, "dimension": dimension, "name": name, "score": score, "pulls": pulls, "text": text}


def _trend(profile: Profile) -> dict[str, Any] | None:
    """Whether the newer half of the interactions is better."""
    rewards = [one.reward for one in profile.interactions]
    if len(rewards) < 4 * MIN_PULLS:
        return None
    middle = len(rewards) // 2
    change = sum(rewards[:middle]) / middle - sum(rewards[middle:]) / (len(rewards) - middle)
    word = "rising" if change > 0.05 else "falling" if change < -0.05 else "steady"
    text = f"satisfaction is {word}: {change:+.2f} between the older and the newer half"
    return {"kind": "trend", "dimension": None, "name": word, "score": change, "pulls": len(rewards), "text": text}


async def cohort(database: Database, name: str) -> dict[str, Any]:
    """Figures of a cohort, without names of users. Raises NotFound for an unknown one."""
    if name not in COHORTS:
        raise NotFound(f"there is no such cohort; known: {', '.join(COHORTS)}", "cohort")
    g, f = generations.c, feedback.c
    since = utc_now() - timedelta(days=COHORT_DAYS)
    members = sa.select(g.user_id, sa.func.count().label("made"), sa.func.min(g.created_at).label("first"))
    members = members.where(g.user_id != ANONYMOUS).group_by(g.user_id)
    said = sa.exists().where(f.user_id == g.user_id)
    if name == "active":
        members = members.where(sa.exists().where(f.user_id == g.user_id, f.created_at >= since))
    elif name == "silent":
        members = members.where(~said)
    elif name == "new":
        members = members.having(sa.func.min(g.created_at) >= since)
    chosen = members.subquery()
    async with database.read() as connection:
        row = (
            await connection.execute(sa.select(sa.func.count(), sa.func.sum(chosen.c.made)).select_from(chosen))
        ).one()
        kinds = (
            await connection.execute(
                sa.select(f.kind, sa.func.count(), sa.func.avg(f.value))
                .where(f.user_id.in_(sa.select(chosen.c.user_id)))
                .group_by(f.kind)
            )
        ).all()
        known = await connection.scalar(sa.select(sa.func.count()).select_from(users))
    return {
        "cohort": name,
        "users": int(row[0] or 0),
        "users_of_site": int(known or 0),
        "generations": int(row[1] or 0),
        "feedback": {kind: int(total) for kind, total, _ in kinds},
        "mean_stars": next((float(mean) for kind, _, mean in kinds if kind == "rate" and mean is not None), None),
        "generations_per_user": (int(row[1]) / int(row[0])) if row[0] else None,
        "feedback_per_generation": _share(sum(total for _, total, _ in kinds), row[1]),
    }


def _share(part: int, whole: Any) -> float | None:
    return part / int(whole) if whole else None
