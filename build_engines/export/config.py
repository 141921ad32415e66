"""``config.pbtxt`` from a contract."""

from __future__ import annotations

from typing import Literal

from build_engines.export.contracts import ADAPTER_INPUTS, Contract, Tensor

Backend = Literal["onnxruntime", "openvino", "tensorrt"]

FILES: dict[Backend, str] = {"onnxruntime": "model.onnx", "openvino": "model.onnx", "tensorrt": "model.plan"}
_THREADS: dict[Backend, str] = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}


def _tensor(tensor: Tensor) -> str:
    dims = ", ".join(str(d) for d in tensor.dims)
    optional = " optional: true" if tensor in ADAPTER_INPUTS else ""
    return f'  {{ name: "{tensor.name}" data_type: {tensor.data_type} dims: [ {dims} ]{optional} }}'


def _tensors(kind: str, tensors: tuple[Tensor, ...]) -> str:
    return f"{kind} [\n" + ",\n".join(_tensor(t) for t in tensors) + "\n]"


def config_text(contract: Contract, backend: Backend) -> str:
    """The whole file. No ``default_queue_policy``: with one, Triton's batcher sleeps through requests for 0.5 s.

    The bound on what waits is ``max_in_flight`` of ``serve.engines.client.EngineClient``.
    """
    parts = [
        f'name: "{contract.name}"',
        f'backend: "{backend}"',
        f'default_model_filename: "{FILES[backend]}"',
        f"max_batch_size: {contract.max_batch_size}",
        _tensors("input", contract.config_inputs),
        _tensors("output", contract.outputs),
        _batching(contract),
        f"instance_group [ {{ count: 1 kind: {'KIND_GPU' if backend == 'tensorrt' else 'KIND_CPU'} }} ]",
    ]
    if contract.threads and backend in _THREADS:
        parts.append(f'parameters {{ key: "{_THREADS[backend]}" value {{ string_value: "{contract.threads}" }} }}')
    if contract.adapters:
        parts.append(f'parameters {{ key: "adapters" value {{ string_value: "{contract.adapters}" }} }}')
    if contract.warmup:
        parts.append(_warmup(contract))
    return "\n".join(parts) + "\n"


def _batching(contract: Contract) -> str:
    preferred = ", ".join(str(n) for n in contract.preferred_batch_sizes)
    lines = [f"  preferred_batch_size: [ {preferred} ]"] if preferred else []
    lines.append(f"  max_queue_delay_microseconds: {contract.queue_delay_us}")
    return "dynamic_batching {\n" + "\n".join(lines) + "\n}"


def _warmup(contract: Contract) -> str:
    """One sample of zeros; the embedded backends and probes take the lengths of free axes from it."""
    lines = ['model_warmup [ {\n  name: "zeros" batch_size: 1']
    for tensor in contract.config_inputs:
        dims = ", ".join(str(d) for d in tensor.shape(contract.warmup))
        value = f"data_type: {tensor.data_type} dims: [ {dims} ] zero_data: true"
        lines.append(f'  inputs {{ key: "{tensor.name}" value {{ {value} }} }}')
    return "\n".join(lines) + "\n} ]"
