"""Checkpoints of every class, each made into engines by the real command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import checkpoints
import diffusers
import numpy as np
import onnxruntime
import random_adapters
from typer.testing import CliRunner

from build_engines.cli import app
from serve.ensembles.illustrator.illustration import IllustrateOptions
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.ensembles.illustrator.pipeline.adapter_bank import FetchObject
from serve.settings import IllustratorSettings

MAKERS: dict[str, Callable[[Path], Path]] = {
    "sd15": checkpoints.stable_diffusion_15,
    "sd21": checkpoints.stable_diffusion_21,
    "sdxl": checkpoints.stable_diffusion_xl,
    "starter": checkpoints.starter,
    "sd15_inpainting": checkpoints.stable_diffusion_15_inpainting,
    "sdxl_inpainting": checkpoints.stable_diffusion_xl_inpainting,
}


ADAPTED = ("sd15", "sdxl")
"""Built with all kinds of adapters."""


def adapters(name: str, folder: Path) -> list[str]:
    """The command's options for the adapters of the checkpoint ``name``."""
    if name not in ADAPTED:
        return []
    unet: Any = diffusers.UNet2DConditionModel.from_pretrained(folder / "checkpoint" / "unet")
    options = ["--loras"]
    for seed, control in enumerate(("canny", "tile")):
        options += ["--controlnet", f"{control}={random_adapters.controlnet(folder / control, unet, seed)}"]
    return [*options, "--ip-adapter", str(random_adapters.ip_adapter(folder / "ip_adapter", unet, 3))]


class Built:
    """A checkpoint and the repository that the command made of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.checkpoint = MAKERS[name](folder / "checkpoint")
        self.repository = folder / "model_repository"
        arguments = ["illustrate", "--source", str(self.checkpoint), "--name", name, *adapters(name, folder)]
        self.result = CliRunner().invoke(app, [*arguments, "--repository", str(self.repository)])
        assert self.result.exit_code == 0, self.result.output
        self._sessions: dict[str, Any] = {}

    def engine(self, part: str) -> Path:
        return self.repository / f"{self.name}_{part}"

    def manifest(self, part: str) -> dict[str, Any]:
        return json.loads((self.engine(part) / "manifest.json").read_text())

    def run(self, part: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        if part not in self._sessions:
            path = str(self.engine(part) / "1" / "model.onnx")
            self._sessions[part] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        session = self._sessions[part]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))


async def drawn_both_ways(
    repository: Path, wanted: Sequence[IllustrateOptions], fetch: FetchObject | None = None
) -> tuple[list[Any], list[Any]]:
    """Pictures drawn all at once, and one after another."""
    illustrator = Illustrator(IllustratorSettings(model_repository=repository), fetch=fetch)
    await illustrator.start()
    try:
        together = await asyncio.gather(*map(illustrator.draw, wanted))
        alone = [await illustrator.draw(each) for each in wanted]
        return [one.pictures[0].pixels for one in together], [one.pictures[0].pixels for one in alone]
    finally:
        await illustrator.close()
