"""Rows as JSON lines. The manifest records the kind of every column, so that later schemas need not guess."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serve.state.backups.format import BadBackup, Kind
from serve.state.tables import UtcTime

_KINDS: Sequence[tuple[type[sa.types.TypeEngine[Any]], Kind]] = (
    (sa.Text, "text"),
    (sa.Boolean, "flag"),
    (sa.Integer, "whole"),  # includes BigInteger
    (sa.Float, "number"),
    (UtcTime, "time"),
    (sa.DateTime, "time"),  # as reflected from a database
    (sa.JSON, "json"),
    (sa.LargeBinary, "bytes"),
)
TYPES: Mapping[Kind, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "flag": sa.Boolean(),
    "whole": sa.BigInteger(),
    "number": sa.Float(),
    "time": UtcTime(),
    "json": sa.JSON(none_as_null=True),
    "bytes": sa.LargeBinary(),
}
_INT64_LIMIT = 2**63


def kind_of(found: sa.types.TypeEngine[Any]) -> Kind | None:
    """None for a type that no table uses."""
    return next((kind for type_, kind in _KINDS if isinstance(found, type_)), None)


def to_lines(kinds: Sequence[Kind], rows: Iterable[Sequence[Any]]) -> bytes:
    """One JSON array per line, ASCII."""
    writers = [_WRITERS.get(kind) for kind in kinds]
    lines = []
    for row in rows:
        values = [
            value if value is None or write is None else write(value) for value, write in zip(row, writers, strict=True)
        ]
        lines.append(json.dumps(values, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def from_line(columns: Mapping[str, Kind], line: bytes) -> dict[str, Any]:
    """The inverse of `to_lines`. Raises BadBackup."""
    try:
        values = json.loads(line)
        if not isinstance(values, list):
            raise ValueError
        pairs = zip(columns.items(), values, strict=True)
        return {name: None if value is None else _READERS[kind](value) for (name, kind), value in pairs}
    except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
        raise BadBackup("it has a row that cannot be read") from None


def _exactly(type_: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not type_:
            raise ValueError
        return value

    return check


def _to_int(value: Any) -> int:
    if type(value) is not int or not -_INT64_LIMIT <= value < _INT64_LIMIT:
        raise ValueError
    return value


def _to_float(value: Any) -> float:
    if type(value) not in (int, float):
        raise ValueError
    return float(value)


def _to_time(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


_WRITERS: Mapping[Kind, Callable[[Any], str]] = {
    "time": lambda value: str(value.isoformat()),
    "bytes": lambda value: base64.b64encode(value).decode(),
}
_READERS: Mapping[Kind, Callable[[Any], Any]] = {
    "text": _exactly(str),
    "flag": _exactly(bool),
    "whole": _to_int,
    "number": _to_float,
    "time": _to_time,
    "json": lambda value: value,
    "bytes": lambda value: base64.b64decode(value, validate=True),
}
