"""Encodes pictures as PNG, JPEG and WebP, and as SVG through the Vectorizer. Encoding runs in threads."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from PIL import Image

from serve.ensembles.illustrator import provenance
from serve.ensembles.illustrator.finishing.finishing import filtered
from serve.ensembles.illustrator.illustration import Illustration, Parameters, Pixels
from serve.ensembles.vectorizer.vectorization import VectorizeOptions, Vectorizes
from serve.errors import InvalidRequest
from serve.vector.recolour import in_palette, svg_in_palette

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp", "svg": "image/svg+xml"}
DEFAULT_QUALITY = 95
WHITE = (255, 255, 255)
AUTO, TRANSPARENT, OPAQUE = "auto", "transparent", "opaque"
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_FULL_CHROMA = 90
"""From this quality on JPEG uses 4:4:4 chroma: illustrations have sharp edges between colours."""


@dataclass(frozen=True)
class Encoding:
    """``format``: key of ``MEDIA_TYPES``. ``quality``: 0 to 100, for JPEG and WebP. SVG has no ``metadata``.

    ``c2pa``: sign the file. ``mark``: mark it as generated. ``background`` of pictures with alpha: transparent, opaque
    (white), a colour as #rrggbb, or auto: transparent in SVG, white otherwise. JPEG has no transparency.
    Raises InvalidRequest for another one.
    """

    format: str = "png"
    quality: int = DEFAULT_QUALITY
    metadata: bool = True
    c2pa: bool = False
    mark: bool = True
    background: str = AUTO
    palette: tuple[str, ...] = ()
    """Colours as #rrggbb that an SVG may have, and no others; empty: all."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "palette", tuple(self.palette))
        if not all(_COLOUR.fullmatch(color) for color in self.palette):
            raise InvalidRequest("must be colours as #rrggbb", "palette")
        if self.background not in (AUTO, TRANSPARENT, OPAQUE) and not _COLOUR.fullmatch(self.background):
            raise InvalidRequest("must be auto, transparent, opaque or a colour as #rrggbb", "background")

    @property
    def keeps_alpha(self) -> bool:
        if self.format == "jpeg":
            return False
        return self.background == TRANSPARENT or (self.background == AUTO and self.format == "svg")

    @property
    def ground(self) -> tuple[int, int, int]:
        """The colour that opaque pictures are composited on."""
        if not _COLOUR.fullmatch(self.background):
            return WHITE
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

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
    pixels = grounded(illustration.pictures[index].pixels, encoding)
    if encoding.palette:
        pixels = await asyncio.to_thread(in_palette, pixels, encoding.palette)
    png = await asyncio.to_thread(to_file, pixels, Encoding())
    svg = (await vectorizer.vectorize(png, VectorizeOptions())).svg
    if encoding.palette:
        svg = await asyncio.to_thread(svg_in_palette, svg, encoding.palette)
    return (provenance.mark_svg(svg) if encoding.mark else svg).encode()


def _with_metadata(illustration: Illustration, index: int, encoding: Encoding) -> bytes:
    picture = illustration.pictures[index]
    pixels = grounded(picture.pixels, encoding)
    if not encoding.metadata:
        return to_file(pixels, encoding, generated=encoding.mark)
    made = replace(illustration.parameters, seed=picture.seed)
    texts = provenance.infotext(made), provenance.record(illustration, made)
    return to_file(pixels, encoding, texts, generated=encoding.mark)


async def encode_preview(pixels: Pixels, size: tuple[int, int], encoding: Encoding) -> bytes:
    """A preview scaled to the ``size`` (width, height) of the final picture, without metadata except the mark."""
    pixels = grounded(pixels, encoding)
    return await asyncio.to_thread(to_file, pixels, encoding, None, size, generated=encoding.mark)


def grounded(pixels: Pixels, encoding: Encoding) -> Pixels:
    """``pixels`` as ``encoding`` wants them: with alpha (H, W, 4), or opaque (H, W, 3)."""
    return pixels if encoding.keeps_alpha else opaque(pixels, encoding.ground)


def opaque(pixels: Pixels, ground: tuple[int, int, int] = WHITE) -> Pixels:
    """``pixels``, shape (H, W, 3) or (H, W, 4), composited on ``ground``: shape (H, W, 3)."""
    if pixels.shape[-1] == 3:
        return pixels
    alpha = pixels[..., 3:].astype(np.uint32)
    laid = pixels[..., :3] * alpha + np.asarray(ground, np.uint32) * (255 - alpha)
    return ((laid + 127) // 255).astype(np.uint8)


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
    image = Image.fromarray(pixels if size is None else filtered(pixels, size, Image.Resampling.BICUBIC))
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
