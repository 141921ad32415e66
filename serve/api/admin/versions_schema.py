"""What OpenAPI says of versions of engines."""

from __future__ import annotations

from typing import Any

from serve.api.openapi.operation import (
    CONFLICT,
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

_NUMBER = {**TEXT, "pattern": "^[1-9][0-9]{0,17}$", "description": "the name of its folder", "example": "2"}
_SHARE = {**NUMBER, "minimum": 0, "maximum": 100, "description": "of all users", "example": 10}
_LISTED = {
    "engine": {**TEXT, "example": "quality"}, "version": _NUMBER,
    "label": {**MAYBE_TEXT, "description": "as answers have it, in `model_versions`", "example": "1.4"},
    "role": {**TEXT, "enum": ["current", "candidate", "previous", "there"]}, "percentage": _SHARE,
    "replicas": {**WHOLE, "description": "that have loaded it", "example": 2},
    "of": {**WHOLE, "description": "replicas that have the engine", "example": 2},
    "failure": {**TEXT, "description": "what a replica has against it", "example": ""},
}  # fmt: skip
LIST = answer("All of them", json_object({"models": list_of(json_object(_LISTED))}))

_ROLLOUT = json_object({
    "engine": {**TEXT, "example": "quality"}, "current": _NUMBER, "previous": {**MAYBE_TEXT, "example": "1"},
    "candidate": {**MAYBE_TEXT, "example": None}, "percentage": {**_SHARE, "description": "of users, the candidate's"},
})  # fmt: skip
_DONE = answer("As it is now", _ROLLOUT, r404=UNKNOWN["404"], r409=CONFLICT["409"])


def _of(properties: dict[str, Any], required: bool = True) -> dict[str, Any]:
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    example = {name: one["example"] for name, one in properties.items()}
    return {**body({**schema, "required": list(properties)} if required else schema, example), **_DONE}


LOAD = UNLOAD = _of({"version": _NUMBER})
PROMOTE = _of({"version": {**_NUMBER, "description": "else the candidate"}}, required=False)
SPLIT = _of({"percentage": _SHARE})
_LEFT = "to get no traffic any more; else the candidate, or the current version where there is none"
ROLLBACK = _of({"version": {**_NUMBER, "description": _LEFT}}, required=False)

_ESTIMATE = json_object({
    "value": {**MAYBE_NUMBER, "example": 0.02}, "low": MAYBE_NUMBER, "high": MAYBE_NUMBER, "n": WHOLE, "units": WHOLE,
})  # fmt: skip
_METRICS = json_object(dict.fromkeys(METRICS, _ESTIMATE))
_SECONDS = {**MAYBE_NUMBER, "description": "seconds, of what was really made"}
_VERSION = {
    "version": _NUMBER, "users": WHOLE, "generations": WHOLE,
    "units": {**WHOLE, "description": "users, and requests of somebody who is not known"},
    "metrics": _METRICS, "p50_time_s": _SECONDS, "p95_time_s": _SECONDS,
}  # fmt: skip
_REPORT = {
    "engine": {**TEXT, "example": "quality"}, "since": MAYBE_TIME, "until": MAYBE_TIME, "enough": FLAG,
    "note": {**MAYBE_TEXT, "description": "why versions are not compared yet"},
    "versions": list_of(json_object(_VERSION)),
    "difference": {**_METRICS, "type": ["object", "null"], "description": "of two: the second less the first"},
}  # fmt: skip
REPORT = answer("Its versions", json_object(_REPORT), r404=UNKNOWN["404"], r409=CONFLICT["409"])
