"""The console of `atelier up`: errors of all processes, or their complete output."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from serve.observability.logs import SUFFIX, log_folder
from serve.settings import Settings

_POLL_INTERVAL_S = 0.5
_MAX_LINES = 50
"""Lines shown per poll; the rest is in the file."""
_MAX_BYTES = 1 << 20
_MARKS = (b"ERROR ", b"CRITICAL ", b'"level":"ERROR"', b'"level":"CRITICAL"')


class Errors:
    """New error records in the log files of ``folder``, including their indented lines."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read = {path: _size(path) for path in self._files()}

    def poll(self) -> list[str]:
        found: list[str] = []
        for path in self._files():
            found += self._new(path)
        kept = found[:_MAX_LINES]
        return kept if len(found) <= _MAX_LINES else [*kept, f"... {len(found) - _MAX_LINES} more in {self._folder}"]

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob(f"*{SUFFIX}"))

    def _new(self, path: Path) -> list[str]:
        begun, size = self._read.get(path, 0), _size(path)
        begun = 0 if size < begun else begun  # the file was rotated
        start = max(begun, size - _MAX_BYTES)
        try:
            with path.open("rb") as file:
                file.seek(start)
                text = file.read(size - start)
        except OSError:
            return []
        whole = text.rfind(b"\n") + 1
        self._read[path] = start + whole
        return _error_lines(text[:whole])


def _is_file(console: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(console.fileno()).st_mode)
    except OSError:  # not a real file
        return False


def _error_lines(text: bytes) -> list[str]:
    console_errors, in_error_record = [], False
    for line in text.split(b"\n"):
        if line.startswith((b" ", b"Traceback ")):
            if in_error_record:
                console_errors.append(line)
            continue
        in_error_record = line.startswith(_MARKS[:2]) or any(mark in line[:200] for mark in _MARKS[2:])
        if in_error_record:
            console_errors.append(line)
    return [line.decode(errors="replace") for line in console_errors]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@contextlib.contextmanager
def console_errors(settings: Settings, console: TextIO) -> Iterator[Settings]:
    """Show errors while the block runs; with ``logs.console`` all processes write to the console themselves. Yields the
    settings for them. If the console is a file, nothing is shown: it would grow without bound."""
    if _is_file(console):
        yield settings.model_copy(update={"logs": settings.logs.model_copy(update={"console": False})})
        return
    if settings.logs.console:
        yield settings
        return
    errors, over = Errors(log_folder(settings)), threading.Event()

    def watch() -> None:
        while not over.wait(_POLL_INTERVAL_S):
            for line in errors.poll():
                print(line, file=console, flush=True)

    watching = threading.Thread(target=watch, name="errors", daemon=True)
    watching.start()
    try:
        yield settings
    finally:
        over.set()
        watching.join(2 * _POLL_INTERVAL_S)
