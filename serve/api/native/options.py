"""What a caller asks of the Vectorizer, from a form's text or a protocol's typed parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serve.api.http.values import flag, number, refuse_unknown, whole
from serve.ensembles.vectorizer.vectorization import Tier, VectorizeOptions
from serve.errors import InvalidRequest, rename_fields

NAMES = ("tier", "target_quality", "time_budget", "max_bytes", "max_paths", "validate")
_TO_CLIENT = {"time_budget_s": "time_budget"}


def parse_options(values: Mapping[str, Any], **fixed: Any) -> VectorizeOptions:
    """``values`` by the clients' names (``NAMES``); ``fixed`` by the fields of ``VectorizeOptions``, and they win."""
    refuse_unknown(values, NAMES)
    options: dict[str, Any] = {
        "tier": _tier(values.get("tier", "auto")),
        "target_quality": number(values, "target_quality", 0.9),
        "time_budget_s": number(values, "time_budget"),
        "max_bytes": whole(values, "max_bytes"),
        "max_paths": whole(values, "max_paths"),
        "validate": flag(values, "validate"),
    }
    with rename_fields(_TO_CLIENT):
        return VectorizeOptions(**{**options, **fixed})


def _tier(value: Any) -> Tier:
    tiers: dict[str, Tier] = {"auto": "auto", "basic": "basic", "1": 1, "2": 2, "3": 3}
    tier = tiers.get(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    if tier is None:
        raise InvalidRequest(f"must be one of {', '.join(tiers)}", "tier")
    return tier
