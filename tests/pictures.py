"""Small pictures of unusual and invalid kinds."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw


def encode(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def drawn(mode: str = "RGBA", size: int = 64) -> Image.Image:
    """A disc with a bar across it."""
    picture = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((4, 4, size - 5, size - 5), fill=(220, 30, 60, 255))
    draw.rectangle((size // 4, size // 2 - 4, 3 * size // 4, size // 2 + 4), fill=(255, 240, 200, 255))
    return picture if mode == "RGBA" else picture.convert("RGB").convert(mode)


def decompression_bomb() -> bytes:
    """A PNG of a few hundred bytes whose header claims 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


# Pictures that must be refused with 4xx.
REFUSED: dict[str, bytes] = {
    "not_an_image": b"this is not a picture",
    "truncated": encode(drawn(size=256))[:300],
    "empty": b"",
    "too_large": encode(drawn()) + bytes(10 * 1024 * 1024 + 1),
    "bomb": decompression_bomb(),
    "one_pixel": encode(Image.new("RGB", (1, 1))),
    "very_wide": encode(Image.new("RGB", (20_000, 10))),
    "transparent": encode(Image.new("RGBA", (64, 64), (0, 0, 0, 0))),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
}


def _animated() -> bytes:
    frames = [drawn("P"), drawn("P").rotate(90)]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:])


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(drawn("RGB", 96).resize((96, 48)), "JPEG", exif=exif)


# Unusual pictures that must be accepted.
ACCEPTED: dict[str, bytes] = {
    "cmyk": encode(drawn("CMYK"), "JPEG"),
    "sixteen_bit": encode(Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16))),
    "palette": encode(drawn("P")),
    "grey": encode(drawn("L")),
    "animated": _animated(),
    "exif_rotated": _rotated(),
    "webp": encode(drawn(), "WEBP"),
}
