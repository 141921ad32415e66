"""The weights of engines by their names in the networks that they were exported from: what training goes on from."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import numpy_helper
from torch import nn

Arrays = dict[str, npt.NDArray[Any]]


def weights_of(path: Path) -> Arrays:
    """The weights of an engine by their names in the network, as they are computed with.

    Exporting folds a matrix's transposition into it, and then names it after its place in the graph; the node that
    multiplies by it is named after its module. Of two equal weights it stores one.
    """
    graph = onnx.load(str(path)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    found: Arrays = {}
    for name, array in stored.items():
        base, _, kind = name.rpartition("_")
        if kind == "int8":
            found[base] = array.astype(np.float32) * stored[f"{base}_scale"]
        elif kind == "fp16":
            found[base] = array.astype(np.float32)
        elif kind != "scale":
            found[name] = array
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    named = {name: array for name, array in found.items() if not name.startswith("onnx::")}
    for name, array in _by_module(graph, found):
        named[name] = array
    return named


def _by_module(graph: onnx.GraphProto, found: Arrays) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """Weights that are named after their place in the graph, by the module of the node that uses them."""
    kinds = {"MatMul": "weight", "Mul": "weight", "Add": "bias"}
    for node in graph.node:
        module = _module(node.name)
        for name in node.input:
            if name.startswith("onnx::") and name in found and node.op_type in kinds:
                array = found[name]
                matrix = node.op_type == "MatMul"
                yield f"{module}.{kinds[node.op_type]}", array.T if matrix else array.reshape(-1)


def _module(node: str) -> str:
    """The module of a node's name; the members of a sequence repeat its name: "/unet/feed/feed.0/MatMul"."""
    parts = node.strip("/").split("/")[:-1]
    kept = [a for a, b in itertools.pairwise([*parts, ""]) if not b.startswith(f"{a}.")]
    return ".".join(kept)


def fill(network: nn.Module, weights: Arrays, prefix: str, without: Collection[str] = ()) -> None:
    """Sets the weights of ``network`` but those whose names begin with one of ``without``. Raises ValueError for a
    network with other weights than the engine's."""
    given = {name.removeprefix(prefix): array for name, array in weights.items() if name.startswith(prefix)}
    state = network.state_dict()
    for name, tensor in state.items():
        if name.endswith("position_ids") or name.startswith(tuple(without)):
            continue
        array = given.get(name)
        if array is None or array.size != tensor.numel():
            raise ValueError(f"the engine has no weights {name} of the shape {tuple(tensor.shape)}")
        state[name] = torch.from_numpy(np.array(array, np.float32)).reshape(tensor.shape)
    network.load_state_dict(state)
