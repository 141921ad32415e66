"""Picture bombs are refused with little work in a limited process; of polyglots only the pixels are stored."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_bombs import BOMBS, POLYGLOTS, SCRIPT, chunk, png, tiled, with_scans, zeros

from serve.api.library.reference_store import SubjectReferenceManager
from serve.errors import BadImage
from serve.settings import HOME, Settings
from serve.state import State
from serve.state.database import Database
from serve.state.objects.names import media_type_of
from serve.state.objects.objects import Objects
from serve.vector.image import MAX_CHUNKS, MAX_SCANS, check, read

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
from serve.errors import AtelierError
from serve.vector.image import read
first = resource.getrusage(resource.RUSAGE_SELF)
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF)
    try:
        with open(path, "rb") as file:
            found = str(read(file.read()).rgba.shape)
    except AtelierError as error:
        found = f"{error.status} {error.field}"
    after = resource.getrusage(resource.RUSAGE_SELF)
    print(found, after.ru_utime - before.ru_utime, (after.ru_maxrss - first.ru_maxrss) / 1024, sep="; ", flush=True)
"""


@pytest.mark.slow
def test_bomb_is_refused_with_little_work(tmp_path: Path) -> None:
    """One after the other in one process, whose memory all of them together may not raise."""
    paths = [tmp_path / str(n) for n in range(len(BOMBS))]
    for path, bomb in zip(paths, BOMBS.values(), strict=True):
        path.write_bytes(bomb())
    command = [sys.executable, "-c", LIMITED, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, timeout=500, cwd=HOME)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()[-500:]
    for name, line in zip(BOMBS, done.stdout.decode().splitlines(), strict=True):
        outcome, seconds, mebibytes = line.split("; ")
        assert outcome in ("413 image", "415 image", "422 image"), (name, outcome)
        assert float(seconds) < 10, name
        assert float(mebibytes) < 100, name


@pytest.mark.parametrize(
    "make",
    [lambda: png(pixels=zeros(200_000_000)), lambda: png(chunk(b"IDAT", b"") * 400_000)],
    ids=["pixels", "empty pieces"],
)
def test_pixels_beyond_the_header_are_not_inflated(make: Callable[[], bytes]) -> None:
    assert read(make()).rgba.shape == (64, 64, 4)


def test_limits_of_scans_and_chunks() -> None:
    check(with_scans(MAX_SCANS - 20, 64))
    with pytest.raises(BadImage):
        check(with_scans(MAX_SCANS, 64))
    empty = chunk(b"abCd", b"")
    read(png(empty * (MAX_CHUNKS - 2)))
    with pytest.raises(BadImage):
        check(png(empty * MAX_CHUNKS))
    assert read(tiled(256)).rgba.shape == (64, 64, 4)


@pytest.mark.parametrize("name", POLYGLOTS)
async def test_only_the_pixels_of_a_polyglot_are_stored(database: Database, tmp_path: Path, name: str) -> None:
    settings = Settings(state_dir=tmp_path)
    state = State(database, Objects(settings, database), settings)
    reference = await SubjectReferenceManager(state).store_subject_reference("ana", "cat", POLYGLOTS[name])
    for digest in (reference.object, reference.thumbnail):
        data = await state.objects.get(digest)
        assert SCRIPT not in data
        assert b"alert" not in data
        assert b"PK\3\4" not in data


@pytest.mark.parametrize("data", [SCRIPT, b"<svg/>", b"%PDF-1.7", b"PK\3\4", b"MZ", b"#!/bin/sh", b"BM", b"II*\0", b""])
def test_stored_non_picture_is_served_as_octet_stream(data: bytes) -> None:
    """Browsers never get it as HTML."""
    assert media_type_of(data) == "application/octet-stream"
