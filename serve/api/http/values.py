"""Single values of a request, from a form's text or from JSON: each is checked, and refused by the name of its field.

Every reader takes all values and a name. One that is missing, null or an empty text is the default.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from serve.errors import InvalidRequest

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_LONGEST_NUMBER = 64
"""Characters. No float needs more, and Python takes quadratic time over millions of digits."""
_LONGEST_TIME = 40
_DIGITS = re.compile(r"[+-]?\d{1,19}", re.ASCII)
Range = tuple[float, float]
"""The least and the largest."""

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


def refuse_unknown(values: Mapping[str, Any], known: Collection[str]) -> None:
    """An unknown name is an error, so that a misspelt one is not ignored."""
    for name in values:
        if name not in known:
            raise InvalidRequest(f"is not an option; known: {', '.join(known)}", name[:64])


def number(
    values: Mapping[str, Any], name: str, default: float | None = None, told: Range | None = None
) -> float | None:
    """``told`` is what a refusal says of the range; whoever knows it checks it."""
    value = values.get(name)
    if value is None or value == "":
        return default
    found = _to_float(value)
    if not math.isfinite(found):
        raise InvalidRequest(f"must be a finite number{_from_to(told)}", name)
    return found


def _from_to(told: Range | None) -> str:
    return f" from {told[0]:.19g} to {told[1]:.19g}" if told else ""


def _to_float(value: Any) -> float:
    """``value``, or NaN if it is no number. Python itself would also read Arabic digits, ``0_1`` and spaces."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    if isinstance(value, str) and (len(value) > _LONGEST_NUMBER or not _DECIMAL.fullmatch(value)):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def whole(values: Mapping[str, Any], name: str, default: int | None = None, told: Range | None = None) -> int | None:
    """Exact up to 19 digits: a seed has more of them than a float. ``told`` as of ``number``."""
    value = values.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**19:
        return value
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    found = _to_float(value)
    if not found.is_integer():
        raise InvalidRequest(f"must be a whole number{_from_to(told)}", name)
    return int(found)


def whole_within(values: Mapping[str, Any], name: str, low: int, high: int, default: int) -> int:
    found = whole(values, name)
    if found is not None and not low <= found <= high:
        raise InvalidRequest(f"must be from {low} to {high}", name)
    return default if found is None else found


def flag(values: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = values.get(name)
    if value is None or value == "":
        return default
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUE:
        return True
    if str(value).lower() in _FALSE:
        return False
    raise InvalidRequest("must be true or false", name)


def text(values: Mapping[str, Any], name: str, longest: int | None = None) -> str | None:
    """None by default. Half of a surrogate pair and NUL, which no text has, are refused."""
    value = values.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidRequest("must be text", name)
    if longest is not None and len(value) > longest:
        raise InvalidRequest(f"has {len(value)} characters, more than the {longest} allowed", name)
    if "\0" in value or not _is_unicode(value):
        raise InvalidRequest("is not valid Unicode text", name)
    return value


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def moment(values: Mapping[str, Any], name: str) -> datetime | None:
    """ISO 8601, UTC unless it has a zone."""
    given = text(values, name, _LONGEST_TIME)
    if given is None:
        return None
    try:
        found = datetime.fromisoformat(given)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest("must be an ISO 8601 time such as 2026-05-01T12:00:00Z", name) from None


def required_text(values: Mapping[str, Any], name: str, longest: int | None = None) -> str:
    found = text(values, name, longest)
    if found is None:
        raise InvalidRequest("is required, and must not be empty", name)
    return found


def choice(values: Mapping[str, Any], name: str, known: Collection[str], default: str) -> str:
    value = values.get(name)
    if value is None or value == "":
        return default
    if not isinstance(value, str) or value not in known:
        raise InvalidRequest(f"must be one of {', '.join(known)}", name)
    return value


def mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A JSON object; empty by default."""
    value = values.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest("must be an object", name)
    return value
