"""What Triton's log says: ready, a port that is taken, the reason for not starting; and how loud a line is."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence

_READY = "Started Metrics Service at"  # the last thing to start
_PORT_TAKEN = re.compile(r"[Aa]ddress already in use|Socket '.*' already in use", re.IGNORECASE)
#: A fault of Triton's own in a lock of shared memory: seldom seen, and gone at the next start.
_PASSING = "boost::interprocess::lock_exception"
_LAST_WORDS = ("error:", "cannot start", "terminate called")
_LEVELS = {"E": logging.ERROR, "W": logging.WARNING}
#: Written on every machine without a GPU, at the start or by the first batch.
_HARMLESS = (
    "CudaDriverHelper has not been initialized",
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
)
_LEVEL = re.compile(r"^([EWI])\d{4} ")
_FAILED = re.compile(r"failed to load '(?P<engine>[^']+)'(?: version \d+)?: (?P<reason>.*)")
#: Python's and Triton's own words around a reason, and paths: not for a client.
_WRAPPERS = re.compile(r"^(?:Internal|Invalid argument|Unavailable|Not found|Unsupported|TritonModelException): ")
_PATH = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+[\w.+-]*")


def is_ready(line: str) -> bool:
    return _READY in line


def port_was_taken(lines: Iterable[str]) -> bool:
    return any(_PORT_TAKEN.search(line) for line in lines)


def fault_passes(lines: Iterable[str]) -> bool:
    """Whether the server ended of something that another start should not meet."""
    return any(_PASSING in line for line in lines)


def level(line: str) -> int:
    """The logging level of a line; information is kept for debugging only."""
    match = None if any(text in line for text in _HARMLESS) else _LEVEL.match(line)
    return _LEVELS.get(match.group(1), logging.DEBUG) if match else logging.DEBUG


def failure(lines: Sequence[str]) -> str:
    """Why the server did not start, in Triton's own words, without paths."""
    reasons: dict[str, str] = {}
    for line in lines:
        match = _FAILED.search(line)
        if match:
            reasons.setdefault(match["engine"], plain(match["reason"]))
    if reasons:
        return "; ".join(
            reason if f"'{engine}'" in reason else f"engine '{engine}': {reason}" for engine, reason in reasons.items()
        )
    errors = [line for line in lines if level(line) == logging.ERROR or line.startswith(_LAST_WORDS)]
    return f"tritonserver ended at start: {plain(errors[-1])}" if errors else "tritonserver ended at start"


def plain(reason: str) -> str:
    """Triton's words without wrappers, traces and paths."""
    reason = reason.split(r"\n\nAt:")[0].split("\n\nAt:")[0].replace(r"\n", " ").strip().strip('"')
    while match := _WRAPPERS.match(reason):
        reason = reason[match.end() :]
    return _PATH.sub("…", reason)
