"""`Finishing`: enlarges pictures, restores faces and removes backgrounds, with the finishing engines of a repository.

Engines are found by their manifests (``"finish": {"task": ..., "scale": ..., ...}``), which `build_engines.upscale`
writes. A picture goes through an engine in tiles that overlap by what the engine sees around a pixel, so that the
memory of an inference does not grow with the picture.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from serve.diffusion import canvas
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.finishing.finish import Finish, UpscalerInfo
from serve.errors import InvalidRequest, TooLarge, Unsupported

Pixels = npt.NDArray[np.uint8]

UPSCALE, FACES, BACKGROUND = "upscale", "faces", "background"
TASKS = (UPSCALE, FACES, BACKGROUND)
MAX_FINISHED_PX = 64_000_000
"""Pixels of a finished picture: 256 MB of RGBA."""
MAX_PASSED_PX = 4 * MAX_FINISHED_PX
"""Pixels of what an upscaler makes before it is reduced to the finished picture's size."""
FILTERS: Mapping[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST, "bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS,
}  # fmt: skip
"""Upscalers that need no engine."""
_CONCURRENT_TILES = 2
HOW_TO_ADD = "python -m build_engines finish --task {} --source MODEL.onnx --name NAME"


@dataclass(frozen=True)
class Finisher:
    """An engine of TASKS. ``channels`` of its input: 3, or 4 with straight alpha; ``overlap_px``: how far around a
    pixel it sees; ``tile_px``: side of a tile without its overlap. ``side_px``: it takes pictures of this size alone.
    """

    name: str
    task: str
    scale: int = 1
    channels: int = 3
    overlap_px: int = 16
    tile_px: int = 128
    side_px: int | None = None


def finishers_in(repository: Path) -> list[Finisher]:
    """The finishing engines of ``repository``, by name. Raises ValueError for a manifest that cannot be used."""
    found = []
    for path in sorted(repository.glob("*/manifest.json")):
        stated = json.loads(path.read_text()).get("finish")
        if stated is None:
            continue
        if stated.get("task") not in TASKS:
            raise ValueError(f"{path.parent.name}: finish.task must be one of {', '.join(TASKS)}")
        found.append(Finisher(path.parent.name, **stated))
    return found


class Finishing:
    """Finishes pictures with the engines of one repository."""

    def __init__(self, finishers: Sequence[Finisher], engines: EngineCalls) -> None:
        self._finishers = finishers
        self._calls = engines

    @property
    def upscalers(self) -> tuple[UpscalerInfo, ...]:
        return tuple(UpscalerInfo(one.name, one.scale) for one in self._finishers if one.task == UPSCALE)

    def engines(self, finish: Finish) -> tuple[str, ...]:
        """The engines that ``finish`` uses. Raises InvalidRequest for an unknown upscaler, and Unsupported with the
        command that adds what is missing."""
        names = []
        if finish.restore_faces:
            names.append(self._of_task(FACES, "restore_faces").name)
        if finish.upscale > 1 and finish.upscaler not in FILTERS:
            names.append(self._upscaler(finish).name)
        if finish.remove_background and (background := self._find(BACKGROUND)) is not None:
            names.append(background.name)
        return tuple(names)

    async def finished(self, pixels: Pixels, finish: Finish, deadline: float, versions: Mapping[str, str]) -> Pixels:
        """``pixels``, (H, W, 3 or 4), finished.

        Raises TooLarge naming ``upscale``, InvalidRequest, Unsupported, and the errors of `EngineCalls.infer`.
        """
        height, width = pixels.shape[:2]
        if height * width * finish.upscale**2 > MAX_FINISHED_PX:
            raise TooLarge(f"makes more than the {MAX_FINISHED_PX} pixels allowed of {width} x {height}", "upscale")
        self.engines(finish)
        self._check_passes(width, height, finish)
        if finish.restore_faces:
            pixels = await self._through(self._of_task(FACES, "restore_faces"), pixels, deadline, versions)
        if finish.remove_background:
            pixels = await self._without_background(pixels, deadline, versions)
        if finish.upscale > 1:
            pixels = await self._upscaled(pixels, finish, deadline, versions)
        return pixels

    async def _upscaled(self, pixels: Pixels, finish: Finish, deadline: float, versions: Mapping[str, str]) -> Pixels:
        height, width = pixels.shape[:2]
        size = round(width * finish.upscale), round(height * finish.upscale)
        if (method := FILTERS.get(finish.upscaler or "")) is not None:
            return await asyncio.to_thread(filtered, pixels, size, method)
        upscaler = self._upscaler(finish)
        while pixels.shape[1] < size[0] or pixels.shape[0] < size[1]:
            pixels = await self._through(upscaler, pixels, deadline, versions)
        return await asyncio.to_thread(filtered, pixels, size, Image.Resampling.LANCZOS)

    def _check_passes(self, width: int, height: int, finish: Finish) -> None:
        """Raises TooLarge: an upscaler whose scale is no divisor makes more than the finished picture has."""
        if finish.upscale == 1 or finish.upscaler in FILTERS:
            return
        upscaler = self._upscaler(finish)
        made = upscaler.scale
        while made < finish.upscale:
            made *= upscaler.scale
        if height * width * made**2 > MAX_PASSED_PX:
            what = f"is reached by '{upscaler.name}' with {made} times the sides of {width} x {height}"
            raise TooLarge(f"{what}: more than {MAX_PASSED_PX} pixels; name another upscaler or scale", "upscale")

    def _upscaler(self, finish: Finish) -> Finisher:
        """The named one, else the smallest that reaches the size at once, else the largest."""
        known = [one for one in self._finishers if one.task == UPSCALE]
        if finish.upscaler is not None:
            named = next((one for one in known if one.name == finish.upscaler), None)
            if named is None:
                names = ", ".join([*(one.name for one in known), *FILTERS])
                raise InvalidRequest(f"must be one of {names}", "upscaler")
            return named
        if not known:
            raise Unsupported(f"there is no upscaling engine; {HOW_TO_ADD.format(UPSCALE)} adds one", "upscale")
        enough = [one for one in known if one.scale >= finish.upscale]
        return min(enough, key=lambda one: one.scale) if enough else max(known, key=lambda one: one.scale)

    def _find(self, task: str) -> Finisher | None:
        return next((one for one in self._finishers if one.task == task), None)

    def _of_task(self, task: str, field: str) -> Finisher:
        found = self._find(task)
        if found is None:
            raise Unsupported(f"there is no engine for it; {HOW_TO_ADD.format(task)} adds one", field)
        return found

    async def _without_background(self, pixels: Pixels, deadline: float, versions: Mapping[str, str]) -> Pixels:
        from serve.vector.ground import without_plain_ground  # lazy: OpenCV

        if pixels.shape[2] == 4 and pixels[..., 3].min() < 255:
            return pixels  # it has none
        colours = np.ascontiguousarray(pixels[..., :3])
        plain = await asyncio.to_thread(without_plain_ground, colours)
        if plain is not None:
            return plain
        background = self._find(BACKGROUND)
        if background is None:
            raise Unsupported(
                f"the picture's ground is not plain, and there is no engine for others; "
                f"{HOW_TO_ADD.format(BACKGROUND)} adds one",
                "remove_background",
            )
        alpha = await self._through(background, colours, deadline, versions)
        return np.concatenate([colours, alpha[..., :1]], axis=-1)

    async def _through(self, engine: Finisher, pixels: Pixels, deadline: float, versions: Mapping[str, str]) -> Pixels:
        """``pixels`` through ``engine``, with as many channels as they have; (H, W, 1) from one of backgrounds."""
        alpha = pixels[..., 3] if pixels.shape[2] == 4 else None
        if engine.channels == 4:
            opaque = np.full((*pixels.shape[:2], 1), 255, np.uint8)
            rgba = pixels if alpha is not None else np.concatenate([pixels, opaque], axis=-1)
            result = await self._tiled(engine, rgba, deadline, versions)
            return result if alpha is not None else np.ascontiguousarray(result[..., :3])
        colours = np.ascontiguousarray(pixels[..., :3])
        if alpha is not None and alpha.min() < 255:  # what is hidden continues what shows, so that edges have no rim
            colours = await asyncio.to_thread(canvas.filled, colours, np.where(alpha == 0, 255, 0).astype(np.uint8))
        result = await self._tiled(engine, colours, deadline, versions)
        if alpha is None or engine.task == BACKGROUND:
            return result
        size = result.shape[1], result.shape[0]
        shape = np.asarray(Image.fromarray(alpha).resize(size, Image.Resampling.BICUBIC))
        return np.concatenate([result, shape[..., None]], axis=-1)

    async def _tiled(self, engine: Finisher, pixels: Pixels, deadline: float, versions: Mapping[str, str]) -> Pixels:
        if engine.side_px is not None:
            small = canvas.resized(pixels, (engine.side_px, engine.side_px))
            whole = await self._infer(engine, small, deadline, versions)
            size = pixels.shape[1], pixels.shape[0]
            planes = [Image.fromarray(whole[..., c]).resize(size) for c in range(whole.shape[2])]
            return np.stack([np.asarray(plane) for plane in planes], axis=-1)
        return await tiled(
            pixels, engine, lambda tile: self._infer(engine, tile, deadline, versions), _CONCURRENT_TILES
        )

    async def _infer(self, engine: Finisher, tile: Pixels, deadline: float, versions: Mapping[str, str]) -> Pixels:
        inputs = {"image": np.ascontiguousarray(tile[None])}
        found: Pixels = (await self._calls.infer(engine.name, inputs, deadline, versions))["result"][0]
        return found


async def tiled(
    pixels: Pixels, engine: Finisher, infer: Callable[[Pixels], Awaitable[Pixels]], concurrent: int
) -> Pixels:
    """``pixels`` through ``infer`` in tiles with overlap, ``concurrent`` at a time: (scale * H, scale * W, C)."""
    height, width = pixels.shape[:2]
    scale, step, overlap = engine.scale, engine.tile_px, engine.overlap_px
    slots = asyncio.Semaphore(concurrent)
    result: Pixels | None = None

    async def run(top: int, left: int) -> None:
        nonlocal result
        outer_top, outer_left = max(0, top - overlap), max(0, left - overlap)
        bottom, right = min(height, top + step), min(width, left + step)
        async with slots:
            part = await infer(
                pixels[outer_top : min(height, bottom + overlap), outer_left : min(width, right + overlap)]
            )
        if result is None:
            result = np.empty((height * scale, width * scale, part.shape[2]), np.uint8)
        y, x = (top - outer_top) * scale, (left - outer_left) * scale
        inner = part[y : y + (bottom - top) * scale, x : x + (right - left) * scale]
        result[top * scale : bottom * scale, left * scale : right * scale] = inner

    places = [(top, left) for top in range(0, height, step) for left in range(0, width, step)]
    try:
        async with asyncio.TaskGroup() as tasks:
            for place in places:
                tasks.create_task(run(*place))
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    assert result is not None
    return result


def filtered(pixels: Pixels, size: tuple[int, int], method: Image.Resampling) -> Pixels:
    """``pixels`` at ``size``; colours count as far as they are opaque."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    image = Image.fromarray(pixels)
    if image.mode == "RGBA":
        return np.asarray(image.convert("RGBa").resize(size, method).convert("RGBA"))
    return np.asarray(image.resize(size, method))
