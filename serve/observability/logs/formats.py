"""Log formats, text lines and JSON objects; and log injection protection.

No text from clients, receivers or engines can start a log line: control characters in messages are escaped, and all but
the first line of a multi-line record, such as a traceback, are indented.
"""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Any

from serve.observability import tracing

INDENT = "    "
_MAX_LINE_CHARACTERS = 20_000


class _Record(logging.LogRecord):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = indent_continuation_lines("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        return indent_continuation_lines(super().getMessage())


def indent_continuation_lines(text: str) -> str:
    """``text`` with all but the first line indented, unprintable characters escaped, lines cut to 20,000 characters."""
    if text.isprintable():
        return text
    return f"\n{INDENT}".join(printable(line, _MAX_LINE_CHARACTERS) for line in text.split("\n"))


def install() -> None:
    """Apply to all records of this process."""
    logging.setLogRecordFactory(_Record)


def printable(text: str, most: int) -> str:
    """At most ``most`` characters of ``text`` in one line, unprintable ones escaped."""
    console_errors = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text[:most]
    )
    return console_errors[:most]


FIELDS = "fields"
"""Key of a record's ``extra`` with additional values by name."""


def log_values(logger: logging.Logger, message: str, *values: object, fields: dict[str, Any]) -> None:
    """As ``logger.info``, with ``fields``, but without the search for the calling line, which no format has."""
    if logger.isEnabledFor(logging.INFO):
        record = _Record(logger.name, logging.INFO, "", 0, message, values, None)
        setattr(record, FIELDS, fields)
        logger.handle(record)


_OTHERS_LEVEL = logging.WARNING
"""Minimum level of other libraries' records: below it they contain addresses and paths."""


class ProjectFilter(logging.Filter):
    """Passes records of the project, and warnings and errors of others."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= _OTHERS_LEVEL or record.name.partition(".")[0] == "serve"


class _Lines(logging.Formatter):
    def __init__(self, component: str, replica: str) -> None:
        super().__init__()
        self._component = component
        self._replica = replica

    def _ids(self) -> dict[str, str]:
        """Ids of the current request and trace; handlers run in the context of the log call."""
        here = tracing.current()
        found = {"request_id": here.request_id} if here.request_id else {}
        if here.span is not None:
            context = here.span.get_span_context()
            found |= {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}
        return found


class JsonLines(_Lines):
    """One object per line, in ASCII: `time` (UTC), `level`, `logger`, `message`, `component`, `replica`, ids,
    fields."""

    def format(self, record: logging.LogRecord) -> str:
        values: dict[str, Any] = {
            "time": _time(record), "level": record.levelname, "logger": record.name, "message": record.getMessage(),
            "component": self._component, "replica": self._replica, **self._ids(), **getattr(record, FIELDS, {}),
        }  # fmt: skip
        if (exception := _exception(self, record)) is not None:
            values["exception"] = exception
        return json.dumps(values, separators=(",", ":"), default=str)


class TextLines(_Lines):
    """`LEVEL time component request-id logger: message`, followed by the lines of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        which = self._ids().get("request_id", "-")
        head = f"{record.levelname} {_time(record)} {self._component}/{self._replica} {which} {record.name}: "
        exception = _exception(self, record)
        return head + record.getMessage() + (f"\n{exception}" if exception is not None else "")


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _exception(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """The traceback as prepared by `serve.observability.logs.formats`."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text or None
