"""Alert rules for Prometheus, and the file that it reads."""

from __future__ import annotations

from collections.abc import Sequence
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


def to_yaml(rules: Sequence[Rule], *, kubernetes: bool = False) -> str:
    """A file for Prometheus' `rule_files`, or a PrometheusRule for its operator."""
    document: dict[str, Any] = {"groups": [{"name": "atelier", "rules": [rule.to_plain() for rule in rules]}]}
    if kubernetes:
        about = {"name": "atelier", "namespace": "atelier", "labels": {"app.kubernetes.io/part-of": "atelier"}}
        kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
        document = {**kind, "metadata": about, "spec": document}
    head = f"# Written by `atelier dashboards rules{' --kubernetes' if kubernetes else ''}`.\n"
    return head + str(yaml.safe_dump(document, sort_keys=False, width=1000))
