"""The family that ships: committed files equal built ones, and pictures match their prompts (D-042, B-072)."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.diffusion.family import families_in, load, manifest_of
from serve.ensembles.illustrator.illustration import IllustrateOptions, Pixels
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings

ROOT = Path(__file__).parents[3]
REPOSITORY = ROOT / "model_repository"
LARGEST_BYTES = 40 * 2**20
SHOWN = ("man lifting weights, flat", 7)
"""What `make run` draws, and README shows."""


def manifests() -> dict[str, Any]:
    names = ("mini_text_encoder", "mini_unet", "mini_vae_decoder", "mini_vae_encoder")
    return {name: json.loads((REPOSITORY / name / "manifest.json").read_text()) for name in names}


def draw(*requests: tuple[str, int]) -> list[Pixels]:
    async def all_of_them() -> list[Pixels]:
        illustrator = Illustrator(IllustratorSettings(model_repository=REPOSITORY))
        await illustrator.start()
        try:
            drawn = [illustrator.draw(IllustrateOptions(prompt, seed=seed)) for prompt, seed in requests]
            return [made.pictures[0].pixels for made in await asyncio.gather(*drawn)]
        finally:
            await illustrator.close()

    return asyncio.run(all_of_them())


def test_mini_is_the_family_that_ships() -> None:
    assert families_in(REPOSITORY) == ("mini",)
    assert load(manifest_of(REPOSITORY, "mini")).defaults.size == (64, 64)


def test_manifests_match_the_files_and_state_their_sources() -> None:
    for name, manifest in manifests().items():
        for file, facts in manifest["files"].items():
            assert hashlib.sha256((REPOSITORY / name / "1" / file).read_bytes()).hexdigest() == facts["sha256"]
        origin = manifest["origin"]
        assert {s["license"] for s in origin["data"]["sets"]} <= {"Apache-2.0", "MIT"}
        assert origin["command"].startswith("python -m build_engines train mini")
        assert {"drawn: known", "drawn: unseen"} <= set(origin["metrics"])
    assert sum(manifest["bytes"] for manifest in manifests().values()) < LARGEST_BYTES


@pytest.mark.triton
def test_pictures_match_the_readme_and_their_prompts() -> None:
    colours = {"red": 0, "green": 1, "blue": 2}
    prompts = [(f"{colour} heart, flat", 3) for colour in colours]
    shown, *hearts = draw(SHOWN, *prompts)
    committed = np.asarray(Image.open(ROOT / "docs" / "media" / "drawing.png").convert("RGB"), np.float64)
    assert np.mean((shown - committed) ** 2) < 65  # 30 dB: processors differ in rounding
    for heart, channel in zip(hearts, colours.values(), strict=True):
        ink = heart[heart.min(axis=2) < 128].mean(axis=0)
        assert len(heart[heart.min(axis=2) < 128]) > 600
        assert ink.argmax() == channel
        assert ink[channel] > 1.5 * np.delete(ink, channel).max()
