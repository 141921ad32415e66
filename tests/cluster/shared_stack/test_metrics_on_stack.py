"""A real Prometheus scrapes a running stack: every metric of the catalogue arrives, under its own name."""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from pictures import drawn, encode
from programs import prometheus_server
from programs.prometheus_server import Prometheus
from test_jobs_on_stack import add, done, until
from whole_stack import ANEW, Stack

from serve.observability.dashboards.alerts import rules
from serve.observability.dashboards.board import RATE
from serve.observability.dashboards.boards import BOARDS
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Histogram

pytestmark = pytest.mark.cluster

TRITONS = ("nv_inference_count", "nv_inference_exec_count", "nv_inference_compute_infer_duration_us")
ON_GPUS = ("nv_gpu_", "ray_node_gpu", "ray_node_gram")
PROMPT = {"prompt": "red apple", "steps": 8, "response_format": "url"}
SEEDS = 10
"""That one use of the stack takes."""


def use(stack: Stack, user: Mapping[str, str], seed: int) -> None:
    """Uses every route, and produces each measurement at least once. ``user``: headers with a key."""
    prompt = {**PROMPT, "seed": seed}
    image = {"image": encode(drawn())}
    with httpx.Client(base_url=f"http://{stack.http}", timeout=120) as http, ThreadPoolExecutor(2) as two:
        made = http.post("/v1/images/generations", json=prompt)
        assert http.get(made.json()["data"][0]["url"]).status_code == 200
        assert http.post("/v1/images/generations", json=prompt).headers["x-atelier-cache"] == "hit"
        assert http.post("/v1/images/generations", json=prompt, headers=user).status_code == 200
        both = {**PROMPT, "seed": seed + 1, "steps": 400}
        for answer in two.map(lambda _: http.post("/v1/images/generations", json=both), range(2)):
            assert answer.status_code == 200, answer.text
        streamed = {**PROMPT, "seed": seed + 2, "steps": 40, "stream": True, "partial_images": 2}
        assert http.post("/v1/images/generations", json=streamed | {"response_format": "b64_json"}).status_code == 200
        for options in ({"tier": "1", "validate": "true"}, {"tier": "2", "validate": "true", "max_bytes": "100"}):
            answer = http.post("/api/convert-ai", files=image, data=options, headers=ANEW)
            assert answer.status_code == 200, answer.text
            cost = answer.json()["ai_metadata"]["cost"]
        assert cost["cpu_seconds"] > 0
        assert http.post("/v2/models/logo_type/infer", json={"inputs": []}).status_code == 400
        bad = {"name": "embedding", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}
        assert http.post("/v2/models/logo_type/infer", json={"inputs": [bad]}).status_code == 400
        until(http, add(http, seed + 3, num_inference_steps=20), done)


@pytest.fixture(scope="module")
def targets(stack: Stack) -> Path:
    port = stack.http.rpartition(":")[2]
    return Path(stack.environment["ATELIER_STATE_DIR"]) / f"metrics-{port}.json"


@pytest.fixture(scope="module")
def user(stack: Stack) -> dict[str, str]:
    made = stack.atelier("keys", "create", "--user", "watched", "--role", "user")
    assert made.returncode == 0, made.stderr
    return {"Authorization": f"Bearer {made.stdout.strip()}"}


@pytest.fixture(scope="module")
def prometheus(stack: Stack, targets: Path, user: dict[str, str]) -> Iterator[Prometheus]:
    with prometheus_server.started(targets, interval_s=2.0) as server:
        use(stack, user, 1000)
        yield server


def test_the_endpoints_are_on_loopback(targets: Path) -> None:
    found = {one["labels"]["job"]: one["targets"] for one in json.loads(targets.read_text())}
    assert set(found) == {"ray", "haproxy"}
    assert all(target.startswith("127.0.0.1:") for some in found.values() for target in some)


def test_every_metric_arrives(prometheus: Prometheus) -> None:
    missing = {}
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        missing = {
            name
            for metric in catalogue.metrics()
            for name in ((f"{metric.name}_bucket", f"{metric.name}_count", f"{metric.name}_sum")
                         if isinstance(metric, Histogram) else (metric.name,))
            if not prometheus.query(f"last_over_time({name}[5m])")  # a busy machine misses some
        }  # fmt: skip
        if not missing:
            break
        time.sleep(1)
    assert not missing, sorted(missing)
    for name in TRITONS:
        found = prometheus.until(name)
        assert {one["metric"]["ensemble"] for one in found} == {"vectorize", "illustrate"}
        assert all(one["metric"]["model"] and one["metric"]["version"] for one in found)


def test_labels_are_those_that_the_catalogue_names(prometheus: Prometheus) -> None:
    added = {"__name__", "job", "instance", "WorkerId", "NodeAddress", "Component", "Version", "le"}
    for metric in catalogue.metrics():
        name = f"{metric.name}_bucket" if isinstance(metric, Histogram) else metric.name
        for series in prometheus.query(f"last_over_time({name}[5m])"):
            assert set(series["metric"]) - added == set(metric.labels), metric.name


def test_rays_and_haproxys_own_are_there(prometheus: Prometheus) -> None:
    for query in ("haproxy_frontend_http_requests_total", "ray_node_cpu_utilization", 'up{job="haproxy"} == 1'):
        prometheus.until(query)
    assert not [name for name in prometheus.names() if name.startswith(("ray_atelier", "ray_nv"))]


def test_counts_are_those_of_what_was_asked(stack: Stack, prometheus: Prometheus) -> None:
    """Summed over all processes, and no more often than it happened; of a route that no other test uses."""
    counted = 'sum(atelier_requests_total{route="/v1/me", status="200"})'
    timed = 'sum(atelier_request_duration_seconds_count{route="/v1/me"})'
    with httpx.Client(base_url=f"http://{stack.http}", timeout=60) as http:
        for _ in range(7):
            assert http.get("/v1/me").status_code == 200
    prometheus.until(f"{counted} >= 7")
    prometheus.until(f"{timed} >= 7")
    time.sleep(3)
    assert prometheus.value(counted) == prometheus.value(timed) == 7


def test_every_panel_shows_something(stack: Stack, prometheus: Prometheus, user: dict[str, str]) -> None:
    """B-082, D-090. Every query of every dashboard, except those that need a GPU. The stack is used meanwhile:
    without requests most quantiles and ratios have no value."""
    queries = {
        f"{board.title}, {panel.title}, {legend}": query.replace(RATE, "2m")
        for board in BOARDS
        for panel in board.panels()
        for legend, query in panel.queries.items()
        if not panel.only_with
    }
    deadline, empty, seeds = time.monotonic() + 150, set(queries), itertools.count(2000, SEEDS)
    with ThreadPoolExecutor(1) as other:
        while empty and time.monotonic() < deadline:
            under_way = other.submit(use, stack, user, next(seeds))
            while not under_way.done():
                empty = {name for name in empty if not prometheus.query(queries[name])}
                time.sleep(1)
            under_way.result()
    assert not empty, sorted(empty)


def test_alerts_ask_for_what_there_is(prometheus: Prometheus) -> None:
    """Every metric in a rule exists: a rule on an unknown metric would never fire. Those of GPUs are tested in
    tests/observability/dashboards/test_gpu_panels.py."""
    told = prometheus.names() | {"up"}
    asked = {name for rule in rules(1.0, 1.0) for name in re.findall(r"\b(?:atelier|nv|ray)_\w+", rule.expression)}
    assert {name for name in asked if not name.startswith(ON_GPUS)} <= told
