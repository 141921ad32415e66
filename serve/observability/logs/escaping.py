"""Log injection protection: no text from clients, receivers or engines can start a log line.

Control characters in messages are escaped. All but the first line of a multi-line record, such as a traceback, are
indented.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

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
