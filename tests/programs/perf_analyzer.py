"""Short runs of NVIDIA's perf_analyzer (`make clients`) against a stack."""

from __future__ import annotations

import base64
import csv
import json
import os
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[2] / ".venv-perf"
# It needs three similar windows; any three are similar here.
QUICK = ("--measurement-interval", "400", "--max-trials", "9", "--stability-percentage", "999")


def measured(folder: Path, address: str, protocol: str, model: str, *options: str) -> list[dict[str, float]]:
    """The rows of its report: for each load, requests per second and times in microseconds. Asserts success."""
    report = folder / f"{model}-{protocol}.csv"
    done = run(address, protocol, model, *QUICK, "-f", str(report), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    with report.open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def run(address: str, protocol: str, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``protocol``: http or grpc."""
    binary = HOME / "bin" / "perf_analyzer"
    assert binary.exists(), "run `make clients` first"
    (cuda,) = HOME.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    command = [str(binary), "-m", model, "-u", address, "-i", protocol, *options]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(cuda)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def input_data(folder: Path, inputs: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The option for sending ``inputs`` in turn: tensor values by name."""
    path = folder / "inputs.json"
    path.write_text(json.dumps({"data": list(inputs)}))
    return "--input-data", str(path)


def as_bytes(data: bytes) -> dict[str, str]:
    """``data`` as the only element of a BYTES tensor, with its length prefix."""
    return {"b64": base64.b64encode(struct.pack("<I", len(data)) + data).decode()}
