"""Small files that expand, run long, or are valid in two formats."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache

from pictures import drawn, encode
from PIL import Image

PIXELS = 64 * (64 * 4 + 1)
Tag = tuple[int, int, int, int]
_DATA = -1
"""In a tag tuple: the offset of the data."""


@cache
def zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(before: bytes = b"", pixels: bytes = b"", after: bytes = b"") -> bytes:
    """64 x 64, transparent; ``before`` and ``after`` are chunks around its pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 6, 0, 0, 0))
    body = chunk(b"IDAT", pixels or zeros(PIXELS))
    return b"\x89PNG\r\n\x1a\n" + head + before + body + after + chunk(b"IEND", b"")


def tiff(*tags: Tag, data: bytes) -> bytes:
    """64 x 64, 8-bit grey, deflated; ``tags`` are (tag, type, count, value)."""
    usual: list[Tag] = [
        (256, 4, 1, 64),
        (257, 4, 1, 64),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
    ]
    every = sorted({tag[0]: tag for tag in (*usual, *tags)}.values())
    start = 8 + 2 + 12 * len(every) + 4
    entries = b"".join(struct.pack("<HHII", *tag[:3], start if tag[3] == _DATA else tag[3]) for tag in every)
    return b"II*\0" + struct.pack("<IH", 8, len(every)) + entries + bytes(4) + data


def tiled(side: int) -> bytes:
    data = zeros(side * side)
    return tiff((322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, _DATA), (325, 4, 1, len(data)), data=data)


def with_scans(more: int, side: int = 4096, progressive: bool = True) -> bytes:
    """A JPEG with ``more`` scans than it needs, each of which goes over all pixels."""
    data = encode(Image.new("RGB", (side, side)), "JPEG", progressive=progressive)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last : last + 14] * more + b"\xff\xd9"


def gif(width: int, height: int, left: int = 0, top: int = 0) -> bytes:
    """Of 10 x 10, whose frame says that it is elsewhere and larger."""
    data = encode(Image.new("P", (10, 10)), "GIF")
    frame = data.index(b"\x2c") + 1
    return data[:frame] + struct.pack("<HHHH", left, top, width, height) + data[frame + 8 :]


def bmp(width: int, height: int, colours: int = 0) -> bytes:
    data = bytearray(encode(Image.new("P", (10, 10)), "BMP"))
    data[18:26] = struct.pack("<ii", width, height)
    if colours:
        data[46:50] = struct.pack("<I", colours)
    return bytes(data)


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.png", bytes(50_000_000))
    return stream.getvalue()


BOMBS: dict[str, Callable[[], bytes]] = {
    "text": lambda: png(chunk(b"zTXt", b"a\0\0" + zeros(200_000_000))),
    "texts": lambda: png(chunk(b"zTXt", b"a\0\0" + zeros(1_000_000)) * 200),
    "international text": lambda: png(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(200_000_000))),
    "profile": lambda: png(chunk(b"iCCP", b"a\0\0" + zeros(200_000_000))),
    "chunks": lambda: png(chunk(b"abCd", b"") * 800_000),
    "scans": lambda: with_scans(5000),
    "scans, not progressive": lambda: with_scans(5000, progressive=False),
    "tile": lambda: tiled(20_000),
    "tag": lambda: tiff((258, 3, 0x3FFFFFFF, 8), (273, 4, 1, _DATA), (279, 4, 1, 9), data=zeros(4096)),
    "gif frame": lambda: gif(60_000, 60_000),
    "gif far": lambda: gif(65_535, 65_535, 65_535, 65_535),
    "bmp": lambda: bmp(60_000, 60_000),
    "bmp cut off": lambda: bmp(4000, 4000),
    "bmp colours": lambda: bmp(10, 10, 0x7FFFFFFF),
    "zip": lambda: zipped(),
    "gzip": lambda: zlib.compress(encode(drawn())),
}
"""Made when a test runs: some take a second."""

SCRIPT = b"<html><script>alert(document.cookie)</script></html>"
POLYGLOTS: dict[str, bytes] = {
    "png and html": encode(drawn()) + SCRIPT,
    "png and zip": encode(drawn()) + zipped()[:10_000],
    "png with a script": encode(drawn())[:33] + chunk(b"tEXt", b"a\0" + SCRIPT) + encode(drawn())[33:],
    "jpeg and html": encode(drawn("RGB"), "JPEG", comment=SCRIPT) + SCRIPT,
    "gif and javascript": encode(drawn("P"), "GIF", comment=b"*/=1;alert(1);/*") + b"*/=1;" + SCRIPT,
    "bmp and javascript": encode(drawn("RGB"), "BMP") + b"*/=1;" + SCRIPT,
    "webp and html": encode(drawn(), "WEBP") + SCRIPT,
    "tiff and html": encode(drawn("RGB"), "TIFF") + SCRIPT,
}
