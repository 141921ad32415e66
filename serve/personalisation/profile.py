"""`Profile`: what a user's interactions say of models, styles, samplers, palettes and moods (C-050, C-059).

A preference is computed from the interactions at every reading, and never updated in place: processes cannot disagree,
and what is deleted has no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serve.ensembles.prompts.analysis import MAX_CACHED_CHARACTERS, MOODS, PromptAnalyser
from serve.personalisation.bandits import Arm, forgetting, ucb_value, update_arm
from serve.personalisation.feedback import Interaction

DIMENSIONS = ("model", "style", "sampler", "palette", "mood")
PALETTES: Mapping[str, tuple[str, ...]] = {
    "vibrant": ("vibrant", "neon"),
    "muted": ("muted", "pastel", "beige", "brown"),
    "monochrome": ("monochrome", "black", "white", "grey"),
    "warm": ("red", "orange", "yellow", "gold", "pink"),
    "cool": ("blue", "teal", "green", "purple", "silver"),
}
"""C-050's kinds of palettes, by the colours of the vocabulary."""
SIMILARITY_POWER = 2.0
MAX_ANALYSED = MAX_CACHED_CHARACTERS
"""Characters of a prompt that are learned from: longer texts would not be cached by the analyser."""


@dataclass(frozen=True)
class Features:
    """The arms of one generation, by dimension."""

    names: Mapping[str, Sequence[str]]


def features_of(analyser: PromptAnalyser, one: Interaction) -> Features:
    analysis = analyser.analyse(one.prompt[:MAX_ANALYSED])
    colors = set(analysis.names("colors"))
    return Features({
        "model": [one.model] if one.model else [],
        "sampler": [one.sampler] if one.sampler else [],
        "style": analysis.names("styles"),
        "palette": [name for name, members in PALETTES.items() if colors & set(members)],
        "mood": [analysis.mood.name] if analysis.mood is not None else [],
    })  # fmt: skip


class Profile:
    """``interactions``: the newest first. ``half_life``: newer ones after which one counts half.

    Hundreds of prompts are analysed: build it in a thread, not in the event loop."""

    def __init__(self, analyser: PromptAnalyser, interactions: Sequence[Interaction], half_life: float) -> None:
        self.interactions = interactions
        self._analyser = analyser
        self._weights = forgetting(len(interactions), half_life)
        self._features = [features_of(analyser, one) for one in interactions]

    @cached_property
    def arms(self) -> Mapping[str, Mapping[str, Arm]]:
        """By dimension and name, with forgetting."""
        return self._arms(lambda place: self._weights[place])

    @cached_property
    def counted(self) -> Mapping[str, Mapping[str, Arm]]:
        """By dimension and name, each interaction once: as C-050 stores them."""
        return self._arms(lambda _: 1.0)

    def near(self, prompt: str) -> Mapping[str, Mapping[str, Arm]]:
        """As `arms`, an interaction counting by how near its prompt is to ``prompt``."""
        if not self.interactions:
            return self.arms
        nearness = np.maximum(0.0, self._embeddings @ self._analyser.embed(prompt[:MAX_ANALYSED])) ** SIMILARITY_POWER
        return self._arms(lambda place: self._weights[place] * float(nearness[place]))

    @cached_property
    def _embeddings(self) -> NDArray[np.float32]:
        return np.array([self._analyser.embed(one.prompt[:MAX_ANALYSED]) for one in self.interactions])

    def _arms(self, weight: Callable[[int], float]) -> Mapping[str, Mapping[str, Arm]]:
        found: dict[str, dict[str, Arm]] = {dimension: {} for dimension in DIMENSIONS}
        for place, (one, features) in enumerate(zip(self.interactions, self._features, strict=True)):
            for dimension in DIMENSIONS:
                for name in features.names[dimension]:
                    arm = found[dimension].get(name, Arm(name))
                    found[dimension][name] = update_arm(arm, one.reward, weight(place))
        return found

    def liking(self, names: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
        """A vector of scores in the order of ``names``, for comparison with other users; 0 where nothing is known."""
        return np.array([
            self.arms[dimension][name].score if name in self.arms[dimension] else 0.0
            for dimension, known in names.items() for name in known
        ])  # fmt: skip

    def ucb_values(self, dimension: str) -> dict[str, float]:
        """Of the arms that the user has pulled (C-051: ``calculateUCB``)."""
        arms = self.counted[dimension]
        total = sum(arm.pulls for arm in arms.values())
        return {name: ucb_value(arm, total) for name, arm in arms.items()}

    def predict(self, prompt: str) -> dict[str, float]:
        """The probability that the user likes a picture of ``prompt`` for each style (C-059), by near prompts."""
        near, overall = self.near(prompt)["style"], self.arms["style"]
        predicted = {}
        for name, arm in overall.items():
            close = near.get(name, arm)
            total, pulls = close.total + 0.5 * arm.total, close.pulls + 0.5 * arm.pulls
            predicted[name] = (0.5 * (total + pulls) + 1.0) / (pulls + 2.0)
        return dict(sorted(predicted.items(), key=lambda one: -one[1]))

    @property
    def moods(self) -> Mapping[str, float]:
        return {name: arm.score for name, arm in self.counted["mood"].items() if name in MOODS}
