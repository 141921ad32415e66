"""`Restyler`: paints pictures in the style of others, with the engines of `build_engines.style`.

``style_encoder`` turns a picture into statistics of features, which are its style; ``style_painter`` paints a picture
with a style's statistics in place of its own (AdaIN: Huang and Belongie, 2017). AdaIN is linear in them: styles are
mixed, and weakened, by mixing statistics. A large picture is painted in tiles with the statistics of the whole.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.diffusion import canvas
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.finishing.finishing import Finisher, tiled
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.ensembles.illustrator.pipeline.source_encoding import decoded_pixels
from serve.ensembles.restyler.optimiser import Optimiser
from serve.ensembles.restyler.restyle import Restyle
from serve.errors import Unsupported, rename_fields
from serve.vector import textures

Pixels = npt.NDArray[np.uint8]
Statistics = npt.NDArray[np.float32]

ENCODER, PAINTER = "style_encoder", "style_painter"
HOW_TO_BUILD = "python -m build_engines train style"
STYLE_SIDE_PX = 512
"""A style's picture is scaled down to this longer side."""
MAX_STYLES_IN_MEMORY = 64
MAX_STYLE_BYTES_IN_MEMORY = 32 * 1024**2
"""Of all their statistics: the Gram matrices of a VGG-19 have 2.4 MB."""
_MARGIN_PX = 16
"""Mirrored around the picture, so that the ends of the convolutions lie outside of it."""
_CONCURRENT_TILES = 2


@dataclass(frozen=True)
class StyleEngines:
    """What the manifests state: the number of ``statistics``; sides are multiples of ``step_px``; tiles of ``tile_px``
    overlap by ``overlap_px``."""

    statistics: int
    step_px: int
    overlap_px: int
    tile_px: int


def style_engines_in(repository: Path) -> StyleEngines | None:
    """None where ``repository`` lacks one of the two."""
    paths = [repository / name / "manifest.json" for name in (ENCODER, PAINTER)]
    if not all(path.is_file() for path in paths):
        return None
    return StyleEngines(**json.loads(paths[1].read_text())["style"])


def ignore_tiles(_done: int, _total: int) -> None:
    """For `Restyler.restyled`."""


class Restyler:
    """For one event loop. ``engines`` None: there are none, and `check` says so."""

    def __init__(self, engines: StyleEngines | None, calls: EngineCalls, optimiser: Optimiser) -> None:
        self._engines = engines
        self._calls = calls
        self._optimiser = optimiser
        self._known: OrderedDict[tuple[str, str, bool], Statistics] = OrderedDict()

    @property
    def names(self) -> Sequence[str]:
        """Of the engines."""
        return (ENCODER, PAINTER) if self._engines is not None else ()

    def check(self) -> StyleEngines:
        """Raises Unsupported with the command that builds what is missing."""
        if self._engines is None:
            raise Unsupported(f"there are no engines for style transfer; {HOW_TO_BUILD} makes them", "style")
        return self._engines

    def engines_of(self, restyle: Restyle) -> tuple[str, str]:
        """Those that ``restyle`` needs, the one that does the most first. Raises Unsupported as `check`."""
        if restyle.iterations:
            return self._optimiser.check().names
        self.check()
        return PAINTER, ENCODER

    async def restyled(
        self,
        pixels: Pixels,
        restyle: Restyle,
        deadline: float,
        versions: Mapping[str, str],
        seed: int = 0,
        on_tile: Callable[[int, int], None] = ignore_tiles,
    ) -> Pixels:
        """``pixels``, (H, W, 3 or 4), painted; transparency stays. The ``seed`` says where the strokes fall.

        ``on_tile`` is called with how many tiles, or steps of the optimisation, are done, and of how many. Raises
        Unsupported, BadImage naming the style's field, and the errors of `EngineCalls.infer`.
        """
        optimises = bool(restyle.iterations)
        step_px = self._optimiser.check().step_px if optimises else self.check().step_px
        if restyle.strength == 0:
            return pixels
        colours, padded = await asyncio.to_thread(_prepared, pixels, step_px)
        own = await self._statistics_of(padded, deadline, versions, optimises)
        layers = _layers(restyle)
        made = colours
        for number, layer in enumerate(layers):
            wanted = [share * await self._style(restyle, i, deadline, versions) for i, share in layer.shares.items()]
            style = (own + restyle.strength * (np.sum(wanted, axis=0) - own)).astype(np.float32)

            def report(done: int, total: int, before: int = number) -> None:
                on_tile(before * total + done, len(layers) * total)

            if optimises:
                painted = await self._optimiser.painted(padded, style, restyle.iterations, deadline, versions, report)
            else:
                painted = await self._painted(padded, own, style, deadline, versions, seed, report)
            made = await asyncio.to_thread(_laid, made, painted, layer)
        return await asyncio.to_thread(_composed, pixels, colours, made, restyle)

    async def _style(self, restyle: Restyle, index: int, deadline: float, versions: Mapping[str, str]) -> Statistics:
        """Those of the picture of the style at ``index``; of the last pictures they are known."""
        picture, optimises = restyle.styles[index].picture, bool(restyle.iterations)
        encoder = self._optimiser.check().describe if optimises else ENCODER
        key = picture.name, versions.get(encoder, ""), optimises
        if key not in self._known:
            with rename_fields({"image": f"styles[{index}].image"}):
                pixels = await asyncio.to_thread(decoded_pixels, picture)
            step_px = self._optimiser.check().step_px if optimises else self.check().step_px
            small = await asyncio.to_thread(_style_pixels, pixels, step_px)
            self._known[key] = await self._statistics_of(small, deadline, versions, optimises)
            self._forget_oldest()
        self._known.move_to_end(key)
        return self._known[key]

    def _forget_oldest(self) -> None:
        """Down to the limits; the last one stays."""
        size = sum(one.nbytes for one in self._known.values())
        while len(self._known) > 1 and (len(self._known) > MAX_STYLES_IN_MEMORY or size > MAX_STYLE_BYTES_IN_MEMORY):
            _, oldest = self._known.popitem(last=False)
            size -= oldest.nbytes

    async def _statistics_of(
        self, pixels: Pixels, deadline: float, versions: Mapping[str, str], optimises: bool
    ) -> Statistics:
        """Means and deviations over all tiles of ``pixels``; of the optimisation, Gram matrices."""
        if optimises:
            return await self._optimiser.statistics(pixels, deadline, versions)
        tile = self.check().tile_px
        parts = [
            pixels[top : top + tile, left : left + tile]
            for top in range(0, pixels.shape[0], tile)
            for left in range(0, pixels.shape[1], tile)
        ]
        found = []
        for part in parts:  # one after the other: the encoder is quick, and a large picture has many
            inputs = {"image": np.ascontiguousarray(part[None])}
            found.append((await self._calls.infer(ENCODER, inputs, deadline, versions))["statistics"][0])
        return pooled(np.stack(found), np.array([part.shape[0] * part.shape[1] for part in parts], np.float64))

    async def _painted(
        self,
        pixels: Pixels,
        content: Statistics,
        style: Statistics,
        deadline: float,
        versions: Mapping[str, str],
        seed: int,
        on_tile: Callable[[int, int], None],
    ) -> Pixels:
        stated = self.check()
        height, width = pixels.shape[:2]
        await asyncio.to_thread(textures.fields, seed)  # a second, once
        total = -(-height // stated.tile_px) * -(-width // stated.tile_px)
        done = 0
        on_tile(0, total)

        async def paint(tile: npt.NDArray[Any]) -> Pixels:
            nonlocal done
            top, left = (int(place) for place in tile[0, 0, 3:])
            strokes = await asyncio.to_thread(textures.window, seed, top, left, *tile.shape[:2])
            inputs: dict[str, npt.NDArray[Any]] = {
                "image": np.ascontiguousarray(tile[None, ..., :3]).astype(np.uint8),
                "content": content[None],
                "style": style[None],
                "textures": strokes[None],
            }
            made: Pixels = (await self._calls.infer(PAINTER, inputs, deadline, versions))["painted"][0]
            done += 1
            on_tile(done, total)
            return made

        places = np.indices((height, width)).transpose(1, 2, 0)
        both = np.concatenate([pixels.astype(np.int32), places], axis=-1, dtype=np.int32)
        engine = Finisher(PAINTER, "", 1, 3, stated.overlap_px, stated.tile_px)
        return await tiled(both, engine, paint, _CONCURRENT_TILES)  # type: ignore[arg-type]  # with their places


def pooled(statistics: npt.NDArray[np.float32], weights: npt.NDArray[np.float64]) -> Statistics:
    """Statistics (means, then deviations) of the union of parts with those ``statistics`` (n, k) and ``weights``."""
    shares = (weights / weights.sum())[:, None]
    means, deviations = np.split(statistics.astype(np.float64), 2, axis=1)
    mean = (shares * means).sum(0)
    variance = (shares * (deviations**2 + means**2)).sum(0) - mean**2
    return np.asarray(np.concatenate([mean, np.sqrt(np.maximum(variance, 1e-6))]), np.float32)


def _prepared(pixels: Pixels, step_px: int) -> tuple[Pixels, Pixels]:
    """The colours, with what is hidden filled from what shows; and the same with mirrored margins, of sides that the
    engines take."""
    colours = np.ascontiguousarray(pixels[..., :3])
    if pixels.shape[2] == 4 and pixels[..., 3].min() < 255:
        colours = canvas.filled(colours, np.where(pixels[..., 3] == 0, 255, 0).astype(np.uint8))
    height, width = colours.shape[:2]
    right, bottom = (-(side + 2 * _MARGIN_PX) % step_px + _MARGIN_PX for side in (width, height))
    around = ((_MARGIN_PX, bottom), (_MARGIN_PX, right), (0, 0))
    return colours, np.pad(colours, around, mode="symmetric")


def _style_pixels(pixels: Pixels, step_px: int) -> Pixels:
    """At most STYLE_SIDE_PX a side, on white, of sides that the encoder takes."""
    if pixels.shape[2] == 4:
        alpha = pixels[..., 3:].astype(np.float32) / 255
        pixels = (pixels[..., :3] * alpha + 255 * (1 - alpha) + 0.5).astype(np.uint8)
    height, width = pixels.shape[:2]
    scale = min(1.0, STYLE_SIDE_PX / max(height, width))
    size = [max(step_px, round(side * scale) // step_px * step_px) for side in (width, height)]
    return canvas.resized(np.ascontiguousarray(pixels), (size[0], size[1]))


@dataclass(frozen=True)
class _Layer:
    """A mixture of styles, `shares` by their indices. Where ``mask`` is white it covers ``cover`` of what is below."""

    shares: Mapping[int, float]
    mask: InputPicture | None = None
    cover: float = 1.0


def _layers(restyle: Restyle) -> list[_Layer]:
    """The mixture of the styles without a mask, then each style with one, in their order."""
    regions = [
        _Layer({i: 1.0}, use.mask, min(1.0, use.weight))
        for i, use in enumerate(restyle.styles)
        if use.mask is not None and use.weight
    ]
    return [*([_Layer(restyle.shares)] if restyle.shares else []), *regions]


def _laid(below: Pixels, painted: Pixels, layer: _Layer) -> Pixels:
    """``painted``, with its margins, over ``below``."""
    height, width = below.shape[:2]
    made = painted[_MARGIN_PX : _MARGIN_PX + height, _MARGIN_PX : _MARGIN_PX + width]
    return made if layer.mask is None else _blended(below, made, layer.mask, layer.cover)


def _composed(pixels: Pixels, colours: Pixels, made: Pixels, restyle: Restyle) -> Pixels:
    """``made`` with the picture's own colours, mask and alpha where they are wanted."""
    if restyle.preserve_colors:
        made = with_luma_of(made, colours)
    if restyle.mask is not None:
        made = _blended(colours, made, restyle.mask)
    return np.concatenate([made, pixels[..., 3:]], axis=-1) if pixels.shape[2] == 4 else np.ascontiguousarray(made)


def _blended(below: Pixels, above: Pixels, mask: InputPicture, cover: float = 1.0) -> Pixels:
    """``above`` where ``mask`` is white, ``below`` where it is black."""
    height, width = below.shape[:2]
    grey = canvas.resized(np.ascontiguousarray(decoded_pixels(mask)[..., 0]), (width, height))
    share = grey[..., None].astype(np.float32) * np.float32(cover / 255)
    return (below + share * (above.astype(np.float32) - below) + 0.5).astype(np.uint8)


def with_luma_of(painted: Pixels, colours: Pixels) -> Pixels:
    """``colours`` with the luma of ``painted`` (ITU-R BT.601)."""
    weights = np.asarray([0.299, 0.587, 0.114], np.float32)
    change = (painted.astype(np.float32) - colours) @ weights
    return np.clip(colours + change[..., None] + 0.5, 0, 255).astype(np.uint8)
