"""One record, one line: nothing that a client, a receiver or an engine said begins a line of the log.

Control characters of a message are written as escapes. Where a record has several lines, as a trace has, all but the
first are indented: whoever reads the log tells them from records, whatever they say.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any

INDENT = "    "
_LONGEST_LINE = 20_000


class _Record(logging.LogRecord):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        if self.exc_info and self.exc_info[0] is not None:
            self.exc_text = contained("".join(traceback.format_exception(*self.exc_info)).rstrip("\n"))

    def getMessage(self) -> str:
        return contained(super().getMessage())


def contained(text: str) -> str:
    """Its lines, all but the first indented, with what cannot be printed as escapes; each of 20,000 characters."""
    if text.isprintable():
        return text
    return f"\n{INDENT}".join(printable(line, _LONGEST_LINE) for line in text.split("\n"))


def install() -> None:
    """For all records of this process, of whatever logger, handler and formatter."""
    logging.setLogRecordFactory(_Record)


def printable(text: str, most: int) -> str:
    """At most ``most`` characters of ``text``, with what cannot be printed as an escape: a line stays one."""
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text[:most])
    return shown[:most]
