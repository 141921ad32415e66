"""`Optimiser`: style transfer by optimisation (Gatys, Ecker and Bethge, 2016) with the engines of a VGG-class
checkpoint (`build_engines.vgg`). Each step of Adam is one request, for the gradient of the losses by the picture."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.diffusion import canvas
from serve.ensembles.engine_calls import EngineCalls
from serve.errors import EngineFailure, Unsupported

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HOW_TO_BUILD = "python -m build_engines vgg --source FOLDER"
CONTENT_SHARE = 0.2
"""Of the content's loss, relative to its features' energy, beside the style's, relative to what it is at first."""
_RATE, _LAST_RATE, _BETA_1, _BETA_2 = 6.0, 1.0, 0.9, 0.999
"""Of Adam, in levels of 255: the first and the last step's."""


@dataclass(frozen=True)
class OptimisingEngines:
    """The pair ``name``; sides are multiples of ``step_px``, and larger pictures are scaled to ``max_side_px``."""

    name: str
    step_px: int
    max_side_px: int

    @property
    def describe(self) -> str:
        return f"{self.name}_describe"

    @property
    def gradient(self) -> str:
        return f"{self.name}_gradient"

    @property
    def names(self) -> tuple[str, str]:
        return self.gradient, self.describe


def optimising_engines_in(repository: Path, name: str) -> OptimisingEngines | None:
    """None where ``repository`` lacks one of the two."""
    found = OptimisingEngines(name, 1, 1)
    paths = [repository / one / "manifest.json" for one in found.names]
    if not all(path.is_file() for path in paths):
        return None
    return OptimisingEngines(name, **json.loads(paths[0].read_text())["optimisation"])


class Optimiser:
    """``engines`` None: there are none, and `check` says so."""

    def __init__(self, engines: OptimisingEngines | None, calls: EngineCalls) -> None:
        self._engines = engines
        self._calls = calls

    def check(self) -> OptimisingEngines:
        """Raises Unsupported with the command that builds what is missing."""
        if self._engines is None:
            raise Unsupported(f"there are no engines for style transfer by optimisation; {HOW_TO_BUILD}", "iterations")
        return self._engines

    async def statistics(self, pixels: Pixels, deadline: float, versions: Mapping[str, str]) -> Floats:
        """The Gram matrices of ``pixels`` (H, W, 3) in a row. Raises the errors of `EngineCalls.infer`."""
        grams: Floats = (await self._described(self._fitted(pixels), deadline, versions))["grams"]
        return grams

    async def painted(
        self,
        pixels: Pixels,
        grams: Floats,
        iterations: int,
        deadline: float,
        versions: Mapping[str, str],
        on_step: Callable[[int, int], None],
    ) -> Pixels:
        """``pixels`` (H, W, 3) after ``iterations`` steps towards ``grams``; ``on_step`` is called with how many are
        done, and of how many. Raises EngineFailure for gradients that are not finite."""
        small = await asyncio.to_thread(self._fitted, pixels)
        content = (await self._described(small, deadline, versions))["content"]
        energy = float(np.mean(np.square(content))) or 1.0
        image = small[None].astype(np.float32)
        weights = np.array([[1.0, CONTENT_SHARE / energy]], np.float32)
        adam = _Adam(image.shape)
        for i in range(iterations):
            on_step(i, iterations)
            inputs = {"image": image, "grams": grams[None], "content": content[None], "weights": weights}
            found = await self._calls.infer(self.check().gradient, inputs, deadline, versions)
            slope, loss = found["gradient"], float(found["losses"][0, 0])
            if i == 0:  # the content's part of the gradient is none yet
                weights[0, 0] = 1 / (loss or 1.0)
                slope = slope * weights[0, 0]
            if not np.isfinite(slope).all():
                raise EngineFailure(f"engine '{self.check().gradient}' gave numbers that are not finite")
            rate = _RATE + (_LAST_RATE - _RATE) * i / iterations
            image = await asyncio.to_thread(adam.moved, image, slope, rate)
        on_step(iterations, iterations)
        made = (image[0] + 0.5).astype(np.uint8)
        return await asyncio.to_thread(canvas.resized, made, (pixels.shape[1], pixels.shape[0]))

    async def _described(self, pixels: Pixels, deadline: float, versions: Mapping[str, str]) -> dict[str, Any]:
        inputs = {"image": pixels[None].astype(np.float32)}
        found = await self._calls.infer(self.check().describe, inputs, deadline, versions)
        return {name: found[name][0] for name in ("grams", "content")}

    def _fitted(self, pixels: Pixels) -> Pixels:
        """Of sides that the engines take."""
        stated = self.check()
        height, width = pixels.shape[:2]
        scale = min(1.0, stated.max_side_px / max(height, width))
        step = stated.step_px
        size = [max(step, round(side * scale / step) * step) for side in (width, height)]
        return canvas.resized(np.ascontiguousarray(pixels), (size[0], size[1]))


class _Adam:
    """Of one picture: Kingma and Ba, 2015."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._square = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._steps = 0

    def moved(self, image: Floats, slope: Floats, rate: float) -> Floats:
        """``image`` after a step of about ``rate`` levels, from 0 to 255."""
        self._steps += 1
        self._mean = _BETA_1 * self._mean + (1 - _BETA_1) * slope
        self._square = _BETA_2 * self._square + (1 - _BETA_2) * slope**2
        mean, square = self._mean / (1 - _BETA_1**self._steps), self._square / (1 - _BETA_2**self._steps)
        moved = image - rate * mean / (np.sqrt(square) + 1e-12)
        return np.asarray(np.clip(moved, 0, 255), np.float32)
