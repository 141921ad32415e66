"""Checkpoints of every class, each made into engines by the real command."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
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
from serve.settings import IllustratorSettings

MAKERS: dict[str, Callable[[Path], Path]] = {
    "sd15": checkpoints.stable_diffusion_15,
    "sd21": checkpoints.stable_diffusion_21,
    "sdxl": checkpoints.stable_diffusion_xl,
    "starter": checkpoints.starter,
    "sd15_inpainting": checkpoints.stable_diffusion_15_inpainting,
    "sdxl_inpainting": checkpoints.stable_diffusion_xl_inpainting,
}


MAX_OPEN = 3
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


class Illustrators:
    """Started illustrators, one per repository: to start one with its Triton takes longer than to draw.

    At most MAX_OPEN stay open, those that were used last. They share one event loop, which runs only while one draws.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._open: OrderedDict[Path, Illustrator] = OrderedDict()
        self._objects: dict[str, bytes] = {}

    def draw(self, repository: Path, wanted: Sequence[IllustrateOptions]) -> list[np.ndarray]:
        """Pictures drawn all at once."""
        return self._runner.run(self._draw(repository, wanted))

    def draw_both_ways(
        self, repository: Path, wanted: Sequence[IllustrateOptions], objects: Mapping[str, bytes] | None = None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Pictures drawn all at once, and one after another. ``objects``: files of adapters, by name."""
        self._objects |= objects or {}
        return self._runner.run(self._draw(repository, wanted)), self._runner.run(self._draw_alone(repository, wanted))

    def close(self) -> None:
        for illustrator in self._open.values():
            self._runner.run(illustrator.close())
        self._runner.close()

    async def _draw(self, repository: Path, wanted: Sequence[IllustrateOptions]) -> list[np.ndarray]:
        illustrator = await self._started(repository)
        found = await asyncio.gather(*map(illustrator.draw, wanted))
        return [drawing.pictures[0].pixels for drawing in found]

    async def _draw_alone(self, repository: Path, wanted: Sequence[IllustrateOptions]) -> list[np.ndarray]:
        illustrator = await self._started(repository)
        return [(await illustrator.draw(each)).pictures[0].pixels for each in wanted]

    async def _started(self, repository: Path) -> Illustrator:
        if repository not in self._open:
            if len(self._open) == MAX_OPEN:
                await self._open.popitem(last=False)[1].close()
            illustrator = Illustrator(IllustratorSettings(model_repository=repository), fetch=self._fetch)
            await illustrator.start()
            self._open[repository] = illustrator
        self._open.move_to_end(repository)
        return self._open[repository]

    async def _fetch(self, name: str) -> bytes:
        return self._objects[name]
