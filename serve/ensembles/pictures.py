"""Drawn pictures as files: PNG, JPEG, WebP, and SVG by way of the Vectorizer. All encoding is off the event loop."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from serve.ensembles import provenance
from serve.ensembles.illustration import Illustration, Pixels
from serve.ensembles.vectorization import VectorizeOptions, Vectorizes

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "svg": "image/svg+xml"}
DEFAULT_QUALITY = 95
_FULL_CHROMA = 90
"""From this quality on a JPEG keeps colour at full resolution: illustrations have sharp edges between colours."""


@dataclass(frozen=True)
class Encoding:
    """``format`` is a key of ``MEDIA_TYPES``; ``quality``, 0 to 100, is of JPEG and WebP; SVG has no ``metadata``."""

    format: str = "png"
    quality: int = DEFAULT_QUALITY
    metadata: bool = True

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


async def encode_all(illustration: Illustration, encoding: Encoding, vectorizer: Vectorizes) -> list[bytes]:
    """A file for each picture, in their order. Raises what the Vectorizer raises."""
    indices = range(len(illustration.pictures))
    return list(await asyncio.gather(*(_encode(illustration, index, encoding, vectorizer) for index in indices)))


async def _encode(illustration: Illustration, index: int, encoding: Encoding, vectorizer: Vectorizes) -> bytes:
    if encoding.format != "svg":
        return await asyncio.to_thread(_with_metadata, illustration, index, encoding)
    png = await asyncio.to_thread(to_file, illustration.pictures[index].pixels, Encoding())
    return (await vectorizer.vectorize(png, VectorizeOptions())).svg.encode()


def _with_metadata(illustration: Illustration, index: int, encoding: Encoding) -> bytes:
    picture = illustration.pictures[index]
    if not encoding.metadata:
        return to_file(picture.pixels, encoding)
    made = replace(illustration.parameters, seed=picture.seed)
    return to_file(picture.pixels, encoding, (provenance.infotext(made), provenance.record(illustration, made)))


async def encode_preview(pixels: Pixels, size: tuple[int, int], encoding: Encoding) -> bytes:
    """A preview at the ``size`` (width, height) of the picture that it becomes; without metadata."""
    return await asyncio.to_thread(to_file, pixels, encoding, None, size)


def to_file(
    pixels: Pixels, encoding: Encoding, texts: tuple[str, str] | None = None, size: tuple[int, int] | None = None
) -> bytes:
    """``pixels``, shape (H, W, 3) or (H, W, 4), in a format of pixels; what is transparent is white in a JPEG.

    ``texts`` are the infotext and the record of `serve.ensembles.provenance`.
    """
    image = Image.fromarray(pixels)
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    options: dict[str, Any] = {}
    if texts is not None and encoding.format == "png":
        options["pnginfo"] = provenance.png_text(*texts)
    elif texts is not None:
        options["exif"] = provenance.exif(*texts)
    if encoding.format == "jpeg":
        image = _on_white(image)
        # Pillow takes 0 for "not given".
        options |= {"quality": max(1, encoding.quality), "subsampling": 0 if encoding.quality >= _FULL_CHROMA else 2}
    elif encoding.format == "webp":
        options["quality"] = encoding.quality
    stream = io.BytesIO()
    image.save(stream, encoding.format.upper(), **options)
    return stream.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def as_url(data: bytes, media_type: str) -> str:
    """The picture itself as a ``data:`` URL."""
    return f"data:{media_type};base64,{as_base64(data)}"
