"""Tiny ONNX engines, written into a model repository, for the tests of ``serve.engines``."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
TABLE = np.arange(10, dtype=np.float32) * 1.5
SLOW_SIDE, SLOW_LAYERS = 1024, 12

ONNX_TYPES = {
    "TYPE_FP32": TensorProto.FLOAT,
    "TYPE_INT32": TensorProto.INT32,
    "TYPE_INT64": TensorProto.INT64,
    "TYPE_UINT8": TensorProto.UINT8,
    "TYPE_STRING": TensorProto.STRING,
}
Dims = Sequence[int | str]


def write_engine(
    repository: Path,
    name: str,
    backend: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, tuple[str, Dims]],
    outputs: Mapping[str, tuple[str, Dims]],
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    *,
    max_batch_size: int = 8,
    extra: str = "",
    input_extra: str = "",
) -> Path:
    """Write ``config.pbtxt`` and ``1/model.onnx``. Dims leave the batch axis out when ``max_batch_size`` > 0."""
    lead: list[int | str] = ["N"] if max_batch_size else []

    def infos(tensors: Mapping[str, tuple[str, Dims]]) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(tensor, ONNX_TYPES[dtype], [*lead, *dims])
            for tensor, (dtype, dims) in tensors.items()
        ]

    graph = helper.make_graph(
        list(nodes),
        name,
        infos(inputs),
        infos(outputs),
        [numpy_helper.from_array(array, key) for key, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    onnx.save(model, folder / "1" / "model.onnx")
    blocks = [
        f'backend: "{backend}"\nmax_batch_size: {max_batch_size}\ndefault_model_filename: "model.onnx"',
        *(_block("input", tensor, dtype, dims, input_extra) for tensor, (dtype, dims) in inputs.items()),
        *(_block("output", tensor, dtype, dims, "") for tensor, (dtype, dims) in outputs.items()),
        "instance_group { count: 1 kind: KIND_CPU }",
        extra,
    ]
    (folder / "config.pbtxt").write_text("\n".join(blocks) + "\n")
    return folder


def _block(kind: str, tensor: str, dtype: str, dims: Dims, extra: str) -> str:
    lengths = ", ".join(str(-1 if isinstance(length, str) else length) for length in dims)
    return f'{kind} {{ name: "{tensor}" data_type: {dtype} dims: [{lengths}] {extra} }}'


def affine(repository: Path, name: str, backend: str, **options: object) -> Path:
    """y = x · WEIGHTS and z = max(y, 0), x (N, 4)."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    return write_engine(
        repository,
        name,
        backend,
        nodes,
        {"x": ("TYPE_FP32", [4])},
        {"y": ("TYPE_FP32", [3]), "z": ("TYPE_FP32", [3])},
        {"w": WEIGHTS},
        **{"extra": "dynamic_batching { }", **options},
    )


def pair(repository: Path, name: str, backend: str) -> Path:
    """total = a + b over axes of any equal length; ragged requests may share a batch."""
    return write_engine(
        repository,
        name,
        backend,
        [helper.make_node("Add", ["a", "b"], ["total"])],
        {"a": ("TYPE_FP32", ["A"]), "b": ("TYPE_FP32", ["B"])},
        {"total": ("TYPE_FP32", ["C"])},
        extra="dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [8] }",
        input_extra="allow_ragged_batch: true",
    )


def aliased(repository: Path, name: str, backend: str) -> Path:
    """y = max(x, 0) between two casts without effect, as exporters leave them; x and y (N, 4)."""
    nodes = [
        helper.make_node("Cast", ["x"], ["/Cast_output_0"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["/Cast_output_0"], ["/Relu_output_0"]),
        helper.make_node("Cast", ["/Relu_output_0"], ["y"], to=TensorProto.FLOAT),
    ]
    floats: tuple[str, Dims] = ("TYPE_FP32", [4])
    return write_engine(repository, name, backend, nodes, {"x": floats}, {"y": floats})


def lookup(repository: Path, name: str, backend: str) -> Path:
    """value = TABLE[index]: an index outside the table fails the whole run."""
    return write_engine(
        repository,
        name,
        backend,
        [helper.make_node("Gather", ["table", "index"], ["value"])],
        {"index": ("TYPE_INT64", [1])},
        {"value": ("TYPE_FP32", [1])},
        {"table": TABLE},
        extra="dynamic_batching { max_queue_delay_microseconds: 100000 preferred_batch_size: [8] }",
    )


def whole(repository: Path, name: str, backend: str) -> Path:
    """y = x · WEIGHTS without a batch axis, x (rows, 4)."""
    return write_engine(
        repository,
        name,
        backend,
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": ("TYPE_FP32", ["R", 4])},
        {"y": ("TYPE_FP32", ["R", 3])},
        {"w": WEIGHTS},
        max_batch_size=0,
    )


def text(repository: Path, name: str, backend: str) -> Path:
    """same = text, of strings."""
    return write_engine(
        repository,
        name,
        backend,
        [helper.make_node("Identity", ["text"], ["same"])],
        {"text": ("TYPE_STRING", [1])},
        {"same": ("TYPE_STRING", [1])},
    )


def slow(repository: Path, name: str, backend: str) -> Path:
    """24 products of 1024 x 1024 matrices: about half a second on two cores."""
    names = ["x", *(f"h{layer}" for layer in range(SLOW_LAYERS - 1)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    weights = np.random.default_rng(2).normal(size=(SLOW_SIDE, SLOW_SIDE)).astype(np.float32) / np.float32(32)
    return write_engine(
        repository,
        name,
        backend,
        nodes,
        {"x": ("TYPE_FP32", [SLOW_SIDE, SLOW_SIDE])},
        {"y": ("TYPE_FP32", [SLOW_SIDE, SLOW_SIDE])},
        {"w": weights},
        max_batch_size=1,
        extra="dynamic_batching { }",
    )


def widening(repository: Path, name: str, backend: str) -> Path:
    """y = max(sin(x)), x (N, 4), by way of 8 MB a row and layer, at batches of up to 16."""
    nodes = [
        helper.make_node("Tile", ["x", "repeats"], ["wide"]),
        helper.make_node("Sin", ["wide"], ["sines"]),
        helper.make_node("ReduceMax", ["sines"], ["y"], axes=[1], keepdims=1),
    ]
    constants = {"repeats": np.array([1, 500_000])}
    floats: tuple[str, Dims] = ("TYPE_FP32", [4])
    return write_engine(
        repository, name, backend, nodes, {"x": floats}, {"y": ("TYPE_FP32", [1])}, constants, max_batch_size=16
    )
