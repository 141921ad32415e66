"""Small files that are endless work or gigabytes to a decoder, though their header tells a small picture.

Of a JPEG each scan goes over all pixels again; of a PNG each chunk is read by itself; of a TIFF a tile may be larger
than the picture.
"""

from __future__ import annotations

from PIL import Image

MAX_SCANS = 100
"""libtiff's limit for JPEGs in TIFFs. Progressive JPEGs have about ten."""
MAX_CHUNKS = 1000
"""Chunks before the pixels; usual files have a dozen."""
_START_OF_SCAN = b"\xff\xda"
_TILE_WIDTH, _TILE_LENGTH = 322, 323
_SIGNATURE_BYTES, _CHUNK_BYTES = 8, 12


def has_too_many(data: bytes, opened: Image.Image, max_pixels: int) -> bool:
    """Whether decoding ``opened`` (encoded in ``data``) is disproportionately expensive."""
    if opened.format in ("JPEG", "MPO"):
        return data.count(_START_OF_SCAN) > MAX_SCANS  # among pixels these bytes do not occur
    if opened.format == "TIFF":
        return _tile_pixels(opened) > max_pixels
    return False


def is_crowded(data: bytes) -> bool:
    """Whether ``data`` is a PNG with too many chunks before its pixels. Check before opening."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
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
