"""A ZIP that is created while it is sent: readable, bounded in memory, and never complete after a failure."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Sequence

import pytest

from serve.api.library.generations import zip_stream

PIECE = bytes(range(256)) * 4096


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


async def files(counts: Sequence[int]) -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
    for number, count in enumerate(counts):
        yield f"{number}.bin", pieces(count)


async def test_zip_round_trip() -> None:
    data = b"".join([piece async for piece in zip_stream(files([2, 0, 1]))])
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert [archive.read(f"{n}.bin") for n in range(3)] == [PIECE * 2, b"", PIECE]


async def test_no_files_make_an_empty_zip() -> None:
    data = b"".join([piece async for piece in zip_stream(files([]))])
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == []


async def test_memory_is_bounded() -> None:
    """Streams 200 MiB."""
    tracemalloc.start()
    total = 0
    async for piece in zip_stream(files([100, 100])):
        total += len(piece)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 200 * len(PIECE)
    assert most < 8 * len(PIECE)


async def test_failed_stream_is_not_a_valid_zip() -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield PIECE
        raise OSError("gone")

    async def some() -> AsyncIterator[tuple[str, AsyncIterator[bytes]]]:
        yield "a", pieces(1)
        yield "b", failing()

    sent = bytearray()

    async def send() -> None:
        async for piece in zip_stream(some()):
            sent.extend(piece)

    with pytest.raises(OSError, match="gone"):
        await send()
    assert len(sent) > 2 * len(PIECE)
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(sent))
