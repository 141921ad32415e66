"""In what order a gallery is shown, and marks of places in it that clients bring back unchanged.

A cursor is the order's name and the sorted values of a row, as JSON in base64url. Whatever a client makes of one, it
only ever names a place: what is shown is decided by the filters.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serve.errors import InvalidRequest
from serve.state.tables import UtcTime, generations

_LONGEST = 256
_MOST_SEQ = 2**63 - 1
_LONGEST_SEQ = 32
_UNRATED = -1e300
"""Where the unrated stand: below whatever a rating may be. A number, so that a row comparison has no NULL in it."""

_g = generations.c


def _time(value: Any) -> datetime:
    if not isinstance(value, str) or (found := datetime.fromisoformat(value)).tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


def _seq(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MOST_SEQ:
        raise ValueError
    return value


def _rating(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


@dataclass(frozen=True)
class _Key:
    """One of the values that an order compares: how a row has it, JSON writes it and ``read`` takes it back."""

    column: sa.ColumnElement[Any]
    name: str
    read: Callable[[Any], Any]
    type: sa.types.TypeEngine[Any]


_CREATED = _Key(_g.created_at, "created_at", _time, UtcTime())
_SEQ = _Key(_g.seq, "seq", _seq, sa.BigInteger())
_RATING = _Key(sa.func.coalesce(_g.rating, sa.literal_column(repr(_UNRATED))), "rating", _rating, sa.Float())


@dataclass(frozen=True)
class Sort:
    """``keys`` from the one that weighs most; the last is never the same in two rows."""

    name: str
    keys: Sequence[_Key]
    descending: bool = True

    @property
    def order(self) -> list[sa.ColumnElement[Any]]:
        return [key.column.desc() if self.descending else key.column.asc() for key in self.keys]

    def cursor(self, row: sa.Row[Any]) -> str:
        """The place right after ``row``, which has the columns of ``generations``."""
        found = [getattr(row, key.name) for key in self.keys]
        values = [value.isoformat() if isinstance(value, datetime) else value for value in found]
        told = [_UNRATED if value is None else value for value in values]
        return base64.urlsafe_b64encode(json.dumps([self.name, *told]).encode()).decode().rstrip("=")

    def after(self, cursor: str) -> sa.ColumnElement[bool]:
        """What comes after that place. Raises InvalidRequest."""
        place = sa.tuple_(*(sa.literal(v, k.type) for k, v in zip(self.keys, self._read(cursor), strict=True)))
        here = sa.tuple_(*(key.column for key in self.keys))
        return here < place if self.descending else here > place

    def _read(self, cursor: str) -> list[Any]:
        try:
            if len(cursor) > _LONGEST:
                raise ValueError
            padded = cursor + "=" * (-len(cursor) % 4)
            name, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if name != self.name and name in SORTS:
                raise InvalidRequest("is of another order; start without one", "cursor")
            return [key.read(value) for key, value in zip(self.keys, values, strict=True)]
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            raise InvalidRequest("is not one that a page told", "cursor") from None


NEWEST = Sort("newest", (_CREATED, _SEQ))
OLDEST = Sort("oldest", (_CREATED, _SEQ), descending=False)
RATING = Sort("rating", (_RATING, _CREATED, _SEQ))
"""The best rated first, and what nobody rated last."""

SORTS: Mapping[str, Sort] = {sort.name: sort for sort in (NEWEST, OLDEST, RATING)}


def cursor_of_seq(seq: int) -> str:
    """Of a page that is in the order of its rows."""
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def seq_of(cursor: str) -> int:
    """Raises InvalidRequest naming ``cursor``."""
    try:
        digits = base64.b64decode(cursor[:_LONGEST_SEQ] + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        seq = int(digits) if digits.isdigit() else -1
    except (ValueError, binascii.Error):
        seq = -1
    if not 0 <= seq <= _MOST_SEQ:
        raise InvalidRequest("is not one that a page told", "cursor")
    return seq
