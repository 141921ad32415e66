"""What is kept, in another format or size (C-140): pixels by Pillow in a thread, drawings in a process of their own."""

from __future__ import annotations

import asyncio
import codecs
import io
import subprocess
import sys

import numpy as np
from PIL import Image

from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.encoding import Encoding, to_file
from serve.ensembles.illustrator.illustration import MAX_SIDE_PX, Pixels
from serve.errors import BadImage, DeadlineExceeded, InvalidRequest
from serve.security.sanitising.svg import sanitise
from serve.settings import python_environment
from serve.vector.exports.formats import check_size
from serve.vector.image import FIELD, MEBIBYTE, ImageLimits, read
from serve.vector.svg import size_of

THUMBNAILS_PX = (64, 128, 256, 512, 1024)
THUMBNAIL_PX = 256
"""The size that is stored."""
SVG = "image/svg+xml"
_THUMBNAIL_QUALITY = 80
STORED_LIMITS = ImageLimits(max_bytes=256 * MEBIBYTE, max_pixels=MAX_SIDE_PX**2, max_side_px=MAX_SIDE_PX, min_side_px=1)
_RENDER_TIMEOUT_S = 20.0


async def thumbnail(data: bytes, media_type: str, size_px: int) -> bytes:
    """A WebP whose longer side has ``size_px``, or fewer where a picture has fewer. Raises as ``convert``."""
    generated = provenance.is_marked(data)
    if media_type == SVG:
        data = await render(data, *fitting(data, size_px))
    return await asyncio.to_thread(_thumbnail, data, size_px, generated)


async def convert(data: bytes, media_type: str, encoding: Encoding, width: int | None = None) -> bytes:
    """``data`` in a raster format; the metadata about how a picture was made is kept.

    ``width``, in pixels, applies to SVG drawings only; by default they have their own size. Raises BadImage for data
    that cannot be read, InvalidRequest naming ``width``, DeadlineExceeded.
    """
    if media_type == SVG:
        size = fitting(data, MAX_SIDE_PX, grow=False) if width is None else of_width(data, width)
        generated, data = provenance.is_marked(data), await render(data, *size)
        data = provenance.mark_png(data) if generated else data
        if encoding.format == "png":
            return data
    return await asyncio.to_thread(_converted, data, encoding)


def may_be_svg(data: bytes) -> bool:
    """Whether ``data`` begins as XML does, which no raster picture does."""
    return data[:64].removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"<")


async def rasterised(svg: bytes, side_px: int) -> bytes:
    """An uploaded SVG, sanitised, as a PNG whose longer side has ``side_px``.

    Raises as ``sanitise`` and ``render`` do.
    """
    clean = (await asyncio.to_thread(sanitise, svg)).svg
    try:
        return await render(clean, *fitting(clean, side_px))
    except BadImage as error:
        raise BadImage(error.message, FIELD) from None


def fitting(svg: bytes, side_px: int, grow: bool = True) -> tuple[int, int]:
    """(width, height) of a drawing whose longer side has ``side_px``; without ``grow`` at most its own size."""
    width, height = _size(svg)
    scale = side_px / max(width, height)
    scale = scale if grow else min(1.0, scale)
    return max(1, round(width * scale)), max(1, round(height * scale))


def of_width(svg: bytes, width_px: int) -> tuple[int, int]:
    """(width, height) of a drawing with that width. Raises InvalidRequest where the height exceeds ``MAX_SIDE_PX``."""
    width, height = _size(svg)
    height_px = max(1, round(height * width_px / width))
    if height_px > MAX_SIDE_PX:
        most = int(MAX_SIDE_PX * width / height)
        raise InvalidRequest(
            f"makes it {height_px} px high, and {MAX_SIDE_PX} are allowed; ask for up to {most}", "width"
        )
    return width_px, height_px


def of_scale(svg: bytes, scale: float) -> tuple[int, int]:
    """(width, height) of a drawing at ``scale``. Raises InvalidRequest where a side exceeds ``MAX_SIDE_PX``."""
    size = _size(svg)
    if max(size) * scale > MAX_SIDE_PX:
        most = int(100 * MAX_SIDE_PX / max(size)) / 100
        raise InvalidRequest(f"makes a side longer than {MAX_SIDE_PX} px; ask for up to {most:g}", "scale")
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _size(svg: bytes) -> tuple[float, float]:
    try:
        return size_of(svg[:65_536].decode(errors="replace"))
    except ValueError as error:
        raise BadImage(f"this drawing cannot be rendered: {error}") from None


async def render(svg: bytes, width: int, height: int) -> bytes:
    """A PNG of exactly that size. Raises BadImage, DeadlineExceeded. Cancellation ends the renderer."""
    return await _in_process(svg, "serve.vector.svg", str(width), str(height))


async def export(svg: bytes, name: str, scale: float) -> bytes:
    """A drawing in a format of `EXPORTS`. Raises as ``render`` does, and InvalidRequest for one that is too large."""
    check_size(len(svg))
    return await _in_process(svg, "serve.vector.exports", name, str(scale))


async def _in_process(svg: bytes, module: str, *arguments: str) -> bytes:
    starting = asyncio.create_task(asyncio.to_thread(_renderer, module, *arguments))
    communicating = asyncio.create_task(_communicate(starting, svg))
    try:
        data = await asyncio.shield(communicating)
    except subprocess.TimeoutExpired:
        raise DeadlineExceeded("this drawing takes too long; ask for fewer pixels or paths") from None
    finally:
        await asyncio.shield(_end(starting, communicating))
    if starting.result().returncode != 0:
        raise BadImage("this drawing cannot be rendered")
    return data


async def _end(starting: asyncio.Task[subprocess.Popen[bytes]], communicating: asyncio.Task[bytes]) -> None:
    await asyncio.wait({starting})  # the process may still be starting when the caller is cancelled
    if starting.exception() is not None:
        await asyncio.wait({communicating})
        communicating.exception()  # the same error, retrieved here as a cancelled caller does not retrieve it
        return
    process = starting.result()
    if process.poll() is None:
        process.kill()
        await asyncio.wait({communicating})  # two threads must not read the same pipes
        await asyncio.to_thread(process.communicate)


async def _communicate(starting: asyncio.Task[subprocess.Popen[bytes]], svg: bytes) -> bytes:
    process = await starting
    png, _ = await asyncio.to_thread(process.communicate, svg, _RENDER_TIMEOUT_S)
    return png


def _renderer(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=python_environment(),
    )


def _thumbnail(data: bytes, size_px: int, generated: bool) -> bytes:
    image = Image.fromarray(read(data, STORED_LIMITS).rgba)
    image.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    small = without_idle_alpha(np.asarray(image))
    return to_file(small, Encoding("webp", _THUMBNAIL_QUALITY), generated=generated)


def _converted(data: bytes, encoding: Encoding) -> bytes:
    pixels = without_idle_alpha(read(data, STORED_LIMITS).rgba)
    with Image.open(io.BytesIO(data)) as image:
        return to_file(pixels, encoding, provenance.read(image), generated=provenance.is_marked(data))


def without_idle_alpha(rgba: Pixels) -> Pixels:
    """``rgba`` with three channels if it is opaque."""
    return rgba if rgba[..., 3].min() < 255 else np.ascontiguousarray(rgba[..., :3])
