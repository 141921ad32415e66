"""What came of the faults, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtests.chaos.runner import BETWEEN, Outcome
from loadtests.vectorize.table import UNMEASURED, markdown

GOAL_S = 10.0
NEVER = {"lost": "lost", "wrong": "wrong", "unclear": "after an error that does not say when to come again"}
"""Verdicts that miss a goal, and how that is told."""
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


def mismatch(outcome: Outcome, goal_s: float = GOAL_S) -> list[str]:
    """Which goals were missed, in words; empty when all are met."""
    found = outcome.summary
    reasons = [f"{found.counts[name]} {failures}" for name, failures in NEVER.items() if found.counts[name]]
    if not found.sent:
        reasons.append("no request was sent")
    if not outcome.well_before:
        reasons.append("the site was not well before it")
    if found.recovery_s is None:
        reasons.append("no recovery")
    elif found.recovery_s > goal_s:
        reasons.append(f"recovery after {found.recovery_s:.1f} s, goal {goal_s:g} s")
    return reasons


def table(outcomes: Sequence[Outcome], goal_s: float = GOAL_S) -> str:
    rows = []
    for one in outcomes:
        counts = one.summary.counts
        recovery = "never" if one.summary.recovery_s is None else f"{one.summary.recovery_s:.1f}"
        recovery = UNMEASURED if one.name == BETWEEN else recovery
        numbers = [counts[name] for name in ("right", "degraded", "clear", "broken", "unclear", "lost", "wrong")]
        row = [one.name, str(one.summary.sent), *map(str, numbers), f"{one.summary.slowest_s:.1f}", recovery]
        rows.append([*row, "no" if mismatch(one, goal_s) else "yes"])
    return markdown(HEADER, rows)


def notes(outcomes: Sequence[Outcome]) -> str:
    return "\n".join(f"- {one.name}: {one.note}" for one in outcomes if one.note)


def failures(outcomes: Sequence[Outcome]) -> str:
    """What clients were told in attempts that were not right."""
    lines = []
    for one in outcomes:
        lines += [f"{one.name} ({one.struck})", *(f"    {text}" for text in one.summary.details)]
    return "\n".join(lines)


def took(seconds: float, meant_s: float | None = None) -> str:
    """``meant_s``: what it is meant to take, where that is promised."""
    late = f", longer than the {meant_s:.0f} s that it is meant to take" if meant_s and seconds > meant_s else ""
    return f"all of it took {seconds:.0f} s{late}"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def document(outcomes: Sequence[Outcome], settings: dict[str, Any], goal_s: float = GOAL_S) -> dict[str, Any]:
    found = [
        {
            "fault": one.name,
            "struck": one.struck,
            "amiss": mismatch(one, goal_s),
            "goal_met": not mismatch(one, goal_s),
            **dataclasses.asdict(one.summary),
        }
        for one in outcomes
    ]
    return {"settings": settings, "faults": found}


def write(path: Path, head: str, outcomes: Sequence[Outcome], settings: dict[str, Any], goal_s: float) -> str:
    """Writes the table to ``path`` with ``.md``, all figures to that with ``.json``. The text of the first."""
    parts = (head, table(outcomes, goal_s), notes(outcomes))
    text = "\n\n".join(part for part in parts if part)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(f"{text}\n")
    path.with_suffix(".json").write_text(
        json.dumps(document(outcomes, settings | {"goal_s": goal_s}, goal_s), indent=2)
    )
    return text


def missed(outcomes: Sequence[Outcome], asked: Sequence[str], surplus: str, goal_s: float) -> list[str]:
    """Which goals were missed, in words, with the names of faults. ``asked``: what was to be done; ``surplus``: what a
    database has that nobody asked for."""
    done = {one.name for one in outcomes}
    found = [f"{name}: not done" for name in asked if name not in done]
    found += [f"{one.name}: {'; '.join(why)}" for one in outcomes if (why := mismatch(one, goal_s))]
    return found + ([surplus] if surplus else [])
