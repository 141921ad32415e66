"""The two embedded runtimes, in-process: for parity, and to choose the faster one per engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from build_engines.export.config import Backend
from build_engines.export.contracts import Contract

Arrays = dict[str, npt.NDArray[np.generic]]
Run = Callable[[Mapping[str, npt.NDArray[np.generic]]], Arrays]

CANDIDATES_IN_ONE_CALL = 1000
_ROUNDS = 20
_BATCHES = (1, 8)


def open_onnxruntime(path: Path, contract: Contract) -> Run:
    """The file in ONNX Runtime on one CPU thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [t.name for t in contract.outputs]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def open_openvino(path: Path, contract: Contract) -> Run:
    """The file in OpenVINO on one CPU thread, in FP32."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    names = [t.name for t in contract.outputs]

    def run(inputs: Mapping[str, npt.NDArray[np.generic]]) -> Arrays:
        results = compiled(dict(inputs))
        return {name: np.array(results[name]) for name in names}

    return run


RUNTIMES: dict[Backend, Callable[[Path, Contract], Run]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def choose_backend(path: Path, contract: Contract) -> tuple[Backend, dict[str, Any]]:
    """The runtime with the lower sum of medians over batches of 1 and 8, and the milliseconds of both.

    OpenVINO must win by a tenth: below that the difference is noise, and one runtime for all takes less memory.
    """
    table: dict[str, dict[str, float]] = {}
    for name, opener in RUNTIMES.items():
        run = opener(path, contract)
        table[name] = {f"batch_{b}_ms": _median_ms(run, contract, b) for b in _BATCHES}
    sums = {name: sum(times.values()) for name, times in table.items()}
    chosen: Backend = "openvino" if sums["openvino"] < 0.9 * sums["onnxruntime"] else "onnxruntime"
    return chosen, {"chosen": chosen, "threads": 1, "length": CANDIDATES_IN_ONE_CALL, **table}


def _median_ms(run: Run, contract: Contract, batch: int) -> float:
    inputs = contract.example(batch, length=CANDIDATES_IN_ONE_CALL)
    run(inputs)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - start))
    return round(float(np.median(times)), 3)
