"""`Recommender`: styles, models, samplers, palettes and prompts for a user, by the rewards of all (C-060, C-061)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.personalisation import feedback
from serve.personalisation.bandits import Arm, beta_of, with_prior
from serve.personalisation.feedback import Interaction
from serve.personalisation.profile import MAX_ANALYSED, PALETTES, Profile

TRENDING_DAYS = 7
_MAX_NEIGHBOURS = 20


@dataclass(frozen=True)
class Recommendation:
    """``kind``: style, model, sampler, palette, mood or prompt."""

    kind: str
    name: str
    score: float
    reason: str


@dataclass(frozen=True)
class Everybody:
    """The feedback of all users, as it was at ``read_at`` (monotonic). ``by_user``: of users with at least two rewards;
    ``trending``: the best first."""

    profile: Profile
    by_user: Mapping[str, Profile]
    trending: Sequence[Recommendation]
    read_at: float


class Recommender:
    """Everything is computed, not read: call it in a thread."""

    def __init__(self, analyser: PromptAnalyser, prior_strength: float, rng: np.random.Generator) -> None:
        self._analyser = analyser
        self._prior_strength = prior_strength
        self._rng = rng

    def recommend(
        self,
        user_id: str,
        profile: Profile,
        everybody: Everybody,
        count: int,
        models: Sequence[str],
        samplers: Sequence[str],
    ) -> dict[str, Sequence[Recommendation]]:
        """For you, trending, similar to favourites, explore, each with up to ``count``."""
        names = self._names(models, samplers)
        return {
            "for_you": self._for_you(user_id, profile, everybody, names)[:count],
            "trending": everybody.trending[:count],
            "similar": self._similar(profile, everybody)[:count],
            "explore": self._explore(profile, everybody, names)[:count],
        }

    def _names(self, models: Sequence[str], samplers: Sequence[str]) -> Mapping[str, Sequence[str]]:
        styles = list(self._analyser.vocabulary.terms["styles"])
        return {"style": styles, "model": models, "sampler": samplers, "palette": list(PALETTES)}

    def _for_you(
        self, user_id: str, profile: Profile, everybody: Everybody, names: Mapping[str, Sequence[str]]
    ) -> list[Recommendation]:
        """Half by the user's own rewards, with everybody's as a prior; a third by similar users; the rest by content:
        how near the style is to the concepts of what the user likes."""
        shared = self._collaborative(user_id, profile, everybody, names)
        content = self._content(profile)
        found = []
        for dimension, members in names.items():
            for name in members:
                own = profile.arms[dimension].get(name, Arm(name))
                arm = with_prior(own, everybody.profile.arms[dimension].get(name), self._prior_strength)
                parts = (0.5 * arm.score, 0.3 * shared.get((dimension, name), 0.0), 0.2 * content.get(name, 0.0))
                score = sum(parts)
                if score > 0.0:
                    reasons = ("you liked it" if own.pulls else "others like it", "users like you like it", "it suits "
                               "what you draw")  # fmt: skip
                    reason = reasons[int(np.argmax(parts))]
                    found.append(Recommendation(dimension, name, score, reason))
        found += [
            Recommendation("prompt", prompt, 0.4, "one that you liked")
            for prompt in feedback.newest_prompts(profile.interactions, 2)
        ]
        return sorted(found, key=lambda one: -one.score)

    def _collaborative(
        self, user_id: str, profile: Profile, everybody: Everybody, names: Mapping[str, Sequence[str]]
    ) -> dict[tuple[str, str], float]:
        """The mean scores of the users whose scores are nearest (cosine), by dimension and name."""
        own = profile.liking(names)
        if not np.any(own):
            return {}
        neighbours = []
        for other, theirs in everybody.by_user.items():
            if other != user_id:
                vector = theirs.liking(names)
                norm = float(np.linalg.norm(own) * np.linalg.norm(vector))
                if norm and (nearness := float(own @ vector) / norm) > 0.1:
                    neighbours.append((nearness, vector))
        neighbours = sorted(neighbours, key=lambda one: -one[0])[:_MAX_NEIGHBOURS]
        if not neighbours:
            return {}
        total = sum(nearness for nearness, _ in neighbours)
        mean = np.sum([nearness * vector for nearness, vector in neighbours], axis=0) / total
        keys = [(dimension, name) for dimension, members in names.items() for name in members]
        return {key: float(value) for key, value in zip(keys, mean, strict=True) if value}

    def _content(self, profile: Profile) -> dict[str, float]:
        """By style: how well it suits the concepts and moods of the prompts that the user liked."""
        liked = [
            self._analyser.analyse(prompt[:MAX_ANALYSED])
            for prompt in feedback.newest_prompts(profile.interactions, 20)
        ]
        found: dict[str, float] = {}
        for analysis in liked:
            for suggestion in analysis.styles:
                found[suggestion.style] = found.get(suggestion.style, 0.0) + suggestion.confidence / len(liked)
        return found

    def trending(self, recent: Sequence[Interaction]) -> list[Recommendation]:
        """Styles whose average rewards of the last week are highest in sum over the users: one user counts once."""
        totals: dict[str, float] = {}
        users: dict[str, int] = {}
        for each in feedback.by_user(recent).values():
            for arm in Profile(self._analyser, each, 1e9).counted["style"].values():
                totals[arm.name] = totals.get(arm.name, 0.0) + arm.score
                users[arm.name] = users.get(arm.name, 0) + (arm.score > 0)
        best = sorted((name for name in totals if totals[name] > 0), key=lambda name: -totals[name])
        return [
            Recommendation("style", name, totals[name], f"liked by {users[name]} "
                           f"user{'' if users[name] == 1 else 's'} within {TRENDING_DAYS} days")
            for name in best
        ]  # fmt: skip

    def _similar(self, profile: Profile, everybody: Everybody) -> list[Recommendation]:
        """Styles that were liked on prompts near the user's liked ones, and that the user has not used."""
        known = profile.arms["style"]
        found: dict[str, Recommendation] = {}
        for prompt in feedback.newest_prompts(profile.interactions, 5):
            for name, arm in everybody.profile.near(prompt)["style"].items():
                if name not in known and arm.score > 0 and arm.pulls > 0.05:
                    score = arm.score * min(1.0, arm.pulls)
                    if name not in found or score > found[name].score:
                        found[name] = Recommendation("style", name, score, f"liked for prompts like {prompt[:60]!r}")
        return sorted(found.values(), key=lambda one: -one.score)

    def _explore(
        self, profile: Profile, everybody: Everybody, names: Mapping[str, Sequence[str]]
    ) -> list[Recommendation]:
        """Arms with the widest Beta distributions, among those that nothing speaks against."""
        found = []
        for dimension, members in names.items():
            for name in members:
                own = profile.arms[dimension].get(name, Arm(name))
                others = everybody.profile.arms[dimension].get(name)
                if own.score < 0 or (others is not None and others.score < 0):
                    continue
                alpha, beta = beta_of(with_prior(own, others, self._prior_strength))
                spread = (alpha * beta / ((alpha + beta) ** 2 * (alpha + beta + 1.0))) ** 0.5
                reason = "you have not tried it" if not own.pulls else "you have rarely tried it"
                found.append(Recommendation(dimension, name, spread + 0.01 * float(self._rng.random()), reason))
        return sorted(found, key=lambda one: -one.score)
