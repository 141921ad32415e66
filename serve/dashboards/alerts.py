"""Alert rules for Prometheus, and the file that it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import yaml


@dataclass(frozen=True)
class Rule:
    """``holds_for`` is how long ``expression`` has to give a value before somebody is told; ``runbook`` names a
    heading of docs/OPERATIONS.md."""

    name: str
    expression: str
    holds_for: str
    severity: Literal["page", "ticket"]
    summary: str
    runbook: str

    def to_plain(self) -> dict[str, Any]:
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.holds_for,
            "labels": {"severity": self.severity},
            "annotations": {"summary": self.summary, "runbook": f"docs/OPERATIONS.md#{self.runbook}"},
        }


def to_yaml(rules: tuple[Rule, ...]) -> str:
    head = "# Written by `atelier dashboards rules`.\n"
    group = {"name": "atelier", "rules": [rule.to_plain() for rule in rules]}
    return head + str(yaml.safe_dump({"groups": [group]}, sort_keys=False, width=1000))
