"""A record as a line of text, or as a JSON object."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from serve.observability import tracing

FIELDS = "fields"
"""Of a record's ``extra``: more values for it, by name."""
_DAMPED = logging.WARNING
"""What is none of ours is written down from this level on: libraries tell addresses and paths below it."""


class Ours(logging.Filter):
    """Lets through what a logger of the project says, and of others what is wrong."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= _DAMPED or record.name.partition(".")[0] == "serve"


class _Lines(logging.Formatter):
    def __init__(self, component: str, replica: str) -> None:
        super().__init__()
        self._component = component
        self._replica = replica

    def _ids(self) -> dict[str, str]:
        """Of what is under way where the record is made: handlers run there."""
        here = tracing.here()
        found = {"request_id": here.request_id} if here.request_id else {}
        if here.span is not None:
            context = here.span.get_span_context()
            found |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        return found


class JsonLines(_Lines):
    """One object a line, in ASCII: `time` (UTC), `level`, `logger`, `message`, `component`, `replica`, ids, fields."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record), "level": record.levelname, "logger": record.name, "message": record.getMessage(),
            "component": self._component, "replica": self._replica, **self._ids(), **getattr(record, FIELDS, {}),
        }  # fmt: skip
        if (exception := _exception(self, record)) is not None:
            told["exception"] = exception
        return json.dumps(told, separators=(",", ":"), default=str)


class TextLines(_Lines):
    """`LEVEL time component request-id logger: message`; the lines of an exception after it."""

    def format(self, record: logging.LogRecord) -> str:
        which = self._ids().get("request_id", "-")
        head = f"{record.levelname} {_time(record)} {self._component}/{self._replica} {which} {record.name}: "
        exception = _exception(self, record)
        return head + record.getMessage() + (f"\n{exception}" if exception is not None else "")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """As `serve.observability.logs.escaping` has contained it."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text or None
