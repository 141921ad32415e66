"""What a process of the stack writes down: a file of its own, with an end, and errors, or all, on the console (C-093).

Every record has the id of the request that it is about, and of its trace, if there is one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from serve.observability.logs import escaping
from serve.observability.logs.formats import JsonLines, Ours, TextLines
from serve.settings import LogsSettings, Settings

SUFFIX = ".log"
_OURS, _RAY_SERVE = "serve", "ray.serve"
"""Loggers: of the first the level is a setting; the second passes nothing on to the root's handlers."""


class _File(RotatingFileHandler):
    """Is begun anew when somebody took it away: the oldest files of a folder go, whoever has them open."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None and not os.path.exists(self.baseFilename):
            self.stream.close()
            self.stream = None  # it is opened again
        super().emit(record)


def folder_of(settings: Settings) -> Path:
    return settings.logs.folder or settings.state_dir / "logs"


def install(settings: Settings, component: str, replica: str = "") -> None:
    """For all loggers of this process, from now on. A folder that cannot be written leaves the console alone."""
    escaping.install()
    logging.raiseExceptions = False  # a disk that is full is no reason to fill the console
    own, replica = settings.logs, replica or str(os.getpid())
    formatter = (JsonLines if own.format == "json" else TextLines)(component, replica)
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(own.level if own.console else logging.ERROR)
    handlers: list[logging.Handler] = [console]
    try:
        handlers.append(_file(folder_of(settings), own, f"{component}-{replica}"))
    except OSError as error:
        console.setLevel(own.level)
        reason = error.strerror
    else:
        reason = ""
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(Ours())
    logging.getLogger().handlers[:] = handlers
    logging.getLogger(_OURS).setLevel(own.level)
    rays = logging.getLogger(_RAY_SERVE)
    rays.handlers[:] = [*(one for one in rays.handlers if not isinstance(one, _File)), *handlers[1:]]
    if reason:
        logging.getLogger(__name__).error("logs go to the console: %s (%s)", folder_of(settings), reason)


def _file(folder: Path, own: LogsSettings, name: str) -> _File:
    folder.mkdir(parents=True, exist_ok=True)
    _make_room(folder, own.max_files - own.old_files - 1)
    return _File(folder / f"{name}{SUFFIX}", maxBytes=own.max_file_bytes, backupCount=own.old_files, encoding="utf-8")


def _make_room(folder: Path, most: int) -> None:
    """Leaves ``most`` files, those that were written to last."""
    found = []
    for path in folder.glob(f"*{SUFFIX}*"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[max(0, most) :]:
        path.unlink(missing_ok=True)
