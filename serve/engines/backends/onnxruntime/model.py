"""``backend: "onnxruntime"`` on ONNX Runtime's Python package, with the parameters of NVIDIA's C++ backend.

``intra_op_thread_count``, ``inter_op_thread_count``, ``execution_mode``, ``enable_mem_arena``, ``enable_mem_pattern``
and ``optimization.graph.level`` have the meaning of https://github.com/triton-inference-server/onnxruntime_backend.
A thread count of 0 means the server's thread budget. ``session.intra_op.allow_spinning`` is ONNX Runtime's own option;
default on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from serve.engines.backends.adapters import with_adapters
from serve.engines.backends.batch import Arrays, Batcher, Run, RunFailed
from serve.engines.backends.contract import Contract, TensorSpec, check_contract, read_contract, thread_budget
from serve.engines.backends.free_memory import return_free_memory
from serve.engines.backends.parent_watch import exit_with_parent

RUNTIME_ERRORS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    TypeError,
    ValueError,
)

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}

GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


class TritonPythonModel:
    """One instance of one engine; Triton finds the class by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        exit_with_parent()
        contract = read_contract(args)
        session = _open(contract, contract.model_path)
        check_contract(contract, _specs(session.get_inputs()), _specs(session.get_outputs()))
        self._session = session
        run = with_adapters(contract, _runner(session), lambda path: _runner(_open(contract, path)))
        self._batcher = Batcher(contract, run)
        self._batcher.warm_up()
        _shrink(session, contract)
        return_free_memory()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.execute(requests)


def _open(contract: Contract, path: Path) -> Any:
    try:
        return onnxruntime.InferenceSession(path, _session_options(contract), providers=_providers(contract))
    except RUNTIME_ERRORS as error:
        raise contract.load_error(f"ONNX Runtime cannot read {path.name}: {error}") from error


def _shrink(session: Any, contract: Contract) -> None:
    """One run that frees what the warm-up with the largest batch took; a run of that size takes it again."""
    if contract.on_gpu or not session.get_session_options().enable_cpu_mem_arena:
        return
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    own = {argument.name for argument in session.get_inputs()}
    inputs = {name: array for name, array in contract.warmup_inputs(1).items() if name in own}
    _runner(session, options)(inputs, [spec.name for spec in contract.outputs])


def _runner(session: Any, options: Any = None) -> Run:
    def run(inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        try:
            feeds = {name: _as_text(array) if array.dtype == np.object_ else array for name, array in inputs.items()}
            outputs: Sequence[NDArray[Any]] = session.run(names, feeds, options)
        except RUNTIME_ERRORS as error:
            raise RunFailed(str(error)) from error
        return outputs

    return run


def _session_options(contract: Contract) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = contract.int_parameter("intra_op_thread_count", 0) or thread_budget()
    options.inter_op_num_threads = contract.int_parameter("inter_op_thread_count", 0)
    mode = contract.int_parameter("execution_mode", 0)
    if mode not in (0, 1):
        raise contract.load_error(f"parameter execution_mode must be 0 (sequential) or 1 (parallel), got {mode}")
    options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL if mode else options.execution_mode
    if contract.graph_level not in GRAPH_LEVELS:
        raise contract.load_error(f"optimization.graph.level must be -1, 1 or 2, got {contract.graph_level}")
    options.graph_optimization_level = GRAPH_LEVELS[contract.graph_level]
    options.enable_cpu_mem_arena = contract.bool_parameter("enable_mem_arena", True)
    options.enable_mem_pattern = contract.bool_parameter("enable_mem_pattern", True)
    # Threads spin during a run, which speeds up networks of many small operations, and stop at its end: otherwise they
    # would take cores from Triton, its client and the other engines.
    spin = contract.bool_parameter("session.intra_op.allow_spinning", True)
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return options


def _providers(contract: Contract) -> list[Any]:
    cpu = "CPUExecutionProvider"
    if not contract.on_gpu:
        return [cpu]
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": contract.device_id}), cpu]
    pb_utils.Logger.log_warn(f"engine '{contract.engine}' runs on the CPU: onnxruntime is installed without CUDA")
    return [cpu]


def _as_text(array: NDArray[Any]) -> NDArray[Any]:
    """Decode byte strings, since ONNX strings are text. Raises ValueError for bytes that are not UTF-8."""
    flat = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
    return np.array(flat, np.object_).reshape(array.shape)


def _specs(arguments: Sequence[Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            argument.name,
            TRITON_TYPES.get(argument.type, argument.type),
            tuple(length if isinstance(length, int) else -1 for length in argument.shape),
        )
        for argument in arguments
    ]
