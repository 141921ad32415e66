"""How Prometheus finds and reads a stack: its configuration, and the file that names a stack's endpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

TARGETS = ("targets/metrics*.json",)
"""Beside the configuration: links to, or copies of, stacks' `metrics-PORT.json`."""
RULES = "rules.yml"
"""Beside it, too: what `atelier dashboards rules` prints."""
ALERTMANAGERS = ("targets/alertmanagers*.json",)
"""Beside it, too: who is told when an alert fires, in the same form. Without such a file nobody is."""
RAY_TARGETS = "prom_metrics_service_discovery.json"
"""What Ray calls its own such file."""
_SILENT = "otel_scope_name|otel_scope_version|otel_scope_schema_url|SessionName"


def configuration(targets: Sequence[str] = TARGETS, interval_s: float = 15.0) -> dict[str, Any]:
    """``targets`` are files, with patterns in their last part; those of Ray itself will do, too."""
    every = f"{round(1000 * interval_s)}ms" if interval_s % 1 else f"{round(interval_s)}s"
    ours = {
        "source_labels": ["__name__"],
        "regex": "ray_((?:atelier|nv)_.+)",
        "target_label": "__name__",
        "replacement": "$1",
    }
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "scrape_configs": [
            {
                "job_name": "atelier",
                "file_sd_configs": [{"files": list(targets), "refresh_interval": every}],
                "metric_relabel_configs": [ours, {"regex": _SILENT, "action": "labeldrop"}],
            }
        ],
    }


def to_yaml() -> str:
    """deployments/prometheus/prometheus.yml."""
    told = {"alertmanagers": [{"file_sd_configs": [{"files": list(ALERTMANAGERS)}]}]}
    document: str = yaml.safe_dump({**configuration(), "rule_files": [RULES], "alerting": told}, sort_keys=False)
    return _PREAMBLE + document


def write_targets(path: Path, ray: str, haproxy: str) -> None:
    """Each ``host:port``. Whole or not at all: Prometheus may read it meanwhile."""
    content = [
        {"labels": {"job": "ray"}, "targets": [ray]},
        {"labels": {"job": "haproxy"}, "targets": [haproxy]},
    ]
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(content))
    aside.replace(path)


_PREAMBLE = """# Written by `atelier metrics --prometheus`. docs/METRICS.md says what there is.
"""
