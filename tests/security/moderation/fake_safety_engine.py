"""An Illustrator whose safety engine is a function, and sites with policies."""

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


class Judged(IllustratorStandIn):
    """``answer`` is the engine's, of its input; ``judged`` keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Callable[[NDArray[Any]], Any] = lambda image: [[0.0, 0.0]]
        self.judged: list[NDArray[Any]] = []

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
        self.judged.append(inputs["image"])
        return {"scores": np.asarray(self.answer(inputs["image"]), np.float32)}


def policy(name: str, *, engine: bool = True, **more: Any) -> ModerationSettings:
    looks = {"engine": ENGINE, "categories": (NUDITY, GORE), "side_px": 32} if engine else {}
    return ModerationSettings(**{"policy": name, "rules": RULES, **looks, **more})


def site(settings: Settings, chosen: ModerationSettings) -> Settings:
    return settings.model_copy(update={"moderation": chosen})


def watched(illustrator: Judged, chosen: ModerationSettings) -> Judged:
    return moderated(illustrator, chosen)
