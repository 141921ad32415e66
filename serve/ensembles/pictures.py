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
from serve.ensembles.vectorization import VectorizeOptions, VectorizerService

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


async def encode_all(illustration: Illustration, encoding: Encoding, vectorizer: VectorizerService) -> list[bytes]:
    """A file for each picture, in their order. Raises what the Vectorizer raises."""
    indices = range(len(illustration.pictures))
    return list(await asyncio.gather(*(_encode(illustration, index, encoding, vectorizer) for index in indices)))


async def _encode(illustration: Illustration, index: int, encoding: Encoding, vectorizer: VectorizerService) -> bytes:
    if encoding.format != "svg":
        return await asyncio.to_thread(_with_metadata, illustration, index, encoding)
    png = await asyncio.to_thread(_save, illustration.pictures[index].pixels, Encoding(), {})
    return (await vectorizer.vectorize(png, VectorizeOptions())).svg.encode()


def _with_metadata(illustration: Illustration, index: int, encoding: Encoding) -> bytes:
    picture = illustration.pictures[index]
    if not encoding.metadata:
        return _save(picture.pixels, encoding, {})
    made = replace(illustration.parameters, seed=picture.seed)
    texts = provenance.infotext(made), provenance.record(illustration, made)
    if encoding.format == "png":
        return _save(picture.pixels, encoding, {"pnginfo": provenance.png_text(*texts)})
    return _save(picture.pixels, encoding, {"exif": provenance.exif(*texts)})


async def encode_preview(pixels: Pixels, size: tuple[int, int], encoding: Encoding) -> bytes:
    """A preview at the ``size`` (width, height) of the picture that it becomes; without metadata."""
    return await asyncio.to_thread(_save, pixels, encoding, {}, size)


def _save(pixels: Pixels, encoding: Encoding, options: dict[str, Any], size: tuple[int, int] | None = None) -> bytes:
    image = Image.fromarray(pixels)
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    if encoding.format == "jpeg":
        # Pillow takes 0 for "not given".
        chroma = 0 if encoding.quality >= _FULL_CHROMA else 2
        options = {**options, "quality": max(1, encoding.quality), "subsampling": chroma}
    elif encoding.format == "webp":
        options = {**options, "quality": encoding.quality}
    stream = io.BytesIO()
    image.save(stream, encoding.format.upper(), **options)
    return stream.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def as_url(data: bytes, media_type: str) -> str:
    """The picture itself as a ``data:`` URL."""
    return f"data:{media_type};base64,{as_base64(data)}"
