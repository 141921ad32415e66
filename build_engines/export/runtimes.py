"""The two embedded runtimes, in-process: for parity, and to choose the faster one per engine."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
_LONGEST_S = 10.0
_BATCHES = (1, 8)


def open_onnxruntime(path: Path, contract: Contract, outputs: Sequence[str] | None = None) -> Run:
    """The file in ONNX Runtime on the contract's number of CPU threads (0: every core).

    ``outputs``: those of a file that is not the contract's own.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = contract.threads
    options.add_session_config_entry("session.force_spinning_stop", "1")  # as it is served
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = outputs or [t.name for t in contract.outputs]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def open_openvino(path: Path, contract: Contract, outputs: Sequence[str] | None = None) -> Run:
    """The file in OpenVINO on the contract's number of CPU threads (0: every core), in FP32."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # else it tells Google of each import
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": contract.threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", settings)
    names = outputs or [t.name for t in contract.outputs]

    def run(inputs: Mapping[str, npt.NDArray[np.generic]]) -> Arrays:
        results = compiled(dict(inputs))
        return {name: np.array(results[name]) for name in names}

    return run


RUNTIMES: dict[Backend, Callable[..., Run]] = {
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def choose_backend(
    path: Path, contract: Contract, inputs: Mapping[str, Arrays] | None = None, runtimes: Iterable[Backend] = RUNTIMES
) -> tuple[Backend, dict[str, Any]]:
    """The runtime with the lower sum of medians over ``inputs`` by label, and the milliseconds of each.

    Without ``inputs`` those are the contract's examples of batches 1 and 8. OpenVINO must win by a tenth: below that
    the difference is noise, and one runtime for all takes less memory.
    """
    facts: dict[str, Any] = {"threads": contract.threads}
    if inputs is None:
        facts["length"] = CANDIDATES_IN_ONE_CALL
        inputs = {f"batch_{b}": contract.example(b, length=CANDIDATES_IN_ONE_CALL) for b in _BATCHES}
    table: dict[str, dict[str, float]] = {}
    for name in runtimes:
        table[name] = medians(RUNTIMES[name](path, contract), inputs)
    sums = {name: sum(times.values()) * (1 if name == "onnxruntime" else 1 / 0.9) for name, times in table.items()}
    chosen: Backend = "openvino" if min(sums, key=sums.__getitem__) == "openvino" else "onnxruntime"
    return chosen, {"chosen": chosen, **facts} | table


def medians(run: Run, inputs: Mapping[str, Arrays]) -> dict[str, float]:
    """Milliseconds of ``run`` by label of ``inputs``."""
    return {f"{label}_ms": _median_ms(run, arrays) for label, arrays in inputs.items()}


def _median_ms(run: Run, inputs: Arrays) -> float:
    """Of 20 runs, or of as many as fit in 10 s."""
    run(inputs)
    times: list[float] = []
    while len(times) < _ROUNDS and sum(times) < 1000 * _LONGEST_S:
        start = time.perf_counter()
        run(inputs)
        times.append(1000 * (time.perf_counter() - start))
    return round(float(np.median(times)), 3)
