"""Range check of optional numbers, for the options of the ensembles."""

from __future__ import annotations

import math

from serve.errors import InvalidRequest


def check_number(value: float | None, name: str, low: float, high: float) -> None:
    """Raises ``InvalidRequest`` for ``name`` unless ``value`` is None or finite and from ``low`` to ``high``."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"must be a finite number from {low:.10g} to {high:.10g}", name)
    if not low <= value <= high:
        raise InvalidRequest(f"must be from {low:.10g} to {high:.10g}", name)
