"""``backend: "openvino"`` on OpenVINO's Python package, with the parameters of NVIDIA's C++ backend.

``INFERENCE_NUM_THREADS``, ``COMPILATION_NUM_THREADS``, ``NUM_STREAMS``, ``PERFORMANCE_HINT``, ``HINT_BF16``,
``TARGET_DEVICE``, ``CPU_EXTENSION_PATH``, ``RESHAPE_IO_LAYERS``, ``SKIP_OV_DYNAMIC_BATCHSIZE`` and
``ENABLE_BATCH_PADDING`` have the meaning of https://github.com/triton-inference-server/openvino_backend. Without a
thread number an engine uses the server's thread budget. OpenVINO's CPU plugin rejects ``COMPILATION_NUM_THREADS``.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Blocks OpenVINO's telemetry. It contacts Google Analytics from a child process, which is killed after 3 s where
# packets are dropped and remains a zombie: the supervisor would take that for a dead stub.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino.op import Parameter

from serve.engines.backends.adapters import with_adapters
from serve.engines.backends.batch import Arrays, Batcher, Run, RunFailed
from serve.engines.backends.contract import Contract, TensorSpec, check_contract, read_contract, thread_budget
from serve.engines.backends.free_memory import return_free_memory
from serve.engines.backends.parent_watch import exit_with_parent

RUNTIME_ERRORS = (RuntimeError, TypeError, ValueError)
CHECKED_SHAPES = 1024
"""Sets of input shapes that a model remembers as valid."""
SMALL_CONSTANT_BYTES = 4096
"""Larger constants are weights: no shape depends on their values."""

TRITON_TYPES = {
    "boolean": "TYPE_BOOL",
    "u8": "TYPE_UINT8",
    "u16": "TYPE_UINT16",
    "u32": "TYPE_UINT32",
    "u64": "TYPE_UINT64",
    "i8": "TYPE_INT8",
    "i16": "TYPE_INT16",
    "i32": "TYPE_INT32",
    "i64": "TYPE_INT64",
    "f16": "TYPE_FP16",
    "f32": "TYPE_FP32",
    "f64": "TYPE_FP64",
    "string": "TYPE_STRING",
}


class TritonPythonModel:
    """One instance of one engine; Triton finds the class by this name."""

    def initialize(self, args: dict[str, str]) -> None:
        exit_with_parent()
        contract = read_contract(args)
        self._compiled, self._shapes = _compile(contract, contract.model_path)
        known = [spec.name for spec in (*contract.inputs, *contract.outputs)]
        inputs, outputs = _named(self._compiled.inputs, known), _named(self._compiled.outputs, known)
        check_contract(contract, _specs(inputs), _specs(outputs))
        self._request = self._compiled.create_infer_request()
        self._outputs = outputs
        self._padded_rows = contract.max_batch_size if contract.bool_parameter("ENABLE_BATCH_PADDING", False) else 0
        run = with_adapters(contract, self._run, lambda path: _runner(*_compile(contract, path, shared_inputs=True)))
        self._batcher = Batcher(contract, run)
        self._batcher.warm_up()
        self._compiled.release_memory()  # what the warm-up with the largest batch took
        return_free_memory()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        return self._batcher.execute(requests)

    def _run(self, inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        rows = len(next(iter(inputs.values()))) if self._padded_rows else 0
        if rows < self._padded_rows:
            inputs = {name: _pad(array, self._padded_rows) for name, array in inputs.items()}
        self._shapes.check(inputs)
        try:
            # Copy outputs: the next run, which may belong to the same batch, reuses the buffers.
            results = self._request.infer(inputs, share_inputs=True, share_outputs=False)
        except RUNTIME_ERRORS as error:
            raise RunFailed(_last_line(error)) from error
        outputs = [results[self._outputs[name]] for name in names]
        return [output[:rows] for output in outputs] if rows else outputs


class ShapeCheck:
    """Infers a model's shapes from the inputs' before a run. It takes ``model`` over, and frees its weights.

    A CPU plugin with one thread (seen with OpenVINO 2026.4) ignores a failed shape inference: it runs on the previous
    run's shapes and reads beyond the inputs.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._free = [port for port in model.inputs if port.get_partial_shape().is_dynamic]
        self._valid: OrderedDict[tuple[tuple[int, ...], ...], None] = OrderedDict()
        for constant in model.get_ops():
            if constant.get_type_name() == "Constant" and constant.get_byte_size() > SMALL_CONSTANT_BYTES:
                weights = Parameter(constant.get_element_type(), openvino.PartialShape(list(constant.shape)))
                constant.output(0).replace(weights.output(0))
                model.add_parameters([weights])

    def check(self, inputs: Arrays) -> None:
        """Raises RunFailed if these shapes do not fit together. One inference of shapes for each new set of them."""
        arrays = [next(inputs[name] for name in port.get_names() if name in inputs) for port in self._free]
        shapes = tuple(array.shape for array in arrays)
        if shapes in self._valid:
            self._valid.move_to_end(shapes)
            return
        try:
            self._model.reshape(dict(zip(self._free, map(openvino.PartialShape, map(list, shapes)), strict=True)))
        except RUNTIME_ERRORS as error:
            raise RunFailed(_last_line(error)) from error
        self._valid[shapes] = None
        if len(self._valid) > CHECKED_SHAPES:
            self._valid.popitem(last=False)


def _compile(contract: Contract, path: Path, *, shared_inputs: bool = False) -> tuple[Any, ShapeCheck]:
    """``shared_inputs``: the model has inputs without the batch axis, and its own axes hold for all of them."""
    settings = _settings(contract)
    try:
        core = openvino.Core()
        if extension := contract.parameters.get("CPU_EXTENSION_PATH"):
            core.add_extension(extension)
        model = core.read_model(path)
        if not shared_inputs:
            _reshape(model, contract)
        compiled = core.compile_model(model, contract.parameters.get("TARGET_DEVICE", "CPU").upper(), settings)
        return compiled, ShapeCheck(model)
    except RUNTIME_ERRORS as error:
        raise contract.load_error(f"OpenVINO cannot compile {path.name}: {_last_line(error)}") from error


def _runner(compiled: Any, shapes: ShapeCheck) -> Run:
    request = compiled.create_infer_request()

    def run(inputs: Arrays, names: Sequence[str]) -> Sequence[NDArray[Any]]:
        known = {name for port in compiled.inputs for name in port.get_names()}
        ports = _named(compiled.outputs, names)
        try:
            feeds = {name: np.ascontiguousarray(array) for name, array in inputs.items() if name in known}
            shapes.check(feeds)
            results = request.infer(feeds, share_inputs=True, share_outputs=False)
        except RUNTIME_ERRORS as error:
            raise RunFailed(_last_line(error)) from error
        return [results[ports[name]] for name in names]

    return run


def _settings(contract: Contract) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": contract.int_parameter("INFERENCE_NUM_THREADS", 0) or thread_budget(),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
        # OpenVINO's default is bfloat16 on CPUs that support it: three digits, and results that differ between
        # machines.
        "INFERENCE_PRECISION_HINT": "f32",
        # Several engines and Triton itself share the cores.
        "ENABLE_CPU_PINNING": False,
    }
    for key, allowed in (
        ("NUM_STREAMS", ("AUTO", "NUMA")),
        ("PERFORMANCE_HINT", ("LATENCY", "THROUGHPUT", "CUMULATIVE_THROUGHPUT")),
        ("HINT_BF16", ("YES",)),
        ("COMPILATION_NUM_THREADS", ()),
    ):
        text = contract.parameters.get(key, "").strip().upper()
        numeric = key in ("NUM_STREAMS", "COMPILATION_NUM_THREADS")
        if text and text not in allowed and not (numeric and text.isdigit()):
            raise contract.load_error(
                f"parameter {key} must be one of {', '.join(allowed) or 'the numbers'}, got '{text}'"
            )
        if text and key == "HINT_BF16":
            settings["INFERENCE_PRECISION_HINT"] = "bf16"
        elif text:
            settings[key] = text
    return settings


def _reshape(model: Any, contract: Contract) -> None:
    """Make the batch axis dynamic, or use the config's shapes if ``RESHAPE_IO_LAYERS`` is set."""
    if contract.bool_parameter("RESHAPE_IO_LAYERS", False):
        lead = [-1] if contract.batched else []
        model.reshape({spec.name: openvino.PartialShape(lead + list(spec.dims)) for spec in contract.inputs})
    elif contract.batched and not contract.bool_parameter("SKIP_OV_DYNAMIC_BATCHSIZE", False):
        named = _named(model.inputs, [spec.name for spec in contract.inputs])
        shapes = {name: port.get_partial_shape() for name, port in named.items()}
        for shape in shapes.values():
            if shape.rank.is_static and shape.rank.get_length():
                shape[0] = openvino.Dimension(1, contract.max_batch_size)
        model.reshape(shapes)


def _pad(array: NDArray[Any], rows: int) -> NDArray[Any]:
    return np.concatenate([array, np.zeros((rows - len(array), *array.shape[1:]), array.dtype)])


def _named(ports: Sequence[Any], known: Sequence[str]) -> dict[str, Any]:
    """Ports by name. OpenVINO gives one port several names (of no-op casts); those in ``known`` are preferred."""
    return {next((n for n in known if n in port.get_names()), port.get_any_name()): port for port in ports}


def _specs(ports: Mapping[str, Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name,
            TRITON_TYPES.get(port.get_element_type().get_type_name(), port.get_element_type().get_type_name()),
            tuple(length.get_length() if length.is_static else -1 for length in port.get_partial_shape()),
        )
        for name, port in ports.items()
    ]


def _last_line(error: Exception) -> str:
    """The reason in an OpenVINO error: source locations come first, the reason last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
