"""What came of the faults, as a table and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from loadtests.chaos.drive import Outcome
from loadtests.vectorize.table import markdown

GOAL_S = 10.0
HEADER = (
    "fault",
    "sent",
    "right at once",
    "degraded",
    "clear error, then right",
    "broken connection, then right",
    "unclear error, then right",
    "lost",
    "wrong",
    "slowest s",
    "recovery s",
    "goal met",
)


def is_sound(outcome: Outcome) -> bool:
    """Nothing lost, nothing wrong."""
    return not outcome.summary.counts["lost"] and not outcome.summary.counts["wrong"]


def is_met(outcome: Outcome) -> bool:
    recovery_s = outcome.summary.recovery_s
    return is_sound(outcome) and recovery_s is not None and recovery_s <= GOAL_S


def table(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for one in outcomes:
        counts = one.summary.counts
        recovery = "never" if one.summary.recovery_s is None else f"{one.summary.recovery_s:.1f}"
        numbers = [counts[name] for name in ("right", "degraded", "clear", "broken", "unclear", "lost", "wrong")]
        row = [one.fault.name, str(one.summary.sent), *map(str, numbers), f"{one.summary.slowest_s:.1f}", recovery]
        rows.append([*row, "yes" if is_met(one) else "no"])
    return markdown(HEADER, rows)


def notes(outcomes: Sequence[Outcome]) -> str:
    return "\n".join(f"- {one.fault.name}: {one.fault.note}" for one in outcomes if one.fault.note)


def told(outcomes: Sequence[Outcome]) -> str:
    """What clients were told in attempts that were not right."""
    lines = []
    for one in outcomes:
        lines += [f"{one.fault.name} ({one.struck})", *(f"    {text}" for text in one.summary.told)]
    return "\n".join(lines)


def document(outcomes: Sequence[Outcome], settings: dict[str, Any]) -> dict[str, Any]:
    found = [
        {"fault": one.fault.name, "struck": one.struck, "goal_met": is_met(one), **dataclasses.asdict(one.summary)}
        for one in outcomes
    ]
    return {"settings": settings, "faults": found}
