"""The folder of adapters' files of one process. It is locked while its process lives, in whatever namespace of pids, so
that another process can remove it afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "atelier-adapters-"


def remove_abandoned() -> None:
    """Remove the folders of processes that were killed: their locks are free."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = _lock(folder)
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def locked_folder() -> tuple[tempfile.TemporaryDirectory[str], int]:
    """A new folder of adapters, and the descriptor that locks it."""
    while True:
        folder = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        with contextlib.suppress(OSError):
            lock = _lock(Path(folder.name))
            if os.path.isdir(folder.name):
                return folder, lock
            os.close(lock)  # another process has just removed it


def _lock(folder: Path) -> int:
    """Raises OSError where another process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
