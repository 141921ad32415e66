"""`/api/orchestrator` through the real application (C-040, C-041)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from colour_encoders import write_encoders
from illustrator_standin import IllustratorStandIn
from jobs_standin import with_settings
from keyed_door import KeyedSite, keyed_site
from stateful_door import is_problem

from serve.ensembles.illustrator.illustration import IllustrateOptions, Illustration
from serve.ensembles.illustrator.service import Checkpoint, StreamItem, StreamOptions
from serve.ensembles.prompts.analysis import PromptAnalyser
from serve.errors import EngineUnavailable
from serve.personalisation.orchestrator import (
    DIFFUSION,
    STYLE_TRANSFER,
    generate_with_models,
    kinds_of,
    palette_agreement,
    select_models,
)
from serve.state import State

ANALYSER = PromptAnalyser()


@pytest.fixture
async def site(state: State) -> AsyncIterator[KeyedSite]:
    async with keyed_site(state) as opened:
        yield opened


@pytest.mark.parametrize(
    ("prompt", "best"),
    [
        ("abstract triangles and circles in red", DIFFUSION),
        ("portrait of a woman with freckles", DIFFUSION),
        ("a mountain, van gogh, impressionist", STYLE_TRANSFER),
        ("a lake as stained glass mosaic", STYLE_TRANSFER),
        ("a chair", DIFFUSION),
    ],
)
def test_rules_of_c_041(prompt: str, best: str) -> None:
    kinds = kinds_of(ANALYSER.analyse(prompt))
    assert max(kinds, key=lambda kind: kinds[kind][0]) == best


def test_choice_of_the_user_wins() -> None:
    found = select_models(ANALYSER.analyse("a chair"), ["mini", "turbo"], {}, ["turbo"])
    assert [(one.model, one.confidence, one.reason) for one in found] == [("turbo", 1.0, "the user's choice")]


async def test_slow_and_failing_models_do_not_keep_the_others() -> None:
    import asyncio

    async def draw(model: str) -> str:
        if model == "slow":
            await asyncio.sleep(30)
        if model == "broken":
            raise EngineUnavailable("is away")
        return model

    done = await generate_with_models(["fast", "slow", "broken"], draw, 0.1)
    assert [one.value for one in done] == ["fast", None, None]
    assert [one.error and one.error.status for one in done] == [None, 504, 503]


def test_palette_agreement() -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 214
    red[..., 1:] = 40
    assert palette_agreement(red, ["#d62828"]) == pytest.approx(1.0)
    assert palette_agreement(red, ["#1d4ed8"]) == 0.0
    assert palette_agreement(red, ["#d62828", "#1d4ed8"]) == pytest.approx(0.5)
    assert palette_agreement(red, []) is None


async def test_models_are_selected_with_confidence(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "portrait of an old sailor"}
    found = (await ada.post("/api/orchestrator/select", json=body)).json()
    assert [one["model"] for one in found["models"]][-1] == "style-transfer"
    assert not found["models"][-1]["available"]
    assert "portraits" in found["models"][0]["reason"]


async def test_several_models_draw_and_are_ranked(ada: httpx.AsyncClient) -> None:
    body = {"prompt": "a red apple", "count": 2, "seed": 7, "steps": 2}
    found = (await ada.post("/api/orchestrator/generate", json=body)).json()
    assert {one["model"] for one in found["results"]} == {"mini", "turbo"}
    assert found["rankedBy"] == "image-text embedding, taste and palette"
    assert found["rankedWith"].startswith("search ")
    assert max(one["fit"] for one in found["results"]) == 1
    scores = [one["score"] for one in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(one["imageUrl"] and one["error"] is None for one in found["results"])
    assert (await ada.get(f"/v1/generations/{found['results'][0]['generationId']}")).status_code == 200
    only = (await ada.post("/api/orchestrator/generate", json={**body, "models": ["turbo"]})).json()
    assert [one["model"] for one in only["results"]] == ["turbo"]


class TwoColours(IllustratorStandIn):
    """mini draws blue, turbo red."""

    async def _drawn(
        self, options: IllustrateOptions, follow: StreamOptions, resume: Sequence[Checkpoint]
    ) -> AsyncGenerator[StreamItem]:
        colour = (220, 20, 20) if options.model == "turbo" else (20, 20, 220)
        async for item in super()._drawn(options, follow, resume):
            if isinstance(item, Illustration):
                pictures = [replace(one, pixels=np.full_like(one.pixels[..., :3], colour)) for one in item.pictures]
                item = replace(item, pictures=pictures)
            yield item


async def test_the_picture_that_fits_the_prompt_by_the_embedding_is_first(state: State, tmp_path: Path) -> None:
    settings = with_settings(state.settings, illustrator={"model_repository": write_encoders(tmp_path / "engines")})
    body = {"prompt": "a thing in red", "count": 2, "seed": 7, "steps": 2}
    async with (
        keyed_site(replace(state, settings=settings), TwoColours()) as opened,
        opened.door((await opened.key("ada", "user")).secret) as door,
    ):
        first, second = (await door.post("/api/orchestrator/generate", json=body)).json()["results"]
        none = (await door.post("/api/orchestrator/generate", json={**body, "prompt": "zyzzyva"})).json()
    assert (first["model"], first["fit"], second["model"]) == ("turbo", 1, "mini")
    assert first["likeness"] > 0.9 > 0.2 > second["likeness"]
    assert second["fit"] < 0.01
    assert (none["rankedBy"], none["rankedWith"], none["results"][0]["likeness"]) == ("taste", None, None)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"prompt": "fox", "models": ["none"]}, 404, "models"),
        ({"prompt": "fox", "models": []}, 400, "models"),
        ({"prompt": "fox", "count": 9}, 400, "count"),
        ({"prompt": "fox", "timeoutS": 0}, 400, "timeoutS"),
        ({}, 400, "prompt"),
    ],
)
async def test_bad_input_names_its_field(ada: httpx.AsyncClient, body: dict[str, Any], status: int, field: str) -> None:
    assert is_problem(await ada.post("/api/orchestrator/generate", json=body), status, field)
