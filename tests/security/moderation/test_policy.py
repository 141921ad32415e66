"""Policies: their effect on prompts, pictures and previews, and failures of the engine (USERS_ASK 11, C-166)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from fake_safety_engine import GORE, NUDITY, FakeSafetyIllustrator, moderated_illustrator, policy
from illustrator_standin import disk

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.service import Preview, Progress, StreamItem, StreamOptions
from serve.errors import AtelierError, DeadlineExceeded, EngineUnavailable, InvalidRequest, ModerationBlocked
from serve.observability.metrics.catalogue import MODERATION
from serve.security.moderation.policy import BLUR_CELLS, blur, to_input

FOX = IllustrateOptions("a fox", seed=7)
BAD = IllustrateOptions("a Massacre", seed=7)


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    records: list[tuple[str, str]] = []
    monkeypatch.setattr(MODERATION, "add", lambda _, category, action: records.append((category, action)))
    return records


async def collect(stream: AsyncIterator[StreamItem]) -> tuple[list[StreamItem], AtelierError | None]:
    """The items of the stream, and the error that ends it."""
    items: list[StreamItem] = []
    try:
        async for item in stream:
            items.append(item)
    except AtelierError as error:
        return items, error
    return items, None


def flagged_scores(image: Any) -> Any:
    return [[0.9, 0.1]]


async def test_policy_off_checks_nothing() -> None:
    illustrator = FakeSafetyIllustrator()
    assert moderated_illustrator(illustrator, policy("off")) is illustrator


async def test_clean_picture_is_not_flagged() -> None:
    illustrator = FakeSafetyIllustrator()
    drawn = await moderated_illustrator(illustrator, policy("flag")).draw(FOX)
    assert drawn.moderation == {"flagged": False, "action": None}
    assert len(illustrator.checked_images) == 1


async def test_flag_policy_changes_no_picture(metrics: list[tuple[str, str]]) -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = flagged_scores
    drawn = await moderated_illustrator(illustrator, policy("flag")).draw(BAD)
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
    assert sorted(metrics) == [(NUDITY, "flag"), ("violence", "flag")]


async def test_refused_prompt_is_never_drawn(metrics: list[tuple[str, str]], caplog: pytest.LogCaptureFixture) -> None:
    illustrator = FakeSafetyIllustrator()
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ModerationBlocked) as refused:
        await moderated_illustrator(illustrator, policy("refuse")).draw(BAD)
    error = refused.value
    assert (error.status, error.field, error.category, error.score) == (400, "prompt", "violence", 1.0)
    assert (illustrator.asked, illustrator.checked_images) == ([], [])
    assert metrics == [("violence", "refuse")]
    assert "massacre" not in (str(error) + caplog.text).lower()
    again = type(error)(*error.args)  # as it is copied between processes
    assert (again.message, again.field, again.extra_fields) == (error.message, "prompt", error.extra_fields)


async def test_negative_prompts_are_not_checked() -> None:
    options = IllustrateOptions("a fox", negative_prompt="massacre", seed=7)
    assert (await moderated_illustrator(FakeSafetyIllustrator(), policy("refuse")).draw(options)).moderation == {
        "flagged": False,
        "action": None,
    }


async def test_refused_picture_raises_moderation_blocked() -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = flagged_scores
    with pytest.raises(ModerationBlocked) as refused:
        await moderated_illustrator(illustrator, policy("refuse")).draw(FOX)
    assert (refused.value.field, refused.value.category) == (None, NUDITY)


async def test_only_flagged_pictures_are_blurred() -> None:
    illustrator = FakeSafetyIllustrator()
    marked = to_input(disk(64, 64, 8), 32)
    illustrator.scores_of = lambda image: [[0.1, 0.8 if np.allclose(image, marked) else 0.0]]
    drawn = await moderated_illustrator(illustrator, policy("blur")).draw(IllustrateOptions("a fox", seed=7, n=3))
    assert drawn.moderation is not None
    assert [finding["index"] for finding in drawn.moderation["findings"]] == [1]
    assert drawn.moderation["action"] == "blur"
    for index, picture in enumerate(drawn.pictures):
        untouched = disk(64, 64, 7 + index)
        assert np.array_equal(picture.pixels, untouched) == (index != 1)
        assert (picture.seed, picture.pixels.shape) == (7 + index, untouched.shape)


async def test_flagged_prompt_blurs_all_pictures() -> None:
    drawn = await moderated_illustrator(FakeSafetyIllustrator(), policy("blur", engine=False)).draw(
        IllustrateOptions("massacre", seed=7, n=2)
    )
    assert not any(np.array_equal(one.pixels, disk(64, 64, one.seed)) for one in drawn.pictures)


@pytest.mark.parametrize("size", [(64, 64), (512, 256), (300, 700), (8, 8), (1, 5)])
def test_blur_keeps_colours_and_removes_detail(size: tuple[int, int]) -> None:
    """Nothing is left of noise at the finest scale; the mean stays, so the picture is not black."""
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    soft = blur(noise)
    assert (soft.shape, soft.dtype) == (noise.shape, np.uint8)
    if max(size) >= 4 * BLUR_CELLS:
        steps = np.abs(np.diff(soft.astype(float), axis=0)).mean()
        assert steps < 0.1 * np.abs(np.diff(noise.astype(float), axis=0)).mean()
        assert abs(soft.mean() - noise.mean()) < 4


@pytest.mark.parametrize(("name", "shown"), [("flag", "whole"), ("blur", "blurred"), ("refuse", "none")])
async def test_previews_follow_the_policy(name: str, shown: str) -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = flagged_scores
    options = IllustrateOptions("a fox", seed=7, preview_every=2)
    items: list[Any] = []
    try:
        async for item in moderated_illustrator(illustrator, policy(name)).stream(
            options, StreamOptions(progress_s=0.001)
        ):
            items.append(item)
    except ModerationBlocked:
        assert name == "refuse"
    previews = [item for item in items if isinstance(item, Preview)]
    assert len(previews) == (0 if shown == "none" else 3)
    assert any(isinstance(item, Progress) for item in items)
    whole = disk(32, 32, 7)
    assert all(np.array_equal(item.pixels, whole) == (shown == "whole") for item in previews)
    assert any(isinstance(item, Illustration) for item in items) == (name != "refuse")


async def test_closing_a_stream_ends_its_drawing() -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.step_s = 0.01
    stream = moderated_illustrator(illustrator, policy("flag")).stream(
        IllustrateOptions("a fox", seed=7, preview_every=1)
    )
    await anext(stream)
    await stream.aclose()
    assert illustrator.closed == 1


@pytest.mark.parametrize(
    "answer", [[[0.1]], [[0.1, 0.2, 0.3]], [0.1, 0.2], [[np.nan, 0.0]], [[0.2, 1.5]], [[-0.5, 0.2]]], ids=str
)
@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
async def test_invalid_engine_output_follows_on_failure(
    answer: Any, on_failure: str, metrics: list[tuple[str, str]]
) -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = lambda image: answer
    drawing = moderated_illustrator(illustrator, policy("blur", on_failure=on_failure)).draw(FOX)
    if on_failure == "refuse":
        with pytest.raises(EngineUnavailable) as refused:
            await drawing
        assert refused.value.status == 503
    else:
        drawn = await drawing
        assert drawn.moderation == {"flagged": False, "action": None, "unchecked": True}
        np.testing.assert_array_equal(drawn.pictures[0].pixels, disk(64, 64, 7))
    assert metrics == [("unchecked", on_failure)]


async def test_slow_engine_counts_as_failed() -> None:
    illustrator = FakeSafetyIllustrator()

    def late(image: Any) -> Any:
        raise DeadlineExceeded("engine 'safety' did not answer in time")

    illustrator.scores_of = late
    with pytest.raises(EngineUnavailable):
        await moderated_illustrator(illustrator, policy("flag")).draw(FOX)
    stream = moderated_illustrator(illustrator, policy("refuse")).stream(
        IllustrateOptions("a fox", seed=7, preview_every=1)
    )
    items, error = await collect(stream)
    assert isinstance(error, EngineUnavailable)
    assert not any(isinstance(item, Preview) for item in items)  # unchecked previews are not sent


async def test_low_moderation_needs_higher_scores() -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = lambda image: [[0.6, 0.0]]
    site = moderated_illustrator(illustrator, policy("flag"))
    for moderation, flagged in ((None, True), ("auto", True), ("low", False)):
        drawn = await site.draw(IllustrateOptions("an acme fox", seed=7, moderation=moderation))
        assert drawn.moderation is not None
        assert drawn.moderation["flagged"] == flagged, moderation
    with pytest.raises(InvalidRequest):
        IllustrateOptions("fox", moderation="none")


async def test_thresholds_per_category() -> None:
    illustrator = FakeSafetyIllustrator()
    illustrator.scores_of = lambda image: [[0.6, 0.6]]
    drawn = await moderated_illustrator(illustrator, policy("flag", thresholds={NUDITY: 0.95, GORE: 0.3})).draw(FOX)
    assert drawn.moderation is not None
    assert [one["category"] for one in drawn.moderation["findings"]] == [GORE]


async def test_engine_input_has_the_contract_shape() -> None:
    illustrator = FakeSafetyIllustrator()
    await moderated_illustrator(illustrator, policy("flag")).draw(
        IllustrateOptions("a fox", seed=7, width=64, height=128)
    )
    (image,) = illustrator.checked_images
    assert (image.shape, image.dtype) == ((1, 3, 32, 32), np.float32)
    assert 0 <= image.min() < image.max() <= 1
    np.testing.assert_allclose(image[0, :, 0, 0], 1.0)  # the corner of the disk's white ground


async def test_long_prompt_does_not_block_the_event_loop() -> None:
    """It is checked in a thread: the event loop keeps running."""
    turns, long = 0, IllustrateOptions("\ufdfa" * 32_000, seed=7)
    site = moderated_illustrator(FakeSafetyIllustrator(), policy("flag", engine=False))
    drawing = asyncio.create_task(site.draw(long))
    while not drawing.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 20
