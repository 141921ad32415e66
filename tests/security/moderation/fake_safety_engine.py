"""An illustrator whose safety engine is a function, and settings with policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from illustrator_standin import IllustratorStandIn
from numpy.typing import NDArray

from serve.errors import NotFound
from serve.security.moderation.policy import moderated
from serve.settings import ModerationSettings, Settings

ENGINE = "safety"
NUDITY, GORE = "nudity", "gore"
RULES = (
    {"category": "violence", "words": ("massacre", "blood bath")},
    {"category": "logo", "words": ("acme",), "score": 0.6},
)


class FakeSafetyIllustrator(IllustratorStandIn):
    """``answer`` computes the engine's scores from its input; ``judged`` keeps the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scores_of: Callable[[NDArray[Any]], Any] = lambda image: [[0.0, 0.0]]
        self.checked_images: list[NDArray[Any]] = []

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, NDArray[Any]]:
        if engine != ENGINE:
            raise NotFound(f"there is no engine {engine}")
        assert (set(inputs), outputs) == ({"image"}, ["scores"])
        self.checked_images.append(inputs["image"])
        return {"scores": np.asarray(self.scores_of(inputs["image"]), np.float32)}


def policy(name: str, *, engine: bool = True, **more: Any) -> ModerationSettings:
    engine_settings = {"engine": ENGINE, "categories": (NUDITY, GORE), "side_px": 32} if engine else {}
    return ModerationSettings(**{"policy": name, "rules": RULES, **engine_settings, **more})


def with_moderation(settings: Settings, chosen: ModerationSettings) -> Settings:
    return settings.model_copy(update={"moderation": chosen})


def moderated_illustrator(illustrator: FakeSafetyIllustrator, chosen: ModerationSettings) -> FakeSafetyIllustrator:
    return moderated(illustrator, chosen)
