"""Logging of a process: a rotating file of its own, and errors, or everything, on the console (C-093).

Every record has the ids of its request and trace, if there are any.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from serve.observability.logs import formats
from serve.observability.logs.formats import JsonLines, ProjectFilter, TextLines
from serve.settings import LogsSettings, Settings

SUFFIX = ".log"
_OURS, _RAY_SERVE = "serve", "ray.serve"
"""Loggers: the level of the first is a setting; the second does not propagate to the root's handlers."""


class _File(RotatingFileHandler):
    """Reopens the file if it was deleted: the oldest files of a folder are removed even while open.

    The library's own `emit` formats each record twice and makes five system calls; here it is once and two.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}{self.terminator}"
            if self.stream is None:
                self.stream = self._open()
            found = os.fstat(self.stream.fileno())
            if not found.st_nlink:
                self.stream.close()
                self.stream = self._open()
            elif self.maxBytes > 0 and found.st_size + len(line) >= self.maxBytes:
                self.doRollover()
            self.stream.write(line)
            self.stream.flush()
        except Exception:
            self.handleError(record)


def log_folder(settings: Settings) -> Path:
    return settings.logs.folder or settings.state_dir / "logs"


def install(settings: Settings, component: str, replica: str = "") -> None:
    """Configure all loggers of this process. If the folder is not writable, logs go to the console."""
    formats.install()
    logging.raiseExceptions = False  # a full disk must not flood the console
    own, replica = settings.logs, replica or str(os.getpid())
    formatter = (JsonLines if own.format == "json" else TextLines)(component, replica)
    console = logging.StreamHandler(sys.stderr)
    console.setLevel(own.level if own.console else logging.ERROR)
    handlers: list[logging.Handler] = [console]
    try:
        handlers.append(_file(log_folder(settings), own, f"{component}-{replica}"))
    except OSError as error:
        console.setLevel(own.level)
        reason = error.strerror
    else:
        reason = ""
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(ProjectFilter())
    logging.getLogger().handlers[:] = handlers
    logging.getLogger(_OURS).setLevel(own.level)
    rays = logging.getLogger(_RAY_SERVE)
    rays.handlers[:] = [*(one for one in rays.handlers if not isinstance(one, _File)), *handlers[1:]]
    if reason:
        logging.getLogger(__name__).error("logs go to the console: %s (%s)", log_folder(settings), reason)


def _file(folder: Path, own: LogsSettings, name: str) -> _File:
    folder.mkdir(parents=True, exist_ok=True)
    _delete_old_files(folder, own.max_files - own.old_files - 1)
    return _File(folder / f"{name}{SUFFIX}", maxBytes=own.max_file_bytes, backupCount=own.old_files, encoding="utf-8")


def _delete_old_files(folder: Path, most: int) -> None:
    """Keep the ``most`` recently written files, delete the rest."""
    found = []
    for path in folder.glob(f"*{SUFFIX}*"):
        with contextlib.suppress(OSError):
            found.append((path.stat().st_mtime, path))
    for _, path in sorted(found, reverse=True)[max(0, most) :]:
        path.unlink(missing_ok=True)
