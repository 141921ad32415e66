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
    """The whole file. No ``default_queue_policy``: with one, Triton's batcher sleeps through requests for 0.5 s.

    The bound on what waits is ``max_in_flight`` of ``serve.engines.client.Engines``.
    """
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
        "}",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
        f'parameters {{ key: "{_THREADS[backend]}" value {{ string_value: "1" }} }}',
    ]
    return "\n".join(parts) + "\n"
