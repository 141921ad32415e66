"""``config.pbtxt`` from a contract."""

from __future__ import annotations

from typing import Literal

from build_engines.export.contracts import Contract, Tensor

Backend = Literal["onnxruntime", "openvino"]

# These engines are small: one thread each, and the cores go to requests and to tracing.
_THREADS: dict[Backend, str] = {"onnxruntime": "intra_op_thread_count", "openvino": "INFERENCE_NUM_THREADS"}


def _tensor(tensor: Tensor) -> str:
    dims = ", ".join(str(d) for d in tensor.dims)
    return f'  {{ name: "{tensor.name}" data_type: {tensor.data_type} dims: [ {dims} ] }}'


def _tensors(kind: str, tensors: tuple[Tensor, ...]) -> str:
    return f"{kind} [\n" + ",\n".join(_tensor(t) for t in tensors) + "\n]"


def config_text(contract: Contract, backend: Backend) -> str:
    """The whole file. A full queue refuses at once, so that a caller can go elsewhere."""
    preferred = ", ".join(str(n) for n in contract.preferred_batch_sizes)
    parts = [
        f'name: "{contract.name}"',
        f'backend: "{backend}"',
        'default_model_filename: "model.onnx"',
        f"max_batch_size: {contract.max_batch_size}",
        _tensors("input", contract.inputs),
        _tensors("output", contract.outputs),
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {preferred} ]\n"
        f"  max_queue_delay_microseconds: {contract.queue_delay_us}\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    max_queue_size: {contract.max_queue_size}\n"
        "  }\n"
        "}",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        f'parameters {{ key: "{_THREADS[backend]}" value {{ string_value: "1" }} }}',
    ]
    return "\n".join(parts) + "\n"
