"""The panels and alerts of GPUs, queried from a real Prometheus that scrapes Triton's or Ray's GPU metrics.

Triton's lines go through an ensemble's meter, as in production. What Ray's agent exports of GPUs is recorded in
`gpus_told`; tests/cluster/test_gpus_on_ray.py compares that with Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from gpus_told import BOTHS, BUSY, RAYS, SILENT, THERE, TRITONS, USED, as_ray_tells, as_triton_tells
from programs import prometheus_server
from programs.prometheus_server import Prometheus

from serve.engines.usage_meter import EngineMeter
from serve.observability.costs import billed
from serve.observability.dashboards.alerts import rules
from serve.observability.dashboards.board import RATE
from serve.observability.dashboards.boards import BOARDS, COST, ENGINES
from serve.observability.metrics import catalogue

pytestmark = pytest.mark.slow

ENSEMBLE, ENGINE, MODEL = "illustrate", "unet-on-gpu", "toy-on-gpu"


@contextlib.contextmanager
def metrics_server(text: Callable[[], str]) -> Iterator[str]:
    """``host:port`` of a server that answers every request with ``text``."""

    class MetricsHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text().encode())

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), MetricsHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


class Engines:
    """Two engines, one of which runs on a GPU for half of the time."""

    def __init__(self) -> None:
        self.on_inference: Any = None
        self._began = time.monotonic()

    async def statistics(self, _: str) -> dict[str, Any]:
        ran_s = 10 + (time.monotonic() - self._began) / 2
        infer = {"count": int(100 * ran_s), "ns": int(1e9 * ran_s)}
        return {"model_stats": [{"name": ENGINE, "version": "1",
                                 "batch_stats": [{"batch_size": 1, "compute_infer": infer}]}]}  # fmt: skip


class Triton:
    """The parts of `TritonServer` that the meter uses."""

    def __init__(self, address: str) -> None:
        self.pid = os.getpid()
        self.metrics_url = f"http://{address}/metrics"


@pytest.fixture(scope="module")
def work() -> Iterator[Callable[[], None]]:
    """A request to an ensemble whose Triton has GPUs; then the meter's update, which runs every few seconds."""
    with metrics_server(as_triton_tells) as address:
        meter = EngineMeter(ENSEMBLE, Engines(), Triton(address), gpus=1.0)  # type: ignore[arg-type]

        def one() -> None:
            with billed() as bill:
                meter.record(ENGINE, {"sample": np.zeros((1, 4, 8, 8), np.float32)})
            bill.pay(ENSEMBLE, MODEL)
            catalogue.ENSEMBLE_SECONDS.observe(1.0, ENSEMBLE, "ok")
            asyncio.run(meter.update())

        one()
        yield one
        catalogue.TRITON.replace(ENSEMBLE, [])


@pytest.fixture(scope="module")
def prometheus(work: Callable[[], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with metrics_server(as_ray_tells) as address:
        targets = tmp_path_factory.mktemp("gpus") / "metrics.json"
        targets.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": [address]}]))
        with prometheus_server.started(targets, interval_s=1.0) as server:
            yield server


def gpu_queries() -> dict[str, str]:
    """The query of every panel and every alert that reads GPU metrics."""
    panels = {
        f"{board.title}, {panel.title}, {legend}": query.replace(RATE, "1m")
        for board in BOARDS
        for panel in board.panels()
        for legend, query in panel.queries.items()
        if panel.only_with == "gpu"
    }
    alerts = {rule.name: rule.expression for rule in rules(1e-6, gpu_hour=3600.0) if "gpu" in rule.expression}
    return panels | alerts


def by_gpu(prometheus: Prometheus, query: str) -> dict[str, float]:
    found = prometheus.query(query)
    assert len({one["metric"]["gpu_uuid"] for one in found}) == len(found), "one series of each"
    return {one["metric"]["gpu_uuid"]: float(one["value"][1]) for one in found}


def test_every_gpu_panel_and_alert_has_data(prometheus: Prometheus, work: Callable[[], None]) -> None:
    queries = gpu_queries()
    assert {"AtelierGpuFull", "AtelierOverBudget"} < queries.keys()
    assert {one.partition(",")[0] for one in queries if "," in one} == {ENGINES.title, COST.title}
    deadline, empty = time.monotonic() + 60, set(queries)
    while empty and time.monotonic() < deadline:
        work()
        empty = {name for name in empty if not prometheus.query(queries[name])}
        time.sleep(0.5)
    assert not empty


def test_triton_metrics_come_before_rays(prometheus: Prometheus) -> None:
    queries, all_of_them = gpu_queries(), (TRITONS, RAYS, BOTHS, SILENT)
    for name, gpus, value in (
        (f"{ENGINES.title}, Utilisation, {{{{gpu_uuid}}}}", all_of_them[:3], BUSY),
        (f"{ENGINES.title}, Memory, {{{{gpu_uuid}}}} used", all_of_them, USED),
        (f"{ENGINES.title}, Memory, {{{{gpu_uuid}}}} there", all_of_them, THERE),
        ("AtelierGpuFull", all_of_them, USED / THERE),
    ):
        assert by_gpu(prometheus, queries[name]) == pytest.approx(dict.fromkeys(gpus, value)), name


def test_all_gpu_metrics_of_triton_are_exported_under_their_names(prometheus: Prometheus) -> None:
    for name in re.findall(r"# TYPE (\w+)", as_triton_tells()):
        found = prometheus.until(name)
        assert {one["metric"]["gpu_uuid"] for one in found} == {TRITONS, BOTHS}
        assert {one["metric"]["ensemble"] for one in found} == {ENSEMBLE}


def test_not_a_number_counts_as_no_data(prometheus: Prometheus) -> None:
    """Otherwise an empty panel would pass for one with data."""
    rates = "sum by (le) (rate(atelier_ensemble_duration_seconds_bucket[5m]))"
    prometheus.until(rates)
    for query in ("sum(up) * 0 / 0", "sum(up) / 0", f"histogram_quantile(0.95, {rates} * 0)"):
        assert prometheus.query(query) == []
    assert prometheus.query("sum(up) * 0")
