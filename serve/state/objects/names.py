"""Names of objects: the SHA-256 of their content and an extension. Names contain no user data."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from serve.errors import NotFound

EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/svg+xml": "svg", "image/gif": "gif",
    "application/octet-stream": "bin", "application/pdf": "pdf", "application/postscript": "eps",
    "image/vnd.dxf": "dxf", "application/gzip": "svgz",
}  # fmt: skip
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
INLINE_BYTES = 256 * 1024
"""Less is hashed at once: a thread would take longer."""
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z]{3,4}", re.ASCII)


def media_type_of(data: bytes) -> str:
    """By its first bytes, which suffices for an object name; nothing else is checked."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    found = (kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
    return next(found, "application/octet-stream")


def name_of(data: bytes, media_type: str) -> str:
    """The SHA-256 of ``data`` in hex and an extension, such as ``3a7b….png``."""
    return f"{hashlib.sha256(data).hexdigest()}.{EXTENSIONS.get(media_type, 'bin')}"


@dataclass(frozen=True)
class Stored:
    """The name and size of a stored object."""

    name: str
    bytes: int


def path_of(name: str) -> str:
    """The path of an object. Raises NotFound for an invalid name."""
    if not _NAME.fullmatch(name):
        raise NotFound("there is no such object")
    return f"{name[:2]}/{name}"


async def named(files: Sequence[tuple[bytes, str]]) -> list[Stored]:
    """The names that `Objects.put_all` gives to ``files``."""
    if sum(len(data) for data, _ in files) < INLINE_BYTES:
        return _name_all(files)
    return await asyncio.to_thread(_name_all, files)


def _name_all(files: Sequence[tuple[bytes, str]]) -> list[Stored]:
    return [Stored(name_of(data, media_type), len(data)) for data, media_type in files]
