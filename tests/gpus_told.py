"""GPU metrics as text: Triton's, and those of Ray's agent."""

from __future__ import annotations

import json

from serve.observability.metrics import catalogue
from serve.observability.metrics.metric import Sample

TRITONS, RAYS, BOTHS, SILENT = "GPU-5b1d", "GPU-77c0", "GPU-e201", "GPU-f93a"
"""GPUs of Triton alone, of Ray alone, of both, and one whose utilization Ray does not report."""
MIB = 1024 * 1024
USED, THERE = 79_000 * MIB, 81_559 * MIB
BUSY = 0.62
RAY_TELLS = {
    RAYS: {"node_gpus_utilization": 62, "node_gram_used": 79_000, "node_gram_available": 2_559},
    BOTHS: {"node_gpus_utilization": 5, "node_gram_used": 1, "node_gram_available": 9},
    SILENT: {"node_gpus_utilization": -1, "node_gram_used": 79_000, "node_gram_available": 2_559},
}
OF_A_NODE = {"ip": "10.0.0.1", "Version": "2.60.0", "SessionName": "session_x", "IsHeadNode": "true"}


def as_triton_tells() -> str:
    """Triton's order, types and help texts (core/src/metrics.cc)."""
    families = (
        ("nv_gpu_utilization", "gauge", "GPU utilization rate [0.0 - 1.0)", BUSY),
        ("nv_gpu_memory_total_bytes", "gauge", "GPU total memory, in bytes", THERE),
        ("nv_gpu_memory_used_bytes", "gauge", "GPU used memory, in bytes", USED),
        ("nv_gpu_power_usage", "gauge", "GPU power usage in watts", 411.902),
        ("nv_gpu_power_limit", "gauge", "GPU power management limit in watts", 700),
        ("nv_energy_consumption", "counter", "GPU energy consumption in joules since the Triton Server started", 8e6),
    )
    lines = []
    for name, kind, words, value in families:
        lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
        lines += [f'{name}{{gpu_uuid="{uuid}"}} {value:.6f}' for uuid in (TRITONS, BOTHS)]
    return "\n".join([*lines, ""])


def as_ray_tells() -> str:
    """This process' metrics with Ray's prefix, and the GPUs of a node."""
    lines = [line_of(one, {"WorkerId": "w1", "Component": "core_worker"}) for one in catalogue.samples()]
    for number, (uuid, metrics) in enumerate(RAY_TELLS.items()):
        labels = {**OF_A_NODE, "GpuIndex": str(number), "GpuDeviceName": "NVIDIA H100", "GpuUuid": uuid}
        lines += [line_of(Sample(name, {}, value), labels) for name, value in metrics.items()]
    return "\n".join([*lines, ""])


def line_of(sample: Sample, more: dict[str, str]) -> str:
    labels = {**sample.labels, **more}
    inside = ",".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in labels.items())
    return f"ray_{sample.name}{{{inside}}} {sample.value}"
