"""Pictures of external services are moderated like the site's own (USERS_ASK 11)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from outside import IllustratorStandIn, Service, chain, chain_settings, openai_answers, openai_step

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.errors import EngineLost, EngineUnavailable, ModerationBlocked, PictureNotClassified
from serve.settings import ModerationRule, ModerationSettings, Settings

FOX = IllustrateOptions("a fox", seed=7, width=64, height=64)
RULE = ModerationRule(category="violence", words=["gore"])  # type: ignore[arg-type]


class Judging(IllustratorStandIn):
    """Always fails to draw; its safety engine returns ``score``, or is unavailable when that is None."""

    score: float | None = 0.9

    def __init__(self) -> None:
        super().__init__()
        self.failure = EngineLost("gone")

    async def infer(
        self,
        engine: str,
        inputs: Mapping[str, Any],
        *,
        outputs: Sequence[str] | None = None,
        timeout_s: float | None = None,
        version: str = "",
    ) -> dict[str, Any]:
        if self.score is None:
            raise EngineLost("gone")
        return {"scores": np.array([[self.score]], np.float32)}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(openai_answers()).listening() as service:
        yield service


def settings(service: Service, policy: str, engine: str | None = None) -> Settings:
    moderation: dict[str, Any] = {"policy": policy, "rules": [RULE], "engine": engine}
    if engine is not None:
        moderation["categories"] = ["nudity"]
    found = chain_settings(openai_step(service.url))
    return found.model_copy(update={"moderation": ModerationSettings(**moderation)})


async def test_refused_prompt_is_not_sent(service: Service) -> None:
    fallback = chain(Judging(), settings(service, "refuse"))
    with pytest.raises(ModerationBlocked):
        await fallback.draw(IllustrateOptions("gore", seed=7))
    assert service.requests == []
    assert fallback.breakers["fallback:openai:cloud"].counts() == (0, 0)
    assert (await fallback.draw(FOX)).served_by == "fallback:openai:cloud"


async def test_refused_picture_is_not_returned(service: Service) -> None:
    primary = Judging()
    fallback = chain(primary, settings(service, "refuse", "safety"))
    with pytest.raises(ModerationBlocked):
        await fallback.draw(FOX)
    assert len(service.requests) == 1
    primary.score = 0.0
    assert (await fallback.draw(FOX)).served_by == "fallback:openai:cloud"


async def test_unclassified_picture_is_not_returned(service: Service) -> None:
    primary = Judging()
    primary.score = None
    with pytest.raises(EngineLost):
        await chain(primary, settings(service, "blur", "safety")).draw(FOX)


async def test_unclassified_picture_does_not_call_the_next_step(service: Service) -> None:
    primary = Judging()
    primary.score = None
    of_site = settings(service, "blur", "safety")
    once = {"failures": 1, "share": 0}
    again = chain_settings(openai_step(service.url), openai_step(service.url, name="other"), breaker=once)
    fallback = chain(primary, of_site.model_copy(update={"fallback": again.fallback}))
    for calls in (1, 2):
        with pytest.raises(EngineUnavailable):
            await fallback.draw(FOX)
        assert len(service.requests) == calls
    assert {fallback.breakers[f"fallback:openai:{name}"].state for name in ("cloud", "other")} == {"closed"}


async def test_unclassified_picture_is_no_failure_of_the_illustrator(service: Service) -> None:
    primary = Judging()
    primary.failure = PictureNotClassified("the safety engine does not answer; try again")
    fallback = chain(primary, chain_settings(openai_step(service.url), breaker={"failures": 1, "share": 0}))
    for _ in range(2):
        with pytest.raises(PictureNotClassified):
            await fallback.draw(FOX)
    assert service.requests == []
    assert fallback.breakers["illustrate"].state == "closed"


async def test_flagged_picture_is_returned_with_its_flag(service: Service) -> None:
    drawn = await chain(Judging(), settings(service, "flag", "safety")).draw(FOX)
    assert drawn.moderation is not None
    assert drawn.moderation["flagged"]
    assert drawn.served_by == "fallback:openai:cloud"
