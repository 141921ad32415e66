"""Parses Triton's log: readiness, a failed start and its reason, a port in use, the level of a line."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

_READY = "Started Metrics Service at"  # the last thing to start
#: With ``exit-on-error`` a start that fails comes here once every load has ended, with its reason logged.
_GIVEN_UP = "Waiting for in-flight requests to complete"
_PORT_TAKEN = re.compile(r"[Aa]ddress already in use|Socket '.*' already in use", re.IGNORECASE)
#: A fault in Triton's own shared memory lock; rare, and gone at the next start.
_TRANSIENT = "boost::interprocess::lock_exception"
_ERROR_PREFIXES = ("error:", "cannot start", "terminate called")
_LEVELS = {"E": logging.ERROR, "W": logging.WARNING}
#: Logged on every machine without a GPU.
_HARMLESS = (
    "CudaDriverHelper has not been initialized",
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
)
_LEVEL = re.compile(r"^([EWI])\d{4} ")
_FAILED = re.compile(r"failed to load '(?P<engine>[^']+)'(?: version \d+)?: (?P<reason>.*)")
#: Wrappers that Python and Triton add around a reason, and paths: not shown to clients.
_WRAPPERS = re.compile(r"^(?:Internal|Invalid argument|Unavailable|Not found|Unsupported|TritonModelException): ")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+[\w.+-]*")


def is_ready(line: str) -> bool:
    return _READY in line


def is_given_up(line: str) -> bool:
    """Whether the server stops by itself: all reasons are logged, its end may take seconds more."""
    return _GIVEN_UP in line


def is_port_taken(lines: Iterable[str]) -> bool:
    return any(_PORT_TAKEN.search(line) for line in lines)


def is_transient(lines: Iterable[str]) -> bool:
    """Whether the server ended from a transient fault."""
    return any(_TRANSIENT in line for line in lines)


def level(line: str) -> int:
    """The logging level of a line; Triton's info lines are logged as debug."""
    match = None if any(text in line for text in _HARMLESS) else _LEVEL.match(line)
    return _LEVELS.get(match.group(1), logging.DEBUG) if match else logging.DEBUG


def failure(lines: Sequence[str]) -> str:
    """Why the server did not start, in Triton's words, without paths."""
    reasons: dict[str, str] = {}
    for line in lines:
        match = _FAILED.search(line)
        if match:
            reasons.setdefault(match["engine"], plain(match["reason"]))
    if reasons:
        return "; ".join(
            reason if f"'{engine}'" in reason else f"engine '{engine}': {reason}" for engine, reason in reasons.items()
        )
    errors = [line for line in lines if level(line) == logging.ERROR or line.startswith(_ERROR_PREFIXES)]
    return f"tritonserver ended at start: {plain(errors[-1])}" if errors else "tritonserver ended at start"


def plain(reason: str) -> str:
    """Triton's message without wrappers, traces and paths."""
    reason = reason.split(r"\n\nAt:")[0].split("\n\nAt:")[0].replace(r"\n", " ").strip().strip('"')
    while match := _WRAPPERS.match(reason):
        reason = reason[match.end() :]
    return _PATH.sub("…", reason)
