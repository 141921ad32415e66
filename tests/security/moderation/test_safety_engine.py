"""A safety engine as a site adds one: an ONNX model in the model repository, beside the shipped family."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from fake_safety_engine import policy
from onnx import helper

from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.errors import EngineUnavailable
from serve.security.moderation.policy import moderated, required_engines
from serve.settings import HOME, IllustratorSettings, ModerationSettings
from tests.engines.tiny_onnx import write_engine

COLOURS = ("red", "green", "blue")
CHOSEN: dict[str, object] = {"categories": COLOURS, "side_px": 48, "thresholds": dict.fromkeys(COLOURS, 0.0)}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini family, and an engine whose scores are a picture's mean red, green and blue."""
    root = tmp_path_factory.mktemp("model_repository")
    for folder in (HOME / "model_repository").glob("mini_*"):
        shutil.copytree(folder, root / folder.name)
    mean = helper.make_node("ReduceMean", ["image"], ["scores"], axes=[2, 3], keepdims=0)
    image, scores = {"image": ("TYPE_FP32", [3, 48, 48])}, {"scores": ("TYPE_FP32", [3])}
    write_engine(root, "safety", "onnxruntime", [mean], image, scores)
    return root


@contextlib.asynccontextmanager
async def moderated_site(repository: Path, chosen: ModerationSettings) -> AsyncIterator[Illustrator]:
    own = Illustrator(IllustratorSettings(model_repository=repository), others=required_engines(chosen))
    site = moderated(own, chosen)
    await site.start()
    yield site
    await site.close()


@pytest.mark.triton
async def test_repository_engine_checks_drawn_pictures(repository: Path) -> None:
    async with moderated_site(repository, policy("flag", **CHOSEN)) as site:
        assert "safety" in await site.engines()
        assert (await site.health()).engines["safety"].ready
        assert set(await site.versions()) >= {"mini_unet", "safety"}
        drawn = await site.draw(IllustrateOptions("red heart, flat", seed=3, num_inference_steps=4))
    assert drawn.moderation is not None
    means = dict(zip(COLOURS, drawn.pictures[0].pixels.mean(axis=(0, 1)) / 255, strict=True))
    for finding in drawn.moderation["findings"]:
        assert finding["score"] == pytest.approx(means[finding["category"]], abs=0.02)
    assert drawn.moderation["category"] == max(means, key=lambda name: float(np.float64(means[name])))


def test_missing_engine_stops_the_start(repository: Path) -> None:
    chosen = policy("flag", **CHOSEN).model_copy(update={"engine": "guard"})
    with pytest.raises(EngineUnavailable, match="guard") as refused:
        Illustrator(IllustratorSettings(model_repository=repository), others=required_engines(chosen))
    assert refused.value.field == "moderation.engine"


def test_policy_off_requires_no_engine(repository: Path) -> None:
    assert required_engines(policy("off", **CHOSEN)) == ()
