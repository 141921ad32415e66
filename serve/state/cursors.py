"""Pages of lists: sort orders, and cursors (keyset pagination).

A cursor is the order's name and the sort values of a row, as JSON in base64url. A forged cursor only names a position:
the filters decide what is shown.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from serve.errors import InvalidRequest
from serve.state.tables import UtcTime, generations

_MAX_LENGTH = 256
_MAX_SEQ = 2**63 - 1
_MAX_SEQ_LENGTH = 32
_UNRATED = -1e300
"""The sort value of unrated rows: below any rating. A number, so that row comparisons contain no NULL."""

_g = generations.c
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """``next_cursor`` is None at the end."""

    items: Sequence[T]
    next_cursor: str | None


def check_limit(limit: int, maximum: int) -> None:
    """Raises InvalidRequest naming ``limit``."""
    if not 1 <= limit <= maximum:
        raise InvalidRequest(f"must be from 1 to {maximum}", "limit")


async def fetch_page(
    connection: AsyncConnection,
    query: sa.Select[Any],
    limit: int,
    item_of: Callable[[sa.Row[Any]], T],
    cursor_of: Callable[[sa.Row[Any]], str],
) -> Page[T]:
    """``limit`` rows of the ordered ``query``, which begins after the cursor; ``cursor_of`` has a row's."""
    rows = (await connection.execute(query.limit(limit + 1))).all()
    return Page([item_of(row) for row in rows[:limit]], cursor_of(rows[limit - 1]) if len(rows) > limit else None)


def from_row(kind: type[T], row: sa.Row[Any]) -> T:
    """A ``kind``, a dataclass, of the columns of ``row`` that have the names of its fields."""
    return kind(**{name: getattr(row, name) for name in kind.__dataclass_fields__})  # type: ignore[attr-defined]


def read_time(value: Any) -> datetime:
    if not isinstance(value, str) or (found := datetime.fromisoformat(value)).tzinfo is None:
        raise ValueError
    return found.astimezone(UTC)


def _seq(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_SEQ:
        raise ValueError
    return value


def _rating(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


@dataclass(frozen=True)
class SortKey:
    """One sort value: its column, its attribute of a row, and ``read``, which validates it in a cursor."""

    column: sa.ColumnElement[Any]
    name: str
    read: Callable[[Any], Any]
    type: sa.types.TypeEngine[Any]


_CREATED = SortKey(_g.created_at, "created_at", read_time, UtcTime())
_SEQ = SortKey(_g.seq, "seq", _seq, sa.BigInteger())
_RATING = SortKey(sa.func.coalesce(_g.rating, sa.literal_column(repr(_UNRATED))), "rating", _rating, sa.Float())


@dataclass(frozen=True)
class Sort:
    """``keys`` in decreasing significance; the last is unique."""

    name: str
    keys: Sequence[SortKey]
    descending: bool = True

    @property
    def order_by(self) -> list[sa.ColumnElement[Any]]:
        return [key.column.desc() if self.descending else key.column.asc() for key in self.keys]

    def cursor(self, row: sa.Row[Any]) -> str:
        """The position right after ``row``, which has the columns of ``generations``."""
        found = [getattr(row, key.name) for key in self.keys]
        values = [value.isoformat() if isinstance(value, datetime) else value for value in found]
        json_values = [_UNRATED if value is None else value for value in values]
        return base64.urlsafe_b64encode(json.dumps([self.name, *json_values]).encode()).decode().rstrip("=")

    def after(self, cursor: str) -> sa.ColumnElement[bool]:
        """The condition for rows after the cursor. Raises InvalidRequest."""
        position = sa.tuple_(*(sa.literal(v, k.type) for k, v in zip(self.keys, self._read(cursor), strict=True)))
        row_values = sa.tuple_(*(key.column for key in self.keys))
        return row_values < position if self.descending else row_values > position

    def _read(self, cursor: str) -> list[Any]:
        try:
            if len(cursor) > _MAX_LENGTH:
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
"""The best rated first, unrated last."""

SORTS: Mapping[str, Sort] = {sort.name: sort for sort in (NEWEST, OLDEST, RATING)}


def cursor_of_seq(seq: int) -> str:
    """For lists ordered by ``seq``."""
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def seq_of(cursor: str) -> int:
    """Raises InvalidRequest naming ``cursor``."""
    try:
        digits = base64.b64decode(cursor[:_MAX_SEQ_LENGTH] + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        seq = int(digits) if digits.isdigit() else -1
    except (ValueError, binascii.Error):
        seq = -1
    if not 0 <= seq <= _MAX_SEQ:
        raise InvalidRequest("is not one that a page told", "cursor")
    return seq
