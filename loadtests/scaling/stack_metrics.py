"""What a stack tells of its Illustrator while it runs: its own metrics, read where Prometheus reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from serve.observability.metrics import catalogue

READY = "ray_serve_deployment_replica_healthy"
"""Of Ray Serve: replicas that run, without those that start or stop."""
WAITING = f"ray_{catalogue.WAITING.name}"
INTERVAL_S = 1.0
"""For `ray.metrics_interval_s`: values are late by two of it at most."""
ENVIRONMENT = {"RAY_SERVE_CONTROLLER_METRICS_INCLUDE_HIGH_CARDINALITY_TAGS": "0"}
"""For the stack. Ray Serve then tells one number for each deployment, every time; else each replica's every 10 s, which
Ray's agent forgets in between."""
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class IllustratorState:
    """``ready`` replicas of the Illustrator, and the work that waits in them for its turn."""

    ready: int
    waiting: int


def endpoint(targets: Path) -> str:
    """Of Ray's agent, from the file that `atelier up` writes for Prometheus."""
    (address,) = next(
        target["targets"] for target in json.loads(targets.read_text()) if target["labels"]["job"] == "ray"
    )
    return f"http://{address}/metrics"


def fetch(url: str) -> IllustratorState:
    """Raises ``httpx.HTTPError``."""
    return read(httpx.get(url, timeout=_TIMEOUT_S).raise_for_status().text)


def read(text: str) -> IllustratorState:
    """From Prometheus' text, of which there is much: only the lines of these two metrics are parsed."""
    lines = "\n".join(line for line in text.splitlines() if line.startswith((READY, WAITING)))
    samples = [sample for family in text_string_to_metric_families(lines + "\n") for sample in family.samples]
    ready = sum(one.value for one in samples if one.name == READY and one.labels["deployment"] == "Illustrator")
    waiting = sum(one.value for one in samples if one.name == WAITING and one.labels["ensemble"] == "illustrate")
    return IllustratorState(round(ready), round(waiting))
