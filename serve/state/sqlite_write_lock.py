"""`SqliteWriteLock`: writers of several processes take turns at one SQLite file.

SQLite's own way is to sleep longer and longer while another writes, up to a tenth of a second, and whoever writes all
the time is always awake first. Here everybody asks every millisecond. The kernel ends the turn of a process that dies.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path
from types import TracebackType

from serve.errors import StateUnavailable

_ASK_S = 0.001


class SqliteWriteLock:
    """Of one event loop, whose tasks take turns first come, first served. The file is made beside the database."""

    def __init__(self, database: Path, timeout_s: float) -> None:
        self._path = database.with_name(f"{database.name}-turn")
        self._timeout_s = timeout_s
        self._here = asyncio.Lock()
        self._file: int | None = None

    async def __aenter__(self) -> None:
        """Raises StateUnavailable when it did not come within ``timeout_s``, and OSError without a folder."""
        deadline = time.monotonic() + self._timeout_s
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._here.acquire()
        except TimeoutError:
            raise StateUnavailable("the database is busy; try again") from None
        try:
            while not self._taken():
                if time.monotonic() >= deadline:
                    raise StateUnavailable("the database is busy; try again")
                await asyncio.sleep(_ASK_S)
        except BaseException:
            self._here.release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._here.release()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _taken(self) -> bool:
        if self._file is None:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
