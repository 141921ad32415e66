"""Triton's GPU metrics exported by a real Ray; and the GPU metrics of Ray itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from gpus_told import MIB, RAY_TELLS
from programs import prometheus_server
from programs.prometheus_server import Prometheus

from loadtests.load.stack import free_ports
from serve.cluster.ray_process import MetricsExporter
from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Sample

pytestmark = pytest.mark.cluster

ENSEMBLE, EVERY_S = "on-ray", 0.5
GPUS = {"gpu_uuid": "GPU-1"}
TOLD = [
    Sample("nv_gpu_utilization", GPUS, 0.5),
    Sample("nv_inference_count", {"model": "on_gpu", "version": "1", **GPUS}, 7),
    Sample("nv_inference_count", {"model": "on_cpu", "version": "1"}, 5),
]
"""An engine that runs on a GPU has that in its labels, one beside it that runs on processors has not."""


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The lines of a Ray to which this process exports its metrics."""
    (port,) = free_ports(1)
    ray.init(
        address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1",
        _metrics_export_port=port, _system_config={"metrics_report_interval_ms": 1000},
    )  # fmt: skip
    catalogue.TRITON.replace(
        ENSEMBLE, [Sample(one.name, {**one.labels, "ensemble": ENSEMBLE}, one.value) for one in TOLD]
    )
    ended = threading.Event()
    teller = threading.Thread(target=tell, args=(ended,))
    teller.start()
    targets = tmp_path_factory.mktemp("ray") / "metrics.json"
    targets.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": [f"127.0.0.1:{port}"]}]))
    try:
        with prometheus_server.started(targets, interval_s=1.0) as server:
            yield server
    finally:
        ended.set()
        teller.join()
        catalogue.TRITON.replace(ENSEMBLE, [])
        ray.shutdown()


def tell(ended: threading.Event) -> None:
    exports = MetricsExporter("test", EVERY_S)
    while not ended.wait(EVERY_S):
        exports.export_all()


def test_a_series_arrives_whether_it_is_of_a_gpu_or_not(prometheus: Prometheus) -> None:
    for one in TOLD:
        inside = ",".join(f'{name}="{value}"' for name, value in {**one.labels, "ensemble": ENSEMBLE}.items())
        (series,) = prometheus.until(f"{one.name}{{{inside}}}")
        assert float(series["value"][1]) == one.value
        assert series["metric"].get("gpu_uuid", "") == one.labels.get("gpu_uuid", "")


def test_ray_tells_of_gpus_by_the_names_that_are_asked_for() -> None:
    from ray.dashboard.consts import GPU_TAG_KEYS
    from ray.dashboard.modules.reporter.reporter_agent import METRICS_GAUGES

    assert {name for told in RAY_TELLS.values() for name in told} <= set(METRICS_GAUGES)
    assert "GpuUuid" in GPU_TAG_KEYS


@pytest.mark.parametrize("says", [True, False])
def test_ray_counts_a_gpus_memory_in_mib(says: bool) -> None:
    """And -1 for a GPU without a utilisation."""
    from ray.dashboard.modules.reporter.gpu_providers import NvidiaGpuProvider

    def busy(_: Any) -> Any:
        if not says:
            raise OSError
        return SimpleNamespace(gpu=62)

    provider = NvidiaGpuProvider()
    provider._pynvml = SimpleNamespace(
        NVMLError=OSError,
        nvmlDeviceGetMemoryInfo=lambda _: SimpleNamespace(used=79_000 * MIB, total=81_559 * MIB),
        nvmlDeviceGetUtilizationRates=busy,
        nvmlDeviceGetComputeRunningProcesses=lambda _: [],
        nvmlDeviceGetGraphicsRunningProcesses=lambda _: [],
        nvmlDeviceGetProcessesUtilizationInfo=lambda *_: [],
        nvmlDeviceGetName=lambda _: "NVIDIA H100",
        nvmlDeviceGetUUID=lambda _: "GPU-1",
    )
    found = provider._get_gpu_info(None, 0)
    assert found is not None
    assert (found["memory_used"], found["memory_total"], found["uuid"]) == (79_000, 81_559, "GPU-1")
    assert found["utilization_gpu"] == (62 if says else -1)
