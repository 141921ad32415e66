"""Prometheus' configuration for a stack, and the service discovery file of its endpoints."""

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
"""Beside it: the output of `atelier dashboards rules`."""
ALERTMANAGERS = ("targets/alertmanagers*.json",)
"""Beside it: Alertmanager addresses in the same format. Without such a file no alert is sent."""
RAY_TARGETS = "prom_metrics_service_discovery.json"
"""Name of Ray's own discovery file."""
_DROPPED_LABELS = "otel_scope_name|otel_scope_version|otel_scope_schema_url|SessionName"


def configuration(targets: Sequence[str] = TARGETS, interval_s: float = 15.0) -> dict[str, Any]:
    """``targets``: discovery files, with patterns in their last part; Ray's own files work too."""
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
                "metric_relabel_configs": [ours, {"regex": _DROPPED_LABELS, "action": "labeldrop"}],
            }
        ],
    }


def to_yaml() -> str:
    """deployments/prometheus/prometheus.yml."""
    alerting = {"alertmanagers": [{"file_sd_configs": [{"files": list(ALERTMANAGERS)}]}]}
    document: str = yaml.safe_dump({**configuration(), "rule_files": [RULES], "alerting": alerting}, sort_keys=False)
    return _PREAMBLE + document


def write_targets(path: Path, nodes: Iterable[Mapping[str, Any]], haproxy_port: int) -> None:
    """Write the metrics endpoints of the live ``nodes`` (of `ray.nodes()`).

    Atomic, since Prometheus may be reading, and only if the content changed.
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
