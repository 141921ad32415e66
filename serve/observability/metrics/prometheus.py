"""How Prometheus finds and reads a stack: its configuration, and the file that names a stack's endpoints."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

TARGETS = ("targets/metrics*.json",)
"""Beside the configuration: links to the files that stacks write (`metrics_file`)."""
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


def write_targets(path: Path, nodes: Iterable[Mapping[str, Any]], haproxy_port: int) -> None:
    """Where ``nodes``, as `ray.nodes()` has them, tell their metrics; those that are gone are left out.

    Whole or not at all, for Prometheus may read it meanwhile; and only where something changed.
    """
    there = sorted((node["NodeManagerAddress"], node["MetricsExportPort"]) for node in nodes if node["Alive"])
    content = [
        {"labels": {"job": "ray"}, "targets": [f"{host}:{port}" for host, port in there]},
        {"labels": {"job": "haproxy"}, "targets": [f"{host}:{haproxy_port}" for host, _ in there]},
    ]
    text = json.dumps(content)
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".tmp")
    aside.write_text(text)
    aside.replace(path)


_PREAMBLE = """# Written by `atelier metrics --prometheus`. docs/METRICS.md says what there is.
"""
