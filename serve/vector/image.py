"""Decodes untrusted bytes to pixels. Every fault of a picture raises an error that names the field `image`.

The size is read from the header and checked before decoding. Errors of Pillow are mapped only here. Colour profiles are
converted to sRGB, EXIF orientation is applied, 16-bit samples are reduced to their high 8 bits, and of an animation the
first frame is used.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from serve.errors import BadImage, TooLarge, UnsupportedMedia

T = TypeVar("T")

FIELD = "image"
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "ICO", "TIFF")
MEBIBYTE = 1024 * 1024

# Exceptions that Pillow's decoders raise for malicious files.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, EOFError,
    MemoryError, NotImplementedError, struct.error, zlib.error,
)  # fmt: skip
_SIXTEEN_BITS = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_PNG = b"\x89PNG\r\n\x1a\n"
_SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True)
class ImageLimits:
    """Limits of a picture. The 10 MiB are C-130's."""

    max_bytes: int = 10 * MEBIBYTE
    max_pixels: int = 4096 * 4096
    max_side_px: int = 4096
    min_side_px: int = 2


@dataclass(frozen=True)
class Picture:
    """``rgba``: shape (H, W, 4), 8-bit sRGB with straight alpha. ``sha256``: hash of the encoded bytes."""

    rgba: npt.NDArray[np.uint8]
    format: str
    sha256: str


@dataclass(frozen=True)
class Measured:
    """Header information: the upright size, and whether transparency is possible."""

    width: int
    height: int
    format: str
    has_alpha: bool


def decode(data: bytes, limits: ImageLimits = ImageLimits()) -> Picture:
    """The picture in ``data``.

    Raises TooLarge (bytes, side or pixels over ``limits``), UnsupportedMedia (not a picture of a known format, or
    pixels that have no 8-bit meaning) and BadImage (empty, broken or cut off, under ``min_side_px``, all transparent).
    """
    picture = read(data, limits)
    if not picture.rgba[..., 3].any():
        raise BadImage("is fully transparent: there is nothing to trace", FIELD)
    return picture


def read(data: bytes, limits: ImageLimits = ImageLimits()) -> Picture:
    """As ``decode``, but accepts fully transparent pictures."""
    opened = _examined(data, limits)
    return Picture(_pixels(opened), opened.format or "", hashlib.sha256(data).hexdigest())


def look(data: bytes, at: Callable[[Image.Image], T], limits: ImageLimits = ImageLimits()) -> T:
    """The result of ``at`` on the opened picture, which may decode it. Raises as ``read`` does."""
    opened = _examined(data, limits)
    try:
        return at(opened)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge("has too many pixels", FIELD) from error
    except _DECODER_ERRORS as error:
        raise BadImage(f"is a {opened.format} that is broken or cut off", FIELD) from error


def check(data: bytes, limits: ImageLimits = ImageLimits()) -> None:
    """Raises errors of ``decode`` that the header reveals, without decoding."""
    _examined(data, limits)


def measure(data: bytes, limits: ImageLimits = ImageLimits()) -> Measured:
    """Header information. Raises as ``check`` does."""
    opened = _examined(data, limits)
    width, height = reversed(opened.size) if _lies_down(opened) else opened.size
    has_alpha = opened.has_transparency_data
    return Measured(width, height, opened.format or "", has_alpha)


def _lies_down(opened: Image.Image) -> bool:
    """Whether EXIF orientation swaps the sides; False if it cannot be read."""
    try:
        return opened.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except _DECODER_ERRORS:
        return False


def _examined(data: bytes, limits: ImageLimits) -> Image.Image:
    if not data:
        raise BadImage("is empty (0 bytes)", FIELD)
    if len(data) > limits.max_bytes:
        raise TooLarge(f"has {len(data)} bytes, more than the {limits.max_bytes} allowed", FIELD)
    if is_crowded(data):
        raise BadImage("has more parts than a picture needs", FIELD)
    opened = _open(data)
    _check_size(opened.size, limits)
    if opened.format == "ICO":
        for size in _sizes_of_pngs(data):  # an icon's directory says nothing of the sizes of its PNGs
            _check_size(size, limits)
    if has_too_many(data, opened, limits.max_pixels):
        raise BadImage("has more scans, or larger tiles, than a picture needs", FIELD)
    return opened


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge("has too many pixels", FIELD) from error
    except UnidentifiedImageError as error:
        raise UnsupportedMedia(f"is not a readable picture; send {', '.join(FORMATS)}", FIELD) from error
    except _DECODER_ERRORS as error:
        raise BadImage("has a broken header", FIELD) from error


def _sizes_of_pngs(data: bytes) -> Iterator[tuple[int, int]]:
    """Width and height of every PNG in ``data``."""
    at = data.find(_PNG)
    while at >= 0 and len(data) >= at + 24:
        width, height = struct.unpack(">II", data[at + 16 : at + 24])
        yield width, height
        at = data.find(_PNG, at + 8)


def _check_size(size: tuple[int, int], limits: ImageLimits) -> None:
    width, height = size
    if max(size) > limits.max_side_px:
        raise TooLarge(f"is {width} x {height} px; a side may have {limits.max_side_px}", FIELD)
    if width * height > limits.max_pixels:
        raise TooLarge(f"is {width} x {height} px; {limits.max_pixels} pixels are allowed", FIELD)
    if min(size) < limits.min_side_px:
        raise BadImage(f"is {width} x {height} px; a side needs {limits.min_side_px}", FIELD)


def _pixels(opened: Image.Image) -> npt.NDArray[np.uint8]:
    try:
        opened.load()
        upright = _upright(opened)
        return np.array(_to_rgba(upright))  # a copy: Pillow's own array is read-only, another type to the kernels
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge("has too many pixels", FIELD) from error
    except _DECODER_ERRORS as error:
        raise BadImage(f"is a {opened.format} that is broken or cut off", FIELD) from error


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, if it can be read."""
    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        return image


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnsupportedMedia("has floating-point pixels; send 8 or 16 bits a channel", FIELD)
    if image.mode in _SIXTEEN_BITS:
        image = _eight_bits(image)
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK"):
        if "transparency" in image.info and image.mode in ("RGB", "L"):
            image = image.convert(image.mode + "A")  # tRNS names a colour as the file has it, not as sRGB has it
        image = _to_srgb(image, profile)
    return image.convert("RGBA")


def _eight_bits(image: Image.Image) -> Image.Image:
    """The high 8 bits of 16-bit grey; the transparent grey of tRNS becomes transparent."""
    samples = np.clip(np.asarray(image, np.int64), 0, 65535)
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return grey


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert to sRGB; unchanged if the profile is sRGB, broken, or of another colour model."""
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    colours = image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(colours, source, _SRGB, outputMode="RGB")
    except (ImageCms.PyCMSError, *_DECODER_ERRORS):
        return image
    if converted is None:
        return image
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


MAX_SCANS = 100
"""libtiff's limit for JPEGs in TIFFs. Progressive JPEGs have about ten."""
MAX_CHUNKS = 1000
"""Chunks before the pixels; usual files have a dozen."""
_START_OF_SCAN = b"\xff\xda"
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SIGNATURE_BYTES, _CHUNK_BYTES = 8, 12


def has_too_many(data: bytes, opened: Image.Image, max_pixels: int) -> bool:
    """Whether decoding ``opened`` (encoded in ``data``) is disproportionately expensive for its size: each scan of a
    JPEG covers all pixels again, and a TIFF tile may be larger than the picture."""
    if opened.format in ("JPEG", "MPO"):
        return data.count(_START_OF_SCAN) > MAX_SCANS  # among pixels these bytes do not occur
    if opened.format == "TIFF":
        return _tile_pixels(opened) > max_pixels
    return False


def is_crowded(data: bytes) -> bool:
    """Whether ``data`` is a PNG with too many chunks before its pixels. Check before opening."""
    if not data.startswith(_PNG):
        return False
    place = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        if place >= len(data) or data[place + 4 : place + 8] == b"IDAT":
            return False
        place += int.from_bytes(data[place : place + 4], "big") + _CHUNK_BYTES
    return True


def _tile_pixels(opened: Image.Image) -> int:
    tags = getattr(opened, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    return width * length if isinstance(width, int) and isinstance(length, int) else 0
