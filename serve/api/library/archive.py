"""A ZIP that is sent while it is made: its files are stored as they are, for pictures are compressed already."""

from __future__ import annotations

import time
import zipfile
from collections.abc import AsyncIterator
from typing import Any, cast

from fastapi.responses import StreamingResponse

from serve.api.http.headers import disposition

_FILE_MODE = 0o644 << 16


class _Sink:
    """A file that can only be written to: `take` gives what was written since."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        found = bytes(self._written)
        self._written.clear()
        return found


async def zip_stream(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]]) -> AsyncIterator[bytes]:
    """The pieces of a ZIP of ``files``, each a name and its content; no more than one piece of one is held.

    Names have to differ. What ``files`` raises ends the ZIP in the middle, and no reader takes it for whole.
    """
    sink = _Sink()
    archive = zipfile.ZipFile(cast(Any, sink), "w", zipfile.ZIP_STORED)
    async for name, pieces in files:
        entry = zipfile.ZipInfo(name, time.gmtime()[:6])
        entry.external_attr = _FILE_MODE
        # How long it becomes is not known yet: the 64-bit form takes any length.
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
