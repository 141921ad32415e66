"""`StaticFile`: a file that is the same for everybody, answered with validator, caching and compression."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fastapi import Request, Response

REVALIDATED = "no-cache"
"""Cached, and revalidated each time: another release has other content under the same name."""


@dataclass(frozen=True)
class StaticFile:
    """``compressed`` has the content by content encoding, in the order of preference."""

    content: bytes
    media_type: str
    compressed: Mapping[str, bytes]

    @cached_property
    def tag(self) -> str:
        return f'W/"{hashlib.sha256(self.content).hexdigest()[:32]}"'  # weak: it may be compressed on its way

    def answer(self, request: Request, cache_control: str = REVALIDATED) -> Response:
        """The file in an encoding that the client accepts; 304 if the client has it."""
        headers = {"Cache-Control": cache_control, "ETag": self.tag, "Vary": "Accept-Encoding"}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        accepted = request.headers.get("accept-encoding", "")
        encoding = next((name for name in self.compressed if name in accepted), None)
        if encoding is None:
            return Response(self.content, 200, headers, self.media_type)
        headers["Content-Encoding"] = encoding
        return Response(self.compressed[encoding], 200, headers, self.media_type)
