"""The fallback chain (A-100): which failures of the Illustrator use it, in which order, and what it returns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from illustrator_standin import family
from outside import KEY, Clock, Hanging, IllustratorStandIn, Service, chain, chain_settings, openai_answers, openai_step

from serve.ensembles.illustrator.encoding import Encoding
from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.service import Preview, StreamOptions
from serve.ensembles.requests import IllustrateRequest
from serve.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineFailure,
    EngineLost,
    EngineUnavailable,
    InvalidRequest,
    NotFound,
    Overloaded,
)
from serve.releases.fallback.steps import without_defaults

FOX = IllustrateOptions("a fox", seed=7, width=64, height=48)
MINI_TO_TURBO = {"kind": "model", "model": "turbo"}


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with Service(openai_answers()).listening() as service:
        yield service


async def test_success_of_the_illustrator_calls_no_fallback(service: Service) -> None:
    drawn = await chain(IllustratorStandIn(), chain_settings(openai_step(service.url))).draw(FOX)
    assert drawn.served_by == "illustrate"
    assert service.requests == []


@pytest.mark.parametrize("failure", [EngineLost("gone"), EngineUnavailable("away"), EngineFailure("broken")])
async def test_engine_failures_use_the_fallback(service: Service, failure: Exception) -> None:
    primary = IllustratorStandIn()
    primary.failure = failure
    drawn = await chain(primary, chain_settings(openai_step(service.url))).draw(
        IllustrateOptions("a fox", seed=7, width=64, height=48, n=2)
    )
    assert drawn.served_by == "fallback:openai:cloud"
    assert [picture.seed for picture in drawn.pictures] == [7, 8]
    assert all(picture.pixels.shape == (48, 64, 3) for picture in drawn.pictures)
    path, headers, body = service.requests[0]
    assert path == "/v1/images/generations"
    assert headers["authorization"] == f"Bearer {KEY}"
    assert body == {"model": "dall-e-2", "prompt": "a fox", "n": 1, "size": "64x48", "response_format": "b64_json"}


async def test_drawing_from_a_picture_falls_back_to_models_of_the_site_alone(service: Service) -> None:
    """External services draw from prompts: another picture would not be what was requested."""
    source = PictureSource(InputPicture("a.png", 60, 40, b"a picture"))
    options = IllustrateOptions("a fox", seed=7, source=source)
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    with pytest.raises(EngineLost):
        await chain(primary, chain_settings(openai_step(service.url))).draw(options)
    assert service.requests == []


@pytest.mark.parametrize(
    "failure", [InvalidRequest("no", "width"), NotFound("no", "model"), Overloaded("full"), Cancelled("gone")]
)
async def test_client_errors_do_not_use_the_fallback(service: Service, failure: Exception) -> None:
    primary = IllustratorStandIn()
    primary.failure = failure
    fallback = chain(primary, chain_settings(openai_step(service.url), breaker={"failures": 1, "share": 0}))
    for _ in range(3):
        with pytest.raises(type(failure)):
            await fallback.draw(FOX)
    assert service.requests == []
    assert fallback.breakers["illustrate"].state == "closed"
    assert fallback.breakers["illustrate"].counts() == (0, 0)


async def test_deadline_of_the_client_is_no_failure(service: Service) -> None:
    fallback = chain(Hanging(), chain_settings(openai_step(service.url), breaker={"failures": 1, "share": 0}))
    with pytest.raises(DeadlineExceeded):
        await fallback.draw(IllustrateOptions("a fox", seed=7, timeout_s=0.2))
    assert service.requests == []
    assert fallback.breakers["illustrate"].state == "closed"


async def test_primary_timeout_leaves_time_for_the_fallback(service: Service) -> None:
    settings = chain_settings(openai_step(service.url), primary_timeout_s=0.2)
    primary = Hanging()
    fallback = chain(primary, settings)
    drawn = await fallback.draw(FOX)
    assert drawn.served_by == "fallback:openai:cloud"
    assert fallback.breakers["illustrate"].counts() == (1, 1)


async def test_site_limit_counts_as_failure_without_fallback(service: Service) -> None:
    fallback = chain(Hanging(), chain_settings(openai_step(service.url), limit_s=0.2))
    with pytest.raises(DeadlineExceeded):
        await fallback.draw(FOX)
    assert service.requests == []
    assert fallback.breakers["illustrate"].counts() == (1, 1)


async def test_open_breaker_skips_the_illustrator_until_a_trial_succeeds(service: Service) -> None:
    clock, primary = Clock(), IllustratorStandIn()
    settings = chain_settings(openai_step(service.url), breaker={"failures": 3, "share": 0.5, "wait_s": 15})
    fallback = chain(primary, settings, clock=clock)
    primary.failure = EngineLost("gone")
    for _ in range(5):
        assert (await fallback.draw(FOX)).served_by == "fallback:openai:cloud"
    assert len(primary.asked) == 3
    assert fallback.breakers["illustrate"].state == "open"
    clock.now += 15
    await fallback.draw(FOX)
    assert len(primary.asked) == 4, "one trial is admitted, and fails"
    primary.failure = None
    await fallback.draw(FOX)
    assert len(primary.asked) == 4
    clock.now += 15
    assert (await fallback.draw(FOX)).served_by == "illustrate"
    assert fallback.breakers["illustrate"].state == "closed"


async def test_stream_closed_after_the_picture_closes_the_breaker(service: Service) -> None:
    clock, primary = Clock(), IllustratorStandIn()
    settings = chain_settings(openai_step(service.url), breaker={"failures": 1, "share": 0})
    fallback = chain(primary, settings, clock=clock)
    primary.failure = EngineLost("gone")
    await fallback.draw(FOX)
    primary.failure = None
    clock.now += 15
    async with contextlib.aclosing(fallback.stream(FOX)) as items:
        async for item in items:
            if isinstance(item, Illustration):
                break
    assert fallback.breakers["illustrate"].state == "closed"


async def test_fallback_to_another_model_of_the_site() -> None:
    primary = _OneBroken()
    drawn = await chain(primary, chain_settings(MINI_TO_TURBO)).draw(
        IllustrateOptions("a fox", seed=7, model="mini", width=64, height=64, num_inference_steps=8, sampler="ddim")
    )
    assert drawn.served_by == "fallback:model:turbo"
    body = primary.asked[-1]
    assert (body.model, body.num_inference_steps, body.sampler, body.seed) == ("turbo", None, "ddim", 7)


@pytest.mark.parametrize("negative_prompt", ["", "rain"])
def test_defaults_of_a_family_do_not_reach_other_backends(negative_prompt: str) -> None:
    """Also those of the long steps that a family was taught."""
    usual = {"num_inference_steps": 20, "guidance_scale": 3.0, "sampler": "flow_euler"}
    taught = family("fox", few_steps=4, **usual)
    named = IllustrateOptions("a fox", negative_prompt=negative_prompt)
    resolved = IllustrateRequest(named, Encoding()).resolved(taught).options
    assert resolved.num_inference_steps == (20 if negative_prompt else 4)
    opened = without_defaults(resolved, taught)
    assert (opened.num_inference_steps, opened.guidance_scale, opened.sampler) == (None, None, None)


async def test_failed_model_is_no_fallback_for_itself() -> None:
    primary = IllustratorStandIn()
    primary.failure = EngineFailure("broken")
    with pytest.raises(EngineFailure, match="broken"):
        await chain(primary, chain_settings(MINI_TO_TURBO)).draw(IllustrateOptions("a fox", seed=7, model="turbo"))
    assert len(primary.asked) == 1


async def test_steps_run_in_order_until_one_succeeds(service: Service) -> None:
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    steps = [MINI_TO_TURBO, openai_step("http://127.0.0.1:9", name="dead"), openai_step(service.url)]
    drawn = await chain(primary, chain_settings(*steps)).draw(FOX)
    assert drawn.served_by == "fallback:openai:cloud"
    assert len(primary.asked) == 2


async def test_error_of_the_illustrator_is_raised_when_all_steps_fail() -> None:
    clock, primary = Clock(), IllustratorStandIn()
    primary.failure = EngineFailure("an engine broke")
    settings = chain_settings(openai_step("http://127.0.0.1:9"), breaker={"failures": 1, "share": 0})
    fallback = chain(primary, settings, clock=clock)
    with pytest.raises(EngineFailure, match="an engine broke"):
        await fallback.draw(FOX)
    with pytest.raises(EngineUnavailable, match="nobody can draw") as caught:
        await fallback.draw(FOX)
    assert caught.value.retry_after_s


async def test_step_that_uses_up_the_time_keeps_the_first_error(service: Service) -> None:
    async def hang(request: Any) -> Any:
        await asyncio.Event().wait()

    service.answer = hang
    primary = IllustratorStandIn()
    primary.failure = EngineFailure("an engine broke")
    with pytest.raises(EngineFailure, match="an engine broke"):
        await chain(primary, chain_settings(openai_step(service.url), limit_s=0.3)).draw(FOX)
    assert len(service.requests) == 1


async def test_previews_of_failed_primary_are_followed_by_the_fallback_picture(service: Service) -> None:
    primary = IllustratorStandIn()
    primary.failure, primary.fails_after = EngineLost("gone"), 5
    options = IllustrateOptions("a fox", seed=7, width=64, height=64, preview_every=2)
    items = [
        item async for item in chain(primary, chain_settings(openai_step(service.url))).stream(options, StreamOptions())
    ]
    assert [item.step for item in items if isinstance(item, Preview)] == [2, 4]
    assert isinstance(items[-1], Illustration)
    assert items[-1].served_by == "fallback:openai:cloud"


async def test_cancellation_cancels_the_call(service: Service) -> None:
    began = asyncio.Event()

    async def hang(request: Any) -> Any:
        began.set()
        await asyncio.Event().wait()

    service.answer = hang
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    fallback = chain(primary, chain_settings(openai_step(service.url)))
    drawing = asyncio.create_task(fallback.draw(FOX))
    await asyncio.wait_for(began.wait(), 60)
    drawing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drawing
    assert fallback.breakers["fallback:openai:cloud"].counts() == (0, 0)


async def test_families_and_versions_stay_known_while_illustrator_is_unavailable(service: Service) -> None:
    """A request without a size gets that of its model."""
    primary = _Away()
    fallback = chain(primary, chain_settings(openai_step(service.url)))
    families, versions = await fallback.families(), await fallback.versions()
    primary.is_away = True
    primary.failure = EngineLost("gone")
    assert await fallback.families() == families
    assert await fallback.versions() == versions
    drawn = await fallback.draw(IllustrateOptions("a fox", seed=1))
    assert drawn.pictures[0].pixels.shape == (64, 64, 3)


async def test_open_breaker_without_steps_admits_all_requests() -> None:
    primary = IllustratorStandIn()
    primary.failure = EngineLost("gone")
    fallback = chain(primary, chain_settings(breaker={"failures": 1, "share": 0}))
    for _ in range(3):
        with pytest.raises(EngineLost):
            await fallback.draw(FOX)
    assert fallback.breakers["illustrate"].state == "open"
    primary.failure = None
    assert (await fallback.draw(FOX)).served_by == "illustrate"


class _OneBroken(IllustratorStandIn):
    async def _step(self, step: int) -> None:
        if self.asked[-1].model == "mini":
            raise EngineFailure("broken")


class _Away(IllustratorStandIn):
    is_away = False

    async def families(self) -> Any:
        if self.is_away:
            raise EngineLost("gone")
        return await super().families()

    async def versions(self) -> Any:
        if self.is_away:
            raise EngineLost("gone")
        return await super().versions()


async def test_invalid_size_is_refused_while_fallback_serves(service: Service) -> None:
    clock, primary = Clock(), IllustratorStandIn()
    primary.failure = EngineLost("gone")
    fallback = chain(primary, chain_settings(openai_step(service.url), breaker={"failures": 1, "share": 0}))
    await fallback.draw(FOX)
    clock.now += 1
    with pytest.raises(InvalidRequest, match="multiples of 8") as caught:
        await fallback.draw(IllustrateOptions("a fox", width=65))
    assert caught.value.field == "width"
    assert len(service.requests) == 1
