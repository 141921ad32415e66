"""Encodes pictures as PNG, JPEG and WebP, and as SVG through the Vectorizer. Encoding runs in threads."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import dataclass, replace
from typing import Any, Protocol

from PIL import Image

from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.illustration import Illustration, Parameters, Pixels
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, Vectorizes
from serve.errors import InvalidRequest

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "svg": "image/svg+xml"}
DEFAULT_QUALITY = 95
_FULL_CHROMA = 90
"""From this quality on JPEG uses 4:4:4 chroma: illustrations have sharp edges between colours."""


@dataclass(frozen=True)
class Encoding:
    """``format``: key of ``MEDIA_TYPES``. ``quality``: 0 to 100, for JPEG and WebP. SVG has no ``metadata``.

    ``c2pa``: sign the file. ``mark``: mark it as generated.
    """

    format: str = "png"
    quality: int = DEFAULT_QUALITY
    metadata: bool = True
    c2pa: bool = False
    mark: bool = True

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.format]


class SignsFiles(Protocol):
    """The part of `serve.security.signing.content_credentials.ContentCredentialsSigner` that encoding needs."""

    def sign(self, data: bytes, media_type: str, made: Parameters) -> bytes: ...


async def encode_all(
    illustration: Illustration, encoding: Encoding, vectorizer: Vectorizes, signer: SignsFiles | None = None
) -> list[bytes]:
    """One file per picture, in order. Raises errors of the Vectorizer.

    Files are signed last, since any change invalidates the signature. Raises InvalidRequest if signing is requested
    without a ``signer``.
    """
    if encoding.c2pa and signer is None:
        raise InvalidRequest("pictures are not signed here: provenance.c2pa is off", "c2pa")
    indices = range(len(illustration.pictures))
    files = await asyncio.gather(*(_encode(illustration, index, encoding, vectorizer) for index in indices))
    if not encoding.c2pa or signer is None:
        return list(files)
    made = illustration.parameters
    return [await asyncio.to_thread(signer.sign, file, encoding.media_type, made) for file in files]


async def _encode(illustration: Illustration, index: int, encoding: Encoding, vectorizer: Vectorizes) -> bytes:
    if encoding.format != "svg":
        return await asyncio.to_thread(_with_metadata, illustration, index, encoding)
    png = await asyncio.to_thread(to_file, illustration.pictures[index].pixels, Encoding())
    svg = (await vectorizer.vectorize(png, VectorizeOptions())).svg
    return (provenance.mark_svg(svg) if encoding.mark else svg).encode()


def _with_metadata(illustration: Illustration, index: int, encoding: Encoding) -> bytes:
    picture = illustration.pictures[index]
    if not encoding.metadata:
        return to_file(picture.pixels, encoding, generated=encoding.mark)
    made = replace(illustration.parameters, seed=picture.seed)
    texts = provenance.infotext(made), provenance.record(illustration, made)
    return to_file(picture.pixels, encoding, texts, generated=encoding.mark)


async def encode_preview(pixels: Pixels, size: tuple[int, int], encoding: Encoding) -> bytes:
    """A preview scaled to the ``size`` (width, height) of the final picture, without metadata except the mark."""
    return await asyncio.to_thread(to_file, pixels, encoding, None, size, generated=encoding.mark)


def to_file(
    pixels: Pixels,
    encoding: Encoding,
    texts: tuple[str, str] | None = None,
    size: tuple[int, int] | None = None,
    *,
    generated: bool = False,
) -> bytes:
    """Encode ``pixels``, shape (H, W, 3) or (H, W, 4), in a raster format. In JPEG, transparency becomes white.

    ``texts``: infotext and record of `provenance`. ``generated``: mark the file as generated.
    """
    image = Image.fromarray(pixels)
    if size is not None and size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    options: dict[str, Any] = {}
    if encoding.format == "png":
        options["pnginfo"] = provenance.png_text(texts, generated)
    else:
        options |= {"exif": provenance.exif(*texts)} if texts is not None else {}
        options |= {"xmp": provenance.XMP.encode()} if generated else {}
    if encoding.format == "jpeg":
        image = _on_white(image)
        # Pillow treats 0 as the default.
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
    """A ``data:`` URL."""
    return f"data:{media_type};base64,{as_base64(data)}"
