"""Counters, gauges and histograms in memory, their catalogue and its document, and the resources of processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import (
    MAX_SERIES,
    OVERFLOW_LABEL,
    Counter,
    Gauge,
    Histogram,
    PassThrough,
    Sample,
)
from serve.observability.metrics.processes import Usage
from serve.observability.metrics.prometheus import to_yaml, write_targets
from serve.observability.metrics.reference import REQUIRED_METRICS, to_markdown, unit_of

HOME = Path(__file__).parents[3]


def samples(metric: Counter | Gauge | Histogram) -> dict[tuple[str, ...], float]:
    return {(one.name, *one.labels.values()): one.value for one in metric.samples()}


def test_counter_counts_by_labels() -> None:
    counter = Counter("n_total", "Things.", ("kind",))
    counter.add(1, "a")
    counter.add(2.5, "a")
    counter.add(1, "b")
    assert samples(counter) == {("n_total", "a"): 3.5, ("n_total", "b"): 1}
    assert all(one.counts for one in counter.samples())


def test_gauge_is_set() -> None:
    gauge = Gauge("g", "Now.")
    gauge.set(5)
    gauge.set(2)
    assert gauge.value() == 2
    assert not any(one.counts for one in gauge.samples())
    gauge.clear()
    assert samples(gauge) == {}


def test_histogram_has_prometheus_series() -> None:
    histogram = Histogram("h_seconds", "Times.", (0.1, 1.0), ("of",))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value, "x")
    assert samples(histogram) == {
        ("h_seconds_bucket", "x", "0.1"): 2,  # upper bounds are inclusive
        ("h_seconds_bucket", "x", "1"): 3,
        ("h_seconds_bucket", "x", "+Inf"): 4,
        ("h_seconds_count", "x"): 4,
        ("h_seconds_sum", "x"): pytest.approx(7.65),
    }
    histogram.replace([0.5], "x")
    assert (histogram.count("x"), histogram.sum("x")) == (1, 0.5)


def test_number_of_series_is_bounded() -> None:
    counter = Counter("n_total", "Things.", ("of",))
    for number in range(MAX_SERIES + 50):
        counter.add(1, str(number))
    assert len(samples(counter)) == MAX_SERIES + 1
    assert counter.value(OVERFLOW_LABEL) == 50


def test_wrong_labels_are_an_error() -> None:
    with pytest.raises(ValueError, match="n_total has the labels"):
        Counter("n_total", "Things.", ("of",)).add(1)


def test_newest_count_of_each_process_wins() -> None:
    passed = PassThrough()
    passed.replace("a", [Sample("nv_x", {"model": "m"}, 1)])
    passed.replace("a", [Sample("nv_x", {"model": "m"}, 2)])
    passed.replace("b", [Sample("nv_x", {"model": "m"}, 7)])
    assert [one.value for one in passed.samples()] == [2, 7]


@pytest.mark.parametrize("metric", catalogue.metrics(), ids=lambda metric: metric.name)
def test_names_follow_conventions(metric: Counter) -> None:
    assert re.fullmatch(r"atelier_[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not re.search(r"_(ms|us|ns|minutes|hours|mb|mib|kb|percent)(_|$)", metric.name), "base units"
    assert not {"user", "user_id", "key", "key_id", "prompt", "path", "le"} & set(metric.labels)
    assert metric.help.endswith(".")
    assert unit_of(metric)


def test_names_are_unique() -> None:
    names = [one.name for one in catalogue.metrics()]
    assert len(names) == len(set(names)) > 30


def test_documents_are_up_to_date() -> None:
    """`make docs` writes them."""
    assert (HOME / "docs" / "METRICS.md").read_text() == to_markdown()
    assert (HOME / "deployments" / "prometheus" / "prometheus.yml").read_text() == to_yaml()


def test_required_metrics_are_in_the_catalogue() -> None:
    """D-090."""
    assert REQUIRED_METRICS.keys() == {
        "inference_latency",
        "model_accuracy",
        "memory_usage",
        "error_rate",
        "throughput",
    }
    requirements = to_markdown().partition("| asked for |")[2].partition("\n\n")[0]
    rows = {
        name: set(re.findall(r"`(atelier_\w+)`", row)) for name, row in re.findall(r"\| `(\w+)` \|(.*)", requirements)
    }
    assert rows.keys() == REQUIRED_METRICS.keys()
    assert all(rows.values())
    assert set().union(*rows.values()) <= {one.name for one in catalogue.metrics()}


def test_targets_have_prometheus_format(tmp_path: Path) -> None:
    """Only machines that are alive; the file is not rewritten when nothing changed."""

    def node(last: int, port: int, alive: bool = True) -> dict[str, Any]:
        return {"NodeManagerAddress": f"10.0.0.{last}", "MetricsExportPort": port, "Alive": alive, "NodeID": f"{last}"}

    def targets(*nodes: dict[str, Any]) -> dict[str, list[str]]:
        write_targets(path, nodes, 9101)
        return {one["labels"]["job"]: one["targets"] for one in json.loads(path.read_text())}

    path = tmp_path / "new" / "m.json"
    assert targets(node(1, 7)) == {"ray": ["10.0.0.1:7"], "haproxy": ["10.0.0.1:9101"]}
    two = {"ray": ["10.0.0.1:7", "10.0.0.2:8"], "haproxy": ["10.0.0.1:9101", "10.0.0.2:9101"]}
    assert targets(node(2, 8), node(1, 7), node(3, 9, alive=False)) == two
    written = path.stat().st_ino
    assert targets(node(1, 7), node(2, 8)) == two
    assert path.stat().st_ino == written
    assert targets(node(1, 7), node(2, 8, alive=False))["ray"] == ["10.0.0.1:7"]
    assert path.stat().st_ino != written
    assert [one.name for one in path.parent.iterdir()] == ["m.json"]


def test_consumption_of_an_ended_process_is_kept() -> None:
    busy = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ntime.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE)
    assert child.stdout is not None
    usage = Usage()
    child.stdout.readline()
    spent_s, resident = usage.update([os.getpid(), child.pid])
    assert spent_s >= 0.4
    assert resident > 1_000_000
    child.kill()
    child.wait()
    child.stdout.close()
    assert 0 <= usage.update([os.getpid(), child.pid])[0] < 0.4, "nothing is counted twice or subtracted"
