"""What a caller asks of the Vectorizer, from a form's text or a protocol's typed parameters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from serve.ensembles.vectorization import Tier, VectorizeOptions
from serve.errors import InvalidRequest

NAMES = ("tier", "target_quality", "time_budget", "max_bytes", "max_paths", "validate")
_TO_CLIENT = {"time_budget_s": "time_budget"}
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


def parse_options(values: Mapping[str, Any], **fixed: Any) -> VectorizeOptions:
    """``values`` by the clients' names (``NAMES``); ``fixed`` by the fields of ``VectorizeOptions``, and they win.

    An unknown name is an error, so that a misspelt one is not ignored.
    """
    for name in values:
        if name not in NAMES:
            raise InvalidRequest(f"is not an option; known: {', '.join(NAMES)}", name)
    options: dict[str, Any] = {
        "tier": _tier(values.get("tier", "auto")),
        "target_quality": _number(values, "target_quality", 0.9),
        "time_budget_s": _number(values, "time_budget", None),
        "max_bytes": _whole(values, "max_bytes"),
        "max_paths": _whole(values, "max_paths"),
        "validate": _flag(values, "validate"),
    }
    try:
        return VectorizeOptions(**{**options, **fixed})
    except InvalidRequest as error:
        raise InvalidRequest(error.message, _TO_CLIENT.get(error.field or "", error.field)) from None


def _tier(value: Any) -> Tier:
    tiers: dict[str, Tier] = {"auto": "auto", "basic": "basic", "1": 1, "2": 2, "3": 3}
    tier = tiers.get(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if tier is None:
        raise InvalidRequest(f"must be one of {', '.join(tiers)}", "tier")
    return tier


def _number(values: Mapping[str, Any], name: str, default: float | None) -> float | None:
    value = values.get(name)
    if value is None or value == "":
        return default
    number = _to_float(value)
    if not math.isfinite(number):
        raise InvalidRequest("must be a finite number", name)
    return number


def _to_float(value: Any) -> float:
    """``value``, or NaN if it is no number. Python itself would also read Arabic digits, ``0_1`` and spaces."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return math.nan
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    number = _number(values, name, None)
    if number is not None and not number.is_integer():
        raise InvalidRequest("must be a whole number", name)
    return None if number is None else int(number)


def _flag(values: Mapping[str, Any], name: str) -> bool:
    value = values.get(name, False)
    if isinstance(value, bool):
        return value
    if str(value).lower() in _TRUE:
        return True
    if str(value).lower() in _FALSE:
        return False
    raise InvalidRequest("must be true or false", name)
