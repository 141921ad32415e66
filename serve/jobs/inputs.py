"""Pictures that come in, as they are kept."""

from __future__ import annotations

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def media_type_of(data: bytes) -> str:
    """By its first bytes, which is all that a name in the object store needs; nothing else is checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
    return next(found, "application/octet-stream")
