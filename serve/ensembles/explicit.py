"""Parameters that a caller wrote down himself: {"tracer": "coverage" | "vtracer", NAME: VALUE, ...}."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from serve.errors import InvalidRequest
from serve.vector.parameters import CoverageParameters, Parameters, VTracerParameters

TRACERS: dict[str, type[CoverageParameters] | type[VTracerParameters]] = {
    "coverage": CoverageParameters,
    "vtracer": VTracerParameters,
}


def parameters_from(requested: Mapping[str, Any]) -> Parameters:
    """The tracer's parameters, defaults where none is given.

    Raises InvalidRequest whose field is ``parameters`` or ``parameters.NAME``.
    """
    values = dict(requested)
    name = values.pop("tracer", "coverage")
    tracer = TRACERS.get(name) if isinstance(name, str) else None
    if tracer is None:
        raise InvalidRequest(f"must be one of {', '.join(TRACERS)}", "parameters.tracer")
    known = {f.name: f for f in fields(tracer)}
    for key, value in values.items():
        if key not in known:
            raise InvalidRequest(f"{name} has no such parameter; it has {', '.join(known)}", f"parameters.{key}")
        if isinstance(known[key].default, int) and isinstance(value, float) and value.is_integer():
            values[key] = int(value)
        elif isinstance(known[key].default, int) and not isinstance(value, int):
            raise InvalidRequest("must be a whole number", f"parameters.{key}")
    try:
        return tracer(**values)
    except InvalidRequest as error:
        raise InvalidRequest(error.message, f"parameters.{error.field}") from None
