"""Draws with the engines that were built from the family, as serving does: through `Illustrator` and its Triton."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from build_engines.mini.pictures import Rgb
from serve.diffusion.family import manifest_of
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings

NAME = "mini"
_AT_ONCE = 16


def are_there(repository: Path) -> bool:
    return manifest_of(repository, NAME).is_file()


def draw_all(repository: Path, prompts: Sequence[str], seeds: Sequence[int], family: str = NAME) -> Rgb:
    """One picture (side, side, channels) for each prompt, with the family's own size, steps, sampler and guidance."""
    return asyncio.run(_draw_all(repository, prompts, seeds, family))


async def _draw_all(repository: Path, prompts: Sequence[str], seeds: Sequence[int], family: str) -> Rgb:
    illustrator = Illustrator(IllustratorSettings(model_repository=repository, families=(family,)))
    slots = asyncio.Semaphore(_AT_ONCE)

    async def draw(prompt: str, seed: int) -> Rgb:
        async with slots:
            drawn = await illustrator.draw(IllustrateOptions(prompt, seed=seed))
        return drawn.pictures[0].pixels

    await illustrator.start()
    try:
        return np.stack(await asyncio.gather(*map(draw, prompts, seeds)))
    finally:
        await illustrator.close()
