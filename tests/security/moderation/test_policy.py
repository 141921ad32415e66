"""Policies: what becomes of prompts, pictures and previews, and of an engine that fails (USERS_ASK 11, C-166)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from fake_safety_engine import GORE, NUDITY, Judged, policy, watched
from illustrator_standin import disk

from serve.ensembles.illustrator.illustration import (
    IllustrateOptions,
    Illustration,
    Preview,
    Progress,
    StreamItem,
    StreamOptions,
)
from serve.errors import AtelierError, DeadlineExceeded, EngineUnavailable, InvalidRequest, ModerationBlocked
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.picture_classifier import to_input
from serve.security.moderation.policy import BLUR_CELLS, blur

FOX = IllustrateOptions("a fox", seed=7)
BAD = IllustrateOptions("a Massacre", seed=7)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    monkeypatch.setattr(MODERATION, "add", lambda _, category, action: found.append((category, action)))
    return found


async def until_its_end(stream: AsyncIterator[StreamItem]) -> tuple[list[StreamItem], AtelierError | None]:
    """What is told, and the error that it ends with."""
    told: list[StreamItem] = []
    try:
        async for item in stream:
            told.append(item)
    except AtelierError as error:
        return told, error
    return told, None


def seen(image: Any) -> Any:
    return [[0.9, 0.1]]


async def test_without_a_policy_nobody_looks() -> None:
    illustrator = Judged()
    assert watched(illustrator, policy("off")) is illustrator


async def test_what_is_clean_says_so() -> None:
    illustrator = Judged()
    drawn = await watched(illustrator, policy("flag")).draw(FOX)
    assert drawn.moderation == {"flagged": False, "action": None}
    assert len(illustrator.judged) == 1


async def test_a_flag_changes_no_picture(counted: list[tuple[str, str]]) -> None:
    illustrator = Judged()
    illustrator.answer = seen
    drawn = await watched(illustrator, policy("flag")).draw(BAD)
    np.testing.assert_array_equal(drawn.pictures[0].pixels, disk(64, 64, 7))
    assert drawn.moderation is not None
    assert drawn.moderation["flagged"] is True
    assert (drawn.moderation["action"], drawn.moderation["reason"], drawn.moderation["score"]) == (
        "flag",
        "prompt",
        1.0,
    )
    assert drawn.moderation["findings"] == [
        {"category": "violence", "score": 1.0, "source": "prompt"},
        {"category": NUDITY, "score": pytest.approx(0.9), "source": "picture", "index": 0},
    ]
    assert sorted(counted) == [(NUDITY, "flag"), ("violence", "flag")]


async def test_refused_prompts_are_never_drawn(
    counted: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    illustrator = Judged()
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ModerationBlocked) as refused:
        await watched(illustrator, policy("refuse")).draw(BAD)
    error = refused.value
    assert (error.status, error.field, error.category, error.score) == (400, "prompt", "violence", 1.0)
    assert (illustrator.asked, illustrator.judged) == ([], [])
    assert counted == [("violence", "refuse")]
    assert "massacre" not in (str(error) + caplog.text).lower()
    again = type(error)(*error.args)  # as a copy is made between processes
    assert (again.message, again.field, again.extra_fields) == (error.message, "prompt", error.extra_fields)


async def test_negative_prompts_name_what_is_not_drawn() -> None:
    options = IllustrateOptions("a fox", negative_prompt="massacre", seed=7)
    assert (await watched(Judged(), policy("refuse")).draw(options)).moderation == {"flagged": False, "action": None}


async def test_refused_pictures_are_no_answer() -> None:
    illustrator = Judged()
    illustrator.answer = seen
    with pytest.raises(ModerationBlocked) as refused:
        await watched(illustrator, policy("refuse")).draw(FOX)
    assert (refused.value.field, refused.value.category) == (None, NUDITY)


async def test_only_the_pictures_that_must_are_blurred() -> None:
    illustrator = Judged()
    marked = to_input(disk(64, 64, 8), 32)
    illustrator.answer = lambda image: [[0.1, 0.8 if np.allclose(image, marked) else 0.0]]
    drawn = await watched(illustrator, policy("blur")).draw(IllustrateOptions("a fox", seed=7, n=3))
    assert drawn.moderation is not None
    assert [found["index"] for found in drawn.moderation["findings"]] == [1]
    assert drawn.moderation["action"] == "blur"
    for index, picture in enumerate(drawn.pictures):
        untouched = disk(64, 64, 7 + index)
        assert np.array_equal(picture.pixels, untouched) == (index != 1)
        assert (picture.seed, picture.pixels.shape) == (7 + index, untouched.shape)


async def test_all_pictures_of_a_prompt_are_blurred() -> None:
    drawn = await watched(Judged(), policy("blur", engine=False)).draw(IllustrateOptions("massacre", seed=7, n=2))
    assert not any(np.array_equal(one.pixels, disk(64, 64, one.seed)) for one in drawn.pictures)


@pytest.mark.parametrize("size", [(64, 64), (512, 256), (300, 700), (8, 8), (1, 5)])
def test_a_blurred_picture_has_its_colours_and_none_of_its_lines(size: tuple[int, int]) -> None:
    """Of noise at the finest scale nothing is left; the mean stays, so that it is not black."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    soft = blur(noise)
    assert (soft.shape, soft.dtype) == (noise.shape, np.uint8)
    if max(size) >= 4 * BLUR_CELLS:
        steps = np.abs(np.diff(soft.astype(float), axis=0)).mean()
        assert steps < 0.1 * np.abs(np.diff(noise.astype(float), axis=0)).mean()
        assert abs(soft.mean() - noise.mean()) < 4


@pytest.mark.parametrize(("name", "shown"), [("flag", "whole"), ("blur", "blurred"), ("refuse", "none")])
async def test_previews_show_no_more_than_pictures(name: str, shown: str) -> None:
    illustrator = Judged()
    illustrator.answer = seen
    options = IllustrateOptions("a fox", seed=7, preview_every=2)
    told: list[Any] = []
    try:
        async for item in watched(illustrator, policy(name)).stream(options, StreamOptions(progress_s=0.001)):
            told.append(item)
    except ModerationBlocked:
        assert name == "refuse"
    previews = [item for item in told if isinstance(item, Preview)]
    assert len(previews) == (0 if shown == "none" else 3)
    assert any(isinstance(item, Progress) for item in told)
    whole = disk(32, 32, 7)
    assert all(np.array_equal(item.pixels, whole) == (shown == "whole") for item in previews)
    assert any(isinstance(item, Illustration) for item in told) == (name != "refuse")


async def test_closing_a_stream_ends_the_drawing() -> None:
    illustrator = Judged()
    illustrator.step_s = 0.01
    stream = watched(illustrator, policy("flag")).stream(IllustrateOptions("a fox", seed=7, preview_every=1))
    await anext(stream)
    await stream.aclose()
    assert illustrator.closed == 1


@pytest.mark.parametrize(
    "answer", [[[0.1]], [[0.1, 0.2, 0.3]], [0.1, 0.2], [[np.nan, 0.0]], [[0.2, 1.5]], [[-0.5, 0.2]]], ids=str
)
@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
async def test_an_answer_that_is_none(answer: Any, on_failure: str, counted: list[tuple[str, str]]) -> None:
    illustrator = Judged()
    illustrator.answer = lambda image: answer
    drawing = watched(illustrator, policy("blur", on_failure=on_failure)).draw(FOX)
    if on_failure == "refuse":
        with pytest.raises(EngineUnavailable) as refused:
            await drawing
        assert refused.value.status == 503
    else:
        drawn = await drawing
        assert drawn.moderation == {"flagged": False, "action": None, "unchecked": True}
        np.testing.assert_array_equal(drawn.pictures[0].pixels, disk(64, 64, 7))
    assert counted == [("unchecked", on_failure)]


async def test_an_engine_that_is_slow_is_one_that_fails() -> None:
    illustrator = Judged()

    def late(image: Any) -> Any:
        raise DeadlineExceeded("engine 'safety' did not answer in time")

    illustrator.answer = late
    with pytest.raises(EngineUnavailable):
        await watched(illustrator, policy("flag")).draw(FOX)
    stream = watched(illustrator, policy("refuse")).stream(IllustrateOptions("a fox", seed=7, preview_every=1))
    told, error = await until_its_end(stream)
    assert isinstance(error, EngineUnavailable)
    assert not any(isinstance(item, Preview) for item in told)  # nobody knows what they show


async def test_low_is_for_what_is_surer() -> None:
    illustrator = Judged()
    illustrator.answer = lambda image: [[0.6, 0.0]]
    site = watched(illustrator, policy("flag"))
    for moderation, flagged in ((None, True), ("auto", True), ("low", False)):
        drawn = await site.draw(IllustrateOptions("an acme fox", seed=7, moderation=moderation))
        assert drawn.moderation is not None
        assert drawn.moderation["flagged"] == flagged, moderation
    with pytest.raises(InvalidRequest):
        IllustrateOptions("fox", moderation="none")


async def test_a_category_may_have_a_threshold_of_its_own() -> None:
    illustrator = Judged()
    illustrator.answer = lambda image: [[0.6, 0.6]]
    drawn = await watched(illustrator, policy("flag", thresholds={NUDITY: 0.95, GORE: 0.3})).draw(FOX)
    assert drawn.moderation is not None
    assert [one["category"] for one in drawn.moderation["findings"]] == [GORE]


async def test_the_engine_gets_what_its_contract_says() -> None:
    illustrator = Judged()
    await watched(illustrator, policy("flag")).draw(IllustrateOptions("a fox", seed=7, width=64, height=128))
    (image,) = illustrator.judged
    assert (image.shape, image.dtype) == ((1, 3, 32, 32), np.float32)
    assert 0 <= image.min() < image.max() <= 1
    np.testing.assert_allclose(image[0, :, 0, 0], 1.0)  # the corner of the disk's white ground


async def test_a_long_prompt_does_not_hold_others_up() -> None:
    """It is read in a thread: the loop turns meanwhile."""
    turns, long = 0, IllustrateOptions("\ufdfa" * 32_000, seed=7)
    site = watched(Judged(), policy("flag", engine=False))
    drawing = asyncio.create_task(site.draw(long))
    while not drawing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20
