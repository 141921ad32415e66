"""How weights are stored. They are computed with in float32, whatever they are stored in.

``fp16`` halves the file. ``int8`` quarters it: matrices, kernels and tables of embeddings in 8 bits with a scale per
output channel or row, the rest in fp16. Both runtimes fold the casts when they load, so that speed and memory are those
of ``fp32``.

OpenVINO multiplies matrices of 8 bits with activations that it rounds to 8 bits, too, each row by itself. Where an
answer depends on a few numbers, as in a last layer, that is felt: a network names such modules,
``SENSITIVE_MODULES``.

Activations are not quantised here: ONNX Runtime's dynamic quantisation takes one range for a whole batch, so a picture
would change with the pictures that share its step. On a UNet of 16 M parameters it also erred more, 3.1 % of the
answer's RMS against 1.2 %, for 15 to 25 % more speed in ONNX Runtime and less speed in OpenVINO.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Precision = Literal["fp32", "fp16", "int8"]
Target = Literal["onnx", "openvino", "tensorrt"]
"""What engines are built for."""

#: Smaller tensors (biases, norms) stay as they are: they weigh nothing.
_SMALLEST = 1024
_FP16_MAX = float(np.finfo(np.float16).max)

Array = npt.NDArray[Any]


def store(model: onnx.ModelProto, precision: Precision, sensitive: Collection[str] = ()) -> None:
    """Replaces the large float32 weights of ``model`` by ``precision`` and the nodes that restore them. Those of the
    ``sensitive`` modules, by their names, are not in 8 bits but in 16."""
    if precision == "fp32":
        return
    axes = _output_axes(model.graph, sensitive) if precision == "int8" else {}
    nodes: list[onnx.NodeProto] = []
    added: list[TensorProto] = []
    for weight in model.graph.initializer:
        if weight.data_type != TensorProto.FLOAT or np.prod(weight.dims) < _SMALLEST:
            continue
        values, name = numpy_helper.to_array(weight), weight.name
        if name in axes:
            quantised, scale = quantise(values, axes[name])
            weight.CopyFrom(numpy_helper.from_array(quantised, f"{name}_int8"))
            added.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes.append(_cast(f"{name}_int8", f"{name}_levels"))
            nodes.append(helper.make_node("Mul", [f"{name}_levels", f"{name}_scale"], [name], name=f"{name}_restore"))
        elif np.abs(values).max() <= _FP16_MAX:
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_fp16"))
            nodes.append(_cast(f"{name}_fp16", name))
    model.graph.initializer.extend(added)
    _prepend(model.graph, nodes)


def quantise(values: Array, axis: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """(levels from -127 to 127, scales): ``values`` is nearly levels * scales, with a scale per index of ``axis``."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = (np.abs(values).max(axis=others, keepdims=True) / 127).astype(np.float32)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale


def _output_axes(graph: onnx.GraphProto, sensitive: Collection[str]) -> dict[str, int]:
    """By name of a weight that is only a right factor or a kernel: the axis of its output channels; of a table that is
    only looked up: that of its rows. Without those of the ``sensitive`` modules."""
    ranks = {t.name: len(t.dims) for t in graph.initializer}
    axes: dict[str, int] = {}
    other: set[str] = set()
    kept = set(sensitive)
    for node, position, name in _uses(graph, ranks):
        if not kept.isdisjoint(node.name.split("/")):
            other.add(name)
        elif position == 1 and node.op_type == "Conv":
            axes[name] = 0
        elif position == 1 and node.op_type == "MatMul" and ranks[name] == 2:
            axes[name] = 1
        elif position == 1 and node.op_type == "Gemm":
            axes[name] = 0 if any(a.name == "transB" and a.i for a in node.attribute) else 1
        elif position == 0 and node.op_type == "Gather" and ranks[name] == 2:
            axes[name] = 0
        else:
            other.add(name)
    return {name: axis for name, axis in axes.items() if name not in other}


def _uses(graph: onnx.GraphProto, names: dict[str, int]) -> Iterator[tuple[onnx.NodeProto, int, str]]:
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name in names:
                yield node, position, name


def _cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT, name=f"{source}_cast")


def _prepend(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Nodes of a graph stand in the order in which they can run."""
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
