"""`TasteService`: the preferences of users, and choices and recommendations by them (C-050 to C-061)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.personalisation import bandits, feedback
from serve.personalisation.algorithm_comparison import Outcome, assigned, choosers, outcomes
from serve.personalisation.bandits import Algorithm, Arm
from serve.personalisation.feedback import Interaction
from serve.personalisation.own_settings import OwnSettings, forgotten_since, read_own_settings, write_own_settings
from serve.personalisation.profile import Profile
from serve.personalisation.recommendations import TRENDING_DAYS, Everybody, Recommendation, Recommender
from serve.settings import TasteSettings
from serve.state.database import Database
from serve.state.tables import utc_now

FORGOTTEN_AGE_S = 5.0
"""Seconds after which a deleted taste is out of the averages of every process."""
_OF_NEIGHBOUR = 100
"""Interactions of another user that are compared."""


@dataclass(frozen=True)
class Choice:
    """``confidence``: the probability that no other arm is better; ``explored``: the choice is not the best known."""

    dimension: str
    name: str
    confidence: float
    expected_reward: float
    pulls: float
    explored: bool
    reason: str


class TasteService:
    """For one process. What everybody likes is read again after ``population_age_s``."""

    def __init__(
        self,
        database: Database,
        settings: TasteSettings,
        analyser: PromptAnalyser,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._analyser = analyser
        self._rng = rng or np.random.default_rng()
        self._recommender = Recommender(analyser, settings.prior_strength, self._rng)
        self._everybody: Everybody | None = None
        self._reading = asyncio.Lock()
        self._checked_at = 0.0

    async def profile(self, user_id: str) -> Profile:
        """Raises StateUnavailable."""
        found = await feedback.interactions(self._database, user_id, self._settings.no_interaction_s)
        return await asyncio.to_thread(self._profile_of, found, self._settings.half_life)

    def _profile_of(self, found: Sequence[Interaction], half_life: float) -> Profile:
        """With all that is computed once: in a thread."""
        profile = Profile(self._analyser, found, half_life)
        assert profile.arms is not None
        assert profile.counted is not None
        if found:
            profile.near(found[0].prompt)
        return profile

    async def everybody(self) -> Everybody:
        """Read once for all requests that wait for it. Raises StateUnavailable."""
        began = time.monotonic()
        async with self._reading:
            known = self._everybody
            if known is not None and await self._is_outdated(known, began):
                known = None
            if known is None or began - known.read_at > self._settings.population_age_s:
                now = time.monotonic()
                found = await feedback.population(self._database)
                known = self._everybody = await asyncio.to_thread(self._everybody_of, found, now)
            return known

    async def _is_outdated(self, known: Everybody, now: float) -> bool:
        """Whether a user of it has deleted the taste since, in this process or another; looked up every few seconds."""
        if now - self._checked_at < FORGOTTEN_AGE_S:
            return False
        self._checked_at = now
        since = utc_now() - timedelta(seconds=now - known.read_at + FORGOTTEN_AGE_S)
        forgotten = await forgotten_since(self._database, since)
        return bool(forgotten & {one.user_id for one in known.profile.interactions})

    def _everybody_of(self, events: Sequence[Interaction], now: float) -> Everybody:
        week_ago = utc_now() - timedelta(days=TRENDING_DAYS)
        trending = self._recommender.trending(feedback.best_of_each([one for one in events if one.at >= week_ago]))
        found = feedback.best_of_each(events)
        profiles = {
            user_id: self._profile_of(each[:_OF_NEIGHBOUR], self._settings.half_life)
            for user_id, each in feedback.by_user(found).items() if len(each) >= 2
        }  # fmt: skip
        return Everybody(self._profile_of(found, self._settings.half_life * 10), profiles, trending, now)

    async def own_settings(self, user_id: str) -> OwnSettings:
        async with self._database.read() as connection:
            return await read_own_settings(connection, user_id)

    async def set_own(self, user_id: str, epsilon: float | None, algorithm: Algorithm | None) -> None:
        async with self._database.write() as connection:
            own = await read_own_settings(connection, user_id)
            await write_own_settings(connection, user_id, OwnSettings(epsilon, algorithm, own.forgotten_at))

    def _of_site(self, user_id: str) -> Algorithm:
        compared = self._settings.compared
        return assigned(user_id, compared) if compared else self._settings.algorithm

    async def compared(self) -> list[Outcome]:
        """How well each of the algorithms that the site compares does; none where it compares none. Of everybody's
        feedback of one drawing, the best counts."""
        if not self._settings.compared:
            return []
        without = await choosers(self._database)
        found = await feedback.population(self._database)
        grouped = feedback.by_user(feedback.best_of_each(found))
        return outcomes(self._settings.compared, grouped, without)

    async def choose(
        self,
        user_id: str,
        dimension: str,
        names: Sequence[str],
        prompt: str | None = None,
        algorithm: Algorithm | None = None,
    ) -> Choice:
        """One of ``names`` for ``user_id``: near prompts count most, where a ``prompt`` is given (C-051)."""
        own, profile = await self.own_settings(user_id), await self.profile(user_id)
        arms = list((await self._arms_of(profile, dimension, names, prompt)).values())
        used = algorithm or own.algorithm or self._of_site(user_id)
        epsilon = self._settings.epsilon if own.epsilon is None else own.epsilon
        chosen = bandits.choose(used, arms, self._rng, epsilon)
        best = max(arms, key=lambda arm: arm.score)
        confidence = bandits.confidence_of(chosen, [arm for arm in arms if arm is not chosen], self._rng)
        explored = chosen.score < best.score
        own_pulls = profile.arms[dimension].get(chosen.name, Arm(chosen.name)).pulls
        reason = "tried, to learn about it" if explored else _reason(own_pulls, chosen, prompt is not None)
        return Choice(dimension, chosen.name, confidence, chosen.score, own_pulls, explored, reason)

    async def arms(
        self, user_id: str, dimension: str, names: Sequence[str], prompt: str | None = None
    ) -> dict[str, Arm]:
        """Of ``names``, with the prior of everybody; near prompts count most, where a ``prompt`` is given."""
        return await self._arms_of(await self.profile(user_id), dimension, names, prompt)

    async def _arms_of(
        self, profile: Profile, dimension: str, names: Sequence[str], prompt: str | None
    ) -> dict[str, Arm]:
        everybody = await self.everybody()
        known, others = profile.arms[dimension], everybody.profile.arms[dimension]
        if prompt:
            own_near, all_near = await asyncio.to_thread(lambda: (profile.near(prompt), everybody.profile.near(prompt)))
            near, others = own_near[dimension], all_near[dimension]
            known = {name: _with_overall(near.get(name, Arm(name)), known.get(name)) for name in names}
        strength = self._settings.prior_strength
        blended = bandits.blended({name: known.get(name, Arm(name)) for name in names}, others, strength)
        return {arm.name: arm for arm in blended}

    async def document(self, user_id: str, profile: Profile | None = None) -> dict[str, Any]:
        """The user's preferences in the form of C-050. ``profile``: the user's, where it is computed already."""
        profile, own = profile or await self.profile(user_id), await self.own_settings(user_id)

        def arms(dimension: str) -> dict[str, Any]:
            return {
                name: {"score": round(arm.score, 4), "pulls": round(arm.pulls), "wins": round(arm.wins)}
                for name, arm in sorted(profile.counted[dimension].items())
            }

        def scores(dimension: str) -> dict[str, float]:
            return {name: round(arm.score, 4) for name, arm in sorted(profile.counted[dimension].items())}

        stats = await feedback.counts(self._database, user_id)
        return {
            "userId": user_id,
            "modelPreferences": arms("model"),
            "samplerPreferences": arms("sampler"),
            "stylePreferences": scores("style"),
            "colorPreferences": scores("palette"),
            "moodPreferences": {name: round(value, 4) for name, value in sorted(profile.moods.items())},
            "epsilon": self._settings.epsilon if own.epsilon is None else own.epsilon,
            "algorithm": own.algorithm or self._of_site(user_id),
            "totalGenerations": stats["generations"],
            "updatedAt": profile.interactions[0].at.isoformat() if profile.interactions else None,
        }

    async def recommend(
        self, user_id: str, count: int, models: Sequence[str], samplers: Sequence[str]
    ) -> dict[str, Sequence[Recommendation]]:
        """For you, trending, similar to favourites, explore, each with up to ``count``."""
        profile, everybody = await self.profile(user_id), await self.everybody()
        recommend = self._recommender.recommend
        return await asyncio.to_thread(recommend, user_id, profile, everybody, count, models, samplers)

    async def forget(self, user_id: str) -> int:
        """Deletes all that is known of the taste of ``user_id``; the number of events."""
        deleted = await feedback.forget(self._database, user_id)
        self._everybody = None
        return deleted

    async def export(self, user_id: str) -> AsyncGenerator[str, None]:
        """All that is known of the taste of ``user_id``, as parts of a JSON document: settings, preferences, every
        event of feedback, and the newest drawings without any, which count as no interaction."""
        profile = await self.profile(user_id)
        document = await self.document(user_id, profile)
        yield f'{{"preferences": {json.dumps(document)}, "interactions": ['
        separator = ""
        for one in profile.interactions:
            if one.kind == feedback.SILENT:
                yield separator + json.dumps(feedback.document_of(one))
                separator = ", "
        async for event in feedback.events(self._database, user_id):
            yield separator + json.dumps(event)
            separator = ", "
        yield "]}"


def _with_overall(near: Arm, overall: Arm | None) -> Arm:
    """Of a context: as if there were one more pull, at half of the average of all contexts. What is known of other
    contexts counts, and less than what is known of this one."""
    return bandits.update_arm(near, 0.5 * overall.score if overall is not None else 0.0)


def _reason(own_pulls: float, arm: Arm, by_prompt: bool) -> str:
    if own_pulls >= 0.5:
        return "you liked it for prompts like this" if by_prompt else "it has your best rewards"
    return "others like it" if arm.pulls > 0 else "nothing is known of any of them yet"
