"""A ZIP that is streamed while it is written. Files are stored uncompressed: pictures are compressed already."""

from __future__ import annotations

import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any, cast

from fastapi.responses import StreamingResponse

from serve.api.http.headers import disposition

_FILE_MODE = 0o644 << 16


class _Sink:
    """A write-only file; `take` returns the bytes written since the last call."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        data = bytes(self._written)
        self._written.clear()
        return data


async def zip_stream(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]]) -> AsyncIterator[bytes]:
    """The pieces of a ZIP of ``files``, each a name and its content; at most one piece is in memory.

    Names have to differ. An error of ``files`` truncates the ZIP, which readers then report as incomplete.
    """
    sink = _Sink()
    archive = zipfile.ZipFile(cast(Any, sink), "w", zipfile.ZIP_STORED)
    async for name, pieces in files:
        entry = zipfile.ZipInfo(name, time.gmtime()[:6])
        entry.external_attr = _FILE_MODE
        # Its length is not known yet: the 64-bit form allows any length.
        with archive.open(entry, "w", force_zip64=True) as file:
            async for piece in pieces:
                file.write(piece)
                yield sink.take()
        yield sink.take()
    archive.close()
    yield sink.take()


def zip_response(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]], filename: str) -> StreamingResponse:
    headers = {"Content-Disposition": disposition("attachment", filename)}
    return StreamingResponse(zip_stream(files), headers=headers, media_type="application/zip")
