"""NVIDIA's perf_analyzer as a caller over gRPC: in C++, it costs next to no processor time."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import tempfile
from pathlib import Path

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from loadtests.peers.closed_loop import Samples
from loadtests.peers.wire import Arrays

HOME = Path(__file__).resolve().parents[2] / ".venv-perf"
"""`make clients` makes it."""
WINDOWS = 3
"""It needs three similar windows; with this stability any are."""


def is_there() -> bool:
    return (HOME / "bin" / "perf_analyzer").exists()


def run_grpc(address: str, engine: str, inputs: Arrays, callers: int, seconds: float, samples: Samples) -> int:
    """One run; the number of its answers, warm-up included, by the server's own statistics."""
    before = _inferences(address, engine)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, report = folder / "inputs.json", folder / "report.csv"
        tensors = {key: {"content": array.ravel().tolist(), "shape": array.shape[1:]} for key, array in inputs.items()}
        data.write_text(json.dumps({"data": [tensors]}))
        window_ms = max(100, round(1000 * seconds / WINDOWS))
        command = [
            str(HOME / "bin" / "perf_analyzer"), "-m", engine, "-u", address, "-i", "grpc", "--input-data", str(data),
            "-b", str(len(next(iter(inputs.values())))), "--concurrency-range", str(callers), "--async",
            "--measurement-interval", str(window_ms), "--max-trials", "9", "--stability-percentage", "999",
            "-f", str(report),
        ]  # fmt: skip
        (cuda,) = HOME.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
        environment = {**os.environ, "LD_LIBRARY_PATH": str(cuda)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            samples.failures.append((done.stdout + done.stderr)[-160:].strip())
            return 0
        with report.open() as file:
            row = next(csv.DictReader(file))
    rate = float(row["Inferences/Second"]) / len(next(iter(inputs.values())))
    samples.per_second.append(rate)
    for share in (0.5, 0.99):
        quantile_ms = float(row[f"p{round(100 * share)} latency"]) / 1e3
        samples.quantiles_ms.setdefault(share, []).append(quantile_ms)
    return (_inferences(address, engine) - before) // len(next(iter(inputs.values())))


def _inferences(address: str, engine: str) -> int:
    """Rows that the engine was given since its start."""
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        found = stub.ModelStatistics(service_pb2.ModelStatisticsRequest(name=engine), timeout=10)
    return sum(one.inference_count for one in found.model_stats)
