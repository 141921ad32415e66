"""Errors of the database's drivers as those of `serve.errors`."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from serve.errors import OutOfSpace, StateUnavailable

_FULL_MESSAGES = ("database or disk is full", "No space left on device")
_FULL_CODES = ("53100", "SQLITE_FULL", "SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_WRITE")
"""Codes of PostgreSQL and SQLite. Other I/O errors, or lack of memory, would not be cured by more disk space."""


@contextlib.contextmanager
def map_database_errors() -> Iterator[None]:
    """Maps driver errors (unavailable, busy, full) to StateUnavailable and OutOfSpace; programming errors pass
    unchanged."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as raised:
        error = raised if isinstance(raised, DBAPIError) else _wrapped(raised)
        if any(text in str(error.orig) for text in _FULL_MESSAGES) or _error_code(error) in _FULL_CODES:
            raise OutOfSpace("there is no space left to write this down; make room on the site's disk") from error
        if _is_programming_error(error):
            raise
        raise StateUnavailable("the database does not answer; try again") from error
    except (PoolTimeout, OSError, TimeoutError) as error:
        raise StateUnavailable("the database does not answer; try again") from error
    except SQLAlchemyError:
        raise


def _wrapped(error: sqlite3.Error) -> DBAPIError:
    """SQLAlchemy's error for one of the driver."""
    kind: type[DBAPIError] = getattr(sa.exc, type(error).__name__, DBAPIError)
    return kind("a batch of writes", None, error, hide_parameters=True)


def _is_programming_error(error: DBAPIError) -> bool:
    return isinstance(error, sa.exc.IntegrityError | sa.exc.ProgrammingError | sa.exc.DataError)


def _error_code(error: DBAPIError) -> str | None:
    """PostgreSQL's SQLSTATE, or the name of SQLite's extended error code."""
    found: str | None = getattr(error.orig, "sqlstate", None) or getattr(error.orig, "sqlite_errorname", None)
    return found
