"""What OpenAPI says of breakers and fallback, feature flags and experiments."""

from __future__ import annotations

from typing import Any

from serve.api.openapi.operation import (
    FLAG,
    MAYBE_NUMBER,
    MAYBE_TEXT,
    MAYBE_TIME,
    NUMBER,
    TEXT,
    UNKNOWN,
    WHOLE,
    answer,
    body,
    json_object,
    list_of,
)
from serve.releases.experiments.report import METRICS
from serve.releases.fallback.circuit_breaker import CLOSED, HALF_OPEN, OPEN

_SECONDS = {"type": "number", "minimum": 0, "description": "seconds"}
_BREAKER = {
    "name": {**TEXT, "example": "illustrate"}, "state": {**TEXT, "enum": [CLOSED, OPEN, HALF_OPEN]},
    "ended": {**WHOLE, "description": "in the window", "example": 120}, "failed": {**WHOLE, "example": 0},
    "wait_s": {**_SECONDS, "description": "seconds that it stays open", "example": 0},
}  # fmt: skip
_BREAKERS = list_of(json_object(_BREAKER))
_CHAIN = {
    "chain": _BREAKERS,
    "watched": {**_BREAKERS, "description": "what is left alone while it fails, with nobody in its place"},
    "flag": {**MAYBE_TEXT, "description": "of the users whom the Illustrator serves; null: all"},
    "window_s": _SECONDS,
}
FALLBACK = answer("Their breakers", json_object(_CHAIN, ["watched"]))

CHANGES: dict[str, Any] = {
    "enabled": {**FLAG, "default": True},
    "percentage": {**NUMBER, "minimum": 0, "maximum": 100, "default": 100},
    "users": {**list_of({**TEXT, "minLength": 1, "maxLength": 256}), "maxItems": 1000},
}
"""What may be said of a flag."""
_SHARE = {**NUMBER, "minimum": 0, "maximum": 100, "description": "of all users", "example": 25}
_USERS = {**list_of(TEXT), "description": "who have it beside them", "example": ["ada"]}
_FLAG = json_object({"name": {**TEXT, "example": "new-model"}, "enabled": FLAG, "percentage": _SHARE, "users": _USERS})
FLAGS = answer("All of them", json_object({"flags": list_of(_FLAG)}))
PUT_FLAG = {
    **body(
        {"type": "object", "additionalProperties": False, "properties": CHANGES},
        {"enabled": True, "percentage": 25, "users": ["ada"]},
    ),
    **answer("As it is now", _FLAG, r404=UNKNOWN["404"]),
}
RESET_FLAG = answer("As it is now", _FLAG, r404=UNKNOWN["404"])

_ESTIMATE = json_object({
    "value": {**MAYBE_NUMBER, "example": 0.42}, "low": {**MAYBE_NUMBER, "example": 0.35},
    "high": {**MAYBE_NUMBER, "example": 0.49}, "n": {**WHOLE, "example": 214}, "units": {**WHOLE, "example": 96},
})  # fmt: skip
_METRICS = json_object(dict.fromkeys(METRICS, _ESTIMATE))
_ARM = {
    "arm": {**TEXT, "example": "control"}, "weight": NUMBER, "users": {**WHOLE, "example": 90},
    "units": {**WHOLE, "description": "users, and requests of somebody who is not known", "example": 96},
    "generations": {**WHOLE, "example": 214}, "metrics": _METRICS,
}  # fmt: skip
_REPORT = {
    "experiment": {**TEXT, "example": "more-steps"}, "confidence": {**NUMBER, "example": 0.95}, "since": MAYBE_TIME,
    "until": MAYBE_TIME, "enough": FLAG,
    "note": {**MAYBE_TEXT, "description": "why arms are not compared yet"}, "arms": list_of(json_object(_ARM)),
    "difference": {**_METRICS, "type": ["object", "null"], "description": "of two arms: the second less the first"},
}  # fmt: skip
EXPERIMENT = answer("Its arms", json_object(_REPORT), r404=UNKNOWN["404"])
