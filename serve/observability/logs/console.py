"""The console of `atelier up` shows the errors of all processes that it started, or they have it as their own."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from serve.observability.logs import SUFFIX, folder_of
from serve.settings import Settings

_LOOK_S = 0.5
_MOST_LINES = 50
"""Shown in one look: who has more to say is read in its file."""
_MOST_BYTES = 1 << 20
_MARKS = (b"ERROR ", b"CRITICAL ", b'"level":"ERROR"', b'"level":"CRITICAL"')


class Errors:
    """What is new in the files of ``folder`` and wrong. Lines that belong to a record of text come with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = {path: _size(path) for path in self._files()}

    def look(self) -> list[str]:
        found: list[str] = []
        for path in self._files():
            found += self._new(path)
        kept = found[:_MOST_LINES]
        return kept if len(found) <= _MOST_LINES else [*kept, f"... {len(found) - _MOST_LINES} more in {self._folder}"]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def _new(self, path: Path) -> list[str]:
        begun, size = self._read.get(path, 0), _size(path)
        begun = 0 if size < begun else begun  # it has gone on in a new file
        start = max(begun, size - _MOST_BYTES)
        try:
            with path.open("rb") as file:
                file.seek(start)
                text = file.read(size - start)
        except OSError:
            return []
        whole = text.rfind(b"\n") + 1
        self._read[path] = start + whole
        return _wrong(text[:whole])


def _is_file(console: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(console.fileno()).st_mode)
    except OSError:  # it is in memory
        return False


def _wrong(text: bytes) -> list[str]:
    shown, goes_on = [], False
    for line in text.split(b"\n"):
        if line.startswith((b" ", b"Traceback ")):
            if goes_on:
                shown.append(line)
            continue
        goes_on = line.startswith(_MARKS[:2]) or any(mark in line[:200] for mark in _MARKS[2:])
        if goes_on:
            shown.append(line)
    return [line.decode(errors="replace") for line in shown]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def shown(settings: Settings, console: TextIO) -> Iterator[Settings]:
    """Errors, while the block runs; with ``logs.console``, which may be off in what is given, all processes write there
    themselves. Neither if the console is a file: everything would be kept twice, without an end."""
    if _is_file(console):
        yield settings.model_copy(update={"logs": settings.logs.model_copy(update={"console": False})})
        return
    if settings.logs.console:
        yield settings
        return
    errors, over = Errors(folder_of(settings)), threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
            for line in errors.look():
                print(line, file=console, flush=True)

    watching = threading.Thread(target=watch, name="errors", daemon=True)
    watching.start()
    try:
        yield settings
    finally:
        over.set()
        watching.join(2 * _LOOK_S)
